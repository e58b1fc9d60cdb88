"""Holds every crate in Cargo.lock against deny.toml: licence, source, bans, no wildcard versions.

The part of cargo-deny that this project relies on, in a page, so that the rule is kept where cargo-deny is not
installed. Runs `cargo metadata --locked` in the folder it is given; exits 1 and names each offender.
"""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path


def allowed(expression: str, licences: set[str]) -> bool:
    """Whether an SPDX expression can be met with these licences: OR needs one side, AND both."""
    tokens = re.findall(r"\(|\)|[^\s()]+", expression.replace("/", " OR "))
    at = 0

    def alternatives() -> bool:
        nonlocal at
        result = together()
        while at < len(tokens) and tokens[at] == "OR":
            at += 1
            right = together()
            result = result or right
        return result

    def together() -> bool:
        nonlocal at
        result = single()
        while at < len(tokens) and tokens[at] == "AND":
            at += 1
            right = single()
            result = result and right
        return result

    def single() -> bool:
        nonlocal at
        if tokens[at] == "(":
            at += 1
            result = alternatives()
            at += 1  # the closing bracket
            return result
        name = tokens[at]
        at += 1
        if at < len(tokens) and tokens[at] == "WITH":
            name = f"{name} WITH {tokens[at + 1]}"
            at += 2
        return name in licences

    return alternatives()


def main() -> int:
    rules = tomllib.loads(Path("deny.toml").read_text())
    licences = set(rules["licenses"]["allow"])
    banned = {ban["crate"]: ban["reason"] for ban in rules["bans"]["deny"]}
    metadata = json.loads(
        subprocess.run(
            ["cargo", "metadata", "--locked", "--format-version=1", "--all-features"],
            check=True,
            stdout=subprocess.PIPE,
        ).stdout
    )
    faults = []
    for package in metadata["packages"]:
        name = f"{package['name']} {package['version']}"
        if not package["license"] or not allowed(package["license"], licences):
            faults.append(f"{name}: licence {package['license']!r} is not allowed")
        if not (package["source"] or "registry+").startswith("registry+"):
            faults.append(f"{name}: comes from {package['source']}")
        if package["name"] in banned:
            faults.append(f"{name}: banned ({banned[package['name']]})")
        if package["source"] is None:
            for dependency in package["dependencies"]:
                if dependency["req"] == "*" and dependency.get("path") is None:
                    faults.append(f"{name}: {dependency['name']} has no version")
    for fault in faults:
        print(f"deny: {fault}")
    print(f"deny: {len(metadata['packages'])} crates read, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
