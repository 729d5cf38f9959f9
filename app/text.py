"""Makes text from outside safe to store and to show: no invisible characters, no credentials, no novels."""

import re

MAX_LENGTH = 4096
"""Characters that are kept of a message."""

TRUNCATED = "… [truncated]"
MASK = "***"

# Unicode categories Cc (but newline and tab) and Cf, which holds the bidirectional and the zero-width characters;
# lone surrogates; the line and paragraph separators; the combining grapheme joiner, which is as invisible.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u180e"
    "\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0001\U000e0020-\U000e007f]"
)

# A value in quotes keeps them, so that masking twice masks the same; one without ends where a word or a tag does.
_QUOTED = r"""\\"[^"\\\n]*|\\'[^'\\\n]*|"(?:\\.|[^"\\\n])*|'(?:\\.|[^'\\\n])*"""
_VALUE = rf"""(?:{_QUOTED}|[^\s&<>"'\\](?:[^\s&<>]*[^\s&<>,;])?)"""
_SEPARATOR = r"""\\?["']?[ \t]*(?:=>|[:=])[ \t]*"""
_QUOTED_SEPARATOR = r"""\\?["'][ \t]*(?:=>|[:=])[ \t]*"""

# Each pattern is linear in the length of the text: no two repetitions in it can match the same characters.
_CREDENTIALS = tuple(
    re.compile(f"(?i)(?P<kept>{before})(?P<value>{value})")
    for before, value in (
        ("//", r"""[^\s/?#"'<>]*(?=@)"""),  # user and password in a URL
        (r"\bauthorization[ \t]*[:=][ \t]*", r"[^\n]*"),  # the header, to the end of its line
        (rf"\bauthorization{_QUOTED_SEPARATOR}", _VALUE),
        (r"\b(?:bearer[ \t]+){1,3}", _VALUE),
        (
            r"(?:(?:api|access)[_-]?key|passw(?:or)?d|passphrase|pwd|secret[\w-]{0,20}|token(?=[ \t]*=))" + _SEPARATOR,
            _VALUE,
        ),
        # A bare "token:" is what parsers say of a syntax error, so the colon counts after a quoted name alone.
        (f"token{_QUOTED_SEPARATOR}", _VALUE),
    )
)


def _masked(match: re.Match[str]) -> str:
    quote = re.match(r"""\\?["']?""", match["value"])
    return match["kept"] + (quote[0] if quote else "") + MASK


def sanitise(text: str) -> str:
    """Return `text` as it may be stored: visible characters alone, credentials masked, at most MAX_LENGTH kept.

    HTML stays the text that it is: whoever renders it escapes it. Doing it again to a text that was not cut changes
    nothing more.
    """
    text = _INVISIBLE.sub("", text)
    for pattern in _CREDENTIALS:
        text = pattern.sub(_masked, text)
    return text if len(text) <= MAX_LENGTH else text[:MAX_LENGTH] + TRUNCATED
