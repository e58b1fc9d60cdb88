"""Faults and bad answers against a client, by a server that misbehaves: one test a case, named by its row.

The client program dials the server, makes the calls of the case's order and prints how each ended. Afterwards a right server
must get its call through, and the client's memory must not have grown.
"""

from __future__ import annotations

import time

import pytest

import client_cases_calls
import client_cases_connection
from hostile import ClientCase, Hostile, good, serve

CASES = [*client_cases_calls.CASES, *client_cases_connection.CASES]


@pytest.fixture(scope="module")
def right_server():
    server = Hostile(lambda peer, number: serve(peer, lambda p, i: good(i)))
    yield server
    server.close()


def judge(case: ClientCase, client, right_server, strict: bool) -> str:
    """Plays a case; what is wrong, or nothing."""
    server = Hostile(case.script, case.hello, case.raw, case.windows)
    memory = client.rss_mib()
    try:
        start = time.monotonic()
        client.order(server.address, **case.order)
        results = client.results(case.order.get("timeout_ms", 2_000) / 1_000 * (1 if case.order.get("concurrent") else case.order.get("calls", 1)) + 4)
        took = time.monotonic() - start
        codes = {result["code"] for result in results}
        texts = [result["message"] for result in results]
        wrong = []
        if not codes or not codes <= set(case.expect.split(" | ")):
            wrong.append(f"expected {case.expect}, got {sorted(codes)} {texts[:1]}")
        if len(results) != case.order.get("calls", 1):
            wrong.append(f"{len(results)} results for {case.order.get('calls', 1)} calls")
        if case.text and not all(case.text in text for text in texts):
            wrong.append(f"the message lacks {case.text!r}: {texts[:1]}")
        if took > case.within:
            wrong.append(f"took {took:.1f} s, allowed {case.within}")
        if server.connections > case.connections:
            wrong.append(f"{server.connections} connections, allowed {case.connections}")
        if case.goaway is not None:
            peer = server.peers[0]
            peer.wait(lambda: peer.goaway, 2.0)
            if not peer.goaway or peer.goaway[1] != case.goaway:
                wrong.append(f"the server got GOAWAY {peer.goaway}, not code {case.goaway}")
        if not client.alive:
            return "; ".join([*wrong, "the client died"])
        client.order(right_server.address)
        after = client.results(4)
        if [result["code"] for result in after] != ["OK"]:
            wrong.append(f"a right server then got {after}")
        grown = client.rss_mib() - memory
        if strict and grown > 64:
            wrong.append(f"memory grew by {grown:.0f} MiB")
        return "; ".join(wrong)
    finally:
        server.close()


@pytest.mark.parametrize("case", [pytest.param(case, marks=[pytest.mark.slow] if case.slow else []) for case in CASES], ids=lambda case: case.id)
def test_row(case: ClientCase, client_box, subject, right_server):
    wrong = judge(case, client_box.get(), right_server, subject.strict)
    if wrong:
        client_box.renew()
        if not subject.strict:
            pytest.xfail(wrong)
        pytest.fail(wrong, pytrace=False)
