"""Ours, blocking API, under test."""

import stubless as sl
import subject
from stubless_common import SCHEMA, Msg, Order
from subject import ORDER, PER_STREAM, TEXT, read_order


class Bench:
    def Unary(self, request, context):
        return request

    def PlaceOrder(self, request, context):
        read_order(request)
        return Order(**ORDER)

    def Receive(self, request, context):
        for n in range(request.n):
            yield Msg(n=n, text=request.text)

    def Send(self, requests, context):
        return Msg(n=sum(1 for _ in requests))

    def Bidi(self, requests, context):
        yield from requests


def serve():
    server = sl.Server(schema=SCHEMA)
    server.add_service(subject.SERVICE, Bench())
    subject.ready(server.start("127.0.0.1:0"))
    subject.until_input_closes()
    server.stop(0)


def calls(channel):
    bench = channel.service(subject.SERVICE)

    def one_unary():
        bench.Unary(Msg(n=7, text=TEXT))
        return 1

    def one_order():
        read_order(bench.PlaceOrder(Order(**ORDER)))
        return 1

    def one_receive():
        return sum(1 for _ in bench.Receive(Msg(n=PER_STREAM, text=TEXT)))

    def one_send():
        return bench.Send(Msg(n=n, text=TEXT) for n in range(PER_STREAM)).n

    return {"unary": one_unary, "order": one_order, "receive": one_receive, "send": one_send}


def main():
    chosen = subject.arguments()
    if chosen.verb == "serve":
        return serve()
    with sl.connect(chosen.target, schema=SCHEMA) as channel:
        call = calls(channel)[chosen.workload]
        if chosen.verb == "once":
            call()
        else:
            subject.measure(call, chosen.inflight)


if __name__ == "__main__":
    main()
