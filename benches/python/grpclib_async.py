"""grpclib (pure Python on h2) under test."""

import asyncio

import subject
from grpclib.client import Channel, StreamUnaryMethod, UnaryStreamMethod, UnaryUnaryMethod
from grpclib.const import Cardinality, Handler
from grpclib.server import Server
from subject import ORDER, PER_STREAM, TEXT, read_order

Msg, Order = subject.protobuf_messages()


class Bench:
    async def unary(self, stream):
        await stream.send_message(await stream.recv_message())

    async def place_order(self, stream):
        read_order(await stream.recv_message())
        await stream.send_message(Order(**ORDER))

    async def receive(self, stream):
        request = await stream.recv_message()
        for n in range(request.n):
            await stream.send_message(Msg(n=n, text=request.text))

    async def send(self, stream):
        count = 0
        async for _ in stream:
            count += 1
        await stream.send_message(Msg(n=count))

    async def bidi(self, stream):
        async for request in stream:
            await stream.send_message(request)

    def __mapping__(self):
        path = f"/{subject.SERVICE}/"
        return {
            path + "Unary": Handler(self.unary, Cardinality.UNARY_UNARY, Msg, Msg),
            path + "PlaceOrder": Handler(self.place_order, Cardinality.UNARY_UNARY, Order, Order),
            path + "Receive": Handler(self.receive, Cardinality.UNARY_STREAM, Msg, Msg),
            path + "Send": Handler(self.send, Cardinality.STREAM_UNARY, Msg, Msg),
            path + "Bidi": Handler(self.bidi, Cardinality.STREAM_STREAM, Msg, Msg),
        }


async def serve():
    server = Server([Bench()])
    await server.start("127.0.0.1", 0)
    subject.ready(server._server.sockets[0].getsockname()[1])
    await asyncio.get_running_loop().run_in_executor(None, subject.until_input_closes)
    server.close()


def calls(channel):
    path = f"/{subject.SERVICE}/"
    unary = UnaryUnaryMethod(channel, path + "Unary", Msg, Msg)
    place = UnaryUnaryMethod(channel, path + "PlaceOrder", Order, Order)
    receive = UnaryStreamMethod(channel, path + "Receive", Msg, Msg)
    send = StreamUnaryMethod(channel, path + "Send", Msg, Msg)

    async def one_unary():
        await unary(Msg(n=7, text=TEXT))
        return 1

    async def one_order():
        read_order(await place(Order(**ORDER)))
        return 1

    async def one_receive():
        count = 0
        async with receive.open() as stream:
            await stream.send_message(Msg(n=PER_STREAM, text=TEXT), end=True)
            async for _ in stream:
                count += 1
        return count

    async def one_send():
        async with send.open() as stream:
            for n in range(PER_STREAM):
                await stream.send_message(Msg(n=n, text=TEXT), end=n == PER_STREAM - 1)
            return (await stream.recv_message()).n

    return {"unary": one_unary, "order": one_order, "receive": one_receive, "send": one_send}


async def load(chosen):
    host, port = chosen.target.rsplit(":", 1)
    async with Channel(host, int(port)) as channel:
        await subject.measure_async(calls(channel)[chosen.workload], chosen.inflight)


if __name__ == "__main__":
    arguments = subject.arguments()
    asyncio.run(serve() if arguments.verb == "serve" else load(arguments))
