"""Connections to hosts with several addresses: all are tried, as by Happy Eyeballs."""

import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from app.webhooks.connecting import AddressInfo, connect, interleave
from support.receiver import raw_receiver
from support.service import ROOT, free_port

HOST = "several.example"


def info(address: str, port: int) -> AddressInfo:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    return family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (address, port)


@contextmanager
def black_hole(address: str, port: int = 0) -> Iterator[int]:
    """Listen at an address that drops the packets of new connections, because its queue is full."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((address, port), backlog=0))
        port = int(listener.getsockname()[1])
        for _ in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex((address, port))
        time.sleep(0.1)
        yield port


def test_address_families_alternate() -> None:
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


@pytest.mark.timed
def test_an_address_that_drops_packets_is_passed_over() -> None:
    with black_hole("127.0.0.11") as port, socket.create_server(("127.0.0.12", port)):
        began = time.monotonic()
        made = connect([info("127.0.0.11", port), info("127.0.0.12", port)], began + 10)
        assert made.getpeername()[0] == "127.0.0.12"
        assert made.getblocking()
        assert time.monotonic() - began < 3
        made.close()


@pytest.mark.timed
def test_a_refused_address_is_passed_over_at_once() -> None:
    port = free_port()
    with socket.create_server(("127.0.0.13", port)):
        began = time.monotonic()
        made = connect([info("127.0.0.14", port)] * 8 + [info("127.0.0.13", port)], began + 10)
        assert made.getpeername()[0] == "127.0.0.13"
        assert time.monotonic() - began < 1  # eight delays would be two seconds
        made.close()


def test_a_slow_address_may_still_win() -> None:
    """The first address answers after the second connection was started, which never succeeds."""
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


@pytest.mark.timed
@pytest.mark.parametrize("count", [1, 3])
def test_the_deadline_ends_the_wait(count: int) -> None:
    with black_hole("127.0.0.17") as port:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            connect([info("127.0.0.17", port)] * count, began + 0.6)
        assert 0.5 < time.monotonic() - began < 3


def test_the_last_refusal_is_raised() -> None:
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
from app.webhooks.targets import TargetPolicy
from app.webhooks.attempt import Attempt
from app.webhooks.sender import Sender
answer = Sender(TargetPolicy.parse(["127.0.0.0/8"])).send(sys.argv[1], "{}", {}, Attempt())
print(json.dumps([answer.status_code, answer.error, answer.seconds]))
"""


@pytest.mark.timed
@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="needs root and unshare for a name"
)
def test_a_dead_first_address_is_passed_over(tmp_path: Path) -> None:
    """The system's resolver returns both addresses, from a hosts file in a mount namespace."""
    hosts = tmp_path / "hosts"
    hosts.write_text(f"127.0.0.21 {HOST}\n127.0.0.22 {HOST}\n127.0.0.1 localhost\n")
    with (
        black_hole("127.0.0.21") as port,
        raw_receiver(b"HTTP/1.1 204 No Content\r\n\r\n", "127.0.0.22", port),
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
    assert seconds < 10
