"""The client as coroutines: `python async_client.py [TARGET]` (default 127.0.0.1:50051)."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import stubless as sl

schema = sl.Schema.load("hello.proto", include=[str(Path(__file__).parent)])


async def names(*all_names: str) -> AsyncIterator[dict[str, str]]:
    for name in all_names:
        yield {"name": name}


async def main(target: str) -> None:
    async with sl.aio.connect(target, schema=schema) as channel:
        greeter = channel.service("hello.v1.Greeter")
        print("unary:", (await greeter.Greet({"name": "Ada"}, timeout=5)).text)

        count = 0
        async for _ in greeter.GreetOften({"name": "Ada", "times": 3}):
            count += 1
        print("server streaming:", count, "greetings")

        print("client streaming:", (await greeter.GreetAll(names("Ada", "Grace", "Edsger"))).text)

        async for greeting in greeter.Chat(names("Ada", "Grace")):
            print("bidi:", greeting.text)

        try:
            await greeter.Greet({})
        except sl.InvalidArgument as error:
            print("refused:", f"{error.code().name}: {error.details()}")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051"))
