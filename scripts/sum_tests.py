"""Adds up the closing lines of cargo test and pytest in a folder of logs: `N passed, N failed, N skipped`."""

import re
import sys
from pathlib import Path

COUNT = re.compile(r"(\d+) (passed|failed|skipped|ignored|errors?)\b")


def closing_lines(text: str) -> list[str]:
    """cargo closes each test binary with `test result:`, pytest each run with counts and `in 1.23s`."""
    return [
        line
        for line in text.splitlines()
        if line.startswith("test result:") or re.search(r"\d+ (passed|failed|error).* in [\d.]+s", line)
    ]


def main() -> None:
    total = {"passed": 0, "failed": 0, "skipped": 0}
    for log in sorted(Path(sys.argv[1]).glob("*.log")):
        counts = dict.fromkeys(total, 0)
        for line in closing_lines(log.read_text(errors="replace")):
            for number, word in COUNT.findall(line):
                name = {"ignored": "skipped", "error": "failed", "errors": "failed"}.get(word, word)
                counts[name] += int(number)
        if any(counts.values()):
            print(f"{log.stem}: " + ", ".join(f"{n} {name}" for name, n in counts.items()))
        for name, number in counts.items():
            total[name] += number
    print(", ".join(f"{number} {name}" for name, number in total.items()))


if __name__ == "__main__":
    main()
