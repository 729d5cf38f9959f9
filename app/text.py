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

_VALUE = r"""(?:"[^"\n]*"?|'[^'\n]*'?|[^\s"'&,;<>]+)"""

# Each pattern is linear in the length of the text: no two repetitions in it can match the same characters.
_CREDENTIALS = (
    (re.compile(r"(://)[^\s/?#]*@"), rf"\1{MASK}@"),
    (re.compile(r"""(?i)(authorization["']?[ \t]{0,4}[:=])[^\n"']*(?:["'][^\n"']*)?"""), rf"\1 {MASK}"),
    (re.compile(r"(?i)\b(bearer)\s{1,4}" + _VALUE), rf"\1 {MASK}"),
    (
        re.compile(
            r"""(?i)((?:api[_-]?key|passw(?:or)?d|passphrase|pwd|secret)["']?[ \t]{0,4}[:=][ \t]{0,4})""" + _VALUE
        ),
        rf"\1{MASK}",
    ),
    # A bare "token:" is what parsers say of a syntax error, so the colon counts after a quoted name alone.
    (re.compile(r"""(?i)(token(?:["']?[ \t]{0,4}=|["'][ \t]{0,4}:)[ \t]{0,4})""" + _VALUE), rf"\1{MASK}"),
)


def sanitise(text: str) -> str:
    """Return `text` as it may be stored: visible characters alone, credentials masked, at most MAX_LENGTH kept.

    HTML stays the text that it is: whoever renders it escapes it. Doing it twice changes nothing more.
    """
    text = _INVISIBLE.sub("", text)
    for pattern, replacement in _CREDENTIALS:
        text = pattern.sub(replacement, text)
    return text if len(text) <= MAX_LENGTH else text[:MAX_LENGTH] + TRUNCATED
