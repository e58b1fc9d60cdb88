"""Every case of cases.toml, every client against every server."""

import pytest
from harness import PeerError, cases, deviations, faults, plan_of

CASES = cases()
DEVIATIONS = deviations()
SECURE = [(case, security) for case in CASES if case.get("tls") for security in ("tls", "mtls")]
# a channel that must not come up, and what the call on it must then say
REFUSED = ["tls-wrong-name", "tls-expired", "mtls-no-certificate", "tls-plain-client"]


def outcome_of(running, client, server, security, case):
    try:
        return running.client(client, server, security).run(plan_of(case))
    except (PeerError, BrokenPipeError) as error:
        running.drop(client, server, security)
        pytest.fail(str(error))


def judge(client, server, case, outcome):
    found = faults(case["expect"], outcome)
    if found:
        for key in ((client, server), (client, "*"), ("*", server)):
            if (*key, case["name"]) in DEVIATIONS:
                pytest.xfail(DEVIATIONS[*key, case["name"]])
    assert not found, "\n".join(found)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_case(running, client, server, case):
    judge(client, server, case, outcome_of(running, client, server, "plain", case))


@pytest.mark.parametrize("case,security", SECURE, ids=lambda value: value if isinstance(value, str) else value["name"])
def test_case_over_tls(running, client, server, case, security):
    judge(client, server, case, outcome_of(running, client, server, security, case))


@pytest.mark.parametrize("security", REFUSED)
def test_a_channel_that_must_not_come_up(running, client, server, security):
    case = {"name": security, "method": "EmptyCall", "requests": [{}], "timeout_ms": 10000, "expect": {"code": 14}}
    judge(client, server, case, outcome_of(running, client, server, security, case))
