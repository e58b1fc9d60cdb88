"""The fault client on grpcio: a reference to try the cases on. See subjects.py for what it reads and prints."""

import json
import sys
import threading

import grpc

from wire import msg, parse_msg


def call(channel, order, number, out):
    kinds = {"Unary": channel.unary_unary, "ServerStream": channel.unary_stream, "ClientStream": channel.stream_unary,
             "Bidi": channel.stream_stream}
    method = kinds[order["method"]](f"/fault.Echo/{order['method']}", request_serializer=lambda m: msg(*m),
                                    response_deserializer=parse_msg)
    requests = [(text, 0) for text in order["messages"].split("|")]
    argument = iter(requests) if order["method"] in ("ClientStream", "Bidi") else requests[0]
    received, code, text = [], "OK", ""
    try:
        answer = method(argument, timeout=int(order["timeout_ms"]) / 1000, wait_for_ready=order["wait_for_ready"] == "1")
        if order["method"] in ("ServerStream", "Bidi"):
            for reply in answer:
                received.append(reply[0])
        else:
            received.append(answer[0])
    except grpc.RpcError as error:
        code, text = error.code().name, error.details() or ""
    out({"call": number, "code": code, "message": text, "received": [r[:100] for r in received]})


def main():
    lock = threading.Lock()

    def out(line):
        with lock:
            print(json.dumps(line), flush=True)

    for line in sys.stdin:
        order = dict(pair.split("=", 1) for pair in line.rstrip("\n").split("\t"))
        options = [("grpc.use_local_subchannel_pool", 1)]
        if "keepalive_ms" in order:
            options += [("grpc.keepalive_time_ms", int(order["keepalive_ms"])),
                        ("grpc.keepalive_timeout_ms", int(order["keepalive_timeout_ms"]))]
        if "ca" in order:
            made = grpc.secure_channel(order["address"], grpc.ssl_channel_credentials(open(order["ca"], "rb").read()), options)
        else:
            made = grpc.insecure_channel(order["address"], options)
        with made as channel:
            calls = range(int(order["calls"]))
            if order["concurrent"] == "1":
                threads = [threading.Thread(target=call, args=(channel, order, i, out)) for i in calls]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
            else:
                for i in calls:
                    call(channel, order, i, out)
        out({"done": True})


if __name__ == "__main__":
    main()
