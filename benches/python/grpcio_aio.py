"""grpc.aio under test."""

import asyncio

import grpc
import grpc.aio
import subject
from subject import ORDER, PER_STREAM, TEXT, read_order

Msg, Order = subject.protobuf_messages()


def handlers():
    async def unary(request, context):
        return request

    async def place_order(request, context):
        read_order(request)
        return Order(**ORDER)

    async def receive(request, context):
        for n in range(request.n):
            yield Msg(n=n, text=request.text)

    async def send(requests, context):
        count = 0
        async for _ in requests:
            count += 1
        return Msg(n=count)

    async def bidi(requests, context):
        async for request in requests:
            yield request

    return {
        "Unary": grpc.unary_unary_rpc_method_handler(unary, Msg.FromString, Msg.SerializeToString),
        "PlaceOrder": grpc.unary_unary_rpc_method_handler(place_order, Order.FromString, Order.SerializeToString),
        "Receive": grpc.unary_stream_rpc_method_handler(receive, Msg.FromString, Msg.SerializeToString),
        "Send": grpc.stream_unary_rpc_method_handler(send, Msg.FromString, Msg.SerializeToString),
        "Bidi": grpc.stream_stream_rpc_method_handler(bidi, Msg.FromString, Msg.SerializeToString),
    }


async def serve():
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(subject.SERVICE, handlers())])
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    subject.ready(port)
    await asyncio.get_running_loop().run_in_executor(None, subject.until_input_closes)
    await server.stop(0)


def calls(channel):
    path = f"/{subject.SERVICE}/"
    unary = channel.unary_unary(path + "Unary", Msg.SerializeToString, Msg.FromString)
    place = channel.unary_unary(path + "PlaceOrder", Order.SerializeToString, Order.FromString)
    receive = channel.unary_stream(path + "Receive", Msg.SerializeToString, Msg.FromString)
    send = channel.stream_unary(path + "Send", Msg.SerializeToString, Msg.FromString)

    async def one_unary():
        await unary(Msg(n=7, text=TEXT))
        return 1

    async def one_order():
        read_order(await place(Order(**ORDER)))
        return 1

    async def one_receive():
        count = 0
        async for _ in receive(Msg(n=PER_STREAM, text=TEXT)):
            count += 1
        return count

    async def messages():
        for n in range(PER_STREAM):
            yield Msg(n=n, text=TEXT)

    async def one_send():
        return (await send(messages())).n

    return {"unary": one_unary, "order": one_order, "receive": one_receive, "send": one_send}


async def load(chosen):
    async with grpc.aio.insecure_channel(chosen.target) as channel:
        await subject.measure_async(calls(channel)[chosen.workload], chosen.inflight)


if __name__ == "__main__":
    arguments = subject.arguments()
    asyncio.run(serve() if arguments.verb == "serve" else load(arguments))
