"""Masks credentials in text, and nothing else, in linear time.

One expression (`_START`) finds where a credential of any kind may start. The kind then decides
which part of the text to mask, if any.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from app.text import header_values
from app.text.named_values import LABEL, NAME, TextSpan, value_span

MASK = "***"
_MAX_ROUNDS = 4
"""Maximum number of passes: a mask changes the text around it, which may reveal a credential."""

CredentialFinder = Callable[[str, re.Match[str]], TextSpan | None]

# Credentials with a recognisable format: the prefix, and the secret part that is masked.
_TOKENS = (
    ("sjk_[0-9a-z]{12}_", "[A-Za-z0-9_-]{43,}"),  # keys of this service
    ("whsec_", "[A-Za-z0-9+/]{24,}={0,2}"),  # webhook secrets (Standard Webhooks)
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
# The position after a terminal colour code whose control character was removed.
_AFTER_COLOUR = r"(?<=\[[0-9]m)|(?<=\[[0-9]{2}m)"
# The prefix of one of those credentials, at the beginning of a word and before its secret part.
_TOKEN = re.compile(
    rf"(?:(?<![A-Za-z0-9])|{_AFTER_COLOUR})(?:"
    + "|".join(f"(?:{prefix})(?={value})" for prefix, value in _TOKENS)
    + ")",
    re.ASCII,
)
_TOKEN_VALUES = tuple(
    (re.compile(prefix, re.ASCII), re.compile(value, re.ASCII)) for prefix, value in _TOKENS
)

# The first line of a private key in PEM format.
_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
# The beginning of the content of a PEM file: a header field, or 16 characters of Base64.
_KEY_BEGINS = re.compile(r"(?:\s|\\+[nr])*+(?:[A-Za-z-]{1,30}: |[A-Za-z0-9+/=]{16})")
# The content of a PEM file, up to its last line.
_KEY = re.compile(r"(?:[^-]|-(?!----))*+")

# The beginning of the authority of a URL; the user "git" is public on many servers.
_AUTHORITY = re.compile("://(?!git@)")
# The user and the password of a URL, up to the @ sign.
_USERINFO = re.compile(r"""[^\s/?#"'<>:\[\](){}|,;]*(?::[^\s/?#"'<>]*)?(?=@)""")
# A user and a password with a delimiter that should be percent-encoded. A port with a path looks
# similar, but consists of digits.
_SLOPPY_USERINFO = re.compile(
    r"""[^\s/?#"'<>:@\[\](){}|,;]{1,64}:(?!\d{1,5}(?:[/?#\s]|$)|\$?\{)[^\s"'<>]{1,200}(?=@[\w\[])"""
)


def masked(text: str, enough: int | None = None) -> str:
    """Return `text` with each credential replaced by MASK.

    Args:
        text: The text to mask.
        enough: Number of characters of the result that the caller needs; the rest may be missing.
            None: the whole result.
    """
    for _ in range(_MAX_ROUNDS):
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
    """Return whether `text` contains a credential with a recognisable format."""
    return _TOKEN.search(text) is not None


def _token(text: str, label: re.Match[str]) -> TextSpan | None:
    for prefix, value in _TOKEN_VALUES:
        begin = prefix.match(text, label.start())
        found = value.match(text, begin.end()) if begin else None
        if found:
            return found.span()
    return None


def _private_key(text: str, label: re.Match[str]) -> TextSpan | None:
    found = _KEY.match(text, label.end()) if _KEY_BEGINS.match(text, label.end()) else None
    return found.span() if found else None


def _userinfo(text: str, label: re.Match[str]) -> TextSpan | None:
    found = _USERINFO.match(text, label.end()) or _SLOPPY_USERINFO.match(text, label.end())
    return found.span() if found else None


@dataclass(frozen=True, slots=True)
class _CredentialKind:
    """A kind of credential.

    Attributes:
        start: A short expression that finds where a credential of this kind may start.
        label: The expression for the text before the credential, from `start` on.
        find: Returns the span of the credential after a match of `label`, or None.
    """

    start: str
    label: re.Pattern[str]
    find: CredentialFinder


_KINDS = (
    _CredentialKind("-----BEGIN ", _PRIVATE_KEY, _private_key),
    _CredentialKind("://", _AUTHORITY, _userinfo),
    _CredentialKind(_TOKEN.pattern, _TOKEN, _token),
    _CredentialKind(
        "<(?:Cookie |Morsel: )", header_values.COOKIE_OBJECT, header_values.cookie_object_span
    ),
    _CredentialKind(
        "(?i:authorization)", header_values.AUTHORIZATION, header_values.authorization_span
    ),
    _CredentialKind("(?i:cookie)", header_values.COOKIE, header_values.cookie_span),
    _CredentialKind(r"(?i:\bauth)", header_values.USER_PAIR, header_values.user_pair_span),
    _CredentialKind("(?i:bearer)", header_values.BEARER, header_values.bearer_span),
    _CredentialKind("(?i:basic)", header_values.BASIC, header_values.basic_span),
    _CredentialKind(NAME, LABEL, value_span),
)
_START = re.compile("|".join(f"({kind.start})" for kind in _KINDS))
_LONGEST_START = 100
"""Upper bound of the length of a match of _START, in characters."""
