"""How webhooks connect: every address of a name is tried, interim responses are skipped, private
CAs can be trusted."""

import json
import os
import shutil
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from app.targets import Policy
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from requests.adapters import HTTPAdapter

from app.config import Settings, SettingsError
from app.webhooks.attempt import Attempt
from app.webhooks.connecting import AddressInfo, connect, interleave
from app.webhooks.sender import Sender
from support.receiver import Receiver
from support.service import ROOT

HOST = "several.example"

Extension = x509.BasicConstraints | x509.SubjectAlternativeName


def info(address: str, port: int) -> AddressInfo:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


@contextmanager
def black_hole(address: str, port: int = 0) -> Iterator[int]:
    """Listen at an address that swallows the packets of any new connection, for its queue is
    full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((address, port), backlog=0))
        port = int(listener.getsockname()[1])
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((address, port))
        time.sleep(0.1)
        yield port


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


# ------------------------------------------------------------------------------------------------------ connecting


def test_families_take_turns() -> None:
    found = [
        info("::1", 1),
        info("::2", 1),
        info("::3", 1),
        info("127.0.0.1", 1),
        info("127.0.0.2", 1),
    ]
    order = [entry[4][0] for entry in interleave(found)]
    assert order == ["::1", "127.0.0.1", "::2", "127.0.0.2", "::3"]
    assert interleave([]) == []


def test_address_that_swallows_packets_is_passed() -> None:
    with black_hole("127.0.0.11") as port, socket.create_server(("127.0.0.12", port)):
        began = time.monotonic()
        made = connect([info("127.0.0.11", port), info("127.0.0.12", port)], began + 10)
        assert made.getpeername()[0] == "127.0.0.12"
        assert made.getblocking()
        assert time.monotonic() - began < 3
        made.close()


def test_refused_address_is_passed_at_once() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.13", port)):
        began = time.monotonic()
        made = connect([info("127.0.0.14", port)] * 8 + [info("127.0.0.13", port)], began + 10)
        assert made.getpeername()[0] == "127.0.0.13"
        assert time.monotonic() - began < 1  # eight delays would be two seconds
        made.close()


def test_slow_address_may_still_win() -> None:
    """The first address answers after the second one was tried, which never does."""
    with (
        black_hole("127.0.0.16") as port,
        socket.create_server(("127.0.0.15", port), backlog=0) as slow,
    ):
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.15", port))

        def make_room() -> None:
            time.sleep(0.5)
            for _ in range(2):
                slow.accept()[0].close()

        thread = threading.Thread(target=make_room)
        thread.start()
        made = connect([info("127.0.0.15", port), info("127.0.0.16", port)], time.monotonic() + 10)
        assert made.getpeername()[0] == "127.0.0.15"
        for one in (made, *fillers):
            one.close()
        thread.join()


@pytest.mark.parametrize("count", [1, 3])
def test_deadline_ends_the_wait(count: int) -> None:
    with black_hole("127.0.0.17") as port:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            connect([info("127.0.0.17", port)] * count, began + 0.6)
        assert 0.5 < time.monotonic() - began < 3


def test_last_refusal_is_raised() -> None:
    with pytest.raises(ConnectionRefusedError):
        connect([info("127.0.0.18", free_port())] * 2, time.monotonic() + 5)


def test_losing_sockets_are_closed() -> None:
    with black_hole("127.0.0.19") as port, socket.create_server(("127.0.0.20", port)):
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            connect(
                [info("127.0.0.19", port), info("127.0.0.20", port)], time.monotonic() + 5
            ).close()
        assert len(os.listdir("/proc/self/fd")) == before


SEND = """
import json, sys
from app.targets import Policy
from app.webhooks.attempt import Attempt
from app.webhooks.sender import Sender
answer = Sender(Policy.parse(["127.0.0.0/8"])).send(sys.argv[1], "{}", {}, Attempt())
print(json.dumps([answer.status_code, answer.error, answer.seconds]))
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare for a name"
)
def test_name_with_a_dead_first_address_is_reached(tmp_path: Path) -> None:
    """The system's own resolver gives both addresses, from a file of names that this process alone
    sees."""
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.21 {HOST}\n127.0.0.22 {HOST}\n127.0.0.1 localhost\n")
    with (
        black_hole("127.0.0.21") as port,
        answering(b"HTTP/1.1 204 No Content\r\n\r\n", "127.0.0.22", port),
    ):
        script = 'mount --bind "$1" /etc/hosts && exec "$2" -c "$3" "$4"'
        command = ["unshare", "--mount", "sh", "-c", script, "sh", str(hosts), sys.executable, SEND]
        done = subprocess.run(
            [*command, f"http://{HOST}:{port}/"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    status, error, seconds = json.loads(done.stdout)
    assert (status, error) == (204, None)
    assert seconds < 5


# ------------------------------------------------------------------------------------------------- interim responses


@contextmanager
def answering(raw: bytes, address: str = "127.0.0.1", port: int = 0) -> Iterator[int]:
    """Answer one request with `raw` bytes; the value is the port."""
    with socket.create_server((address, port)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(raw)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        yield int(server.getsockname()[1])
        thread.join(5)


def status_of(raw: bytes) -> tuple[int | None, str | None]:
    sender = Sender(Policy.parse(["127.0.0.1"]))
    with answering(raw) as port:
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


def test_upgrade_is_no_success() -> None:
    assert status_of(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")[0] in (101, None)


# ------------------------------------------------------------------------------------------------------ private CAs


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
    """A folder with a private authority (ca.pem), and a certificate of 127.0.0.1 by it (site.pem,
    site.key)."""
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
        sender = Sender(Policy.parse(["127.0.0.0/8"]), ca_file)
        answer = sender.send(
            f"https://{host}:{receiver.port}/ok", "{}", {}, Attempt(time.monotonic() + 5)
        )
        sender.close()
    return answer.status_code, answer.error


UNVERIFIED = "The TLS certificate could not be verified or the handshake failed"


def test_private_authority_is_trusted_when_named(certificates: Path) -> None:
    assert status_over_tls(certificates, str(certificates / "ca.pem")) == (204, None)
    assert status_over_tls(certificates, None) == (None, UNVERIFIED)


def test_certificate_of_another_host_is_refused(certificates: Path) -> None:
    assert status_over_tls(certificates, str(certificates / "ca.pem"), "localhost") == (
        None,
        UNVERIFIED,
    )


def test_public_authorities_stay_trusted(certificates: Path) -> None:
    sender = Sender(Policy(), str(certificates / "ca.pem"))
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
def test_file_without_certificates_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_text(content)
    with pytest.raises(
        SettingsError, match=r"^SCRAPE_JOBS_WEBHOOK_CA: must be a PEM file of certificates"
    ):
        Settings.from_environ({"SCRAPE_JOBS_WEBHOOK_CA": str(path)})


def test_file_with_a_certificate_is_accepted(certificates: Path) -> None:
    path = str(certificates / "ca.pem")
    assert Settings.from_environ({"SCRAPE_JOBS_WEBHOOK_CA": path}).webhook_ca == path
