"""The fault service on our Python binding: `python_server.py [--aio] PORT [CERTIFICATE KEY [CLIENT_CA]]`."""

import asyncio
import sys
import threading
import time
from pathlib import Path

import stubless as sl

SCHEMA = sl.Schema.load("fault.proto", include=[str(Path(__file__).parent)])


def verb(text):
    name, _, rest = text.partition(":")
    return name, rest


def fail(rest):
    code, _, why = rest.partition(":")
    raise sl.RpcError(sl.StatusCode(int(code)), why)


class Blocking:
    """`fault.Echo` as plain functions and generators."""

    def _act(self, text, ctx):
        name, rest = verb(text)
        if name == "sleep":
            end = time.monotonic() + int(rest) / 1000
            while ctx.is_active() and time.monotonic() < end:
                time.sleep(0.005)
        elif name == "block":
            time.sleep(int(rest) / 1000)
        elif name == "fail":
            fail(rest)
        elif name == "size":
            return "x" * int(rest)
        return text

    def Unary(self, request, ctx):
        return {"text": self._act(request.text, ctx), "n": request.n}

    def ServerStream(self, request, ctx):
        text = self._act(request.text, ctx)
        for i in range(request.n):
            yield {"text": text, "n": i}

    def ClientStream(self, requests, ctx):
        texts = [self._act(request.text, ctx) for request in requests]
        return {"text": "".join(texts), "n": len(texts)}

    def Bidi(self, requests, ctx):
        for request in requests:
            yield {"text": self._act(request.text, ctx), "n": request.n}


class Asynchronous:
    """`fault.Echo` as coroutines and asynchronous generators."""

    async def _act(self, text):
        name, rest = verb(text)
        if name == "sleep":
            await asyncio.sleep(int(rest) / 1000)
        elif name == "block":
            await asyncio.shield(asyncio.sleep(int(rest) / 1000))
        elif name == "fail":
            fail(rest)
        elif name == "size":
            return "x" * int(rest)
        return text

    async def Unary(self, request, ctx):
        return {"text": await self._act(request.text), "n": request.n}

    async def ServerStream(self, request, ctx):
        text = await self._act(request.text)
        for i in range(request.n):
            yield {"text": text, "n": i}

    async def ClientStream(self, requests, ctx):
        texts = [await self._act(request.text) async for request in requests]
        return {"text": "".join(texts), "n": len(texts)}

    async def Bidi(self, requests, ctx):
        async for request in requests:
            yield {"text": await self._act(request.text), "n": request.n}


def security(files):
    return {"tls": sl.ServerTLS(cert=files[0], key=files[1], client_ca=files[2] if files[2:] else None)} if files else {}


async def main_aio(port, files):
    server = sl.aio.Server(schema=SCHEMA)
    server.add_service("fault.Echo", Asynchronous())
    print("ready", await server.start(f"127.0.0.1:{port}", **security(files)), flush=True)
    await asyncio.Event().wait()


def main(port, files):
    # more threads than one connection may hold handlers (200), or one client's sleepers are all there is
    server = sl.Server(schema=SCHEMA, handler_threads=256)
    server.add_service("fault.Echo", Blocking())
    print("ready", server.start(f"127.0.0.1:{port}", **security(files)), flush=True)
    threading.Event().wait()


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--aio"]
    if "--aio" in sys.argv:
        asyncio.run(main_aio(words[0], words[1:]))
    else:
        main(words[0], words[1:])
