"""The allowed targets: public addresses, exceptions, and the faults of a URL's text."""

import ipaddress
import socket

import pytest
import requests
from urllib3.util import parse_url

from app.webhooks.targets import (
    MAX_URL_LENGTH,
    TargetPolicy,
    fault_of_exception,
    fault_of_url,
    is_public,
)
from support.targets import FORBIDDEN_HOSTS

HTTP_URL = "must be an http or https URL such as https://example.com/hook"
VISIBLE = "must be a URL of at most 2000 visible ASCII characters"
CREDENTIALS = "must not hold credentials: receivers verify the signature instead"
FRAGMENT = "must not have a fragment"
NO_URL = "must be a URL such as https://example.com/hook"


PUBLIC_HOSTS = [
    "93.184.216.34",
    "1.1.1.1",
    "8.8.8.8",
    "0x08080808",
    "134744072",
    "9.255.255.255",
    "11.0.0.0",
    "100.63.255.255",
    "100.128.0.0",
    "126.255.255.255",
    "128.0.0.1",
    "169.253.255.255",
    "169.255.0.0",
    "172.15.255.255",
    "172.32.0.0",
    "192.0.1.1",
    "192.88.98.1",
    "192.167.255.255",
    "192.169.0.0",
    "198.17.255.255",
    "198.20.0.0",
    "223.255.255.255",
    "[::ffff:8.8.8.8]",
    "[64:ff9b::8.8.8.8]",
    "[64:ff9b::5db8:d822]",
    "[2606:2800:220:1:248:1893:25c8:1946]",
    "[2001:4860:4860::8888]",
    "[2001:200::1]",
    "[2003::1]",
    "[2a00:1450:4001:81b::200e]",
    "[2620:fe::fe]",
]


def resolved(url: str) -> list[tuple[str, str]]:
    """Return the host and each address that the HTTP library would connect to for `url`."""
    prepared = requests.Request("POST", url).prepare().url
    assert prepared is not None
    host = (parse_url(prepared).host or "").strip("[]")
    found = socket.getaddrinfo(host, parse_url(prepared).port or 80, type=socket.SOCK_STREAM)
    return [(host, str(info[4][0]).partition("%")[0]) for info in found]


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS)
def test_forbidden_addresses_are_never_public(host: str) -> None:
    found = resolved(f"http://{host}/hook")
    assert found
    for name, address in found:
        assert not is_public(ipaddress.ip_address(address))
        assert not TargetPolicy().allows(name, ipaddress.ip_address(address))


@pytest.mark.parametrize("host", PUBLIC_HOSTS)
def test_public_addresses_are_allowed(host: str) -> None:
    for name, address in resolved(f"http://{host}/hook"):
        assert is_public(ipaddress.ip_address(address))
        assert TargetPolicy().allows(name, ipaddress.ip_address(address))


@pytest.mark.parametrize("text", ["fe80::1%eth0", "::1%1", "ff02::1%lo", "::ffff:127.0.0.1%lo"])
def test_a_zone_makes_no_address_public(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))
    assert not TargetPolicy().allows("host", ipaddress.ip_address(text))


@pytest.mark.parametrize(
    ("exceptions", "host", "address", "allowed"),
    [
        (["127.0.0.0/8"], "127.0.0.1", "127.0.0.1", True),
        (["127.0.0.0/8"], "whatever.example", "127.9.9.9", True),
        (["127.0.0.0/8"], "128.0.0.1", "10.0.0.1", False),
        (["127.0.0.0/8"], "::1", "::1", False),
        (["127.0.0.0/8"], "x", "::ffff:127.0.0.1", True),
        (["127.0.0.1"], "x", "127.0.0.1", True),
        (["127.0.0.1"], "x", "127.0.0.2", False),
        (["10.1.2.3/16"], "x", "10.1.255.255", True),
        (["10.1.2.3/16"], "x", "10.2.0.0", False),
        (["::1"], "::1", "::1", True),
        (["::1"], "x", "127.0.0.1", False),
        (["fd00::/8"], "x", "fd12::1", True),
        (["fd00::/8"], "x", "fc12::1", False),
        (["hooks.internal"], "hooks.internal", "10.0.0.1", True),
        (["hooks.internal"], "HOOKS.internal.", "10.0.0.1", True),
        (["Hooks.Internal."], "hooks.internal", "10.0.0.1", True),
        (["hooks.internal"], "evil.hooks.internal", "10.0.0.1", False),
        (["hooks.internal"], "hooks.internal.evil.example", "10.0.0.1", False),
        (["hooks.internal"], "xhooks.internal", "10.0.0.1", False),
        (["localhost"], "localhost", "127.0.0.1", True),
        (["localhost"], "127.0.0.1", "127.0.0.1", False),
        (["a.internal", "10.0.0.0/8", "b.internal"], "b.internal", "192.168.0.1", True),
        (["a.internal", "10.0.0.0/8", "b.internal"], "c.internal", "10.0.0.1", True),
        (["a.internal", "10.0.0.0/8", "b.internal"], "c.internal", "192.168.0.1", False),
        ([], "localhost", "127.0.0.1", False),
        ([], "", "127.0.0.1", False),
        (["127.0.0.0/8"], "x", "8.8.8.8", True),
    ],
)
def test_exceptions_allow_only_their_targets(
    exceptions: list[str], host: str, address: str, allowed: bool
) -> None:
    assert TargetPolicy.parse(exceptions).allows(host, ipaddress.ip_address(address)) is allowed


@pytest.mark.parametrize(
    "entry",
    [
        "10.0.0.0/8",
        "10.1.2.3/8",
        "127.0.0.1",
        "::1",
        "fd00::/8",
        "localhost",
        "hooks.internal",
        "a-b.example.",
    ],
)
def test_exceptions_are_networks_addresses_or_names(entry: str) -> None:
    assert fault_of_exception(entry) is None


@pytest.mark.parametrize(
    "entry",
    [
        "10.0.0.0/33",
        "10.0.0/8/8",
        "http://localhost",
        "localhost:80",
        "[::1]",
        "fd00::/129",
        "bücher.example",
    ],
)
def test_an_invalid_exception_has_a_fault(entry: str) -> None:
    assert (
        fault_of_exception(entry)
        == "must be CIDRs, addresses or host names, with commas between them"
    )


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com",
        "https://example.com/",
        "HTTPS://EXAMPLE.COM/Hook",
        "https://example.com:8443/a/b?c=d&e=%20#"[:-1],
        "http://example.com:65535/",
        "http://example.com.:80/",
        "http://93.184.216.34/",
        "http://[2606:2800:220:1:248:1893:25c8:1946]:8080/x",
        "https://xn--bcher-kva.example/",
        "https://example.com/@user",
        "https://example.com/?next=http://a:b@c",
        "https://example.com/a%5Cb",
        "https://example.com/" + "x" * (MAX_URL_LENGTH - len("https://example.com/")),
    ],
)
def test_a_valid_url_has_no_fault(url: str) -> None:
    assert fault_of_url(url) is None


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        *(
            (url, HTTP_URL)
            for url in ("", "x", "example.com", "/hook", "//example.com/", "localhost:80", "http:")
        ),
        *(
            (url, HTTP_URL)
            for url in ("http://", "http:///x", "http:/example.com", "https://?x", "https://:443/")
        ),
        *(
            (f"{scheme}://example.com/", HTTP_URL)
            for scheme in (
                "ftp",
                "file",
                "gopher",
                "ws",
                "wss",
                "dict",
                "ldap",
                "httpx",
                "http+unix",
                "unix",
            )
        ),
        *(
            (url, HTTP_URL)
            for url in (
                "javascript:alert(1)",
                "data:text/plain,x",
                "file:///etc/passwd",
                "mailto:a@b",
            )
        ),
        ("http://example.com:0/", HTTP_URL),
        *(
            (f"http://example.com:{port}/", NO_URL)
            for port in ("65536", "-1", "x", "80:80", "8 0"[:1] + "x")
        ),
        *(
            (url, NO_URL)
            for url in (
                "http://[::1",
                "http://[::1]]:80:1/",
                "http://[nonsense]/",
                "http://[1.2.3.4]/",
            )
        ),
        *(
            (f"https://{user}@example.com/", CREDENTIALS)
            for user in (
                "user",
                "user:password",
                ":password",
                ":",
                "",
                "127.0.0.1",
                "a%40b",
                "example.com:80",
            )
        ),
        ("https://example.com/#x", FRAGMENT),
        ("https://example.com#@127.0.0.1/", FRAGMENT),
        *(
            (url, VISIBLE)
            for url in (
                " https://example.com/",
                "https://example.com/ ",
                "https://example.com/a b",
                "https://exa mple.com/",
                "https://example.com/\n",
                "https://example.com\r\nHost: x/",
                "https://example.com/\t",
                "https://example.com/\x00",
                "https://example.com\\@127.0.0.1/",
                "https:\\\\example.com/",
                "https://example.com/a\\b",
                "https://bücher.example/",
                "https://example.com/ü",
                "http://127。0。0。1/",
                "http://①②⑦.0.0.1/",
                "http://loc\u00adalhost/",
                "http://example.com\uff0f/",
                "https://example.com/\u202e",
            )
        ),
        (
            "https://example.com/" + "x" * (MAX_URL_LENGTH - len("https://example.com/") + 1),
            VISIBLE,
        ),
        ("https://example.com/\x7f", VISIBLE),
    ],
)
def test_an_invalid_url_has_a_fault(url: str, fault: str) -> None:
    assert fault_of_url(url) == fault


@pytest.mark.parametrize(
    "url",
    ["http://[::1]x/", "http://a[::1]/", "http://[v1.a]/", "http://127.0.0.1%00.example.com/"],
)
def test_a_url_that_requests_rejects_has_a_fault(url: str) -> None:
    with pytest.raises(requests.exceptions.InvalidURL):
        requests.Request("POST", url).prepare()
    assert fault_of_url(url) is not None
