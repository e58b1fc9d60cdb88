"""Ours, the blocking Python API, behind the peers' command line (tests/peers/README.md)."""

import sys
import time
from concurrent import futures

import command
import stubless as sl
from command import body, echo_metadata, end_as_asked


class TestService:
    """The server's duties in the interop description."""

    def EmptyCall(self, request, context):
        echo_metadata(context)
        return {}

    def UnaryCall(self, request, context):
        echo_metadata(context)
        end_as_asked(request)
        if request.response_compressed.value:
            context.set_compression("gzip")
        return body(request, request.response_size)

    CacheableUnaryCall = UnaryCall

    def StreamingOutputCall(self, request, context):
        echo_metadata(context)
        yield from self._replies_to(request)

    def StreamingInputCall(self, requests, context):
        echo_metadata(context)
        return {"aggregated_payload_size": sum(len(request.payload.body) for request in requests)}

    def FullDuplexCall(self, requests, context):
        echo_metadata(context)
        for request in requests:
            yield from self._replies_to(request)

    def HalfDuplexCall(self, requests, context):
        echo_metadata(context)
        for request in list(requests):
            yield from self._replies_to(request)

    def _replies_to(self, request):
        for wanted in request.response_parameters:
            time.sleep(wanted.interval_us / 1e6)
            yield body(request, wanted.size)
        end_as_asked(request)


class Echo:
    """demo.v1.Echo."""

    def Unary(self, request, context):
        if not request.text:
            raise sl.NotFound("no text")
        context.set_trailing_metadata({"x-took": "1"})
        return request

    def ServerStream(self, request, context):
        for n in range(request.n):
            yield {"n": n}

    def ClientStream(self, requests, context):
        return {"n": sum(request.n for request in requests)}

    def Bidi(self, requests, context):
        yield from requests


def serve(options):
    server = sl.Server(schema=command.SCHEMA)
    server.add_service("grpc.testing.TestService", TestService())
    server.add_service("demo.v1.Echo", Echo())
    command.ready(server.start(f"127.0.0.1:{options.port}", tls=command.server_tls(options)))
    sys.stdin.read()  # serves until whoever started it goes away
    server.stop(0)


def call(channel, plan):
    _, service, name = plan["method"].split("/")
    method = channel.service(service)[name]
    _, client_streams, server_streams = command.types_of(plan)
    requests, options = command.requests_of(plan), command.options_of(plan)
    replies = []
    try:
        if not client_streams and not server_streams:
            reply, ended = method.with_call(requests[0], **options)
            return command.outcome(0, "", [reply], ended.initial_metadata(), ended.trailing_metadata())
        if client_streams and not server_streams:
            return one_answer(method, plan, requests, options)
        started = method(requests[0], **options) if not client_streams else method(**options)
        return read(started, plan, requests if client_streams else [], client_streams, replies)
    except sl.RpcError as error:
        return command.failed(error, replies)


def one_answer(method, plan, requests, options):
    with method(**options) as started:
        for request in requests:
            started.send(request)
        if plan.get("cancel") == "at_once":
            started.cancel()
        else:
            started.done()
        reply = started.recv()
        return command.outcome(0, "", [reply], started.initial_metadata(), started.trailing_metadata())


def read(started, plan, requests, client_streams, replies):
    """Reads all replies, sending the requests meanwhile as the plan says."""
    hold = plan.get("hold", False) or "cancel" in plan
    waiting = list(requests)
    if client_streams:
        if plan.get("alternate"):
            if waiting:
                started.send(waiting.pop(0))
        else:
            while waiting:
                started.send(waiting.pop(0))
            if not hold:
                started.done()
    if plan.get("cancel") == "at_once":
        started.cancel()
    while (reply := started.recv()) is not None:
        replies.append(reply)
        if plan.get("cancel") == "after_first_reply":
            started.cancel()
        elif plan.get("alternate"):
            if waiting:
                started.send(waiting.pop(0))
            elif not hold:
                started.done()
    return command.outcome(0, "", replies, started.initial_metadata(), started.trailing_metadata())


def client(options):
    with sl.connect(options.target, schema=command.SCHEMA, tls=command.client_tls(options)) as channel:
        for plan in command.plans():
            count = plan.get("parallel", 1)
            with futures.ThreadPoolExecutor(max_workers=min(count, 64)) as workers:
                outcomes = list(workers.map(lambda _: call(channel, plan), range(count)))
            command.answer(command.together(outcomes))


if __name__ == "__main__":
    chosen = command.arguments()
    serve(chosen) if chosen.verb == "serve" else client(chosen)
