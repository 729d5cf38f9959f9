"""Masks credentials in text, and nothing else; in linear time."""

import base64
import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass

from app.named_values import LABEL, LOOK_AHEAD, NAME, SPACE, Span, bare, is_prose, quoted, value_of

MASK = "***"
_ROUNDS = 4
"""A mask brings the characters around it together, and so may show one more credential."""

Finder = Callable[[str, re.Match[str]], Span | None]

# Credentials that are known by their own form, in whatever text they stand.
_TOKENS = (
    ("sjk_[0-9a-z]{12}_", "[A-Za-z0-9_-]{43,}"),  # keys of this service
    ("whsec_", "[A-Za-z0-9+/]{24,}={0,2}"),  # secrets of webhooks, by the Standard Webhooks specification
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
    ("sk-(?:proj-|ant-|or-)?", r"(?=[\w-]*[0-9])[\w-]{20,}"),  # OpenAI, Anthropic
    (r"SG\.", r"[\w-]{16,}\.[\w-]{16,}"),  # SendGrid
    ("npm_", "[A-Za-z0-9]{36,}"),
    ("pypi-", r"[\w-]{50,}"),
)
_COLOUR = r"(?<=\[[0-9]m)|(?<=\[[0-9]{2}m)"  # the rest of a colour code without its control character
_TOKEN = re.compile(
    rf"(?:(?<![A-Za-z0-9])|{_COLOUR})(?:" + "|".join(f"(?:{prefix})(?={value})" for prefix, value in _TOKENS) + ")",
    re.ASCII,
)
_TOKEN_VALUES = tuple((re.compile(prefix, re.ASCII), re.compile(value, re.ASCII)) for prefix, value in _TOKENS)

_PRIVATE_KEY = re.compile(r"-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----")
_KEY_BEGINS = re.compile(r"(?:\s|\\+[nr])*+(?:[A-Za-z-]{1,30}: |[A-Za-z0-9+/=]{16})")
_KEY = re.compile(r"(?:[^-]|-(?!----))*+")

_AUTHORITY = re.compile("://(?!git@)")  # everybody's name at many servers
_USERINFO = re.compile(r"""[^\s/?#"'<>:\[\](){}|,;]*(?::[^\s/?#"'<>]*)?(?=@)""")
# A password in which a delimiter was left as it is. A port and a path look alike, but for the port's digits.
_SLOPPY_USERINFO = re.compile(
    r"""[^\s/?#"'<>:@\[\](){}|,;]{1,64}:(?!\d{1,5}(?:[/?#\s]|$)|\$?\{)[^\s"'<>]{1,200}(?=@[\w\[])"""
)

_BEARER = re.compile(rf"(?i)(?:bearer{SPACE}+){{1,3}}(?!(?:realm|error|error_\w+|scope|charset|auth\w*)=)")
_NO_BEARER = re.compile(
    r"(?i)(?:tokens?|auth|authentication|authorization|scheme|header|format|credentials?|challenge|type|prefix|rejected)"
    r"""(?=[.,;:!?)\]}"']*(?:\s|$))"""
)
_BASIC = re.compile(rf"(?i)basic{SPACE}+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{8,}={0,2}")

# Header fields, whose value goes to the end of the line, or of the string in which the whole field stands.
_AUTHORIZATION = re.compile(
    rf"""(?ix) authorization (?P<close> \\{{0,3}}["']? ) {SPACE}* (?: => | [:=](?!=) | (?<=["']) , ) {SPACE}*
    (?: \[ {SPACE}* )? (?: [bruf]{{1,2}} (?=["']) )?"""
)
_COOKIE = re.compile(
    rf"""(?ix) cookie[2s]? (?P<close> \\{{0,3}}["']? ) {SPACE}* (?: => | [:=](?!=) | (?<=["']) , ) {SPACE}*
    (?: \[ {SPACE}* (?=[b"'])  )? (?: [bru]{{1,2}} (?=["']) )?"""
)
_SCHEME = re.compile(rf"[A-Za-z0-9-]{{1,20}}{SPACE}+")
_LINE = re.compile(r"(?:[^\n\\]|\\(?![rn]))*+")
_COOKIE_PAIR = re.compile(r"""[^\s=;,:(){}\[\]"'<>]{1,100}=[^\s>]""")
_COOKIE_COLLECTION = re.compile(
    r"""(?<=\{)(?=[^{}\n]{0,200}:)[^{}\n]++(?=\})|(?<=\[)\{(?=[^\[\]\n]{0,200}:)[^\[\]\n]++(?=\])"""
)
_COOKIE_OBJECT = re.compile(r"<(?:Cookie |Morsel: )[^\s=>]{1,100}=")
_PAIR = re.compile(
    rf"""(?i)\bauth["']?{SPACE}*[:=]{SPACE}*\({SPACE}*b?(?:"[^"\n]{{0,100}}"|'[^'\n]{{0,100}}'){SPACE}*,{SPACE}*b?(?=["'])"""
)
_QUOTE = re.compile(r"""\\{0,3}["']""")


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


def _bearer(text: str, label: re.Match[str]) -> Span | None:
    start = label.end()
    opening = _QUOTE.match(text, start)
    found = quoted(text, opening) if opening else None
    head = text[found[0] if found else start :][:LOOK_AHEAD]
    if _NO_BEARER.match(head) or is_prose(head):
        return None
    begin, end = found or bare(text, start)
    return (begin, end) if begin < end else None


def _basic(text: str, label: re.Match[str]) -> Span | None:
    found = _BASE64.match(text, label.end())
    return found.span() if found and _is_basic(found[0][:LOOK_AHEAD]) else None


def _is_basic(value: str) -> bool:
    """Return whether `value` is a user and a password in Base64 (RFC 7617), or as mixed as that."""
    with_padding = value.rstrip("=")
    with_padding += "=" * (-len(with_padding) % 4)
    try:
        decoded = base64.b64decode(with_padding, validate=True)
    except binascii.Error:
        decoded = b""
    is_text = b":" in decoded and decoded.isascii() and decoded.decode().isprintable()
    kinds = ("[0-9]", "[a-z]", "[A-Z]")
    return is_text or (len(value) >= 12 and all(re.search(kind, value) for kind in kinds))


def _authorization(text: str, label: re.Match[str]) -> Span | None:
    opening = _QUOTE.match(text, label.end())
    start = opening.end() if opening else label.end()
    head = text[start : start + LOOK_AHEAD]
    scheme = _SCHEME.match(head)
    if is_prose(head) or (scheme and is_prose(head[scheme.end() :])):
        return None
    if opening:
        return _unless_empty(quoted(text, opening))
    return _rest_of_line(text, label)


def _cookie(text: str, label: re.Match[str]) -> Span | None:
    start = label.end()
    opening = _QUOTE.match(text, start)
    if opening:
        found = quoted(text, opening)
        return found if "=" in text[found[0] : min(found[1], found[0] + LOOK_AHEAD)] else None
    collection = _COOKIE_COLLECTION.match(text, start + 1) if text[start : start + 1] in ("{", "[") else None
    if collection:
        return collection.span()
    return _rest_of_line(text, label) if _COOKIE_PAIR.match(text, start) else None


def _cookie_object(text: str, label: re.Match[str]) -> Span | None:
    return _unless_empty(bare(text, label.end()))


def _pair(text: str, label: re.Match[str]) -> Span | None:
    opening = _QUOTE.match(text, label.end())
    return _unless_empty(quoted(text, opening)) if opening else None


def _rest_of_line(text: str, label: re.Match[str]) -> Span:
    """Return the rest of the line behind `label`, up to the quote if one stands before the name of the field."""
    before = re.search(r"""(\\{0,3}["'])[\w-]*\Z""", text[max(0, label.start() - 40) : label.start()])
    line = _LINE.match(text, label.end())
    end = line.end() if line else label.end()
    if before and not label["close"]:
        closing = text.find(before[1], label.end(), end)
        end = end if closing < 0 else closing
    return label.end(), end


def _unless_empty(span: Span) -> Span | None:
    return span if span[0] < span[1] else None


@dataclass(frozen=True, slots=True)
class _Kind:
    """A kind of credential: how it starts, what stands before it as a whole, and where it stands itself."""

    start: str
    label: re.Pattern[str]
    find: Finder


_KINDS = (
    _Kind("-----BEGIN ", _PRIVATE_KEY, _private_key),
    _Kind("://", _AUTHORITY, _userinfo),
    _Kind(_TOKEN.pattern, _TOKEN, _token),
    _Kind("<(?:Cookie |Morsel: )", _COOKIE_OBJECT, _cookie_object),
    _Kind("(?i:authorization)", _AUTHORIZATION, _authorization),
    _Kind("(?i:cookie)", _COOKIE, _cookie),
    _Kind(r"(?i:\bauth)", _PAIR, _pair),
    _Kind("(?i:bearer)", _BEARER, _bearer),
    _Kind("(?i:basic)", _BASIC, _basic),
    _Kind(NAME, LABEL, value_of),
)
_START = re.compile("|".join(f"({kind.start})" for kind in _KINDS))
_LONGEST_START = 100
"""More characters than any match of _START needs."""
