"""Which pairs run, the peers they share, and the matrix at the end."""

from collections import Counter, defaultdict

import pytest
from harness import COMMANDS, OURS, SECURITY, Client, Server

# pair -> how its cases ended
matrix: dict[tuple[str, str], Counter] = defaultdict(Counter)


def pytest_addoption(parser):
    parser.addoption("--all-pairs", action="store_true", help="peers against peers too, not only against ours")
    parser.addoption("--clients", help="only these clients, by comma")
    parser.addoption("--servers", help="only these servers, by comma")


def pytest_generate_tests(metafunc):
    if "client" not in metafunc.fixturenames:
        return
    config = metafunc.config
    clients = (config.getoption("--clients") or ",".join(COMMANDS)).split(",")
    servers = (config.getoption("--servers") or ",".join(COMMANDS)).split(",")
    pairs = [
        (client, server)
        for server in servers
        for client in clients
        if config.getoption("--all-pairs") or client in OURS or server in OURS
    ]
    metafunc.parametrize("client,server", pairs, ids=[f"{c}->{s}" for c, s in pairs])


class Running:
    """Peers that run: a server per kind of security, a client per pair. Started once, shared by all cases."""

    def __init__(self):
        self.servers, self.clients = {}, {}

    def server(self, name: str, security: str) -> Server:
        require(name)
        key = (name, tuple(SECURITY[security][0]))
        if key not in self.servers:
            self.servers[key] = Server(name, *SECURITY[security][0])
        return self.servers[key]

    def client(self, client: str, server: str, security: str) -> Client:
        require(client)
        key = (client, server, security)
        if key not in self.clients:
            target = self.server(server, security).target
            self.clients[key] = Client(client, target, *SECURITY[security][1])
        return self.clients[key]

    def drop(self, client: str, server: str, security: str) -> None:
        """A peer that hung or died is not used again."""
        peer = self.clients.pop((client, server, security), None)
        if peer:
            peer.process.kill()

    def close(self):
        for peer in [*self.clients.values(), *self.servers.values()]:
            peer.close()


def require(name: str) -> None:
    made = COMMANDS[name][1]
    if not made.exists():
        pytest.skip(f"the peer {name} was not made: {made} is missing")


@pytest.fixture(scope="session")
def running():
    peers = Running()
    yield peers
    peers.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    parameters = getattr(item, "callspec", None)
    if parameters and "client" in parameters.params and (report.when == "call" or report.skipped or report.failed):
        matrix[parameters.params["client"], parameters.params["server"]][report.outcome] += 1


def pytest_terminal_summary(terminalreporter):
    if not matrix:
        return
    clients = list(dict.fromkeys(client for client, _ in matrix))
    servers = list(dict.fromkeys(server for _, server in matrix))
    width = max(len(name) for name in [*clients, *servers]) + 2
    write = terminalreporter.write_line
    terminalreporter.section("interop: cases passed, client by server")
    write(" " * width + "".join(server.rjust(width) for server in servers))
    for client in clients:
        cells = []
        for server in servers:
            counts = matrix.get((client, server))
            cells.append("" if counts is None else f"{counts['passed']}/{counts['passed'] + counts['failed']}")
        write(client.ljust(width) + "".join(cell.rjust(width) for cell in cells))
