"""What a process may do around calls: fork, be interrupted, stop on a signal, end in the middle, run for long."""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import time
from typing import Any

import pytest

import stubless as sl

HEAD = f"""
import os, signal, sys, threading, time
import stubless as sl
schema = sl.Schema.load("echo.proto", include=[{str(pathlib.Path(__file__).parent / "protos")!r}])
"""


def run(program: str, *arguments: str, seconds: float = 30) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", HEAD + program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds)


def start(program: str, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HEAD + program, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_fork_leaves_the_parents_calls_alone(ours: Any) -> None:
    done = run(
        """
channel = sl.connect(sys.argv[1], schema=schema)
echo = channel.service("demo.v1.Echo")
assert echo.Unary({"n": 1}).n == 1
stream = echo.Bidi()
stream.send({"n": 5})
assert stream.recv().n == 5
pid = os.fork()
if pid == 0:
    try:
        echo.Unary({})
    except sl.Unavailable as error:
        assert "created before fork" in error.details()
    else:
        os._exit(3)
    try:
        stream.recv()
    except sl.Unavailable:
        pass
    with sl.connect(sys.argv[1], schema=schema) as fresh:
        assert fresh.service("demo.v1.Echo").Unary({"n": 2}).n == 2
    del stream, echo, channel
    sys.exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
stream.send({"n": 6})
assert stream.recv().n == 6
assert echo.Unary({"n": 3}).n == 3
print("fine")
""",
        ours.target,
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def test_a_child_lets_go_of_the_sockets_it_inherited(ours: Any) -> None:
    done = run(
        """
def sockets():
    found = 0
    for name in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink("/proc/self/fd/" + name).startswith("socket:")
        except OSError:
            pass
    return found

before = sockets()
server = sl.Server(schema=schema)
server.start("127.0.0.1:0")
channel = sl.connect(sys.argv[1], schema=schema)
echo = channel.service("demo.v1.Echo")
assert echo.Unary({"n": 1}).n == 1
assert sockets() >= before + 2
pid = os.fork()
if pid == 0:
    os._exit(7 if sockets() == before else 3)
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
assert echo.Unary({"n": 1}).n == 1
server.stop(0)
print("fine")
""",
        ours.target,
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


def test_a_server_in_the_parent_survives_a_fork() -> None:
    done = run(
        """
server = sl.Server(schema=schema)
server.method("demo.v1.Echo/Unary")(lambda request, context: request)
port = server.start("127.0.0.1:0")
for _ in range(5):
    pid = os.fork()
    if pid == 0:
        with sl.connect(f"127.0.0.1:{port}", schema=schema) as channel:
            assert channel.service("demo.v1.Echo").Unary({"n": 2}, timeout=10).n == 2
        sys.exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
server.stop(1)
print("fine")
"""
    )
    assert (done.returncode, done.stdout) == (0, "fine\n"), done.stderr


@pytest.mark.parametrize("kind", ["unary", "stream"])
def test_an_interrupt_ends_a_blocking_call_soon(ours: Any, kind: str, eventually: Any) -> None:
    process = start(
        """
echo = sl.connect(sys.argv[1], schema=schema).service("demo.v1.Echo")
echo.Unary({})
print("calling", flush=True)
try:
    if sys.argv[2] == "unary":
        echo.Unary({"text": "wait"})
    else:
        stream = echo.Bidi()
        stream.recv()
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
""",
        ours.target,
        kind,
    )
    assert process.stdout is not None and process.stdout.readline() == "calling\n"
    time.sleep(0.3)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    caught = float(process.stdout.readline())
    assert caught - sent < 1
    assert eventually(lambda: ours.handlers.seen in (["told"], ["CANCELLED"]))
    assert process.wait(10) == 0
    process.communicate()


@pytest.mark.parametrize("kind", ["blocking", "asyncio"])
def test_a_server_stops_on_a_signal(kind: str, schema: sl.Schema) -> None:
    process = start(
        """
import asyncio
if sys.argv[1] == "blocking":
    server = sl.Server(schema=schema)
    server.method("demo.v1.Echo/Unary")(lambda request, context: time.sleep(request.n / 1000) or request)
    print(server.start("127.0.0.1:0"), flush=True)
    server.wait(grace=5)
else:
    server = sl.aio.Server(schema=schema)
    async def unary(request, context):
        await asyncio.sleep(request.n / 1000)
        return request
    server.method("demo.v1.Echo/Unary")(unary)
    async def main():
        print(await server.start("127.0.0.1:0"), flush=True)
        await server.wait(grace=5)
    asyncio.run(main())
print("stopped", flush=True)
""",
        kind,
    )
    assert process.stdout is not None
    port = int(process.stdout.readline())
    with sl.connect(f"127.0.0.1:{port}", schema=schema) as channel:
        echo = channel.service("demo.v1.Echo")
        echo.Unary({})
        slow = echo.Unary.future({"n": 500})
        time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        assert slow.result(10).n == 500
        assert process.wait(10) == 0
        assert process.stdout.read() == "stopped\n"
        with pytest.raises(sl.Unavailable):
            echo.Unary({}, timeout=5)
    process.communicate()


def test_a_process_ends_with_everything_left_open(ours: Any) -> None:
    done = run(
        """
import asyncio
channel = sl.connect(sys.argv[1], schema=schema)
echo = channel.service("demo.v1.Echo")
stream = echo.Bidi()
stream.send({})
future = echo.Unary.future({"text": "wait"})
server = sl.Server(schema=schema)
server.method("demo.v1.Echo/Unary")(lambda request, context: request)
server.start("127.0.0.1:0")
async def main():
    global open_call
    there = sl.aio.connect(sys.argv[1], schema=schema)
    open_call = there.service("demo.v1.Echo").Unary({"text": "wait"})
    await there.service("demo.v1.Echo").Unary({})
asyncio.run(main())
print("end", flush=True)
""",
        ours.target,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


def _memory() -> int:
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_memory_stays_flat(ours: Any, schema: sl.Schema) -> None:
    import gc

    def round_of_calls(echo: Any) -> None:
        for n in range(1500):
            echo.Unary({"n": n, "text": "x" * 100})
        for _ in range(50):
            with pytest.raises(sl.NotFound):
                echo.Unary({"text": "missing"})
            with echo.Bidi() as call:
                call.send({"n": 1})
                call.recv()
            for _ in echo.ServerStream({"n": 50}):
                break

    with sl.connect(ours.target, schema=schema) as channel:
        echo = channel.service("demo.v1.Echo")
        for _ in range(2):
            round_of_calls(echo)
        gc.collect()
        before = _memory()
        for _ in range(4):
            round_of_calls(echo)
        gc.collect()
        assert _memory() - before < 4 << 20
