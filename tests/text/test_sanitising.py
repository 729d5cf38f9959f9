"""Sanitising: which parts of a text are removed, masked, and kept."""

import hashlib
import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.text.sanitising import sanitise

CUT = "… [truncated]"


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("https://user:password@example.com/path", "https://***@example.com/path"),
        ("https://user:p@ss:w@rd@example.com", "https://***@example.com"),
        ("https://:password@example.com", "https://***@example.com"),
        (
            "postgresql://scraper:pa$$w0rd!@db.example:5432/jobs",
            "postgresql://***@db.example:5432/jobs",
        ),
        (
            "socks5h://u:p@1.2.3.4:1080 and http://x:y@[::1]/",
            "socks5h://***@1.2.3.4:1080 and http://***@[::1]/",
        ),
        ("Bearer abc.def-ghi_jkl~mno+pqr/stu==", "Bearer ***"),
        ("bearer abc, then", "bearer ***, then"),
        ("BEARER\tabc", "BEARER\t***"),
        ("Bearer\u00a0abc", "Bearer\u00a0***"),
        ("password\u3000=\u2003abc", "password\u3000=\u2003***"),
        ("Authorization\u2009: abc", "Authorization\u2009: ***"),
        ("password=\nabc", "password=\nabc"),
        ("Authorization: Basic dXNlcjpwYXNz", "Authorization: ***"),
        ("authorization:Basic dXNlcjpwYXNz\nHost: a", "authorization:***\nHost: a"),
        ("Proxy-Authorization: Digest abc def", "Proxy-Authorization: ***"),
        ("Authorization = token abc", "Authorization = ***"),
        ("api_key=abc", "api_key=***"),
        ("apikey=abc", "apikey=***"),
        ("X-Api-Key: abc", "X-Api-Key: ***"),
        ("API_KEY=abc", "API_KEY=***"),
        ("?a=1&api_key=abc&b=2", "?a=1&api_key=***&b=2"),
        ("token=abc", "token=***"),
        ("access_token=abc&refresh_token=def", "access_token=***&refresh_token=***"),
        ("password=abc", "password=***"),
        ("PassWord = abc", "PassWord = ***"),
        ("password='a b c' next", "password='***' next"),
        ('password="a b c" next', 'password="***" next'),
        ("passwd=abc pwd=def", "passwd=*** pwd=***"),
        ("db_password=abc", "db_password=***"),
        ("pass\u200bword=abc to\u00adken=def", "password=*** token=***"),
        ("http://u:p\u202e@example.com", "http://***@example.com"),
    ],
)
def test_only_the_credential_is_masked(text: str, stored: str) -> None:
    assert sanitise(text) == stored


@pytest.mark.parametrize(
    "text",
    [
        "{name}=SECRET",
        "{name}: SECRET",
        "x {name} = SECRET, y",
        '{{"{name}": "SECRET"}}',
        "{{'{name}': 'SECRET'}}",
        '<input {name}="SECRET">',
        "https://example.com/?{name}=SECRET&x=1",
        "--{name}=SECRET",
        'Error: {{"request": "{{\\"{name}\\": \\"SECRET\\"}}"}}',
    ],
)
@pytest.mark.parametrize("name", ["api_key", "password"])
def test_secrets_are_masked_in_each_common_notation(name: str, text: str) -> None:
    assert "SECRET" not in sanitise(text.format(name=name))


@pytest.mark.parametrize(
    "text",
    [
        'Authorization: Digest username="bob", realm="x", response="SECRET"',
        'Authorization: OAuth oauth_consumer_key="k", oauth_signature="SECRET"',
        "Authorization: AWS4-HMAC-SHA256 Credential=k/x, SignedHeaders=host, Signature=SECRET",
        '{"Authorization": "Basic SECRET", "Host": "a"}',
        "{'Authorization': 'Bearer SECRET', 'Host': 'a'}",
        "curl -H 'Authorization: Bearer SECRET' https://example.com",
        'curl -H "authorization: Basic SECRET" https://example.com',
        '{\\"Authorization\\": \\"Basic SECRET\\"}',
    ],
)
def test_the_whole_authorization_header_is_masked(text: str) -> None:
    assert "SECRET" not in sanitise(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "Request timeout",
        "line 1\n\tline 2\n",
        "Größe 日本語 😀 العربية עברית ไทย e\u0301",
        '<b onclick="x()">a &amp; b</b><script>alert(1)</script>',
        "https://example.com/@user/a?mail=me@example.com",
        "mail me@example.com about https://example.com/",
        "unexpected token: '<' at line 1",
        "Unexpected token < in JSON at position 0",
        "wrong password",
        "12:30:45 a://b c:\\d",
        "a=1&b=2; c: d",
        "x" * 4096,
    ],
)
def test_harmless_text_is_unchanged(text: str) -> None:
    assert sanitise(text) == text


@pytest.mark.parametrize(
    "invisible",
    [
        "\x00", "\x07", "\x08", "\x0b", "\x0c", "\r", "\x1b", "\x1f", "\x7f", "\x80", "\x85",
        "\x9f",
        "\u00ad", "\u061c", "\u180e", "\u200b", "\u200c", "\u200d", "\u200e", "\u200f", "\u2028",
        "\u2029",
        "\u202a", "\u202b", "\u202c", "\u202d", "\u202e", "\u2060", "\u2061", "\u2066", "\u2067",
        "\u2068", "\u2069",
        "\ufeff", "\ufff9", "\U000e0001", "\U000e0041", "\ud800",
    ],
)  # fmt: skip
def test_an_invisible_character_is_removed(invisible: str) -> None:
    assert sanitise(f"a{invisible}b{invisible}") == "ab"


def test_only_newline_and_tab_stay_of_control_characters() -> None:
    characters = map(chr, range(0x110000))
    invisible = "".join(
        char for char in characters if unicodedata.category(char) in ("Cc", "Cf", "Cs")
    )
    assert sanitise(invisible) == "\t\n"


def test_text_is_truncated_after_4096_characters() -> None:
    assert sanitise("x" * 4097) == "x" * 4096 + CUT
    assert sanitise("😀" * 5000) == "😀" * 4096 + CUT


def test_invisible_characters_do_not_count_as_length() -> None:
    assert sanitise("\u200b" * 9000 + "x" * 4096) == "x" * 4096


def test_a_secret_is_masked_before_truncation() -> None:
    assert "hunter2" not in sanitise("x" * 4085 + " password=hunter2hunter2hunter2")
    assert "hunter2" not in sanitise("http://" + "user:hunter2" * 1000 + "@example.com")


def secrets() -> list[str]:
    """Return 200 secrets of several alphabets, the same each time."""
    alphabets = (
        "0123456789abcdef",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_",
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+=",
        "abcdefgh!$%^*()[]{}|~.-:+=_",
        "äöüß日本語éñ",
    )
    made = []
    for number in range(200):
        alphabet = alphabets[number % len(alphabets)]
        digest = hashlib.sha512(str(number).encode()).digest()
        made.append("".join(alphabet[byte % len(alphabet)] for byte in digest[: 12 + number % 40]))
    return made


@pytest.mark.parametrize(
    "template",
    [
        "https://user:{}@example.com/",
        "connect to redis://:{}@cache:6379/0 failed",
        "Bearer {}",
        "header was bearer {} and more",
        "Authorization: Bearer {}",
        "Authorization: Basic {}\nHost: example.com",
        "Authorization: {}",
        "api_key={}",
        "GET /?api_key={}&x=1",
        "API-Key: {}",
        "token={}",
        "?access_token={}#top",
        '{{"token": "{}"}}',
        "password={}",
        "password: {}",
        "password='{}'",
        '{{"password":"{}"}}',
        "secret={};",
        "a\u200b pass\u2060word={}",
    ],
)
def test_no_part_of_200_secrets_survives(template: str) -> None:
    for secret in secrets():
        stored = sanitise(template.format(secret))
        assert secret not in stored
        assert secret[:6] not in stored
        assert secret[-6:] not in stored
        assert "***" in stored


fragments = st.lists(
    st.sampled_from(
        [
            "://", "@", "/", "user:", "Bearer ", "bearer", "Authorization:", "authorization=",
            "api_key=", "token=",
            '"token":', "password=", '"password": ', "secret:", '"', "'", " ", "\n", "\t", ",", ";",
            "&", "}", "abc",
            "***", "<b>", "=", ":", "\u200b", "\x00", "x" * 1365, CUT,
        ]
    )
    | st.text(max_size=5),
    max_size=12,
).map("".join)  # fmt: skip


@given(fragments)
@settings(max_examples=400)
@example('Login with {"password": "hunter2"} failed')
@example('authorization: "abc" rest')
@example('://password="a b"@host')
@example("x" * 4087 + "password=abcdefgh")
def test_sanitising_twice_changes_nothing(text: str) -> None:
    once = sanitise(text)
    assert sanitise(once) == once


@given(st.text() | fragments)
@settings(max_examples=300)
def test_any_sanitised_text_is_short_and_visible(text: str) -> None:
    stored = sanitise(text)
    assert len(stored) <= 4096 + len(CUT)
    assert all(
        char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cf", "Cs") for char in stored
    )
    stored.encode()


@given(st.text("abc ÄÖ日<>&;!?.,()[]\n\t", max_size=200))
def test_text_without_signs_of_credentials_is_unchanged(text: str) -> None:
    assert sanitise(text) == text


@pytest.mark.parametrize(
    "unit",
    [
        "a-", "://", "://a", "://a:", "@", "://@", "a@", ":", "/", '"', "'", " ", "\n", "=",
        "passw", "pass", "api_",
        "api-", "api_key", "token", "token ", "secret", "secret ", "bearer", "authorization",
        "authorization ",
        "password", "password ", "password\t", '"password"', "\u200b",
    ],
)  # fmt: skip
def test_a_mebibyte_without_secret_is_only_truncated(unit: str) -> None:
    text = unit * (2**20 // len(unit))
    stored = sanitise(text)
    if unit == "://@":
        assert stored == ("://***@" * 1000)[:4096] + CUT
    elif unit == "\u200b":
        assert stored == ""
    else:
        assert stored == text[:4096] + CUT


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ('password="' * 100_000, 'password="***'),
        ("password='" * 100_000, "password='***"),
        ("password=" * 110_000, "password=***"),
        ("password:" * 110_000, "password:***"),
        ('"password":' * 90_000, '"password":"***'),
        ("authorization:" * 70_000, "authorization:***"),
        ('authorization:"' * 65_000, 'authorization:"***'),
        ("authorization:\n" * 65_000, "authorization:***\n"),
        ("bearer " * 150_000, "bearer bearer bearer ***"),
        ('bearer "' * 130_000, 'bearer "***'),
        ("token=" * 170_000, "token=***"),
        ('"token":"' * 110_000, '"token":"***'),
        ("api_key=" * 130_000, "api_key=***"),
        ("secret=\t" * 130_000, "secret="),
        ("://" + "a" * 1_000_000 + "@", "://***@"),
        ("://" + "@" * 1_000_000, "://***@"),
        ("password=" + " " * 1_000_000, "password= "),
        ("password" + " " * 1_000_000 + "=", "password "),
        ("bearer" + " " * 1_000_000 + "x", "bearer "),
        ("bearer" + "\u3000" * 1_000_000 + "x", "bearer\u3000"),
        ("password" + "\u00a0" * 1_000_000 + "=", "password\u00a0"),
        ('password="' + "a" * 1_000_000, 'password="***'),
        ("authorization:" + "a" * 1_000_000, "authorization:***"),
    ],
    ids=range(23),
)
def test_a_mebibyte_of_credentials_is_masked(text: str, start: str) -> None:
    stored = sanitise(text)
    assert stored.startswith(start)
    assert len(stored) <= 4096 + len(CUT)
