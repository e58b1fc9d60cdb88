"""The fault service on grpcio: a reference to try the cases on."""

import sys
import time
from concurrent import futures

import grpc

from wire import msg, parse_msg

CODES = {code.value[0]: code for code in grpc.StatusCode}


def act(request, context):
    text, n = request
    if text.startswith(("sleep:", "block:")):
        time.sleep(int(text[6:]) / 1000)
    elif text.startswith("fail:"):
        _, code, why = text.split(":", 2)
        context.abort(CODES[int(code)], why)
    elif text.startswith("size:"):
        return "x" * int(text[5:]), n
    return text, n


def unary(request, context):
    return act(request, context)


def server_stream(request, context):
    text, _ = act(request, context)
    for i in range(request[1]):
        yield text, i


def client_stream(requests, context):
    texts = [act(request, context)[0] for request in requests]
    return "".join(texts), len(texts)


def bidi(requests, context):
    for request in requests:
        yield act(request, context)


def main():
    server = grpc.server(futures.ThreadPoolExecutor(64), options=[("grpc.so_reuseport", 0)])
    kinds = {"Unary": (grpc.unary_unary_rpc_method_handler, unary),
             "ServerStream": (grpc.unary_stream_rpc_method_handler, server_stream),
             "ClientStream": (grpc.stream_unary_rpc_method_handler, client_stream),
             "Bidi": (grpc.stream_stream_rpc_method_handler, bidi)}
    handlers = {name: make(run, request_deserializer=parse_msg, response_serializer=lambda m: msg(*m))
                for name, (make, run) in kinds.items()}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("fault.Echo", handlers),))
    files = [open(path, "rb").read() for path in sys.argv[2:]]
    if files:
        credentials = grpc.ssl_server_credentials([(files[1], files[0])], *([files[2], True] if files[2:] else []))
        port = server.add_secure_port(f"127.0.0.1:{sys.argv[1]}", credentials)
    else:
        port = server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    server.start()
    print("ready", port, flush=True)
    server.wait_for_termination()


if __name__ == "__main__":
    main()
