"""Ours, asyncio API, under test."""

import asyncio

import stubless as sl
import subject
from stubless_common import SCHEMA, Msg, Order
from subject import ORDER, PER_STREAM, TEXT, read_order


class Bench:
    async def Unary(self, request, context):
        return request

    async def PlaceOrder(self, request, context):
        read_order(request)
        return Order(**ORDER)

    async def Receive(self, request, context):
        for n in range(request.n):
            yield Msg(n=n, text=request.text)

    async def Send(self, requests, context):
        count = 0
        async for _ in requests:
            count += 1
        return Msg(n=count)

    async def Bidi(self, requests, context):
        async for request in requests:
            yield request


async def serve():
    server = sl.aio.Server(schema=SCHEMA)
    server.add_service(subject.SERVICE, Bench())
    subject.ready(await server.start("127.0.0.1:0"))
    await asyncio.get_running_loop().run_in_executor(None, subject.until_input_closes)
    await server.stop(0)


def calls(channel):
    bench = channel.service(subject.SERVICE)

    async def one_unary():
        await bench.Unary(Msg(n=7, text=TEXT))
        return 1

    async def one_order():
        read_order(await bench.PlaceOrder(Order(**ORDER)))
        return 1

    async def one_receive():
        count = 0
        async for _ in bench.Receive(Msg(n=PER_STREAM, text=TEXT)):
            count += 1
        return count

    async def messages():
        for n in range(PER_STREAM):
            yield Msg(n=n, text=TEXT)

    async def one_send():
        return (await bench.Send(messages())).n

    return {"unary": one_unary, "order": one_order, "receive": one_receive, "send": one_send}


async def load(chosen):
    async with sl.aio.connect(chosen.target, schema=SCHEMA) as channel:
        await subject.measure_async(calls(channel)[chosen.workload], chosen.inflight)


if __name__ == "__main__":
    arguments = subject.arguments()
    asyncio.run(serve() if arguments.verb == "serve" else load(arguments))
