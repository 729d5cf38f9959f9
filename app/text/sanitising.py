"""Makes text from outside safe to store and to show: no invisible characters, no credentials, no
novels."""

import re

from app.text import credentials

MAX_LENGTH = 4096
"""Characters that are kept of a message."""

TRUNCATED = "… [truncated]"

# Unicode categories Cc (but newline and tab) and Cf, which holds the bidirectional and the
# zero-width characters; lone surrogates; the line and paragraph separators; what else is ignorable
# by default: joiners, fillers, and what selects a variation, by all of which a name such as
# "password" can be made to look like itself and be another.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u034f\u0600-\u0605\u061c\u06dd\u070f\u0890\u0891\u08e2\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ud800-\udfff\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0000-\U000e0fff]"
)


def masked(text: str) -> str:
    """Return `text` without what is invisible, and with credentials masked."""
    return credentials.masked(_INVISIBLE.sub("", text))


def one_line(text: str) -> str:
    """Return `text` as a name by which somebody is called: sanitised, and with single spaces for
    all that parts it."""
    return " ".join(sanitise(text).split())


def sanitise(text: str) -> str:
    """Return `text` as it may be stored: visible characters alone, credentials masked, at most
    MAX_LENGTH kept.

    HTML stays the text that it is: whoever renders it escapes it. Doing it again to a text that was
    not cut changes nothing more.
    """
    text = credentials.masked(_INVISIBLE.sub("", text), enough=MAX_LENGTH)
    return text if len(text) <= MAX_LENGTH else text[:MAX_LENGTH] + TRUNCATED
