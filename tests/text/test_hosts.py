"""Accepted hosts and their normalised form (WHATWG URL standard, host parsing)."""

import re
import uuid

import pytest
from ada_url import URL
from flask.testing import FlaskClient
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from app.text.hosts import MAX_LENGTH, normalise
from support.factories import make_job

JOBS, HOOKS = "/api/scrape-jobs", "/api/webhooks"
HOST = "must be a host name such as example.com, without scheme, port or path"
NAME_253 = ".".join(["a" * 63] * 3 + ["b" * 61])

# Examples of the standard, and cases like those of the web platform tests.
ACCEPTED = {
    "wodnik_forum.orq.pl": "wodnik_forum.orq.pl",
    "r2---sn-huoa-cvhl.googlevideo.com": "r2---sn-huoa-cvhl.googlevideo.com",
    "_dmarc.example.com": "_dmarc.example.com",
    "ab--cd.example": "ab--cd.example",
    "aa--": "aa--",
    "a†--": "xn--a---kp0a",
    "-x": "-x",
    "-†": "xn----xhn",
    "x-.ß": "x-.xn--zca",
    "-foo.bar.com": "-foo.bar.com",
    "foo-.bar.com": "foo-.bar.com",
    "x..ß": "x..xn--zca",
    ".example.com": ".example.com",
    "EXAMPLE.com.": "example.com",
    "localhost": "localhost",
    "a!$&'()*+,;=~`{}\"b": "a!$&'()*+,;=~`{}\"b",
    "💩.la": "xn--ls8h.la",
    "xn--ls8h.la": "xn--ls8h.la",
    "☃.net": "xn--n3h.net",
    "faß.de": "xn--fa-hia.de",
    "ẞ.com": "xn--zca.com",
    "Bücher.de": "xn--bcher-kva.de",
    "XN--BCHER-KVA.de": "xn--bcher-kva.de",
    "نامه\u200cای.com": "xn--mgba3gch31f060k.com",
    "ශ\u0dca\u200dර\u0dd3.com": "xn--10cl1a0b660p.com",
    "≠.com": "xn--1ch.com",
    "<\u0338": "xn--gdh",
    "look\u00ad\u2060\ufeffout.net": "lookout.net",
    "a\u200b.example": "a.example",
    "foo\u0300.bar.com": "xn--fo-3ja.bar.com",
    "例え。テスト": "xn--r8jz45g.xn--zckzah",
    "ｅｘａｍｐｌｅ．com": "example.com",
    f"{'x' * 64}.ß": f"{'x' * 64}.xn--zca",
    NAME_253: NAME_253,
    "a." * 200 + "example": "a." * 200 + "example",
    "a" * MAX_LENGTH: "a" * MAX_LENGTH,
    # Percent-encoded bytes are decoded once, before all other steps.
    "exam%70le.com": "example.com",
    "a%2eb": "a.b",
    "a%2Cb": "a,b",
    "b%C3%BCcher.de": "xn--bcher-kva.de",
    "%31%2e2.3.4": "1.2.3.4",
    # IPv4, in all its notations; a name may contain numbers, but not end in one.
    "127.0.0.1": "127.0.0.1",
    "127.0.0.1.": "127.0.0.1",
    "１２７。0.0.1": "127.0.0.1",
    "2130706433": "127.0.0.1",
    "0x7F.1": "127.0.0.1",
    "0177.0.0.01": "127.0.0.1",
    "0xffffffff": "255.255.255.255",
    "1.2.3.4.example": "1.2.3.4.example",
    "0x.x": "0x.x",
    # IPv6, with brackets or without.
    "[::1]": "[::1]",
    "::1": "[::1]",
    "::": "[::]",
    "2001:DB8:0:0:1:0:0:1": "[2001:db8::1:0:0:1]",
    "[1:0::]": "[1::]",
    "1:2:0:0:5:0:0:0": "[1:2:0:0:5::]",
    "1:2:3:4:5:6:7:8": "[1:2:3:4:5:6:7:8]",
    "::ffff:192.0.2.128": "[::ffff:c000:280]",
    "[::127.0.0.1]": "[::7f00:1]",
}  # fmt: skip

REFUSED = [
    "", " ", ".", "..", "example.com..", "127.0.0.1..",
    "https://example.com", "//example.com", "http:example.com", "example.com:8080", "example.com:",
    "example.com/",
    "example.com/path", "example.com\\path", "example.com?q", "example.com#top", "user@example.com",
    "u:p@example.com",
    "@example.com", "a%2fb", "a%5cb", "a%3fb", "a%23b", "a%40b", "a%3a80", "a%00b", "a%20b",
    "a%0ab", "a%7fb", "a%25b",
    "a%252eb", "a%", "a%2", "a%ff", "%5b::1%5d", "%",
    "exa mple.com", " example.com", "example.com ", "exa\tmple.com", "exa\nmple.com",
    "example.com\r", "a\x00b",
    "a\x01b", "a\x7fb", "a|b", "a^b", "a<b", "a>b", "a[b", "a]b",
    "'; DROP TABLE scrape_jobs; --.example",
    "example\u00a0.com", "\u1680lookout.net", "a\u3000b", "a／b", "a：80", "a＠b", "a？b", "a＃b",
    "a％2eb", "a＼b",
    "a⩴b", "www\u2025lookout.net", "\ufffd.com", "\u0378.net", "\u00ad", "\u200b", "\u200d.example",
    "a\u200cb",
    "يa", "a\u05d0", "1\u0627", "xn--te\u0161la", "xn--a.ß", "look\u202eout.net",
    "look\u06ddout.net", "\ud800.com",
    "1.2.3.4.5", "256.0.0.1", "1.2.3.256", "4294967296", "0x100000000", "1.2.3.08", "foo.09",
    "foo.0x", "a.1", "1.a.0",
    "[", "]", "[]", "[::1", "::1]", "[::1]a", "[::1]:80", "[::1].", "a[::1]", "[[::1]]",
    "[::1%25eth0]", "fe80::1%eth0",
    "fe80::1%25eth0", ":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "12345::", "::g",
    "a:80",
    "1.2.3.4:80", "::1.2.3", "::256.0.0.1", "[1.2.3.4]", "[example.com]",
    "a" * (MAX_LENGTH + 1), "漢字" * (MAX_LENGTH // 2), "a" * 100_000,
]  # fmt: skip


@pytest.mark.parametrize("host", ACCEPTED)
def test_a_host_is_normalised(host: str) -> None:
    assert normalise(host) == ACCEPTED[host]
    assert normalise(ACCEPTED[host]) == ACCEPTED[host]


@pytest.mark.parametrize("text", REFUSED)
def test_text_that_is_not_host_is_refused(text: str) -> None:
    assert normalise(text) is None


def browser_host(text: str) -> str | None:
    """Return the host of a URL as a browser reads it."""
    try:
        return URL(f"https://{text}/x").hostname
    except ValueError:
        return None


labels = (
    st.from_regex(r"[a-z0-9_-]{1,20}", fullmatch=True)
    | st.from_regex(r"(?i)(xn--|0x)?[a-z0-9-]{0,8}", fullmatch=True)
    | st.text(
        st.characters(exclude_categories=["Cc", "Zs", "Cs"], exclude_characters="/\\?#@:[]"),
        max_size=6,
    )
    | st.sampled_from(
        ["💩", "日本", "ß", "%2e", "%C3%BC", "\u00ad", "..", "0", "255", "0x7f", "١", "\u0338", "א"]
    )
)
host_texts = (
    st.lists(labels, min_size=1, max_size=5).map(".".join)
    | st.ip_addresses(v=4).map(str)
    | st.ip_addresses(v=6).map(lambda address: f"[{address}]")
    | st.ip_addresses(v=6).map(lambda address: f"[{address.exploded.upper()}]")
    | st.integers(0, 2**33).map(str)
)


@settings(max_examples=1500, deadline=None)
@given(host_texts)
@example("a.b..")
def test_every_host_a_browser_accepts_is_accepted(text: str) -> None:
    expected = browser_host(text)
    assume(text and (expected is None or len(expected) <= MAX_LENGTH))
    if expected is None or expected.endswith("..") or expected == ".":
        assert normalise(text) is None
    else:
        assert normalise(text) == expected.removesuffix(".")


@settings(max_examples=1500, deadline=None)
@given(st.text(max_size=40) | host_texts | st.text("ab.:/@?#%[]\\ 012f\t\n-_xＡ。", max_size=12))
def test_a_normalised_host_is_canonical(text: str) -> None:
    host = normalise(text)
    if host is not None:
        assert re.fullmatch(r"\[[0-9a-f:]+\]|[!-~]+", host)
        assert host == host.lower()
        assert not re.search(r"[/\\?#@%|<>^]|\.$", host)
        assert normalise(host) == host
        assert URL(f"http://u:p@{host}:8080/").hostname == host


@settings(max_examples=300, deadline=None)
@given(st.ip_addresses(v=6))
def test_an_ipv6_address_needs_no_brackets(address: object) -> None:
    assert normalise(str(address)) == normalise(f"[{address}]") == browser_host(f"[{address}]")


@pytest.mark.parametrize("host", [host for host in ACCEPTED if len(host) <= 300])
def test_a_job_is_found_by_any_host(client: FlaskClient, host: str) -> None:
    stored = ACCEPTED[host]
    job_type = f"t{uuid.uuid4().hex}"
    job = make_job(client, domain=host, job_type=job_type)
    assert (job["domain"], job["domain_id"]) == (
        stored,
        str(uuid.uuid5(uuid.NAMESPACE_DNS, stored)),
    )
    for name in (host, stored):
        asked = {"domain": name, "job_type": job_type}
        assert client.get(JOBS, query_string=asked).get_json()["data"] == [job]
        assert client.get(f"{JOBS}/stats", query_string=asked).get_json()["data"]["total"] == 1
        listed = {"domains": name.replace(",", "%2C"), "job_types": job_type}
        assert [
            one["id"] for one in client.get(f"{JOBS}/next", query_string=listed).get_json()["data"]
        ] == [job["id"]]
    body = {"worker_id": "w", "domains": [host], "job_types": [job_type]}
    assert [one["id"] for one in client.post(f"{JOBS}/next", json=body).get_json()["data"]] == [
        job["id"]
    ]


def test_a_webhook_may_name_any_host(client: FlaskClient) -> None:
    domains = ["wodnik_forum.orq.pl", "R2---sn.googlevideo.com.", "::1", "127.1", "💩.la"]
    answer = client.post(HOOKS, json={"url": "http://93.184.216.34/hook", "domains": domains})
    assert answer.status_code == 201, answer.text
    made = answer.get_json()["data"]
    assert made["domains"] == [
        "wodnik_forum.orq.pl",
        "r2---sn.googlevideo.com",
        "[::1]",
        "127.0.0.1",
        "xn--ls8h.la",
    ]
    client.delete(f"{HOOKS}/{made['id']}")


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(host_texts)
def test_the_api_agrees_with_the_parser(client: FlaskClient, text: str) -> None:
    answer = client.post(JOBS, json={"domain": text})
    host = normalise(text)
    if host is None:
        assert (answer.status_code, answer.get_json()["error"]) == (400, f"Invalid domain: {HOST}")
    else:
        assert (answer.status_code, answer.get_json()["data"]["domain"]) == (201, host)
        listed = {"domains": host.replace(",", "%2C"), "limit": 1}
        assert (
            client.get(f"{JOBS}/next", query_string=listed).get_json()["data"][0]["domain"] == host
        )
