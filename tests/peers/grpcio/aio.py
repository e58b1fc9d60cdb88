"""The peer grpcio, asyncio API (grpc.aio): see tests/peers/README.md for its command line."""

import asyncio
import sys

import command
import grpc
from command import message


class TestService:
    """The server's duties in the interop description."""

    async def EmptyCall(self, request, context):
        await self.echo_metadata(context)
        return message("grpc.testing.Empty")()

    async def UnaryCall(self, request, context):
        await self.echo_metadata(context)
        await self.end_as_asked(request.response_status, context)
        if request.response_compressed.value:
            context.set_compression(grpc.Compression.Gzip)
        payload = await self.body(request, request.response_size, context)
        return message("grpc.testing.SimpleResponse")(payload=payload)

    CacheableUnaryCall = UnaryCall

    async def StreamingOutputCall(self, request, context):
        await self.echo_metadata(context)
        async for reply in self.replies_to(request, context):
            yield reply

    async def StreamingInputCall(self, requests, context):
        await self.echo_metadata(context)
        total = sum([len(request.payload.body) async for request in requests])
        return message("grpc.testing.StreamingInputCallResponse")(aggregated_payload_size=total)

    async def FullDuplexCall(self, requests, context):
        await self.echo_metadata(context)
        async for request in requests:
            await self.end_as_asked(request.response_status, context)
            async for reply in self.replies_to(request, context):
                yield reply

    async def HalfDuplexCall(self, requests, context):
        await self.echo_metadata(context)
        for request in [request async for request in requests]:
            async for reply in self.replies_to(request, context):
                yield reply

    async def replies_to(self, request, context):
        for wanted in request.response_parameters:
            if wanted.interval_us:
                await asyncio.sleep(wanted.interval_us / 1e6)
            payload = await self.body(request, wanted.size, context)
            yield message("grpc.testing.StreamingOutputCallResponse")(payload=payload)
        await self.end_as_asked(request.response_status, context)

    async def body(self, request, size, context):
        if request.response_type != 0:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unknown payload type")
        return command.payload(size)

    async def end_as_asked(self, status, context):
        if status.code:
            code = next(c for c in grpc.StatusCode if c.value[0] == status.code)
            await context.abort(code, status.message)

    async def echo_metadata(self, context):
        got = dict(context.invocation_metadata())
        if "x-grpc-test-echo-initial" in got:
            await context.send_initial_metadata([("x-grpc-test-echo-initial", got["x-grpc-test-echo-initial"])])
        if "x-grpc-test-echo-trailing-bin" in got:
            context.set_trailing_metadata([("x-grpc-test-echo-trailing-bin", got["x-grpc-test-echo-trailing-bin"])])


class Echo:
    """demo.v1.Echo."""

    async def Unary(self, request, context):
        if not request.text:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no text")
        context.set_trailing_metadata([("x-took", "1")])
        return request

    async def ServerStream(self, request, context):
        for n in range(request.n):
            yield message("demo.v1.Msg")(n=n)

    async def ClientStream(self, requests, context):
        return message("demo.v1.Msg")(n=sum([request.n async for request in requests]))

    async def Bidi(self, requests, context):
        async for request in requests:
            yield request


async def input_closed():
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


async def serve(options):
    server = grpc.aio.server()
    for service, handlers in (("grpc.testing.TestService", TestService()), ("demo.v1.Echo", Echo())):
        table = {}
        for method in command.methods(service):
            handler = getattr(handlers, method.name, None)
            if handler is not None:
                make = getattr(grpc, f"{command.kind(method)}_rpc_method_handler")
                request_class = message(method.input_type.full_name)
                table[method.name] = make(handler, request_class.FromString, lambda reply: reply.SerializeToString())
        server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler(service, table)])
    address = f"127.0.0.1:{options.port}"
    if options.tls:
        port = server.add_secure_port(address, command.server_credentials(options))
    else:
        port = server.add_insecure_port(address)
    await server.start()
    command.ready(port)
    await input_closed()
    await server.stop(0)


async def call(channel, plan):
    method = command.find_method(plan["method"])
    start = getattr(channel, command.kind(method))(
        plan["method"], lambda m: m.SerializeToString(), command.reply_parser(plan)
    )
    waiting = command.requests_of(plan)
    options = {
        "timeout": command.timeout_of(plan),
        "metadata": command.metadata_in(plan.get("metadata", [])),
        "compression": command.compression_of(plan),
    }
    started = start(**options) if method.client_streaming else start(waiting.pop(), **options)
    hold = plan.get("hold", False) or "cancel" in plan
    replies = []
    try:
        if plan.get("cancel") == "at_once":
            started.cancel()
        if method.client_streaming:
            if plan.get("alternate"):
                if waiting:
                    await started.write(waiting.pop(0))
            else:
                while waiting:
                    await started.write(waiting.pop(0))
            if not waiting and not hold and not plan.get("alternate"):
                await started.done_writing()
        if method.server_streaming:
            while (reply := await started.read()) is not grpc.aio.EOF:
                replies.append(reply)
                if plan.get("cancel") == "after_first_reply":
                    started.cancel()
                elif plan.get("alternate"):
                    if waiting:
                        await started.write(waiting.pop(0))
                    elif not hold:
                        await started.done_writing()
        else:
            replies.append(await started)
    except (grpc.RpcError, asyncio.CancelledError, asyncio.InvalidStateError):
        pass
    return command.outcome(
        await started.code(),
        await started.details(),
        replies,
        await metadata_of(started.initial_metadata),
        await metadata_of(started.trailing_metadata),
    )


async def metadata_of(read):
    """Metadata that has come; a call cancelled before it came raises instead."""
    try:
        return await read()
    except asyncio.CancelledError:
        return ()


async def client(options):
    if options.tls:
        channel = grpc.aio.secure_channel(options.target, command.channel_credentials(options))
    else:
        channel = grpc.aio.insecure_channel(options.target)
    async with channel:
        for plan in command.plans():
            outcomes = await asyncio.gather(*(call(channel, plan) for _ in range(plan.get("parallel", 1))))
            command.answer(command.together(outcomes))


if __name__ == "__main__":
    chosen = command.arguments()
    asyncio.run(serve(chosen) if chosen.verb == "serve" else client(chosen))
