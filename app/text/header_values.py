"""Finds credentials in HTTP header fields: as sent, and as code, JSON and logs quote them.

Each function takes the text and a match that ends where the value may begin. It returns the span
of the credential in the text, or None.
"""

import base64
import binascii
import re

from app.text.named_values import (
    LOOK_AHEAD,
    SPACE,
    TextSpan,
    is_prose,
    quoted_span,
    unquoted_span,
)

# The word "bearer", up to three times, unless a parameter of a challenge (RFC 6750) follows.
BEARER = re.compile(
    rf"(?i)(?:bearer{SPACE}+){{1,3}}(?!(?:realm|error|error_\w+|scope|charset|auth\w*)=)"
)
# A word after "bearer" that belongs to a sentence, such as "bearer authentication".
_BEARER_IN_PROSE = re.compile(
    r"(?i)(?:tokens?|auth|authentication|authorization|scheme|header|format|credentials?"
    r"|challenge|type|prefix|rejected)"
    r"""(?=[.,;:!?)\]}"']*(?:\s|$))"""
)
# The word "basic" and the space after it.
BASIC = re.compile(rf"(?i)basic{SPACE}+")
# Eight or more characters of Base64, with their padding.
_BASE64 = re.compile(r"[A-Za-z0-9+/]{8,}={0,2}")

# The name of an Authorization field and the sign after it. The value extends to the end of the
# line, or of the quoted string that contains the field.
AUTHORIZATION = re.compile(
    rf"""(?ix) authorization (?P<close> \\{{0,3}}["']? )
    {SPACE}* (?: => | [:=](?!=) | (?<=["']) , ) {SPACE}*
    (?: \[ {SPACE}* )? (?: [bruf]{{1,2}} (?=["']) )?"""
)
# The name of a Cookie or Set-Cookie field, or of a variable with cookies, and the sign after it.
COOKIE = re.compile(
    rf"""(?ix) cookie[2s]? (?P<close> \\{{0,3}}["']? )
    {SPACE}* (?: => | [:=](?!=) | (?<=["']) , ) {SPACE}*
    (?: \[ {SPACE}* (?=[b"'])  )? (?: [bru]{{1,2}} (?=["']) )?"""
)
# The name of an authentication scheme, and the space after it.
_SCHEME = re.compile(rf"[A-Za-z0-9-]{{1,20}}{SPACE}+")
# The rest of a line; an escaped line break (\n or \r) ends it as well.
_LINE = re.compile(r"(?:[^\n\\]|\\(?![rn]))*+")
# The beginning of a cookie: its name, the equals sign, and a value.
_COOKIE_PAIR = re.compile(r"""[^\s=;,:(){}\[\]"'<>]{1,100}=[^\s>]""")
# The content of a dictionary of cookies, or of a list of such dictionaries.
_COOKIE_COLLECTION = re.compile(
    r"""(?<=\{)(?=[^{}\n]{0,200}:)[^{}\n]++(?=\})"""
    r"""|(?<=\[)\{(?=[^\[\]\n]{0,200}:)[^\[\]\n]++(?=\])"""
)
# The representation of a cookie in Python (http.cookiejar, http.cookies), up to its value.
COOKIE_OBJECT = re.compile(r"<(?:Cookie |Morsel: )[^\s=>]{1,100}=")
# A pair of user and password such as auth=('user', 'password'), up to the password.
USER_PAIR = re.compile(
    rf"""(?i)\bauth["']?{SPACE}*[:=]{SPACE}*\({SPACE}*b?"""
    rf"""(?:"[^"\n]{{0,100}}"|'[^'\n]{{0,100}}'){SPACE}*,{SPACE}*b?(?=["'])"""
)
# A quotation mark, which up to three backslashes may escape.
_QUOTE = re.compile(r"""\\{0,3}["']""")


def bearer_span(text: str, label: re.Match[str]) -> TextSpan | None:
    """Return the span of the bearer token (RFC 6750) after `label`, or None."""
    start = label.end()
    opening = _QUOTE.match(text, start)
    begin = opening.end() if opening else start
    head = text[begin : begin + LOOK_AHEAD]
    if _BEARER_IN_PROSE.match(head) or is_prose(head):
        return None
    return _unless_empty(quoted_span(text, opening) if opening else unquoted_span(text, start))


def basic_span(text: str, label: re.Match[str]) -> TextSpan | None:
    """Return the span of the Basic credentials (RFC 7617) after `label`, or None."""
    found = _BASE64.match(text, label.end())
    return found.span() if found and _is_basic(found[0][:LOOK_AHEAD]) else None


def _is_basic(value: str) -> bool:
    """Return whether `value` is a user and a password in Base64 (RFC 7617), or looks random.

    A long value with digits, lower-case and upper-case letters counts as random.
    """
    with_padding = value.rstrip("=")
    with_padding += "=" * (-len(with_padding) % 4)
    try:
        decoded = base64.b64decode(with_padding, validate=True)
    except binascii.Error:
        decoded = b""
    is_text = b":" in decoded and decoded.isascii() and decoded.decode().isprintable()
    kinds = ("[0-9]", "[a-z]", "[A-Z]")
    return is_text or (len(value) >= 12 and all(re.search(kind, value) for kind in kinds))


def authorization_span(text: str, label: re.Match[str]) -> TextSpan | None:
    """Return the span of the value of the Authorization field after `label`, or None."""
    opening = _QUOTE.match(text, label.end())
    start = opening.end() if opening else label.end()
    head = text[start : start + LOOK_AHEAD]
    scheme = _SCHEME.match(head)
    if is_prose(head) or (scheme and is_prose(head[scheme.end() :])):
        return None
    if opening:
        return _unless_empty(quoted_span(text, opening))
    return _rest_of_line(text, label)


def cookie_span(text: str, label: re.Match[str]) -> TextSpan | None:
    """Return the span of the cookies after `label` (a field, dictionary or list), or None."""
    start = label.end()
    opening = _QUOTE.match(text, start)
    if opening:
        found = quoted_span(text, opening)
        return found if "=" in text[found[0] : min(found[1], found[0] + LOOK_AHEAD)] else None
    collection = (
        _COOKIE_COLLECTION.match(text, start + 1) if text[start : start + 1] in ("{", "[") else None
    )
    if collection:
        return collection.span()
    return _rest_of_line(text, label) if _COOKIE_PAIR.match(text, start) else None


def cookie_object_span(text: str, label: re.Match[str]) -> TextSpan | None:
    """Return the span of the value in the Python representation of a cookie, or None."""
    return _unless_empty(unquoted_span(text, label.end()))


def user_pair_span(text: str, label: re.Match[str]) -> TextSpan | None:
    """Return the span of the password in a pair such as `auth=('user', 'password')`, or None."""
    opening = _QUOTE.match(text, label.end())
    return _unless_empty(quoted_span(text, opening)) if opening else None


def _rest_of_line(text: str, label: re.Match[str]) -> TextSpan:
    """Return the span of the rest of the line after `label`.

    If a quotation mark precedes the name of the field, the span ends at the next such mark.
    """
    before = re.search(
        r"""(\\{0,3}["'])[\w-]*\Z""", text[max(0, label.start() - 40) : label.start()]
    )
    line = _LINE.match(text, label.end())
    end = line.end() if line else label.end()
    if before and not label["close"]:
        closing = text.find(before[1], label.end(), end)
        end = end if closing < 0 else closing
    return label.end(), end


def _unless_empty(span: TextSpan) -> TextSpan | None:
    return span if span[0] < span[1] else None
