"""Finds credentials in header fields: in their own notation, and as programs write them into code,
JSON and logs."""

import base64
import binascii
import re

from app.text.named_values import LOOK_AHEAD, SPACE, Span, bare, is_prose, quoted

BEARER = re.compile(
    rf"(?i)(?:bearer{SPACE}+){{1,3}}(?!(?:realm|error|error_\w+|scope|charset|auth\w*)=)"
)
_NO_BEARER = re.compile(
    r"(?i)(?:tokens?|auth|authentication|authorization|scheme|header|format|credentials?|challenge|type|prefix|rejected)"
    r"""(?=[.,;:!?)\]}"']*(?:\s|$))"""
)
BASIC = re.compile(rf"(?i)basic{SPACE}+")
_BASE64 = re.compile(r"[A-Za-z0-9+/]{8,}={0,2}")

# Header fields, whose value goes to the end of the line, or of the string in which the whole field
# stands.
AUTHORIZATION = re.compile(
    rf"""(?ix) authorization (?P<close> \\{{0,3}}["']? ) {SPACE}* (?: => | [:=](?!=) | (?<=["']) , ) {SPACE}*
    (?: \[ {SPACE}* )? (?: [bruf]{{1,2}} (?=["']) )?"""
)
COOKIE = re.compile(
    rf"""(?ix) cookie[2s]? (?P<close> \\{{0,3}}["']? ) {SPACE}* (?: => | [:=](?!=) | (?<=["']) , ) {SPACE}*
    (?: \[ {SPACE}* (?=[b"'])  )? (?: [bru]{{1,2}} (?=["']) )?"""
)
_SCHEME = re.compile(rf"[A-Za-z0-9-]{{1,20}}{SPACE}+")
_LINE = re.compile(r"(?:[^\n\\]|\\(?![rn]))*+")
_COOKIE_PAIR = re.compile(r"""[^\s=;,:(){}\[\]"'<>]{1,100}=[^\s>]""")
_COOKIE_COLLECTION = re.compile(
    r"""(?<=\{)(?=[^{}\n]{0,200}:)[^{}\n]++(?=\})|(?<=\[)\{(?=[^\[\]\n]{0,200}:)[^\[\]\n]++(?=\])"""
)
COOKIE_OBJECT = re.compile(r"<(?:Cookie |Morsel: )[^\s=>]{1,100}=")
PAIR = re.compile(
    rf"""(?i)\bauth["']?{SPACE}*[:=]{SPACE}*\({SPACE}*b?(?:"[^"\n]{{0,100}}"|'[^'\n]{{0,100}}'){SPACE}*,{SPACE}*b?(?=["'])"""
)
_QUOTE = re.compile(r"""\\{0,3}["']""")


def bearer(text: str, label: re.Match[str]) -> Span | None:
    """Return where a bearer token (RFC 6750) stands behind `label`."""
    start = label.end()
    opening = _QUOTE.match(text, start)
    begin = opening.end() if opening else start
    head = text[begin : begin + LOOK_AHEAD]
    if _NO_BEARER.match(head) or is_prose(head):
        return None
    return _unless_empty(quoted(text, opening) if opening else bare(text, start))


def basic(text: str, label: re.Match[str]) -> Span | None:
    """Return where the user and the password of Basic (RFC 7617) stand behind `label`."""
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


def authorization(text: str, label: re.Match[str]) -> Span | None:
    """Return where the value of an Authorization field stands behind `label`."""
    opening = _QUOTE.match(text, label.end())
    start = opening.end() if opening else label.end()
    head = text[start : start + LOOK_AHEAD]
    scheme = _SCHEME.match(head)
    if is_prose(head) or (scheme and is_prose(head[scheme.end() :])):
        return None
    if opening:
        return _unless_empty(quoted(text, opening))
    return _rest_of_line(text, label)


def cookie(text: str, label: re.Match[str]) -> Span | None:
    """Return where cookies stand, in a header field, a dictionary or a list, behind `label`."""
    start = label.end()
    opening = _QUOTE.match(text, start)
    if opening:
        found = quoted(text, opening)
        return found if "=" in text[found[0] : min(found[1], found[0] + LOOK_AHEAD)] else None
    collection = (
        _COOKIE_COLLECTION.match(text, start + 1) if text[start : start + 1] in ("{", "[") else None
    )
    if collection:
        return collection.span()
    return _rest_of_line(text, label) if _COOKIE_PAIR.match(text, start) else None


def cookie_object(text: str, label: re.Match[str]) -> Span | None:
    """Return where the value of a cookie as Python's libraries show it stands behind `label`."""
    return _unless_empty(bare(text, label.end()))


def pair(text: str, label: re.Match[str]) -> Span | None:
    """Return where the password in a pair such as `auth=('user', 'password')` stands behind
    `label`."""
    opening = _QUOTE.match(text, label.end())
    return _unless_empty(quoted(text, opening)) if opening else None


def _rest_of_line(text: str, label: re.Match[str]) -> Span:
    """Return the rest of the line behind `label`, up to the quote if one stands before the name of
    the field."""
    before = re.search(
        r"""(\\{0,3}["'])[\w-]*\Z""", text[max(0, label.start() - 40) : label.start()]
    )
    line = _LINE.match(text, label.end())
    end = line.end() if line else label.end()
    if before and not label["close"]:
        closing = text.find(before[1], label.end(), end)
        end = end if closing < 0 else closing
    return label.end(), end


def _unless_empty(span: Span) -> Span | None:
    return span if span[0] < span[1] else None
