"""Sanitises text from clients: removes invisible characters, masks credentials, limits length."""

import re

from app.text import credentials

MAX_LENGTH = 4096
"""Maximum length of a stored text, in characters, without the mark TRUNCATED."""

TRUNCATED = "… [truncated]"

# One invisible character:
# - Unicode category Cc, except newline and tab;
# - category Cf, which includes the bidirectional and the zero-width characters;
# - lone surrogates, and the line and paragraph separators;
# - the other characters that are ignorable by default: joiners, fillers, variation selectors.
# Any of them can hide inside a name such as "password", so that it looks the same but does not
# match.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2"
    "\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164"
    "\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)


def masked(text: str) -> str:
    """Return `text` without invisible characters and with credentials masked."""
    return credentials.masked(_INVISIBLE.sub("", text))


def one_line(text: str) -> str:
    """Return `text` sanitised and on one line, for names: each run of whitespace is one space."""
    return " ".join(sanitise(text).split())


def sanitise(text: str) -> str:
    """Return `text` in the form to store: visible, credentials masked, at most MAX_LENGTH long.

    HTML is kept: the client that renders the text escapes it. A second call does not change the
    result, unless the first call truncated the text.
    """
    text = credentials.masked(_INVISIBLE.sub("", text), enough=MAX_LENGTH)
    return text if len(text) <= MAX_LENGTH else text[:MAX_LENGTH] + TRUNCATED
