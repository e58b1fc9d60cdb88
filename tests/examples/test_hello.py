"""Every example runs, every client against every server, and they all say the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HELLO = ROOT / "examples" / "hello"
BUILT = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release" / "examples"

SERVERS = {
    "python": [sys.executable, str(HELLO / "server.py")],
    "python-asyncio": [sys.executable, str(HELLO / "async_server.py")],
    "rust": [str(BUILT / "hello_server")],
}
CLIENTS = {
    "python": [sys.executable, str(HELLO / "client.py")],
    "python-asyncio": [sys.executable, str(HELLO / "async_client.py")],
    "rust": [str(BUILT / "hello_client")],
}
SAID = """unary: Hello, Ada!
server streaming: 3 greetings
client streaming: Hello, Ada and Grace and Edsger!
bidi: Hello, Ada!
bidi: Hello, Grace!
refused: INVALID_ARGUMENT: the name is empty
"""


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    command = [*SERVERS[request.param], "127.0.0.1:0"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    word, port = process.stdout.readline().split()
    assert word == "ready"
    yield f"127.0.0.1:{port}"
    process.send_signal(signal.SIGTERM)
    code = process.wait(10)
    # ours in Python stop in good order; the Rust one is simply ended
    assert code == (0 if "python" in request.param else -signal.SIGTERM)


@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_and_a_server(client: str, server: str) -> None:
    done = subprocess.run([*CLIENTS[client], server], capture_output=True, text=True, timeout=30, check=False)
    assert (done.returncode, done.stdout) == (0, SAID), done.stderr
