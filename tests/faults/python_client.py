"""The fault client on our Python binding, blocking or (`--aio`) asynchronous. See subjects.py for what it reads and prints."""

import asyncio
import json
import sys
import threading
from pathlib import Path

import stubless as sl

SCHEMA = sl.Schema.load("fault.proto", include=[str(Path(__file__).parent)])
LOCK = threading.Lock()


def say(line):
    with LOCK:
        print(json.dumps(line), flush=True)


def said(number, received, error=None):
    code, text = ("OK", "") if error is None else (error.code().name, error.details() or "")
    say({"call": number, "code": code, "message": text, "received": [r.text[:100] for r in received]})


def channel_options(order):
    options = {"schema": SCHEMA, "wait_for_ready": order["wait_for_ready"] == "1"}
    if "ca" in order:
        options["tls"] = sl.TLS(ca=order["ca"])
    if "keepalive_ms" in order:
        options["keepalive_time"] = int(order["keepalive_ms"]) / 1000
        options["keepalive_timeout"] = int(order["keepalive_timeout_ms"]) / 1000
    return options


def arguments(order):
    requests = [{"text": text} for text in order["messages"].split("|")]
    streaming = order["method"] in ("ClientStream", "Bidi")
    return requests if streaming else requests[0], int(order["timeout_ms"]) / 1000


def call(channel, order, number):
    received = []
    try:
        request, timeout = arguments(order)
        answer = channel.service("fault.Echo")[order["method"]](request, timeout=timeout)
        if order["method"] in ("ServerStream", "Bidi"):
            for message in answer:
                received.append(message)
        else:
            received.append(answer)
    except sl.RpcError as error:
        return said(number, received, error)
    said(number, received)


async def call_aio(channel, order, number):
    received = []
    try:
        request, timeout = arguments(order)
        answer = channel.service("fault.Echo")[order["method"]](request, timeout=timeout)
        if order["method"] in ("ServerStream", "Bidi"):
            async for message in answer:
                received.append(message)
        else:
            received.append(await answer)
    except sl.RpcError as error:
        return said(number, received, error)
    said(number, received)


def obey(order):
    numbers = range(int(order["calls"]))
    with sl.connect(order["address"], **channel_options(order)) as channel:
        if order["concurrent"] == "1":
            threads = [threading.Thread(target=call, args=(channel, order, i)) for i in numbers]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        else:
            for i in numbers:
                call(channel, order, i)


async def obey_aio(order):
    numbers = range(int(order["calls"]))
    async with sl.aio.connect(order["address"], **channel_options(order)) as channel:
        if order["concurrent"] == "1":
            await asyncio.gather(*(call_aio(channel, order, i) for i in numbers))
        else:
            for i in numbers:
                await call_aio(channel, order, i)


async def main_aio():
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        await obey_aio(parsed(line))
        say({"done": True})


def parsed(line):
    return dict(pair.split("=", 1) for pair in line.rstrip("\n").split("\t"))


if __name__ == "__main__":
    if "--aio" in sys.argv:
        asyncio.run(main_aio())
    else:
        for given in sys.stdin:
            obey(parsed(given))
            say({"done": True})
