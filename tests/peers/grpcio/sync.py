"""The peer grpcio, blocking API: see tests/peers/README.md for its command line."""

import queue
import sys
import threading
import time
from concurrent import futures

import command
import grpc
from command import message


class TestService:
    """The server's duties in the interop description."""

    def EmptyCall(self, request, context):
        self.echo_metadata(context)
        return message("grpc.testing.Empty")()

    def UnaryCall(self, request, context):
        self.echo_metadata(context)
        self.end_as_asked(request.response_status, context)
        if request.response_compressed.value:
            context.set_compression(grpc.Compression.Gzip)
        return message("grpc.testing.SimpleResponse")(payload=self.body(request, request.response_size, context))

    CacheableUnaryCall = UnaryCall

    def StreamingOutputCall(self, request, context):
        self.echo_metadata(context)
        yield from self.replies_to(request, context)

    def StreamingInputCall(self, requests, context):
        self.echo_metadata(context)
        total = sum(len(request.payload.body) for request in requests)
        return message("grpc.testing.StreamingInputCallResponse")(aggregated_payload_size=total)

    def FullDuplexCall(self, requests, context):
        self.echo_metadata(context)
        for request in requests:
            self.end_as_asked(request.response_status, context)
            yield from self.replies_to(request, context)

    def HalfDuplexCall(self, requests, context):
        self.echo_metadata(context)
        for request in list(requests):
            yield from self.replies_to(request, context)

    def replies_to(self, request, context):
        for wanted in request.response_parameters:
            time.sleep(wanted.interval_us / 1e6)
            yield message("grpc.testing.StreamingOutputCallResponse")(payload=self.body(request, wanted.size, context))
        self.end_as_asked(request.response_status, context)

    def body(self, request, size, context):
        if request.response_type != 0:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "unknown payload type")
        return command.payload(size)

    def end_as_asked(self, status, context):
        if status.code:
            context.abort(next(c for c in grpc.StatusCode if c.value[0] == status.code), status.message)

    def echo_metadata(self, context):
        got = dict(context.invocation_metadata())
        if "x-grpc-test-echo-initial" in got:
            context.send_initial_metadata([("x-grpc-test-echo-initial", got["x-grpc-test-echo-initial"])])
        if "x-grpc-test-echo-trailing-bin" in got:
            context.set_trailing_metadata([("x-grpc-test-echo-trailing-bin", got["x-grpc-test-echo-trailing-bin"])])


class Echo:
    """demo.v1.Echo."""

    def Unary(self, request, context):
        if not request.text:
            context.abort(grpc.StatusCode.NOT_FOUND, "no text")
        context.set_trailing_metadata([("x-took", "1")])
        return request

    def ServerStream(self, request, context):
        for n in range(request.n):
            yield message("demo.v1.Msg")(n=n)

    def ClientStream(self, requests, context):
        return message("demo.v1.Msg")(n=sum(request.n for request in requests))

    def Bidi(self, requests, context):
        yield from requests


def serve(options):
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=64))
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
    server.start()
    command.ready(port)
    sys.stdin.read()  # serves until whoever started it goes away
    server.stop(0)


class Feed:
    """The requests of one call, as grpcio wants them: an iterator read on a thread of its own."""

    def __init__(self, plan):
        self.queue = queue.SimpleQueue()
        self.waiting = command.requests_of(plan)
        self.alternate = plan.get("alternate", False)
        self.hold = plan.get("hold", False) or "cancel" in plan
        self.ended = threading.Event()
        if self.alternate:
            self.next()
        else:
            while self.waiting:
                self.queue.put(self.waiting.pop(0))
            if not self.hold:
                self.queue.put(None)

    def next(self):
        """The reply to the last request has come (or the call begins): one more request, or the end."""
        if self.waiting:
            self.queue.put(self.waiting.pop(0))
        elif not self.hold:
            self.queue.put(None)

    def end(self):
        self.queue.put(None)

    def __iter__(self):
        return iter(self.queue.get, None)


def call(channel, plan):
    method = command.find_method(plan["method"])
    kind = command.kind(method)
    start = getattr(channel, kind)(plan["method"], lambda m: m.SerializeToString(), command.reply_parser(plan))
    feed = Feed(plan) if method.client_streaming else None
    argument = iter(feed) if feed else command.requests_of(plan)[0]
    options = {
        "timeout": command.timeout_of(plan),
        "metadata": command.metadata_in(plan.get("metadata", [])),
        "compression": command.compression_of(plan),
    }
    started = start(argument, **options) if method.server_streaming else start.future(argument, **options)
    if plan.get("cancel") == "at_once":
        started.cancel()
    replies = []
    try:
        if method.server_streaming:
            for reply in started:
                replies.append(reply)
                if plan.get("cancel") == "after_first_reply":
                    started.cancel()
                if feed and feed.alternate:
                    feed.next()
        else:
            replies.append(started.result())
    except (grpc.RpcError, grpc.FutureCancelledError):
        pass
    if feed:
        feed.end()
    return command.outcome(
        started.code(), started.details(), replies, started.initial_metadata(), started.trailing_metadata()
    )


def client(options):
    if options.tls:
        channel = grpc.secure_channel(options.target, command.channel_credentials(options))
    else:
        channel = grpc.insecure_channel(options.target)
    for plan in command.plans():
        count = plan.get("parallel", 1)
        with futures.ThreadPoolExecutor(max_workers=min(count, 64)) as workers:
            outcomes = list(workers.map(lambda _: call(channel, plan), range(count)))
        command.answer(command.together(outcomes))


if __name__ == "__main__":
    chosen = command.arguments()
    serve(chosen) if chosen.verb == "serve" else client(chosen)
