"""The server as coroutines: `python async_server.py [ADDRESS]` (default 127.0.0.1:50051)."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import stubless as sl

schema = sl.Schema.load("hello.proto", include=[str(Path(__file__).parent)])


class Greeter:
    async def Greet(self, request: sl.Message, context: sl.Context) -> dict[str, str]:
        if not request["name"]:
            raise sl.InvalidArgument("the name is empty")
        return {"text": f"Hello, {request['name']}!"}

    async def GreetOften(self, request: sl.Message, context: sl.Context) -> AsyncIterator[dict[str, str]]:
        for _ in range(request["times"]):
            yield {"text": f"Hello, {request['name']}!"}

    async def GreetAll(self, requests: AsyncIterator[sl.Message], context: sl.Context) -> dict[str, str]:
        return {"text": f"Hello, {' and '.join([r['name'] async for r in requests])}!"}

    async def Chat(
        self, requests: AsyncIterator[sl.Message], context: sl.Context
    ) -> AsyncIterator[dict[str, str]]:
        async for request in requests:
            yield {"text": f"Hello, {request['name']}!"}


async def main(address: str) -> None:
    server = sl.aio.Server(schema=schema)
    server.add_service("hello.v1.Greeter", Greeter())
    server.enable_health()
    server.enable_reflection()
    print("ready", await server.start(address), flush=True)
    await server.wait(signals=True, grace=5)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"))
