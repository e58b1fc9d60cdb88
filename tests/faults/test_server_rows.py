"""Bad input and faults against a server, by raw frames: one test a case, named by its row.

Each case has a connection (or several) of its own. Afterwards an innocent connection that was open all the time must still
be served at once, the server must live, and its memory must not have grown past what the case allows. Where the outcome
leaves the case's own connection open, that must serve another call too.
"""

from __future__ import annotations

import concurrent.futures

import pytest

import server_cases_calls
import server_cases_frames
import server_cases_legal
from cases import Arena, Case, hello_call
from wire import Peer, matches

CASES = [*server_cases_frames.CASES, *server_cases_legal.CASES, *server_cases_calls.CASES]
QUICK = [case for case in CASES if not case.slow]
SLOW = [case for case in CASES if case.slow]


def judge(case: Case, server, strict: bool, patience: float = 2.0, debts: list | None = None) -> str:
    """Plays a case; what is wrong, or nothing. `debts` hears of an outcome that passes only as a debt."""
    innocent = Peer.dial(server.address)
    arena = Arena(server)
    try:
        if (seen := hello_call(innocent, 1)) != "OK":
            return f"the innocent connection got {seen} before the case"
        memory = server.rss_mib()
        seen = case.play(arena)
        wrong = []
        if not matches(seen, case.expect):
            if case.debt and matches(seen, case.debt):
                if debts is not None:
                    debts.append(f"{case.id}: {seen} instead of {case.expect}")
            else:
                wrong.append(f"expected {case.expect}, saw {seen}")
        if not server.alive:
            return "; ".join([*wrong, "the server died"])
        goes_on = case.goes_on
        if goes_on is None:
            goes_on = seen.startswith(("S:", "OK", "RST:", "HTTP:")) and arena.peers
        if goes_on:
            peer = arena.peers[0]
            later = hello_call(peer, (max([*peer.streams, 1]) | 1) + 2)
            if later != "OK":
                wrong.append(f"after {seen} the connection's next call got {later}")
        if (after := hello_call(innocent, 3, patience)) != "OK":
            wrong.append(f"the innocent connection got {after} after the case")
        grown = server.rss_mib() - memory
        if grown > case.memory_mib and strict:
            wrong.append(f"memory grew by {grown:.0f} MiB, allowed {case.memory_mib:.0f}")
        return "; ".join(wrong)
    finally:
        arena.close()
        innocent.close()


@pytest.mark.parametrize("case", QUICK, ids=lambda case: case.id)
def test_row(case: Case, server_box, subject, record_property):
    coding = next((c for c in ("zstd",) if c in case.name), None)
    if coding and coding not in subject.codings:
        pytest.skip(f"{subject.name} has no {coding}")
    server = server_box.get()
    debts: list[str] = []
    wrong = judge(case, server, subject.strict, debts=debts)
    for debt in debts:
        record_property("debt", debt)
    if wrong:
        server_box.renew()
        if not subject.strict:
            pytest.xfail(wrong)
        pytest.fail(wrong, pytrace=False)


@pytest.mark.slow
def test_rows_that_wait_for_a_timer(server_box, subject):
    """All at once, since each only waits; together they also show that one silent peer does not hold up another."""
    server = server_box.get()
    with concurrent.futures.ThreadPoolExecutor(len(SLOW)) as pool:
        found = list(pool.map(lambda case: judge(case, server, False, 10.0), SLOW))
    wrong = [f"{case.id}: {text}" for case, text in zip(SLOW, found) if text]
    assert not wrong, "\n".join(wrong)
