"""Ours beside its peers: CPU microseconds per message of the process under test, in one interleaved run.

    python benches/run.py [ROW ...] [--rounds 5] [--seconds 2] [--core 1] [--list]

Client and server are pinned to one core. The process under test faces bench-loader, a bare h2 program that costs next
to nothing; what is counted is the user and system time of the process under test alone, after a warm-up, divided by
the messages it moved. Every round runs each subject once, so that all see the same machine; figures are medians of
the rounds. ROW is a row's name or a part of it. Results also go to build/bench/results.json.
"""

import argparse
import json
import os
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import rows
from subjects import BUILD, COMMANDS, prepare

TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid: int) -> float:
    """User and system time of a process with all its threads, those that ended too."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def resident_kib(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ValueError(f"no VmRSS for {pid}")


class Program:
    """A subject or the loader, pinned to the core of the run."""

    def __init__(self, core: int, name: str, *arguments: str) -> None:
        self.name = name
        self.process = subprocess.Popen(
            ["taskset", "-c", str(core), *COMMANDS[name], *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"GRPC_VERBOSITY": "NONE"},
        )

    @property
    def pid(self) -> int:
        return self.process.pid  # taskset replaces itself with the program

    def line(self) -> str:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended with exit code {self.process.wait(10)}")
        return line.strip()

    def port(self) -> str:
        return self.line().removeprefix("ready ")

    def tell(self, text: str) -> str:
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()
        return self.line()

    def run(self, seconds: float) -> int:
        return int(self.tell(f"run {seconds}").removeprefix("done "))

    def close(self) -> None:
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def load_arguments(row, target: str) -> list[str]:
    payload = BUILD / ("order.bin" if row.workload == "order" else f"{row.workload}.bin")
    return [
        "load", "--target", target, "--workload", row.workload,
        "--inflight", str(row.inflight), "--payload", str(payload),
    ]  # fmt: skip


def measure_load(row, names: list[str], options) -> dict[str, float]:
    """CPU microseconds per message of each subject: the median of the rounds."""
    programs, lanes = [], []
    try:
        if row.side == "client":
            server = Program(options.core, "loader", "serve")
            programs.append(server)
            target = f"127.0.0.1:{server.port()}"
            for name in names:
                client = Program(options.core, name, *load_arguments(row, target))
                programs.append(client)
                lanes.append((name, client, client))
        else:
            for name in names:
                server = Program(options.core, name, "serve")
                programs.append(server)
                target = f"127.0.0.1:{server.port()}"
                loader = Program(options.core, "loader", *load_arguments(row, target))
                programs.append(loader)
                lanes.append((name, loader, server))
        for _, driver, _ in lanes:
            driver.run(options.warmup)
        samples: dict[str, list[float]] = {name: [] for name in names}
        for _ in range(options.rounds):
            for name, driver, tested in lanes:
                before = cpu_seconds(tested.pid)
                messages = driver.run(options.seconds)
                samples[name].append((cpu_seconds(tested.pid) - before) / messages * 1e6)
        return {name: statistics.median(values) for name, values in samples.items()}
    finally:
        for program in reversed(programs):
            program.close()


def measure_idle(row, names: list[str], options) -> dict[str, float]:
    """KiB a server grows by for each idle connection, or for each idle stream on 100 connections."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    connections, streams = (100, options.idle // 100) if row.workload == "stream" else (options.idle, 0)
    figures = {}
    for name in names:
        server = Program(options.core, name, "serve")
        try:
            target = f"127.0.0.1:{server.port()}"
            arguments = ["--target", target, "--payload", str(BUILD / "unary.bin")]
            # first a few, so that what a server sets up once is not counted
            few = Program(options.core, "loader", "idle", *arguments, "--connections", "20", "--streams", "5")
            few.line()
            few.tell("go")
            few.close()
            time.sleep(1)
            before = resident_kib(server.pid)
            many = Program(
                options.core, "loader", "idle", *arguments, "--connections", str(connections), "--streams", str(streams)
            )
            many.line()
            if row.workload == "stream":
                before = resident_kib(server.pid)
                many.tell("go")
            else:
                time.sleep(2)
            figures[name] = (resident_kib(server.pid) - before) / options.idle
            many.close()
        finally:
            server.close()
    return figures


def measure_wall(row, names: list[str], options) -> dict[str, float]:
    """Milliseconds of a whole process, the interpreter's own start taken off for an import; least of the rounds."""
    server = Program(options.core, "loader", "serve")
    try:
        target = f"127.0.0.1:{server.port()}"
        python = sys.executable

        def command(name: str) -> list[str]:
            if row.workload == "import":
                return [python, "-c", f"import {rows.IMPORTS[name]}"]
            return [*COMMANDS[name], "once", "--target", target]

        def wall(arguments: list[str]) -> float:
            began = time.perf_counter()
            # bytecode caches are wanted here: the second run of a program is what is timed
            environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
            subprocess.run(["taskset", "-c", str(1 - options.core), *arguments], check=True, env=environment)
            return (time.perf_counter() - began) * 1e3

        commands = {name: command(name) for name in names}
        commands[""] = [python, "-c", "pass"]
        samples: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(options.rounds * 3 + 1):
            for name, arguments in commands.items():
                samples[name].append(wall(arguments))
        bare = min(samples.pop("")[1:])
        if row.workload != "import":
            bare = 0
        return {name: min(values[1:]) - bare for name, values in samples.items()}
    finally:
        server.close()


def measure_codec(row, names: list[str], options) -> dict[str, float]:
    """Nanoseconds per message, timed by the codec bench itself, both sides in turn."""
    lines = subprocess.run(
        ["taskset", "-c", str(options.core), *COMMANDS["stubless"]], check=True, stdout=subprocess.PIPE, text=True
    ).stdout.splitlines()
    order = next(line for line in lines if line.startswith("Order"))
    prost, ratio = re.search(rf"{row.workload} prost +([\d.]+) ns, ours ([\d.]+)", order).groups()
    return {"prost": float(prost), "stubless": float(prost) * float(ratio)}


MEASURES = {
    "load": (measure_load, "us CPU"),
    "idle": (measure_idle, "KiB"),
    "wall": (measure_wall, "ms"),
    "codec": (measure_codec, "ns"),
}


def report(row, figures: dict[str, float]) -> dict:
    """Prints one line of the table: ours, the best peer, how many times less ours is."""
    unit = MEASURES[row.measure][1]
    peers = {name: figures[name] for name in row.peers if name in figures}
    best = min(peers, key=peers.get) if peers else None
    ours = figures.get(row.ours)

    def cell(value: float | None) -> str:
        return "-" if value is None else f"{value:.3g}" if value < 10 else f"{value:.1f}"

    ratio = peers[best] / ours if best and ours and ours > 0 else None
    verdict = "" if ratio is None else "reached" if ratio >= row.least else "MISSED"
    if ratio is not None and ratio >= row.aim:
        verdict = "aim"
    others = ", ".join(f"{name} {cell(value)}" for name, value in figures.items() if name not in (best, row.ours))
    print(
        f"{row.name:34} {unit:7} {cell(ours):>8} {cell(peers.get(best)):>9} {best or '-':16}"
        f"{cell(ratio) + 'x' if ratio else '-':>8} {row.least:>5g}x {row.aim:>4g}x {verdict:8} {others}",
        flush=True,
    )
    return {
        "row": row.name, "unit": unit, "ours": ours, "peer": best, "ratio": ratio,
        "least": row.least, "aim": row.aim, "figures": figures,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("rows", nargs="*", help="only rows whose name contains one of these")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each round")
    parser.add_argument("--warmup", type=float, default=1.5, help="seconds")
    parser.add_argument("--core", type=int, default=1)
    parser.add_argument("--idle", type=int, default=10_000, help="idle connections, idle streams")
    parser.add_argument("--list", action="store_true")
    options = parser.parse_args()
    wanted = [row for row in rows.ROWS if not options.rows or any(part in row.name for part in options.rows)]
    if options.list:
        print("\n".join(row.name for row in wanted))
        return 0
    missing = prepare()
    for name in missing:
        print(f"not built, not measured: {name}")
    print(f"{'what':34} {'unit':7} {'ours':>8} {'peer':>9} {'which':16}{'less':>8} {'least':>6} {'aim':>5}")
    results, failed = [], 0
    for row in wanted:
        names = [name for name in [row.ours, *row.peers] if name not in missing]
        try:
            results.append(report(row, MEASURES[row.measure][0](row, names, options)))
        except (RuntimeError, subprocess.SubprocessError, BrokenPipeError) as error:
            failed += 1
            print(f"{row.name:34} FAILED: {error}", flush=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / "results.json").write_text(json.dumps(results, indent=1))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
