"""A real nginx with the example configuration, in front of the service."""

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.service import ROOT, free_port

EXAMPLE = ROOT / "deploy" / "nginx.conf"
SURROUNDINGS = """
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/example.conf;
}}
"""


def replaced(text: str, old: str, new: str) -> str:
    """Return `text` with its only occurrence of `old` replaced."""
    assert text.count(old) == 1, old
    return text.replace(old, new)


@contextmanager
def nginx(folder: Path, *upstreams: int, **changes: str) -> Iterator[str]:
    """Run nginx with the example configuration in front of these ports, and yield its URL.

    Args:
        folder: For its configuration and temporary files.
        upstreams: The ports of the services.
        changes: New values for directives of the example, by name. The values of `http` and
            `server` are added to these blocks.
    """
    program = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        missing = "nginx is not installed"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    port = free_port()
    example = replaced(EXAMPLE.read_text(), "listen 127.0.0.1:80;", f"listen 127.0.0.1:{port};")
    (server,) = re.findall(r"^ *server 127\.0\.0\.1:3000.*$", example, re.MULTILINE)
    servers = [server.replace("3000", str(upstream)) for upstream in upstreams]
    example = replaced(example, server, "\n".join(servers))
    added = changes.pop("http", "")
    example = replaced(example, "    location / {", changes.pop("server", "") + "    location / {")
    for name, value in changes.items():
        (directive,) = re.findall(rf"^ *{name} .*;", example, re.MULTILINE)
        example = replaced(example, directive, f"{name} {value};")
    (folder / "example.conf").write_text(added + example)
    (folder / "nginx.conf").write_text(SURROUNDINGS.format(folder=folder))
    process = subprocess.Popen(
        [
            program,
            "-p",
            str(folder),
            "-c",
            str(folder / "nginx.conf"),
            "-e",
            str(folder / "error.log"),
        ]
    )
    try:
        deadline = time.monotonic() + 10
        while True:
            assert process.poll() is None, (folder / "error.log").read_text()
            assert time.monotonic() < deadline
            with (
                suppress(ConnectionRefusedError),
                socket.create_connection(("127.0.0.1", port), timeout=30),
            ):
                break
            time.sleep(0.02)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)
        print((folder / "error.log").read_text())
