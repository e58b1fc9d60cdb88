"""A server made of a `.proto` file at run time: `python server.py [ADDRESS]` (default 127.0.0.1:50051).

Prints `ready PORT` and serves until Ctrl-C or SIGTERM; then lets running calls finish.
"""

import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import stubless as sl

schema = sl.Schema.load("hello.proto", include=[str(Path(__file__).parent)])
server = sl.Server(schema=schema)


@server.service("hello.v1.Greeter")
class Greeter:
    def Greet(self, request: sl.Message, context: sl.Context) -> dict[str, str]:
        if not request["name"]:
            raise sl.InvalidArgument("the name is empty")
        return {"text": f"Hello, {request['name']}!"}

    def GreetOften(self, request: sl.Message, context: sl.Context) -> Iterator[dict[str, str]]:
        for _ in range(request["times"]):
            yield {"text": f"Hello, {request['name']}!"}

    def GreetAll(self, requests: Iterable[sl.Message], context: sl.Context) -> dict[str, str]:
        return {"text": f"Hello, {' and '.join(r['name'] for r in requests)}!"}

    def Chat(self, requests: Iterable[sl.Message], context: sl.Context) -> Iterator[dict[str, str]]:
        for request in requests:
            yield {"text": f"Hello, {request['name']}!"}


if __name__ == "__main__":
    server.enable_health()
    server.enable_reflection()
    port = server.start(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
    print("ready", port, flush=True)
    server.wait(signals=True, grace=5)
