"""Blocking calls against grpcio's server: all kinds, options, errors, metadata, cancels."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

import stubless as sl


@pytest.fixture
def echo(grpcio_server: str, schema: sl.Schema) -> Iterator[Any]:
    with sl.connect(grpcio_server, schema=schema) as channel:
        yield channel.service("demo.v1.Echo")


def test_a_request_may_be_a_mapping_a_message_or_bytes(echo: Any, schema: sl.Schema) -> None:
    message = schema.message("demo.v1.Msg")
    assert echo.Unary({"text": "hi", "n": 3}) == message(text="hi", n=3)
    assert echo.Unary(message(text="hi")).text == "hi"
    assert echo.Unary(b"\x10\x05", raw=True) == b"\x10\x05"
    assert echo.Unary() == message()


def test_a_wrong_field_or_option_is_refused_before_anything_is_sent(echo: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="nope"):
        echo.Unary({"nope": 1})
    with pytest.raises(TypeError, match="timeoutt.*it takes timeout"):
        echo.Unary({}, timeoutt=1)
    with pytest.raises(ValueError, match="compression"):
        echo.Unary({}, compression="rot13")
    with pytest.raises(ValueError, match="x y"):
        echo.Unary({}, metadata={"x y": "1"})
    with pytest.raises(TypeError, match="x-bin"):
        echo.Unary({}, metadata={"x-bin": "text"})


def test_an_error_has_code_text_metadata_and_decoded_details(echo: Any, schema: sl.Schema) -> None:
    with pytest.raises(sl.NotFound) as caught:
        echo.Unary({"text": "missing"})
    error = caught.value
    assert (error.code(), error.details(), error.origin) == (sl.StatusCode.NOT_FOUND, "nothing here ü", "remote")
    assert error.trailing_metadata().get("x-why-bin") == b"\x00\xff"
    assert ("x-why", "because") in error.trailing_metadata()
    assert error.status_details == [schema.message("demo.v1.Msg")(text="a detail", n=7)]


def test_metadata_goes_both_ways_bytes_under_bin_keys(echo: Any) -> None:
    pairs = [("x-a", "1"), ("x-a", "2"), ("x-b-bin", b"\x00\x01\xff")]
    _, call = echo.Unary.with_call({"text": "metadata"}, metadata=pairs)
    for received in (call.initial_metadata(), call.trailing_metadata()):
        assert received.get_all("x-a") == ["1", "2"]
        assert received.get("x-b-bin") == b"\x00\x01\xff"
    assert call.code() is sl.StatusCode.OK


def test_the_deadline_ends_a_call_within_its_time(echo: Any) -> None:
    began = time.monotonic()
    with pytest.raises(sl.DeadlineExceeded) as caught:
        echo.Unary({"text": "wait"}, timeout=0.1)
    assert caught.value.origin == "local" and time.monotonic() - began < 5


def test_streams_of_all_kinds(echo: Any) -> None:
    assert [m.n for m in echo.ServerStream({"n": 5})] == [0, 1, 2, 3, 4]
    assert echo.ClientStream({"n": n} for n in range(1000)).n == 499500
    assert [m.n for m in echo.Bidi({"n": n} for n in range(300))] == list(range(300))
    with echo.Bidi() as call:
        for n in range(3):
            call.send({"n": n})
            assert call.recv().n == n
        call.done()
        assert call.recv() is None
        assert call.code() is sl.StatusCode.OK and call.is_active() is False
    with echo.ClientStream() as call:
        call.send({"n": 2})
        call.send({"n": 3})
        call.done()
        assert call.recv().n == 5


def test_a_stream_that_fails_gives_its_messages_first(echo: Any) -> None:
    got = []
    with pytest.raises(sl.NotFound, match="the rest"):
        for message in echo.ServerStream({"n": 3, "text": "missing"}):
            got.append(message.n)
    assert got == [0, 1, 2]


def test_a_server_that_has_enough_ends_the_requests_early(echo: Any) -> None:
    requests = ({"n": 1, "text": "enough" if n == 10 else ""} for n in range(10**9))
    assert echo.ClientStream(requests).n >= 11


def test_a_bidi_iterable_may_wait_for_answers(echo: Any) -> None:
    import queue

    answers: queue.Queue[int] = queue.Queue()

    def requests() -> Iterator[dict[str, int]]:
        n = 0
        while n < 5:
            yield {"n": n}
            n = answers.get(timeout=10) + 1

    for message in echo.Bidi(requests()):
        answers.put(message.n)


def test_what_an_iterable_raises_reaches_the_caller(echo: Any) -> None:
    def requests() -> Iterator[dict[str, int]]:
        yield {"n": 1}
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        echo.ClientStream(requests())
    with pytest.raises(KeyError, match="mine"):
        list(echo.Bidi(requests()))


def test_leaving_a_stream_early_cancels_it(echo: Any) -> None:
    with echo.Bidi() as call:
        call.send({"n": 1})
        call.recv()
    with pytest.raises(sl.Cancelled):
        call.recv()
    assert call.code() is sl.StatusCode.CANCELLED


def test_a_message_over_the_limit_fails_alone(echo: Any) -> None:
    with pytest.raises(sl.ResourceExhausted):
        echo.Unary({"text": "x" * 2000}, max_receive_message_bytes=1000)
    with pytest.raises(sl.ResourceExhausted):
        echo.Unary({"text": "x" * 2000}, max_send_message_bytes=1000)
    assert echo.Unary({"text": "x"}).text == "x"


@pytest.mark.parametrize("coding", ["gzip", "deflate", "identity"])
def test_compression(echo: Any, coding: str) -> None:
    assert echo.Unary({"text": "x" * 50_000}, compression=coding).text == "x" * 50_000


def test_futures(echo: Any) -> None:
    import concurrent.futures

    futures = [echo.Unary.future({"n": n}) for n in range(200)]
    assert sorted(f.result().n for f in concurrent.futures.as_completed(futures, 30)) == list(range(200))
    failing = echo.Unary.future({"text": "missing"})
    assert isinstance(failing.exception(10), sl.NotFound) and failing.code() is sl.StatusCode.NOT_FOUND
    slow = echo.Unary.future({"text": "wait"})
    assert slow.cancel() and slow.cancelled()
    assert echo.ClientStream.future({"n": n} for n in range(4)).result(10).n == 6


def test_nobody_there_is_unavailable_and_wait_for_ready_waits(schema: sl.Schema) -> None:
    with sl.connect("127.0.0.1:1", schema=schema) as channel:
        echo = channel.service("demo.v1.Echo")
        with pytest.raises(sl.Unavailable, match="127.0.0.1:1"):
            echo.Unary({})
        with pytest.raises(sl.DeadlineExceeded):
            echo.Unary({}, wait_for_ready=True, timeout=0.1)
    with pytest.raises(sl.Unavailable, match="closed"):
        echo.Unary({})


def test_many_threads_share_a_channel(echo: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(16) as pool:
        assert sorted(pool.map(lambda n: echo.Unary({"n": n}).n, range(2000))) == list(range(2000))


def test_an_interceptor_changes_refuses_retries_and_wraps(grpcio_server: str, schema: sl.Schema) -> None:
    log = []

    def interceptor(call: sl.ClientCall, proceed: Any) -> Any:
        log.append(call.method)
        call.metadata["x-token"] = "t"
        if call.requests is not None:
            call.requests = [{"n": request["n"] * 2} for request in call.requests]
        if call.request is not None and dict(call.request).get("text") == "no":
            raise sl.PermissionDenied("refused here")
        try:
            answer = proceed(call)
        except sl.NotFound:
            call.request = {"text": "second"}
            answer = proceed(call)
        if call.server_streaming:
            return (message for message in answer if message.n % 2 == 0)
        return answer

    with sl.connect(grpcio_server, schema=schema, interceptors=[interceptor]) as channel:
        echo = channel.service("demo.v1.Echo")
        assert echo.Unary({"text": "missing"}).text == "second"
        _, call = echo.Unary.with_call({"text": "metadata"})
        assert call.trailing_metadata().get("x-token") == "t"
        with pytest.raises(sl.PermissionDenied, match="refused here"):
            echo.Unary({"text": "no"})
        assert [m.n for m in echo.ServerStream({"n": 5})] == [0, 2, 4]
        assert echo.ClientStream([{"n": 1}, {"n": 2}]).n == 6
        assert [m.n for m in echo.Bidi([{"n": 1}, {"n": 2}])] == [2, 4]
    assert log[0] == "/demo.v1.Echo/Unary"


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("keepalive_time", 1), ("max_receive_message_bytes", -1), ("stream_window_bytes", 1), ("compression", "x"),
        ("connect_timeout", 0), ("user_agent", "a\nb"), ("tls", "yes"), ("max_backoff", float("nan")),
    ],
)  # fmt: skip
def test_an_option_out_of_range_is_refused_by_name(option: str, value: Any) -> None:
    with pytest.raises(ValueError, match=option):
        sl.connect("127.0.0.1:1", **{option: value})


def test_an_unknown_option_is_refused_by_name() -> None:
    with pytest.raises(TypeError, match="keep_alive.*it takes"):
        sl.connect("127.0.0.1:1", keep_alive=1)
    with pytest.raises(ValueError, match="target"):
        sl.connect("nosuchscheme:///x")


def test_errors_by_code_and_by_hand() -> None:
    error = sl.RpcError(sl.StatusCode.ABORTED, "text", trailing_metadata={"a": "b"})
    assert isinstance(error, sl.Aborted) and error.trailing_metadata() == [("a", "b")]
    assert sl.NotFound("x").code() is sl.NotFound(sl.StatusCode.NOT_FOUND, "x").code()
    with pytest.raises(ValueError, match="NOT_FOUND"):
        sl.NotFound(sl.StatusCode.ABORTED, "x")
    import pickle

    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.details(), list(again.trailing_metadata())) == (sl.Aborted, "text", [("a", "b")])
