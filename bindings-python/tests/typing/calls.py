"""The documented surface of calls and servers, as a program: checked by mypy and pyright, never run."""

import asyncio, stubless as sl
from collections.abc import AsyncIterator
from typing import Any
schema = sl.Schema.load("demo/v1/echo.proto", include=["protos"])  # or .from_descriptor_set(b), .reflect("host:port")
tls = sl.TLS(ca="ca.pem", cert="me.pem", key="me.key")             # mTLS; tls=True means the system's roots
with sl.connect("dns:///api.local:443", schema=schema, tls=tls) as ch:
    echo = ch.service("demo.v1.Echo")
    reply = echo.Unary({"text": "hi"}, timeout=0.5, metadata={"x-id": "7"})
    print(reply.text, reply["n"], [m.n for m in echo.ServerStream({"n": 3})])
    print(echo.ClientStream({"n": i} for i in range(3)).n)
    with echo.Bidi() as call:              # leaving the block early cancels the call
        call.send({"text": "a"}); print(call.recv().text); call.done()
    try:
        echo.Unary({"text": ""})
    except sl.NotFound as e:               # one subclass per code; sl.RpcError catches all
        print(e.code(), e.details(), e.trailing_metadata(), e.status_details)
async def auth(call: sl.ClientCall, proceed: Any) -> Any:
    call.metadata["authorization"] = "Bearer t"
    return await proceed(call)
async def client() -> None:
    async with sl.aio.connect("localhost:50051", schema=schema, interceptors=[auth]) as ch:
        stream = ch.service("demo.v1.Echo").ServerStream({"n": 10_000}, timeout=5)
        async for m in stream:
            if m.n == 5: stream.cancel(); break          # task cancellation does the same
server = sl.aio.Server(schema=schema)
@server.service("demo.v1.Echo")
class Echo:
    async def Unary(self, req: sl.Message, ctx: sl.Context) -> dict[str, Any]:
        if not req.text:
            raise sl.NotFound(sl.StatusCode.NOT_FOUND, "no text")
        ctx.set_trailing_metadata({"x-took": "1"})
        return {"text": req.text}
    async def ServerStream(self, req: sl.Message, ctx: sl.Context) -> AsyncIterator[dict[str, Any]]:
        for i in range(req.n):
            yield {"n": i}
    async def ClientStream(self, reqs: AsyncIterator[sl.Message], ctx: sl.Context) -> dict[str, Any]:
        return {"n": sum([m.n async for m in reqs])}
    async def Bidi(self, reqs: AsyncIterator[sl.Message], ctx: sl.Context) -> AsyncIterator[sl.Message]:
        async for m in reqs:
            yield m
async def main() -> None:
    server.enable_health(); server.enable_reflection()
    await server.start("[::]:50051", tls=sl.ServerTLS(cert="s.pem", key="s.key", client_ca="ca.pem"))
    await server.wait(signals=True, grace=5)   # SIGINT, SIGTERM: drain, then cancel
asyncio.run(main())
