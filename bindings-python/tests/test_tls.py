"""TLS and mTLS, with grpcio at the other end and with ourselves."""

from __future__ import annotations

from concurrent import futures
from typing import Any

import pytest

import stubless as sl

trustme = pytest.importorskip("trustme")


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One authority; PEM of it, of a server and of a client, as bytes; and the client's as files."""
    authority = trustme.CA()
    server = authority.issue_cert("localhost", "127.0.0.1")
    client = authority.issue_cert("client@example.org", common_name="a client")
    folder = tmp_path_factory.mktemp("pem")

    class Pem:
        ca = authority.cert_pem.bytes()
        cert = server.cert_chain_pems[0].bytes()
        key = server.private_key_pem.bytes()
        client_cert = client.cert_chain_pems[0].bytes()
        client_key = client.private_key_pem.bytes()
        files: dict[str, str] = {}

    for name, data in (("ca", Pem.ca), ("cert", Pem.client_cert), ("key", Pem.client_key)):
        path = folder / f"{name}.pem"
        path.write_bytes(data)
        Pem.files[name] = str(path)
    return Pem


def identity(request: Any, context: sl.Context) -> Any:
    who = context.tls_identity()
    if who is None:
        return {"text": "nobody"}
    assert who.certificates and who.certificates[0]
    return {"text": f"{who.common_name} {','.join(who.subject_alternative_names)}"}


def test_tls_and_mtls_between_ourselves(certificates: Any, schema: sl.Schema) -> None:
    tls = sl.ServerTLS(
        cert=certificates.cert, key=certificates.key, client_ca=certificates.ca, client_cert_optional=True
    )
    with sl.Server(schema=schema) as server:
        server.method("demo.v1.Echo/Unary")(identity)
        target = f"localhost:{server.start('localhost:0', tls=tls)}"
        plain = sl.TLS(ca=certificates.ca)
        with sl.connect(target, schema=schema, tls=plain) as channel:
            assert channel.service("demo.v1.Echo").Unary({}).text == "nobody"
        with sl.connect(target, schema=schema, tls=sl.TLS(**certificates.files)) as channel:
            assert channel.service("demo.v1.Echo").Unary({}).text == "a client client@example.org"
        with sl.connect(target, schema=schema, tls=True) as channel, pytest.raises(sl.Unavailable, match="(?i)certificate"):
            channel.service("demo.v1.Echo").Unary({}, timeout=10)
        wrong_name = sl.TLS(ca=certificates.ca, server_name="example.org")
        with sl.connect(target, schema=schema, tls=wrong_name) as channel, pytest.raises(sl.Unavailable):
            channel.service("demo.v1.Echo").Unary({}, timeout=10)
        with sl.connect(target, schema=schema) as channel, pytest.raises(sl.Unavailable):
            channel.service("demo.v1.Echo").Unary({}, timeout=10)


def test_a_client_without_certificate_is_turned_away(certificates: Any, schema: sl.Schema) -> None:
    tls = sl.ServerTLS(cert=certificates.cert, key=certificates.key, client_ca=certificates.ca)
    with sl.Server(schema=schema, tls=tls) as server:
        server.method("demo.v1.Echo/Unary")(identity)
        target = f"localhost:{server.start('localhost:0')}"
        with sl.connect(target, schema=schema, tls=sl.TLS(ca=certificates.ca)) as channel:
            with pytest.raises(sl.Unavailable):
                channel.service("demo.v1.Echo").Unary({}, timeout=10)


def test_grpcio_calls_us_over_mtls(certificates: Any, schema: sl.Schema, generated: Any) -> None:
    grpc = pytest.importorskip("grpc")
    tls = sl.ServerTLS(cert=certificates.cert, key=certificates.key, client_ca=certificates.ca)
    with sl.Server(schema=schema) as server:
        server.method("demo.v1.Echo/Unary")(identity)
        port = server.start("localhost:0", tls=tls)
        credentials = grpc.ssl_channel_credentials(certificates.ca, certificates.client_key, certificates.client_cert)
        with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
            stub = generated[1].EchoStub(channel)
            assert stub.Unary(generated[0].Msg()).text == "a client client@example.org"


def test_we_call_grpcio_over_mtls(certificates: Any, schema: sl.Schema, generated: Any) -> None:
    grpc = pytest.importorskip("grpc")

    class Echo(generated[1].EchoServicer):  # type: ignore[misc, name-defined]
        def Unary(self, request: Any, context: Any) -> Any:
            return request

    server = grpc.server(futures.ThreadPoolExecutor(2))
    generated[1].add_EchoServicer_to_server(Echo(), server)
    credentials = grpc.ssl_server_credentials([(certificates.key, certificates.cert)], certificates.ca, True)
    port = server.add_secure_port("localhost:0", credentials)
    server.start()
    try:
        with sl.connect(f"localhost:{port}", schema=schema, tls=sl.TLS(**certificates.files)) as channel:
            assert channel.service("demo.v1.Echo").Unary({"n": 4}).n == 4
    finally:
        server.stop(0)


def test_what_is_no_pem_is_refused_by_name(certificates: Any) -> None:
    with pytest.raises(ValueError, match="ca"):
        sl.TLS(ca=b"nothing")
    with pytest.raises(ValueError, match="key"):
        sl.TLS(cert=certificates.client_cert)
    with pytest.raises(ValueError, match="/no/such"):
        sl.TLS(ca="/no/such/file.pem")
    with pytest.raises(ValueError, match="key"):
        sl.ServerTLS(cert=certificates.cert, key=certificates.client_key)
