"""Rows 39 and 40: TLS on both sides, and a server that runs out of descriptors."""

from __future__ import annotations

import resource
import socket
import ssl
import sys
import threading
import time

import pytest

from cases import hello_call
from hostile import good, serve
from subjects import ROOT, Server
from wire import Peer, TlsSocket

sys.path.insert(0, str(ROOT / "tests" / "peers"))
import pki  # noqa: E402


@pytest.fixture(scope="session")
def certificates(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pki")
    pki.write(folder)
    return folder


@pytest.fixture(scope="session")
def tls_server(subject, certificates):
    server = Server(subject, str(certificates / "server.pem"), str(certificates / "server.key"))
    yield server
    server.stop()


@pytest.fixture(scope="session")
def mtls_server(subject, certificates):
    server = Server(subject, *(str(certificates / name) for name in ("server.pem", "server.key", "ca.pem")))
    yield server
    server.stop()


def context(certificates, alpn=("h2",), low=None, high=None, identity=None):
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.load_verify_locations(certificates / "ca.pem")
    if alpn:
        made.set_alpn_protocols(list(alpn))
    if low:
        made.minimum_version = low
        made.maximum_version = high or low
        made.set_ciphers("ALL:@SECLEVEL=0")
    if identity:
        made.load_cert_chain(certificates / f"{identity}.pem", certificates / f"{identity}.key")
    return made


def shake(server, made) -> str:
    """What a handshake comes to: `OK` if a call is answered, `REFUSED` if the server ends it."""
    try:
        raw = socket.create_connection(server.address, timeout=5)
        secured = TlsSocket(raw, made, "localhost")
    except (ssl.SSLError, OSError):
        return "REFUSED"
    peer = Peer(secured)
    try:
        seen = hello_call(peer, 1, 3.0)
        return "REFUSED" if seen in ("CLOSED", "HANG") and peer.closed and not peer.streams[1].blocks else seen
    finally:
        peer.close()


SHAKES = [
    ("TLS 1.3 and h2", {}, "OK"),
    ("TLS 1.2 and h2", {"low": ssl.TLSVersion.TLSv1_2}, "OK"),
    ("h2 among others", {"alpn": ("http/1.1", "h2")}, "OK"),
    ("TLS 1.1", {"low": ssl.TLSVersion.TLSv1_1}, "REFUSED"),
    ("TLS 1.0", {"low": ssl.TLSVersion.TLSv1}, "REFUSED"),
    ("no ALPN", {"alpn": ()}, "REFUSED"),
    ("ALPN http/1.1 only", {"alpn": ("http/1.1",)}, "REFUSED"),
    ("ALPN of nobody", {"alpn": ("smtp",)}, "REFUSED"),
]


@pytest.mark.parametrize(("name", "how", "expect"), SHAKES, ids=lambda value: value if isinstance(value, str) else "")
def test_a_server_takes_tls_1_2_and_1_3_with_h2_and_nothing_else(name, how, expect, tls_server, certificates):
    assert shake(tls_server, context(certificates, **how)) == expect
    assert shake(tls_server, context(certificates)) == "OK"


@pytest.mark.parametrize(("identity", "expect"), [("client", "OK"), (None, "REFUSED"), ("stranger", "REFUSED")])
def test_a_server_that_asks_for_certificates_serves_only_those_it_knows(identity, expect, mtls_server, certificates):
    assert shake(mtls_server, context(certificates, identity=identity)) == expect


@pytest.mark.parametrize("said", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\x16\x03\x01\x00\x05junk!", bytes(2_000)])
def test_what_is_no_tls_is_closed_at_once(said, tls_server, certificates):
    with socket.create_connection(tls_server.address, timeout=2) as sock:
        sock.sendall(said)
        try:
            while sock.recv(4096):
                pass
        except ConnectionError:
            pass
    assert shake(tls_server, context(certificates)) == "OK"


@pytest.mark.slow
def test_a_handshake_that_never_ends_is_cut_after_twenty_seconds(tls_server):
    with socket.create_connection(tls_server.address, timeout=30) as sock:
        start = time.monotonic()
        sock.sendall(b"\x16\x03\x01\x02\x00\x01")
        try:
            assert sock.recv(4096) == b""
        except ConnectionError:
            pass
        assert 19 < time.monotonic() - start < 22


class TlsServer:
    """A right gRPC server behind a TLS set-up of the case's making."""

    def __init__(self, certificates, name, alpn=("h2",), plain=False):
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(certificates / f"{name}.pem", certificates / f"{name}.key")
        if alpn:
            self.context.set_alpn_protocols(list(alpn))
        self.plain = plain
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.address = ("localhost", self.socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock):
        try:
            peer = Peer(sock if self.plain else TlsSocket(sock, self.context), server=True)
            serve(peer, lambda p, i: good(i))
        except (ssl.SSLError, OSError):
            sock.close()


SERVERS = [
    ("a good server", {"name": "server"}, "OK", ""),
    ("an expired certificate", {"name": "expired"}, "UNAVAILABLE", "xpired"),
    ("a certificate of another name", {"name": "wrong-name"}, "UNAVAILABLE", ""),
    ("a certificate nobody signed", {"name": "stranger"}, "UNAVAILABLE", ""),
    ("no ALPN", {"name": "server", "alpn": ()}, "UNAVAILABLE", ""),
    ("ALPN http/1.1", {"name": "server", "alpn": ("http/1.1",)}, "UNAVAILABLE", ""),
    ("a plain server", {"name": "server", "plain": True}, "UNAVAILABLE", ""),
]


@pytest.mark.parametrize(("name", "how", "expect", "text"), SERVERS, ids=lambda value: value if isinstance(value, str) else "")
def test_a_client_says_why_it_does_not_trust_a_server(name, how, expect, text, client, certificates, subject):
    server = TlsServer(certificates, **how)
    client.order(server.address, ca=certificates / "ca.pem", timeout_ms=5_000)
    [result] = client.results(10)
    assert result["code"] == expect, result
    assert expect == "OK" or (text in result["message"] and len(result["message"]) > 20), result


def test_a_server_without_descriptors_goes_on_when_it_has_some_again(subject):
    """Row 40. The connections it cannot accept wait in the queue; those it has are served."""
    server = Server(subject)
    old = Peer.dial(server.address)
    try:
        assert hello_call(old, 1) == "OK"
        limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (server.fds() + 3, limits[1]))
        crowd = [socket.create_connection(server.address) for _ in range(20)]
        time.sleep(0.5)
        assert hello_call(old, 3, 2.0) == "OK"
        for sock in crowd:
            sock.close()
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)
        fresh = Peer.dial(server.address)
        assert hello_call(fresh, 1, 5.0) == "OK"
        fresh.close()
        assert server.alive
    finally:
        old.close()
        server.stop()
