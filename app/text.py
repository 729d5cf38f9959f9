"""Makes text from outside safe to store and to show: no invisible characters, no credentials, no novels."""

import re

MAX_LENGTH = 4096
"""Characters that are kept of a message."""

TRUNCATED = "… [truncated]"
MASK = "***"

# Unicode categories Cc (but newline and tab) and Cf, which holds the bidirectional and the zero-width characters;
# lone surrogates; the line and paragraph separators; what else is ignorable by default: joiners, fillers, and what
# selects a variation, by all of which a name such as "password" can be made to look like itself and be another.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)

# A value in quotes keeps them, so that masking twice masks the same; one without ends where a word or a tag does.
_QUOTED = r"""\\"[^"\\\n]*|\\'[^'\\\n]*|"(?:\\.|[^"\\\n])*|'(?:\\.|[^'\\\n])*"""
_VALUE = rf"""(?:{_QUOTED}|[^\s&<>"'\\](?:[^\s&<>]*[^\s&<>,;])?)"""
_SPACE = r"[^\S\n]"  # of any width, but no end of a line
_SEPARATOR = rf"""\\?["']?{_SPACE}*(?:=>|[:=]){_SPACE}*"""
_QUOTED_SEPARATOR = rf"""\\?["']{_SPACE}*(?:=>|[:=]){_SPACE}*"""

# Each pattern is linear in the length of the text: no two repetitions in it can match the same characters.
_CREDENTIALS = tuple(
    re.compile(f"(?i)(?P<kept>{before})(?P<value>{value})")
    for before, value in (
        ("//", r"""[^\s/?#"'<>]*(?=@)"""),  # user and password in a URL
        ("-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----", "(?:[^-]|-(?!----))*"),  # to its end, or the text's
        # Headers, to the end of their line. No word has to begin here: HTTP_AUTHORIZATION, or one after a colour code.
        (rf"(?:authorization|cookie[2s]?){_SPACE}*[:=]{_SPACE}*", r"[^\n]*"),
        (rf"(?:authorization|cookie[2s]?){_QUOTED_SEPARATOR}", _VALUE),
        (rf"(?:bearer{_SPACE}+){{1,3}}", _VALUE),
        # Base64 and no word: with a digit or a sign, or with a capital letter past its beginning.
        (rf"basic{_SPACE}+", r"(?-i:(?=[A-Za-z]*[0-9+/=]|[A-Z]*[a-z]+[A-Z])[A-Za-z0-9+/]{12,}={0,2})"),
        ("sjk_[0-9a-z]{12}_", "[A-Za-z0-9_-]{43}"),  # our own keys
        ("whsec_", "[A-Za-z0-9+/]{24,}={0,2}"),  # the secrets of our own webhooks, and of others
        ("(?-i:A(?:KI|SI)A)", "(?-i:[A-Z0-9]{16})"),  # an AWS access key
        (r"(?-i:eyJ)", r"(?-i:[\w-]{10,}(?:\.[\w-]*){0,4})"),  # a JSON Web Token
        (
            rf"(?:(?:api|access)[_-]?key|passw(?:or)?d|passphrase|pwd|secret[\w-]{{0,20}}|token(?={_SPACE}*=))"
            + _SEPARATOR,
            _VALUE,
        ),
        # A bare "token:" is what parsers say of a syntax error, so the colon counts after a quoted name alone.
        (f"token{_QUOTED_SEPARATOR}", _VALUE),
    )
)


def _masked(match: re.Match[str]) -> str:
    quote = re.match(r"""\\?["']?""", match["value"])
    return match["kept"] + (quote[0] if quote else "") + MASK


def masked(text: str) -> str:
    """Return `text` without what is invisible, and with credentials masked."""
    text = _INVISIBLE.sub("", text)
    for pattern in _CREDENTIALS:
        text = pattern.sub(_masked, text)
    return text


def one_line(text: str) -> str:
    """Return `text` as a name by which somebody is called: sanitised, and with single spaces for all that parts it."""
    return " ".join(sanitise(text).split())


def sanitise(text: str) -> str:
    """Return `text` as it may be stored: visible characters alone, credentials masked, at most MAX_LENGTH kept.

    HTML stays the text that it is: whoever renders it escapes it. Doing it again to a text that was not cut changes
    nothing more.
    """
    text = masked(text)
    return text if len(text) <= MAX_LENGTH else text[:MAX_LENGTH] + TRUNCATED
