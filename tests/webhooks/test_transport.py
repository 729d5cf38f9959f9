"""The connections of webhooks: interim responses are skipped, private CAs can be trusted."""

import ssl
import time
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from requests.adapters import HTTPAdapter

from app.config import SettingsError
from app.server.settings import read_settings
from app.webhooks.attempt import Attempt
from app.webhooks.sender import Sender
from app.webhooks.targets import TargetPolicy
from support.receiver import Receiver, raw_receiver

Extension = x509.BasicConstraints | x509.SubjectAlternativeName


def status_of(raw: bytes) -> tuple[int | None, str | None]:
    sender = Sender(TargetPolicy.parse(["127.0.0.1"]))
    with raw_receiver(raw) as port:
        answer = sender.send(f"http://127.0.0.1:{port}/", "{}", {}, Attempt(time.monotonic() + 5))
    sender.close()
    return answer.status_code, answer.error


FINAL = b"HTTP/1.1 204 No Content\r\n\r\n"

HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>; rel=preload\r\n\r\n"


@pytest.mark.parametrize(
    "interim",
    [
        HINTS,
        HINTS * 3,
        b"HTTP/1.1 100 Continue\r\n\r\n" + HINTS,
        HINTS + b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 102 Processing\r\n\r\n",
        b"HTTP/1.1 199 Whatever\r\nX: y\r\n\r\n",
    ],
)
def test_interim_responses_are_skipped(interim: bytes) -> None:
    assert status_of(interim + FINAL) == (204, None)
    assert status_of(interim + b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n") == (500, None)


def test_endless_interim_responses_fail() -> None:
    assert status_of(HINTS * 1000)[0] is None


def test_an_upgrade_is_no_success() -> None:
    assert status_of(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")[0] in (101, None)


def _certify(
    name: str,
    issuer: str,
    key: ec.EllipticCurvePrivateKey,
    signer: ec.EllipticCurvePrivateKey,
    extension: Extension,
) -> bytes:
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(extension, critical=isinstance(extension, x509.BasicConstraints))
        .sign(signer, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a private authority, ca.pem, and its certificate of 127.0.0.1, site.pem."""
    folder = tmp_path_factory.mktemp("certificates")
    authority, site = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    is_authority = x509.BasicConstraints(ca=True, path_length=0)
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    (folder / "ca.pem").write_bytes(
        _certify("Private CA", "Private CA", authority, authority, is_authority)
    )
    (folder / "site.pem").write_bytes(_certify("127.0.0.1", "Private CA", site, authority, address))
    (folder / "site.key").write_bytes(
        site.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    return folder


def status_over_tls(
    certificates: Path, ca_file: str | None, host: str = "127.0.0.1"
) -> tuple[int | None, str | None]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "site.pem", certificates / "site.key")
    with Receiver() as receiver:
        receiver._server.socket = context.wrap_socket(receiver._server.socket, server_side=True)
        sender = Sender(TargetPolicy.parse(["127.0.0.0/8"]), ca_file)
        answer = sender.send(
            f"https://{host}:{receiver.port}/ok", "{}", {}, Attempt(time.monotonic() + 5)
        )
        sender.close()
    return answer.status_code, answer.error


UNVERIFIED = "The TLS certificate could not be verified or the handshake failed"


def test_a_private_authority_is_trusted_if_named(certificates: Path) -> None:
    assert status_over_tls(certificates, str(certificates / "ca.pem")) == (204, None)
    assert status_over_tls(certificates, None) == (None, UNVERIFIED)


def test_the_certificate_of_another_host_is_refused(certificates: Path) -> None:
    assert status_over_tls(certificates, str(certificates / "ca.pem"), "localhost") == (
        None,
        UNVERIFIED,
    )


def test_public_authorities_stay_trusted(certificates: Path) -> None:
    sender = Sender(TargetPolicy(), str(certificates / "ca.pem"))
    adapter = sender._session.get_adapter("https://x")
    assert isinstance(adapter, HTTPAdapter)
    pool = adapter.poolmanager.connection_from_url("https://127.0.0.1:1/")
    connection = pool._new_conn()
    sender._session.get_adapter("https://x").cert_verify(connection, "https://x/", True, None)  # type: ignore[attr-defined]
    assert connection.ca_certs is not None
    assert connection.cert_reqs == "CERT_REQUIRED"
    sender.close()


@pytest.mark.parametrize(
    "content", [None, "", "no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n"]
)
def test_a_file_without_certificates_is_rejected(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(
        SettingsError, match=r"^SCRAPE_JOBS_WEBHOOK_CA: must be a PEM file of certificates"
    ):
        read_settings({"SCRAPE_JOBS_WEBHOOK_CA": str(path)})


def test_a_file_with_a_certificate_is_accepted(certificates: Path) -> None:
    path = str(certificates / "ca.pem")
    assert read_settings({"SCRAPE_JOBS_WEBHOOK_CA": path}).webhook_ca == path
