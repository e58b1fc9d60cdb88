"""Who is tested: a server program that listens on a port, a client program that dials an address.

A server is started as `COMMAND PORT [CERTIFICATE KEY [CLIENT_CA]]` and prints `ready PORT` (port 0: it picks one). A client is started once and reads one
call order a line from standard input, as `key=value` separated by tabs:

    address=127.0.0.1:5000  method=Unary  messages=hello|again  timeout_ms=2000  calls=1  concurrent=0  wait_for_ready=0

`messages` are the requests' texts. `keepalive_ms` and `keepalive_timeout_ms` may follow, and `ca`, a file: then the call uses
TLS and trusts that. For each call the client prints one
line of JSON, and one line at the end:

    {"call": 0, "code": "OK", "message": "", "received": ["hello"]}
    {"done": true}

One order is one channel, closed before `done`. The service is `fault.proto` beside this file. A request's text says what
the handler does: `sleep:N` waits N ms or until the call ends, `block:N` waits N ms whatever happens, `fail:CODE:text` fails
(the code by number), `size:N` answers with N letters.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
#: Where cargo put the programs: the release build if there is one.
PROGRAMS = next((TARGET / p / "examples" for p in (os.environ.get("FAULTS_PROFILE"), "release", "debug")
                 if p and (TARGET / p / "examples" / "fault_server").exists()), TARGET / "debug" / "examples")


@dataclass(frozen=True)
class Subject:
    """One implementation. `strict`: every row must hold; otherwise a miss is only reported."""

    name: str
    server: list[str]
    client: list[str]
    strict: bool
    codings: tuple[str, ...] = ("gzip", "deflate")


#: The interpreter that has our wheel (or grpcio); it need not be the one the cases run on.
PYTHON = os.environ.get("FAULTS_PYTHON", sys.executable)


def _python(program: str, *arguments: str) -> list[str]:
    return [PYTHON, str(HERE / program), *arguments]


SUBJECTS = {
    "rust": Subject("rust", [str(PROGRAMS / "fault_server")],
                    [str(PROGRAMS / "fault_client")], True, ("gzip", "deflate", "zstd")),
    "python": Subject("python", _python("python_server.py"), _python("python_client.py"), True, ("gzip", "deflate", "zstd")),
    "python-aio": Subject("python-aio", _python("python_server.py", "--aio"), _python("python_client.py", "--aio"), True,
                          ("gzip", "deflate", "zstd")),
    "grpcio": Subject("grpcio", _python("grpcio_server.py"), _python("grpcio_client.py"), False),
}


def runnable() -> list[str]:
    """Our own subjects that can run here."""
    rust = ["rust"] if (PROGRAMS / "fault_server").exists() else []
    has_wheel = subprocess.run([PYTHON, "-c", "import stubless; stubless.Server"], capture_output=True, cwd="/").returncode == 0
    return rust + (["python", "python-aio"] if has_wheel else [])


def read_line(process: subprocess.Popen, timeout: float) -> str | None:
    """One line of a program's output; `None` at its end or when it took too long."""
    end = time.monotonic() + timeout
    while not hasattr(process, "rest") or b"\n" not in process.rest:
        ready, _, _ = select.select([process.stdout], [], [], max(0.0, end - time.monotonic()))
        piece = os.read(process.stdout.fileno(), 1 << 16) if ready else b""
        if not piece:
            return None
        process.rest = getattr(process, "rest", b"") + piece
    line, process.rest = process.rest.split(b"\n", 1)
    return line.decode()


class Server:
    """A running server program."""

    def __init__(self, subject: Subject, *arguments: str) -> None:
        self.process = subprocess.Popen([*subject.server, "0", *arguments], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)
        line = read_line(self.process, 30)
        if not line or not line.startswith("ready "):
            raise RuntimeError(f"{subject.name}'s server said {line!r} instead of its port")
        self.address = ("127.0.0.1", int(line.split()[1]))

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def rss_mib(self) -> float:
        """Resident memory, in MiB; 0 if the process is gone."""
        try:
            pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        except (OSError, IndexError):
            return 0.0
        return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)

    def fds(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()


class Client:
    """A running client program."""

    def __init__(self, subject: Subject) -> None:
        self.process = subprocess.Popen(subject.client, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def rss_mib(self) -> float:
        return Server.rss_mib(self)  # type: ignore[arg-type]

    def order(self, address: tuple[str, int], method: str = "Unary", **more) -> None:
        order = {"address": f"{address[0]}:{address[1]}", "method": method, "messages": "hello", "timeout_ms": 2000, "calls": 1,
                 "concurrent": 0, "wait_for_ready": 0} | more
        self.process.stdin.write("\t".join(f"{key}={value}" for key, value in order.items()).encode() + b"\n")
        self.process.stdin.flush()

    def results(self, timeout: float) -> list[dict]:
        """The calls' outcomes, as many as came before `done` or the timeout."""
        out, end = [], time.monotonic() + timeout
        while (line := read_line(self.process, max(0.0, end - time.monotonic()))) is not None:
            said = json.loads(line)
            if said.get("done"):
                return out
            out.append(said)
        out.append({"call": -1, "code": "HANG" if self.alive else "DIED", "message": "", "received": []})
        return out

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
