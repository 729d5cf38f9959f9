"""Masks credentials in text, and nothing else; in linear time."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from app.text import header_values
from app.text.named_values import LABEL, NAME, Span, value_of

MASK = "***"
_ROUNDS = 4
"""A mask brings the characters around it together, and so may show one more credential."""

Finder = Callable[[str, re.Match[str]], Span | None]

# Credentials that are known by their own form, in whatever text they stand.
_TOKENS = (
    ("sjk_[0-9a-z]{12}_", "[A-Za-z0-9_-]{43,}"),  # keys of this service
    (
        "whsec_",
        "[A-Za-z0-9+/]{24,}={0,2}",
    ),  # secrets of webhooks, by the Standard Webhooks specification
    ("A(?:KI|SI)A", "[A-Z0-9]{16,}"),  # AWS
    ("eyJ", r"[\w-]{8,}\.[\w-]{4,}(?:\.[\w-]*){0,4}"),  # JSON Web Tokens (RFC 7519)
    ("gh[opusr]_", "[A-Za-z0-9]{30,}"),  # GitHub
    ("github_pat_", r"\w{22,}"),
    ("glpat-", r"[\w-]{20,}"),  # GitLab
    ("xox[a-z]-", "[A-Za-z0-9-]{10,}"),  # Slack
    ("xapp-", "[A-Za-z0-9-]{10,}"),
    ("hooks.slack.com/(?:services|workflows)/", "[A-Za-z0-9/]{20,}"),
    ("[rs]k_(?:live|test)_", "[A-Za-z0-9]{16,}"),  # Stripe
    ("AIza", r"[\w-]{35,}"),  # Google
    ("sk-(?:proj|ant|or)-", r"[\w-]{20,}"),  # OpenAI, Anthropic
    ("sk-", "(?=[A-Za-z]*[0-9])[A-Za-z0-9]{20,}"),
    (r"SG\.", r"[\w-]{16,}\.[\w-]{16,}"),  # SendGrid
    ("npm_", "[A-Za-z0-9]{36,}"),
    ("pypi-", r"[\w-]{50,}"),
)
_COLOUR = (
    r"(?<=\[[0-9]m)|(?<=\[[0-9]{2}m)"  # the rest of a colour code without its control character
)
_TOKEN = re.compile(
    rf"(?:(?<![A-Za-z0-9])|{_COLOUR})(?:"
    + "|".join(f"(?:{prefix})(?={value})" for prefix, value in _TOKENS)
    + ")",
    re.ASCII,
)
_TOKEN_VALUES = tuple(
    (re.compile(prefix, re.ASCII), re.compile(value, re.ASCII)) for prefix, value in _TOKENS
)

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BEGINS = re.compile(r"(?:\s|\\+[nr])*+(?:[A-Za-z-]{1,30}: |[A-Za-z0-9+/=]{16})")
_KEY = re.compile(r"(?:[^-]|-(?!----))*+")

_AUTHORITY = re.compile("://(?!git@)")  # the public user of many servers
_USERINFO = re.compile(r"""[^\s/?#"'<>:\[\](){}|,;]*(?::[^\s/?#"'<>]*)?(?=@)""")
# A password in which a delimiter was left as it is. A port and a path look alike, but for the
# port's digits.
_SLOPPY_USERINFO = re.compile(
    r"""[^\s/?#"'<>:@\[\](){}|,;]{1,64}:(?!\d{1,5}(?:[/?#\s]|$)|\$?\{)[^\s"'<>]{1,200}(?=@[\w\[])"""
)


def masked(text: str, enough: int | None = None) -> str:
    """Return `text` with MASK in the place of each credential.

    Args:
        text: What may hold credentials.
        enough: How many characters of the result are wanted at least; what follows may be left out.
    """
    for _ in range(_ROUNDS):
        result = _mask_once(text, enough)
        if result == text:
            break
        text = result
    return text


def _mask_once(text: str, enough: int | None) -> str:
    parts: list[str] = []
    length = done = position = 0
    end = len(text)
    while True:
        if enough is not None:
            end = min(len(text), done + max(0, enough - length) + _LONGEST_START)
        found = _START.search(text, position, end)
        if found is None:
            return "".join([*parts, text[done:end]])
        kind = _KINDS[(found.lastindex or 1) - 1]
        label = kind.label.match(text, found.start())
        span = kind.find(text, label) if label else None
        if span is None:
            position = label.end() if label else found.end()
        else:
            parts += (text[done : span[0]], MASK)
            length += span[0] - done + len(MASK)
            done = position = span[1]


def holds_secret(text: str) -> bool:
    """Return whether `text` holds a credential that is known by its own form."""
    return _TOKEN.search(text) is not None


def _token(text: str, label: re.Match[str]) -> Span | None:
    for prefix, value in _TOKEN_VALUES:
        begin = prefix.match(text, label.start())
        found = value.match(text, begin.end()) if begin else None
        if found:
            return found.span()
    return None


def _private_key(text: str, label: re.Match[str]) -> Span | None:
    found = _KEY.match(text, label.end()) if _KEY_BEGINS.match(text, label.end()) else None
    return found.span() if found else None


def _userinfo(text: str, label: re.Match[str]) -> Span | None:
    found = _USERINFO.match(text, label.end()) or _SLOPPY_USERINFO.match(text, label.end())
    return found.span() if found else None


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of credential: how it starts, what stands before it as a whole, and where it stands
    itself."""

    start: str
    label: re.Pattern[str]
    find: Finder


_KINDS = (
    _Kind("-----BEGIN ", _PRIVATE_KEY, _private_key),
    _Kind("://", _AUTHORITY, _userinfo),
    _Kind(_TOKEN.pattern, _TOKEN, _token),
    _Kind("<(?:Cookie |Morsel: )", header_values.COOKIE_OBJECT, header_values.cookie_object),
    _Kind("(?i:authorization)", header_values.AUTHORIZATION, header_values.authorization),
    _Kind("(?i:cookie)", header_values.COOKIE, header_values.cookie),
    _Kind(r"(?i:\bauth)", header_values.PAIR, header_values.pair),
    _Kind("(?i:bearer)", header_values.BEARER, header_values.bearer),
    _Kind("(?i:basic)", header_values.BASIC, header_values.basic),
    _Kind(NAME, LABEL, value_of),
)
_START = re.compile("|".join(f"({kind.start})" for kind in _KINDS))
_LONGEST_START = 100
"""More characters than any match of _START needs."""
