"""Calls of all four kinds, by name: `python client.py [TARGET]` (default 127.0.0.1:50051)."""

import sys
from pathlib import Path

import stubless as sl

schema = sl.Schema.load("hello.proto", include=[str(Path(__file__).parent)])


def main(target: str) -> None:
    with sl.connect(target, schema=schema) as channel:
        greeter = channel.service("hello.v1.Greeter")
        print("unary:", greeter.Greet({"name": "Ada"}, timeout=5, metadata={"x-example": "hello"}).text)

        count = sum(1 for _ in greeter.GreetOften({"name": "Ada", "times": 3}))
        print("server streaming:", count, "greetings")

        print("client streaming:", greeter.GreetAll({"name": n} for n in ("Ada", "Grace", "Edsger")).text)

        with greeter.Chat() as chat:
            for name in ("Ada", "Grace"):
                chat.send({"name": name})
                print("bidi:", chat.recv().text)
            chat.done()

        try:
            greeter.Greet({})
        except sl.InvalidArgument as error:
            print("refused:", f"{error.code().name}: {error.details()}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:50051")
