"""What both Python peers of ours share: the command line, the schema, plans in and outcomes out."""

import argparse
import base64
import json
import sys
from collections import Counter
from pathlib import Path

import stubless as sl

PROTOS = Path(__file__).resolve().parents[2] / "proto"
SCHEMA = sl.Schema.load(["grpc/testing/test.proto", "demo/v1/echo.proto"], include=[str(PROTOS)])

INITIAL, TRAILING = "x-grpc-test-echo-initial", "x-grpc-test-echo-trailing-bin"


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


def server_tls(options: argparse.Namespace) -> sl.ServerTLS | None:
    if options.tls is None:
        return None
    name = options.tls / options.identity
    return sl.ServerTLS(
        cert=f"{name}.pem", key=f"{name}.key", client_ca=str(options.tls / "ca.pem") if options.mtls else None
    )


def client_tls(options: argparse.Namespace) -> sl.TLS | None:
    if options.tls is None:
        return None
    folder = options.tls
    if not options.mtls:
        return sl.TLS(ca=str(folder / "ca.pem"))
    return sl.TLS(ca=str(folder / "ca.pem"), cert=str(folder / "client.pem"), key=str(folder / "client.key"))


def method_of(service, plan: dict):
    return service[plan["method"].rpartition("/")[2]]


def types_of(plan: dict) -> tuple:
    """(request class, client streams, server streams) of a plan's method."""
    _, service, name = plan["method"].split("/")
    row = next(row for row in sl._core._service_methods(SCHEMA, service) if row[0] == name)
    return KINDS[plan["method"]], row[2], row[3]


KINDS = {
    f"/{service}/{method}": SCHEMA.message(message)
    for service, rows in {
        "grpc.testing.TestService": {
            "EmptyCall": "grpc.testing.Empty",
            "UnaryCall": "grpc.testing.SimpleRequest",
            "CacheableUnaryCall": "grpc.testing.SimpleRequest",
            "StreamingOutputCall": "grpc.testing.StreamingOutputCallRequest",
            "StreamingInputCall": "grpc.testing.StreamingInputCallRequest",
            "FullDuplexCall": "grpc.testing.StreamingOutputCallRequest",
            "HalfDuplexCall": "grpc.testing.StreamingOutputCallRequest",
            "UnimplementedCall": "grpc.testing.Empty",
        },
        "grpc.testing.UnimplementedService": {"UnimplementedCall": "grpc.testing.Empty"},
        "demo.v1.Echo": dict.fromkeys(["Unary", "ServerStream", "ClientStream", "Bidi"], "demo.v1.Msg"),
    }.items()
    for method, message in rows.items()
}


def requests_of(plan: dict) -> list:
    return [KINDS[plan["method"]].from_json(json.dumps(each)) for each in plan["requests"]]


def options_of(plan: dict) -> dict:
    options = {}
    if "timeout_ms" in plan:
        options["timeout"] = plan["timeout_ms"] / 1000
    if "compression" in plan:
        options["compression"] = plan["compression"]
    if "metadata" in plan:
        options["metadata"] = [
            (key, base64.b64decode(value) if key.endswith("-bin") else value) for key, value in plan["metadata"]
        ]
    return options


def metadata_out(metadata) -> list[list[str]]:
    return [
        [key, base64.b64encode(value).decode() if isinstance(value, bytes) else value]
        for key, value in metadata or ()
        if key != "grpc-status-details-bin"
    ]


def outcome(code, details, replies, initial, trailing) -> dict:
    return {
        "code": int(code),
        "message": details or "",
        "replies": [json.loads(reply.to_json()) for reply in replies],
        "initial": metadata_out(initial),
        "trailing": metadata_out(trailing),
    }


def failed(error: sl.RpcError, replies: list) -> dict:
    return outcome(error.code(), error.details(), replies, error.initial_metadata(), error.trailing_metadata())


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


def echo_metadata(context) -> None:
    """What the interop description wants echoed."""
    for key, value in context.invocation_metadata():
        if key == INITIAL:
            context.send_initial_metadata({INITIAL: value})
        if key == TRAILING:
            context.set_trailing_metadata({TRAILING: value})


def body(request, size: int) -> dict:
    """A payload of zero bytes, if the request asks for a kind that exists."""
    if request.response_type != "COMPRESSABLE":
        raise sl.InvalidArgument("unknown payload type")
    return {"payload": {"body": bytes(size)}}


def end_as_asked(request) -> None:
    if request.response_status.code:
        raise sl.RpcError(sl.StatusCode(request.response_status.code), request.response_status.message)
