"""grpcio, blocking API, under test."""

from concurrent import futures

import grpc
import subject
from subject import ORDER, PER_STREAM, TEXT, read_order

Msg, Order = subject.protobuf_messages()


def handlers():
    def place_order(request, context):
        read_order(request)
        return Order(**ORDER)

    def receive(request, context):
        for n in range(request.n):
            yield Msg(n=n, text=request.text)

    def send(requests, context):
        return Msg(n=sum(1 for _ in requests))

    def bidi(requests, context):
        yield from requests

    return {
        "Unary": grpc.unary_unary_rpc_method_handler(lambda request, context: request, Msg.FromString, Msg.SerializeToString),
        "PlaceOrder": grpc.unary_unary_rpc_method_handler(place_order, Order.FromString, Order.SerializeToString),
        "Receive": grpc.unary_stream_rpc_method_handler(receive, Msg.FromString, Msg.SerializeToString),
        "Send": grpc.stream_unary_rpc_method_handler(send, Msg.FromString, Msg.SerializeToString),
        "Bidi": grpc.stream_stream_rpc_method_handler(bidi, Msg.FromString, Msg.SerializeToString),
    }


def serve():
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(subject.SERVICE, handlers())])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    subject.ready(port)
    subject.until_input_closes()
    server.stop(0)


def calls(channel):
    path = f"/{subject.SERVICE}/"
    unary = channel.unary_unary(path + "Unary", Msg.SerializeToString, Msg.FromString)
    place = channel.unary_unary(path + "PlaceOrder", Order.SerializeToString, Order.FromString)
    receive = channel.unary_stream(path + "Receive", Msg.SerializeToString, Msg.FromString)
    send = channel.stream_unary(path + "Send", Msg.SerializeToString, Msg.FromString)

    def one_unary():
        unary(Msg(n=7, text=TEXT))
        return 1

    def one_order():
        read_order(place(Order(**ORDER)))
        return 1

    def one_receive():
        return sum(1 for _ in receive(Msg(n=PER_STREAM, text=TEXT)))

    def one_send():
        return send(Msg(n=n, text=TEXT) for n in range(PER_STREAM)).n

    return {"unary": one_unary, "order": one_order, "receive": one_receive, "send": one_send}


def main():
    chosen = subject.arguments()
    if chosen.verb == "serve":
        return serve()
    with grpc.insecure_channel(chosen.target) as channel:
        call = calls(channel)[chosen.workload]
        if chosen.verb == "once":
            call()
        else:
            subject.measure(call, chosen.inflight)


if __name__ == "__main__":
    main()
