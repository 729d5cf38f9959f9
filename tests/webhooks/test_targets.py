"""Where a webhook may go: the rule for addresses, its exceptions, and what the text of a URL
tells."""

import ipaddress
import socket

import pytest
import requests
from app.targets import MAX_URL, Policy, fault_of_exception, fault_of_url, is_public
from urllib3.util import parse_url

HTTP_URL = "must be an http or https URL such as https://example.com/hook"
VISIBLE = "must be a URL of at most 2000 visible ASCII characters"
CREDENTIALS = "must not hold credentials: receivers verify the signature instead"
FRAGMENT = "must not have a fragment"
NO_URL = "must be a URL such as https://example.com/hook"

FORBIDDEN_HOSTS = [
    # this machine
    "127.0.0.1",
    "127.255.255.254",
    "localhost",
    "LOCALHOST",
    "LocalHost",
    "127.1",
    "127.0.1",
    "2130706433",
    "0x7f000001",
    "0X7F000001",
    "017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "0x7f.0.0.1",
    "0x7f.1",
    "0x7F.0x0.0x0.0x1",
    "0",
    "0x0",
    "0.0.0.0",
    "0.1.2.3",
    "%31%32%37.0.0.1",
    "127.0.0.%31",
    "loc%61lhost",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000::0001]",
    "[::]",
    "[::2]",
    # IPv4 in IPv6 clothes
    "[::127.0.0.1]",
    "[::7f00:1]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7F00:1]",
    "[0:0:0:0:0:ffff:7f00:0001]",
    "[::ffff:169.254.169.254]",
    "[::ffff:10.0.0.1]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::10.0.0.1]",
    "[64:ff9b::169.254.169.254]",
    "[64:ff9b::192.88.99.1]",
    "[64:ff9b::224.0.0.1]",
    "[64:ff9b:0:0:0:1::1]",
    "[64:ff9b:1::7f00:1]",
    "[64:ff9b:1:ffff::10.0.0.1]",
    "[2002:7f00:1::]",
    "[2002:a00:1::1]",
    "[2001:0:4136:e378:8000:63bf:80ff:fffe]",
    # link-local, with and without a zone; the clouds' metadata
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0xA9.0xFE.0xA9.0xFE",
    "0251.0376.0251.0376",
    "169.254.43518",
    "169.254.0.1",
    "[fe80::1]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    # private
    "10.0.0.1",
    "10.255.255.255",
    "012.0.0.1",
    "0xa.1",
    "167772161",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.168.257",
    "100.64.0.1",
    "100.127.255.255",
    "[fc00::1]",
    "[fdff:ffff::1]",
    "[fec0::1]",
    # multicast and broadcast
    "224.0.0.1",
    "239.255.255.250",
    "255.255.255.255",
    "0xffffffff",
    "[ff02::1]",
    "[ff0e::1]",
    # reserved
    "240.0.0.1",
    "192.0.0.1",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.19.255.255",
    "198.51.100.1",
    "203.0.113.1",
    "[100::1]",
    "[2001:2::1]",
    "[2001:10::1]",
    "[2001:db8::1]",
    "[3fff::1]",
    "[5f00::1]",
    "[1::1]",
    "[400::1]",
    "[4000::1]",
    "[e000::1]",
]
"""Hosts of URLs as an attacker may spell them; each leads, without DNS, to an address that is not
public."""

ZONED_HOSTS = ["[fe80::1%25lo]", "[fe80::1%lo]", "[fe80::1%251]", "[ff02::1%25lo]"]
"""Addresses with a zone, which not every library takes in every spelling."""

NAMELESS_HOSTS = [
    "127.0.0.1.",
    "localhost.",
    "2130706433.",
    "nothing.invalid",
    "127.0.0.1%00.example.com",
    "a..b",
    "x" * 64,
]
"""Hosts that some resolvers may take for a forbidden address, and others for nothing at all."""

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
    """Return the host and each address that a request to `url` would connect to, by the library
    that makes it."""
    prepared = requests.Request("POST", url).prepare().url
    assert prepared is not None
    host = (parse_url(prepared).host or "").strip("[]")
    found = socket.getaddrinfo(host, parse_url(prepared).port or 80, type=socket.SOCK_STREAM)
    return [(host, str(info[4][0]).partition("%")[0]) for info in found]


@pytest.mark.parametrize("host", FORBIDDEN_HOSTS)
def test_no_spelling_makes_a_forbidden_address_public(host: str) -> None:
    found = resolved(f"http://{host}/hook")
    assert found
    for name, address in found:
        assert not is_public(ipaddress.ip_address(address))
        assert not Policy().allows(name, ipaddress.ip_address(address))


@pytest.mark.parametrize("host", PUBLIC_HOSTS)
def test_public_addresses_are_allowed(host: str) -> None:
    for name, address in resolved(f"http://{host}/hook"):
        assert is_public(ipaddress.ip_address(address))
        assert Policy().allows(name, ipaddress.ip_address(address))


@pytest.mark.parametrize("text", ["fe80::1%eth0", "::1%1", "ff02::1%lo", "::ffff:127.0.0.1%lo"])
def test_a_zone_changes_nothing(text: str) -> None:
    assert not is_public(ipaddress.ip_address(text))
    assert not Policy().allows("host", ipaddress.ip_address(text))


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
def test_exceptions_allow_what_they_name_and_no_more(
    exceptions: list[str], host: str, address: str, allowed: bool
) -> None:
    assert Policy.parse(exceptions).allows(host, ipaddress.ip_address(address)) is allowed


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
def test_networks_addresses_and_names_may_be_exceptions(entry: str) -> None:
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
def test_anything_else_is_no_exception(entry: str) -> None:
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
        "https://example.com/" + "x" * (MAX_URL - len("https://example.com/")),
    ],
)
def test_an_http_url_has_no_fault(url: str) -> None:
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
        ("https://example.com/" + "x" * (MAX_URL - len("https://example.com/") + 1), VISIBLE),
        ("https://example.com/\x7f", VISIBLE),
    ],
)
def test_what_is_wrong_with_a_url_is_told(url: str, fault: str) -> None:
    assert fault_of_url(url) == fault


@pytest.mark.parametrize(
    "url",
    ["http://[::1]x/", "http://a[::1]/", "http://[v1.a]/", "http://127.0.0.1%00.example.com/"],
)
def test_a_url_that_could_never_be_called_is_refused(url: str) -> None:
    with pytest.raises(requests.exceptions.InvalidURL):
        requests.Request("POST", url).prepare()
    assert fault_of_url(url) is not None
