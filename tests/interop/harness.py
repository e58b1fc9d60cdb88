"""Starts peers and runs plans on them. What a peer is: tests/peers/README.md."""

import base64
import json
import os
import select
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILT = ROOT / "build" / "peers"
PKI = BUILT / "pki"
PEERS = ROOT / "tests" / "peers"
PATIENCE = 30  # seconds; a peer that says nothing for so long hangs

# How each peer is started, and the file that says it has been made (tests/peers/build, cargo, the wheel).
COMMANDS = {
    "grpcio": ([sys.executable, PEERS / "grpcio" / "sync.py"], BUILT / "schema.binpb"),
    "grpcio-aio": ([sys.executable, PEERS / "grpcio" / "aio.py"], BUILT / "schema.binpb"),
    "grpc-js": (["node", PEERS / "grpc-js" / "peer.js"], PEERS / "grpc-js" / "node_modules"),
    "grpc-go": ([BUILT / "grpc-go"], BUILT / "grpc-go"),
    "tonic": ([BUILT / "tonic"], BUILT / "tonic"),
    "stubless-rust": ([BUILT / "stubless-rust"], BUILT / "stubless-rust"),
    "stubless": ([sys.executable, PEERS / "stubless" / "blocking.py"], PEERS / "stubless"),
    "stubless-aio": ([sys.executable, PEERS / "stubless" / "aio.py"], PEERS / "stubless"),
}
OURS = ["stubless-rust", "stubless", "stubless-aio"]

# security -> flags of the server, flags of the client
SECURITY = {
    "plain": ([], []),
    "tls": (["--tls", PKI], ["--tls", PKI]),
    "mtls": (["--tls", PKI, "--mtls"], ["--tls", PKI, "--mtls"]),
    "tls-wrong-name": (["--tls", PKI, "--identity", "wrong-name"], ["--tls", PKI]),
    "tls-expired": (["--tls", PKI, "--identity", "expired"], ["--tls", PKI]),
    "mtls-no-certificate": (["--tls", PKI, "--mtls"], ["--tls", PKI]),
    "tls-plain-client": (["--tls", PKI], []),
}


class PeerError(Exception):
    """A peer that could not be started, ended early or hung: never the outcome of a call."""


class Peer:
    """One running peer; its standard input is its leash."""

    def __init__(self, name: str, *arguments: object) -> None:
        self.name = name
        command = [str(part) for part in [*COMMANDS[name][0], *arguments]]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, env=os.environ | {"GRPC_VERBOSITY": "NONE"}
        )
        self.buffer = b""

    def line(self) -> str:
        """The next line it prints."""
        descriptor = self.process.stdout.fileno()
        while b"\n" not in self.buffer:
            if not select.select([descriptor], [], [], PATIENCE)[0]:
                raise PeerError(f"{self.name} said nothing for {PATIENCE} s")
            chunk = os.read(descriptor, 1 << 20)
            if not chunk:
                raise PeerError(f"{self.name} ended with exit code {self.process.wait(10)}")
            self.buffer += chunk
        line, self.buffer = self.buffer.split(b"\n", 1)
        return line.decode()

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


class Server(Peer):
    def __init__(self, name: str, *flags: object) -> None:
        super().__init__(name, "serve", "--port", 0, *flags)
        word, port = self.line().split()
        assert word == "ready"
        self.target = f"localhost:{port}"


class Client(Peer):
    def __init__(self, name: str, target: str, *flags: object) -> None:
        super().__init__(name, "call", "--target", target, *flags)

    def run(self, plan: dict) -> dict:
        """Makes the call of the plan and gives its outcome."""
        self.process.stdin.write(json.dumps(plan).encode() + b"\n")
        self.process.stdin.flush()
        return json.loads(self.line())


def cases() -> list[dict]:
    return tomllib.loads((Path(__file__).parent / "cases.toml").read_text())["case"]


def deviations() -> dict[tuple[str, str, str], str]:
    """(client or *, server or *, case) -> why a peer's outcome is another one."""
    rows = tomllib.loads((Path(__file__).parent / "cases.toml").read_text()).get("deviation", [])
    return {(row.get("client", "*"), row.get("server", "*"), row["case"]): row["reason"] for row in rows}


def plan_of(case: dict) -> dict:
    """The plan of a case: full method path, bodies written out."""
    path = f"/{case.get('service', 'grpc.testing.TestService')}/{case['method']}"
    return {
        key: value for key, value in case.items() if key not in ("name", "service", "expect", "tls", "why")
    } | {"method": path, "requests": spelled_out(case["requests"])}


def spelled_out(value: object) -> object:
    if isinstance(value, list):
        return [spelled_out(each) for each in value]
    if isinstance(value, dict):
        if list(value) == ["zeros"]:
            return base64.b64encode(bytes(value["zeros"])).decode()
        return {key: spelled_out(each) for key, each in value.items()}
    return value


def without_defaults(value: object) -> object:
    """Protobuf JSON with and without fields at their default means the same message."""
    if isinstance(value, dict):
        kept = {key: without_defaults(each) for key, each in value.items()}
        return {key: each for key, each in kept.items() if each not in (None, 0, "", False, [], {}, "COMPRESSABLE")}
    if isinstance(value, list):
        return [without_defaults(each) for each in value]
    return value


def body_size(reply: dict) -> int:
    return len(base64.b64decode((reply.get("payload") or {}).get("body") or ""))


def faults(expect: dict, outcome: dict) -> list[str]:
    """What of the outcome is not as expected; empty if all is well."""
    found = []

    def check(what: str, wanted: object, got: object) -> None:
        if wanted != got:
            found.append(f"{what}: wanted {wanted!r}, got {got!r}")

    if "codes" in expect:
        check("codes", expect["codes"], outcome.get("codes"))
    else:
        check("code", expect.get("code", 0), outcome["code"])
    if found:
        found.append(f"message: {outcome['message']!r}")
    if "message" in expect:
        check("message", expect["message"], outcome["message"])
    if "replies" in expect:
        check("replies", without_defaults(expect["replies"]), without_defaults(outcome["replies"]))
    if "sizes" in expect:
        check("sizes", expect["sizes"], [body_size(reply) for reply in outcome["replies"]])
    if "count" in expect:
        check("count", expect["count"], len(outcome["replies"]))
    for block in ("initial", "trailing"):
        for pair in expect.get(block, []):
            if pair not in outcome[block]:
                found.append(f"{block}: {pair!r} is missing from {outcome[block]!r}")
    return found
