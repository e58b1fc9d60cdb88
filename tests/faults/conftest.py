"""`pytest tests/faults --subject rust|python|python-aio|grpcio`; `-m slow` for the rows that wait for a timer."""

import pytest

from subjects import SUBJECTS, Client, Server


def pytest_addoption(parser):
    parser.addoption("--subject", default="grpcio", choices=sorted(SUBJECTS), help="whose server and client are tested")
    parser.addoption("--slow", action="store_true", help="also the rows that wait for a timer (two minutes)")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: waits for a timer")


def pytest_collection_modifyitems(config, items):
    if not config.getoption("--slow"):
        for item in items:
            if "slow" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="waits for a timer; --slow"))


def pytest_terminal_summary(terminalreporter, config):
    """Names the cases that passed only as debts of the HTTP/2 crate."""
    debts = [value for report in terminalreporter.getreports("passed") for name, value in report.user_properties if name == "debt"]
    if debts:
        terminalreporter.section(f"{len(debts)} debts of the HTTP/2 crate")
        for line in debts:
            terminalreporter.write_line(line)


@pytest.fixture(scope="session")
def subject(pytestconfig):
    return SUBJECTS[pytestconfig.getoption("--subject")]


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
