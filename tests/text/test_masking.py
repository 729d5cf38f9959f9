"""Masking: credentials in the error texts of scrapers are masked, and nothing else."""

import json
import string
import time
from collections.abc import Callable
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from app.text.credentials import MASK, holds_secret
from app.text.sanitising import masked, sanitise
from support.error_texts import BASIC, HARMLESS, JWT, LONG, SECRET, S


@pytest.mark.parametrize("name", HARMLESS)
def test_a_text_without_credentials_is_unchanged(name: str) -> None:
    assert sanitise(HARMLESS[name]) == HARMLESS[name]


@pytest.mark.parametrize("name", SECRET)
def test_a_credential_is_masked_and_nothing_else(name: str) -> None:
    text, stored = SECRET[name]
    assert sanitise(text) == stored
    assert S not in stored
    assert BASIC not in stored
    assert sanitise(stored) == stored


@pytest.mark.parametrize(
    "harmless", [HARMLESS["playwright timeout"], HARMLESS["python traceback"], HARMLESS["django"]]
)
@pytest.mark.parametrize("name", SECRET)
def test_text_around_a_credential_is_unchanged(name: str, harmless: str) -> None:
    text, stored = SECRET[name]
    assert sanitise(f"{harmless}\n{text}\n{harmless}") == f"{harmless}\n{stored}\n{harmless}"


# ---------------------------------------------------------------------- texts without credentials

NAMES = (
    "token",
    "password",
    "secret",
    "api_key",
    "data-token",
    "user",
    "href",
    "id",
    "class",
    "svg:rect",
    "q",
)
LOWER, DIGITS = string.ascii_lowercase, string.digits
POOL_SIZE = 4000


def sampled(make: Callable[[Random], str]) -> st.SearchStrategy[str]:
    """Return a strategy for one of 4,000 texts that `make` makes.

    One choice instead of one for each character makes the tests several times as fast.
    """
    random = Random(1)
    return st.sampled_from([make(random) for _ in range(POOL_SIZE)])


def characters(random: Random, alphabet: str, shortest: int, longest: int) -> str:
    return "".join(random.choices(alphabet, k=random.randint(shortest, longest)))


def identifier(random: Random) -> str:
    """Return a name in camel case or with an underscore."""
    if random.random() < 0.5:
        return f"{characters(random, LOWER, 2, 6)}{characters(random, LOWER, 3, 7).title()}"
    return f"{characters(random, LOWER, 2, 5)}_{characters(random, LOWER, 2, 5)}"


def random_secret(random: Random) -> str:
    """Return a secret with at least a letter and a digit."""
    start = characters(random, f"{string.ascii_letters}{DIGITS}_.~+/-", 4, 20)
    middle = f"{random.choice(string.ascii_letters)}{random.choice(DIGITS)}"
    return start + middle + characters(random, string.ascii_letters + DIGITS, 6, 20)


words = sampled(lambda random: characters(random, LOWER, 2, 9))
names = st.sampled_from(NAMES) | words
literals = sampled(
    lambda random: characters(random, f"{string.ascii_letters}{DIGITS} ./:_-", 0, 12)
)

predicates = st.one_of(
    st.builds("[@{}={!r}]".format, names, literals),
    st.builds('[@{}="{}"]'.format, names, literals),
    st.builds("[contains(@{}, {!r})]".format, names, literals),
    st.builds("[{}]".format, st.integers(1, 99)),
    st.builds("[@{}]".format, names),
    st.builds("[not(.//{}/@{})]".format, names, names),
    st.builds("[last()]".format),
)
steps = st.builds(
    "{}{}{}{}".format, st.sampled_from(["/", "//", "/..//", "//*//"]), names, predicates, predicates
)
xpaths = st.builds(
    "{}{}{}".format, st.sampled_from(["xpath=", "", "(", "."]), st.lists(steps, min_size=1,
    max_size=3).map("".join),
    st.sampled_from(["", "/@href", ")[1]", "/@token", "/text()"]),
)  # fmt: skip
compounds = st.one_of(
    st.builds('{}[{}="{}"]'.format, words, names, literals),
    st.builds("{}[{}={}]:visible".format, words, names, words),
    st.builds("{}.{}#{}:nth-child({})".format, words, words, words, st.integers(1, 9)),
    st.builds("*[{}^='//']".format, names),
    st.builds("[data-{}={}]".format, names, words),
)
selectors = st.lists(compounds, min_size=1, max_size=3).map(" > ".join)
documents = st.dictionaries(
    words.filter(
        lambda word: (
            "auth" not in word and "cookie" not in word and not word.endswith(("pwd", "token"))
        )
    ),
    st.none() | st.booleans() | st.integers() | literals | st.lists(xpaths | selectors, max_size=2),
    max_size=4,
).map(json.dumps)
identifiers = sampled(identifier)
credentials_in_code = st.sampled_from(["token", "password", "secret", "api_key", "access_token"])
code = st.one_of(
    st.builds("    {} = self.{}({}={})".format, identifiers, identifiers, words, words),
    st.builds("    {0} = self.{1}.{0}".format, credentials_in_code, identifiers),
    st.builds("    {0} = {1}.{2}()".format, credentials_in_code, identifiers, identifiers),
    st.builds("    login({0}={0}, {1}=config.{1})".format, credentials_in_code,
    credentials_in_code),
    st.builds("    const {} = await {}();".format, credentials_in_code, identifiers),
    st.builds("    if {} == {} and {} != {}:".format, credentials_in_code, words,
    credentials_in_code, words),
    st.builds("    def {}(self, {}: str, {}: Optional[str] = None) -> {}:".format, words,
    credentials_in_code,
              credentials_in_code, words),
    st.builds("    {}.map({} => {}.{})".format, identifiers, credentials_in_code,
    credentials_in_code, identifiers),
)  # fmt: skip
traces = st.one_of(
    st.builds('  File "/app/{}.py", line {}, in {}'.format, words, st.integers(1, 999),
    identifiers),
    st.builds("    at {}.{} (https://{}.example/@{}/{}.js:{}:{})".format, identifiers, identifiers,
    words, words, words,
              st.integers(1, 999), st.integers(1, 99)),
    st.builds("\tat org.{}.{}({}.java:{})".format, words, identifiers, words, st.integers(1, 999)),
    st.builds("KeyError: {!r}".format, names),
)  # fmt: skip
parsers = st.one_of(
    st.builds("Unexpected token {} in JSON at position {}".format, st.sampled_from("=:<>{}[],'\"@"),
    st.integers(0)),
    st.builds("Expected {} but found token {} at line {}".format, words,
    st.sampled_from("=:<>{}[]"), st.integers(1)),
    st.builds("{}: This field is required.".format, names),
    st.builds("Invalid {}: must be a string".format, names),
    st.builds('{{"{}": ["This field is required."]}}'.format, names),
)  # fmt: skip
requests = st.builds(
    "GET https://{}.example:{}/@{}//{}?{}={}&mail=a@b.example#{} 404".format,
    words, st.integers(1, 65535), words, words, words.filter(lambda word: not word.endswith(("pwd",
    "token", "sig"))),
    words, words,
)  # fmt: skip
lines = st.one_of(xpaths, selectors, documents, code, traces, parsers, requests)
harmless_texts = st.lists(lines, max_size=8).map("\n".join)


@settings(max_examples=500, deadline=None)
@given(harmless_texts)
@example('xpath=(//div[@role="article"])[1]')
def test_any_text_without_credentials_is_unchanged(text: str) -> None:
    assert masked(text) == text


# ------------------------------------------------------------------------- texts with credentials

secrets = sampled(random_secret)
templates = st.sampled_from(
    [
        "https://bob:{}@shop.example/a", "Bearer {}", "Authorization: {}",
        "Authorization: Bearer {}",
        "{{'Authorization': 'Bearer {}'}}", "Cookie: sid={}; lang=en", "api_key={}&a=b",
        '{{"api_key": "{}"}}',
        "access_token={}", '{{"token": "{}"}}', "password={}", "password: {}", "password='{}'",
        "PGPASSWORD={} psql",
        '{{\\"password\\": \\"{}\\"}}', "Server=db;Password={};Encrypt=yes", "[secret={}]",
        "client_secret={}&a=b",
        "config['password'] = '{}'", "auth=('bob', '{}')", "x-auth-token: {}",
    ]
)  # fmt: skip


@settings(max_examples=500, deadline=None)
@given(harmless_texts, templates, secrets, harmless_texts)
def test_any_credential_among_harmless_lines_is_masked(
    before: str, template: str, secret: str, after: str
) -> None:
    # A slash ends the user and the password of a URL.
    text = template.format(secret.replace("/", "_"))
    stored = masked(f"{before}\n{text}\n{after}")
    assert stored.startswith(f"{before}\n")
    assert stored.endswith(f"\n{after}")
    middle = stored[len(before) + 1 : len(stored) - len(after) - 1]
    assert MASK in middle
    assert secret[-8:] not in middle
    assert secret[:4] not in middle or secret[:4] in template


pieces = st.lists(
    st.sampled_from(
        ["://", "@", ":", "=", "=>", "==", " ", "\n", '"', "'", "\\", '\\"', "[", "]", "{", "}",
        "(", ")", ",", ";",
         "&", "<", "token", "password", '"token":', "secret=", "data-", "Bearer ", "Basic ",
         "Authorization: ",
         "Cookie: ", "cookies={", "auth=(", "***", "None", "is", "abc", "a1b2c3d4e5", BASIC, JWT,
         "self.",
         "unexpected ", "arn:aws:", "-----BEGIN PRIVATE KEY-----", "----", LONG,
         "AKIAIOSFODNN7EXAMPLE", "<Cookie a="],
    )
    | st.text(max_size=3),
    max_size=14,
).map("".join)  # fmt: skip


@settings(max_examples=1500, deadline=None)
@given(pieces | harmless_texts | st.text())
def test_masking_twice_is_masking_once(text: str) -> None:
    once = sanitise(text)
    assert sanitise(once) == once


@pytest.mark.parametrize(
    "unit",
    [
        "token=is ", 'secret="is ', "secret='is \"", "password=is,", "password:(",
        'password=\\"is ',
        "user[password]=is ", "unexpected token = x ", "arn:aws:secret:",
        "/passwd:", "token=a(", "token => ", "-----BEGIN PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY-----\nabcdefghijklmnopqrst", "://a:b/c", "://a:b", "Bearer is ",
        "Basic abcdefgh",
        "Authorization: is ", "Authorization: 'is", '"Authorization: ', "Cookie: a=\\",
        "cookies={a:", "cookies=[{a:",
        "auth=('a', ", "auth=('", "<Cookie a=", "eyJabcdefgh.", "xoxb-", "sk-a", "AKIA",
        "password=a,b",
        "password=\\\\", "password=[", "secret_", "secret-a", "token \t", 'token"', "ghp_a1",
        "hooks.slack.com/services/",
    ],
)  # fmt: skip
def test_masking_takes_linear_time(unit: str) -> None:
    text = unit * (2**18 // len(unit))
    start = time.process_time()
    masked(text)
    assert time.process_time() - start < 20  # in quadratic time it takes minutes


@pytest.mark.parametrize(
    "text",
    ["cookie:consent", "password:reset", "token", "eyJob", "AKIA", "a-sk-b", "secret.rotate"],
)
def test_a_word_without_credential_is_none(text: str) -> None:
    assert not holds_secret(text)


@pytest.mark.parametrize(
    "text", [JWT, "AKIAIOSFODNN7EXAMPLE", f"a-ghp_{LONG[:36]}", f"x.whsec_{S}AAAAAAAA"]
)
def test_a_credential_is_known_by_its_form(text: str) -> None:
    assert holds_secret(text)
