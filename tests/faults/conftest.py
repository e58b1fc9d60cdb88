"""Which subjects are tested: `FAULTS=rust,python,python-aio,grpcio` (default: ours that can run here); `FAULTS_SLOW=1` adds the
rows that wait for a timer (20 s for the server's, 12 s for the client's). See README.md."""

import os

import pytest

from subjects import SUBJECTS, Client, Server, runnable

CHOSEN = [name for name in os.environ.get("FAULTS", "").split(",") if name] or runnable()


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: waits for a timer")


def pytest_collection_modifyitems(items):
    if not os.environ.get("FAULTS_SLOW"):
        for item in items:
            if item.get_closest_marker("slow") and "subject" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason="waits for a timer; FAULTS_SLOW=1"))


def pytest_terminal_summary(terminalreporter, config):
    """Names the cases that passed only as debts of the HTTP/2 crate."""
    debts = [value for report in terminalreporter.getreports("passed") for name, value in report.user_properties if name == "debt"]
    if debts:
        terminalreporter.section(f"{len(debts)} debts of the HTTP/2 crate")
        for line in debts:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session", params=CHOSEN)
def subject(request):
    return SUBJECTS[request.param]


class Restarting:
    """A program that is started anew when a case ended it."""

    def __init__(self, make):
        self.make = make
        self.program = None

    def get(self):
        if self.program is None or not self.program.alive:
            self.program = self.make()
        return self.program

    def renew(self):
        if self.program:
            self.program.stop()
        self.program = None


@pytest.fixture(scope="session")
def server_box(subject):
    box = Restarting(lambda: Server(subject))
    yield box
    box.renew()


@pytest.fixture
def server(server_box):
    return server_box.get()


@pytest.fixture(scope="session")
def client_box(subject):
    box = Restarting(lambda: Client(subject))
    yield box
    box.renew()


@pytest.fixture
def client(client_box):
    return client_box.get()
