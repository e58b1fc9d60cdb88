"""Ours, the asyncio Python API, behind the peers' command line (tests/peers/README.md)."""

import asyncio
import sys

import command
import stubless as sl
from command import body, echo_metadata, end_as_asked


class TestService:
    """The server's duties in the interop description."""

    async def EmptyCall(self, request, context):
        echo_metadata(context)
        return {}

    async def UnaryCall(self, request, context):
        echo_metadata(context)
        end_as_asked(request)
        if request.response_compressed.value:
            context.set_compression("gzip")
        return body(request, request.response_size)

    CacheableUnaryCall = UnaryCall

    async def StreamingOutputCall(self, request, context):
        echo_metadata(context)
        async for reply in self._replies_to(request):
            yield reply

    async def StreamingInputCall(self, requests, context):
        echo_metadata(context)
        return {"aggregated_payload_size": sum([len(request.payload.body) async for request in requests])}

    async def FullDuplexCall(self, requests, context):
        echo_metadata(context)
        async for request in requests:
            async for reply in self._replies_to(request):
                yield reply

    async def HalfDuplexCall(self, requests, context):
        echo_metadata(context)
        for request in [request async for request in requests]:
            async for reply in self._replies_to(request):
                yield reply

    async def _replies_to(self, request):
        for wanted in request.response_parameters:
            if wanted.interval_us:
                await asyncio.sleep(wanted.interval_us / 1e6)
            yield body(request, wanted.size)
        end_as_asked(request)


class Echo:
    """demo.v1.Echo."""

    async def Unary(self, request, context):
        if not request.text:
            raise sl.NotFound("no text")
        context.set_trailing_metadata({"x-took": "1"})
        return request

    async def ServerStream(self, request, context):
        for n in range(request.n):
            yield {"n": n}

    async def ClientStream(self, requests, context):
        return {"n": sum([request.n async for request in requests])}

    async def Bidi(self, requests, context):
        async for request in requests:
            yield request


async def serve(options):
    server = sl.aio.Server(schema=command.SCHEMA)
    server.add_service("grpc.testing.TestService", TestService())
    server.add_service("demo.v1.Echo", Echo())
    command.ready(await server.start(f"127.0.0.1:{options.port}", tls=command.server_tls(options)))
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await server.stop(0)


async def call(channel, plan):
    _, service, name = plan["method"].split("/")
    method = channel.service(service)[name]
    _, client_streams, server_streams = command.types_of(plan)
    requests, options = command.requests_of(plan), command.options_of(plan)
    replies = []
    try:
        if not client_streams and not server_streams:
            reply, ended = await method.with_call(requests[0], **options)
            initial = ended.initial_metadata()
            if hasattr(initial, "__await__"):
                initial = await initial
            return command.outcome(0, "", [reply], initial, ended.trailing_metadata())
        if client_streams:
            started = method(**options)
        else:
            started = method(requests.pop(0), **options)
        return await read(started, plan, requests, client_streams, replies)
    except sl.RpcError as error:
        return command.failed(error, replies)


async def read(started, plan, requests, client_streams, replies):
    """Reads all replies, sending the requests meanwhile as the plan says."""
    hold = plan.get("hold", False) or "cancel" in plan
    if client_streams:
        if plan.get("alternate"):
            if requests:
                await started.send(requests.pop(0))
        else:
            while requests:
                await started.send(requests.pop(0))
            if not hold:
                started.done()
    if plan.get("cancel") == "at_once":
        started.cancel()
    while (reply := await started.recv()) is not None:
        replies.append(reply)
        if plan.get("cancel") == "after_first_reply":
            started.cancel()
        elif plan.get("alternate"):
            if requests:
                await started.send(requests.pop(0))
            elif not hold:
                started.done()
    return command.outcome(0, "", replies, await started.initial_metadata(), started.trailing_metadata())


async def client(options):
    async with sl.aio.connect(options.target, schema=command.SCHEMA, tls=command.client_tls(options)) as channel:
        loop = asyncio.get_running_loop()
        while line := await loop.run_in_executor(None, sys.stdin.readline):
            plan = command.json.loads(line)
            outcomes = await asyncio.gather(*(call(channel, plan) for _ in range(plan.get("parallel", 1))))
            command.answer(command.together(outcomes))


if __name__ == "__main__":
    chosen = command.arguments()
    asyncio.run(serve(chosen) if chosen.verb == "serve" else client(chosen))
