"""Writes a small public key infrastructure for tests into a folder: one CA and certificates that work or must not.

    python pki.py DIR

`ca.pem`; `server`, `client`: good; `wrong-name`: a server called elsewhere.test; `expired`: ended a day ago;
`stranger`: a client of a CA nobody trusts. Each as NAME.pem and NAME.key. Keys are P-256: quick to make anew.
"""

import datetime
import ipaddress
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = datetime.timedelta(days=1)
LOCAL = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]


class Authority:
    """A self-signed CA that issues what the tests need."""

    def __init__(self, name: str, now: datetime.datetime) -> None:
        self.now = now
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = (
            self._builder(self.name, self.key.public_key(), now - DAY, now + 3650 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(
                x509.KeyUsage(
                    digital_signature=True,
                    key_cert_sign=True,
                    crl_sign=True,
                    content_commitment=False,
                    key_encipherment=False,
                    data_encipherment=False,
                    key_agreement=False,
                    encipher_only=False,
                    decipher_only=False,
                ),
                critical=True,
            )
            .sign(self.key, hashes.SHA256())
        )

    def _builder(self, subject, public_key, begins, ends):
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(public_key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(ends)
        )

    def issue(self, folder: Path, file: str, names: list, usage, days: int = 3650) -> None:
        """Writes `file`.pem and `file`.key; `days` from now until the end, negative for one that has ended."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, file)])
        certificate = (
            self._builder(subject, key.public_key(), self.now - 10 * DAY, self.now + days * DAY)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key()),
                critical=False,
            )
            .sign(self.key, hashes.SHA256())
        )
        (folder / f"{file}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        (folder / f"{file}.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.timezone.utc)
    server, client = ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH
    authority = Authority("Stubless test CA", now)
    (folder / "ca.pem").write_bytes(
        authority.certificate.public_bytes(serialization.Encoding.PEM)
    )
    authority.issue(folder, "server", LOCAL, server)
    authority.issue(folder, "client", [x509.DNSName("client.test")], client)
    authority.issue(folder, "wrong-name", [x509.DNSName("elsewhere.test")], server)
    authority.issue(folder, "expired", LOCAL, server, days=-1)
    Authority("Nobody's CA", now).issue(folder, "stranger", [x509.DNSName("client.test")], client)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
