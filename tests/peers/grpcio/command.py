"""What both grpcio peers share: the command line, the schema, plans in and outcomes out."""

import argparse
import base64
import json
import sys
from collections import Counter
from pathlib import Path

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

SCHEMA = Path(__file__).resolve().parents[3] / "build" / "peers" / "schema.binpb"

# What an implementation adds to metadata on its own: not part of an outcome.
ADDED = {
    "content-type", "user-agent", "date", "te", "accept-encoding",
    "grpc-accept-encoding", "grpc-encoding", "grpc-status", "grpc-message", "grpc-status-details-bin",
}  # fmt: skip

pool = descriptor_pool.DescriptorPool()
for file in descriptor_pb2.FileDescriptorSet.FromString(SCHEMA.read_bytes()).file:
    pool.Add(file)


def message(name: str):
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def methods(service: str):
    return pool.FindServiceByName(service).methods


def find_method(path: str):
    _, service, name = path.split("/")
    return pool.FindServiceByName(service).FindMethodByName(name)


def kind(method) -> str:
    """`unary_unary`, `unary_stream`, `stream_unary` or `stream_stream`, as grpcio names them."""
    words = {False: "unary", True: "stream"}
    return f"{words[method.client_streaming]}_{words[method.server_streaming]}"


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    verbs = parser.add_subparsers(dest="verb", required=True)
    serve = verbs.add_parser("serve")
    serve.add_argument("--port", type=int, default=0)
    serve.add_argument("--identity", default="server")
    call = verbs.add_parser("call")
    call.add_argument("--target", required=True)
    for verb in (serve, call):
        verb.add_argument("--tls", type=Path)
        verb.add_argument("--mtls", action="store_true")
    return parser.parse_args()


def server_credentials(options: argparse.Namespace) -> grpc.ServerCredentials:
    folder = options.tls
    pair = [(folder / f"{options.identity}.{end}").read_bytes() for end in ("key", "pem")]
    roots = (folder / "ca.pem").read_bytes() if options.mtls else None
    return grpc.ssl_server_credentials([tuple(pair)], roots, options.mtls)


def channel_credentials(options: argparse.Namespace) -> grpc.ChannelCredentials:
    folder = options.tls
    key, certificate = None, None
    if options.mtls:
        key, certificate = (folder / "client.key").read_bytes(), (folder / "client.pem").read_bytes()
    return grpc.ssl_channel_credentials((folder / "ca.pem").read_bytes(), key, certificate)


def metadata_in(pairs) -> list[tuple[str, str | bytes]]:
    return [
        (key, base64.b64decode(value) if key.endswith("-bin") else value) for key, value in pairs
    ]


def metadata_out(metadata) -> list[list[str]]:
    return [
        [key, base64.b64encode(value).decode() if isinstance(value, bytes) else value]
        for key, value in metadata or ()
        if key not in ADDED
    ]


def requests_of(plan: dict) -> list:
    request_class = message_factory.GetMessageClass(find_method(plan["method"]).input_type)
    return [json_format.ParseDict(each, request_class()) for each in plan["requests"]]


def reply_parser(plan: dict):
    return message_factory.GetMessageClass(find_method(plan["method"]).output_type).FromString


def timeout_of(plan: dict) -> float | None:
    return plan["timeout_ms"] / 1000 if "timeout_ms" in plan else None


def compression_of(plan: dict) -> grpc.Compression | None:
    return grpc.Compression.Gzip if plan.get("compression") == "gzip" else None


def outcome(code, details, replies, initial, trailing) -> dict:
    return {
        "code": code.value[0],
        "message": details or "",
        "replies": [json_format.MessageToDict(reply) for reply in replies],
        "initial": metadata_out(initial),
        "trailing": metadata_out(trailing),
    }


def together(outcomes: list[dict]) -> dict:
    """The outcome of a plan: with `parallel`, the first that failed and the count of each code."""
    if len(outcomes) == 1:
        return outcomes[0]
    shown = next((each for each in outcomes if each["code"] != 0), outcomes[0])
    return shown | {"codes": Counter(str(each["code"]) for each in outcomes)}


def plans():
    for line in sys.stdin:
        yield json.loads(line)


def answer(result: dict) -> None:
    print(json.dumps(result), flush=True)


def ready(port: int) -> None:
    print(f"ready {port}", flush=True)


def payload(size: int):
    """A payload of zero bytes, of the size asked for."""
    return message("grpc.testing.Payload")(body=bytes(size))
