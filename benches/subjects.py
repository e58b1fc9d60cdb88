"""Where the programs under test are, how each is started, and what must be there before they run."""

import os
import sys
from pathlib import Path

BENCHES = Path(__file__).resolve().parent
ROOT = BENCHES.parent
BUILD = ROOT / "build" / "bench"
RELEASE = Path(os.environ.get("CARGO_TARGET_DIR", BENCHES / "target")) / "release"
sys.path.insert(0, str(BENCHES / "python"))

COMMANDS = {
    "loader": [str(RELEASE / "bench-loader")],
    "tonic": [str(RELEASE / "bench-tonic")],
    "engine": [str(RELEASE / "bench-engine")],
    "stubless": [str(RELEASE / "stubless-codec-bench")],
    "prost": [str(RELEASE / "stubless-codec-bench")],
    "grpcio-sync": [sys.executable, str(BENCHES / "python" / "grpcio_sync.py")],
    "grpcio-aio": [sys.executable, str(BENCHES / "python" / "grpcio_aio.py")],
    "grpclib": [sys.executable, str(BENCHES / "python" / "grpclib_async.py")],
    "stubless-blocking": [sys.executable, str(BENCHES / "python" / "stubless_blocking.py")],
    "stubless-asyncio": [sys.executable, str(BENCHES / "python" / "stubless_asyncio.py")],
}


def prepare() -> list[str]:
    """Writes the canned messages of the loader; gives the subjects that are not there."""
    from grpc_tools import protoc
    from subject import ORDER, PER_STREAM, PROTO, TEXT, protobuf_messages

    BUILD.mkdir(parents=True, exist_ok=True)
    described = BUILD / "bench.binpb"
    if protoc.main(["protoc", f"-I{PROTO}", f"--descriptor_set_out={described}", "bench.proto"]) != 0:
        raise SystemExit("benches/proto/bench.proto does not compile")
    message, order = protobuf_messages()
    (BUILD / "unary.bin").write_bytes(message(n=7, text=TEXT).SerializeToString())
    (BUILD / "send.bin").write_bytes(message(n=7, text=TEXT).SerializeToString())
    (BUILD / "receive.bin").write_bytes(message(n=PER_STREAM, text=TEXT).SerializeToString())
    (BUILD / "order.bin").write_bytes(order(**ORDER).SerializeToString(deterministic=True))
    missing = [name for name, command in COMMANDS.items() if not Path(command[-1]).exists()]
    try:
        import stubless  # noqa: F401
    except ImportError:
        missing += ["stubless-blocking", "stubless-asyncio"]
    return sorted(set(missing))
