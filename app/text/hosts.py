"""Normalises host names and addresses as browsers do (WHATWG URL standard, host parsing)."""

import functools
import re

from ada_url import URL

MAX_LENGTH = 1000
"""Maximum length of a host in characters, before and after normalising; it must fit an index."""

# A host that can stand in a URL: an IPv6 address in brackets, or any text without the characters
# that end the host of a URL or that URL parsers remove.
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[^\x00-\x20/\\?#@:\[\]]+")
# Text of hexadecimal digits, dots and at least one colon: an IPv6 address without brackets.
_UNBRACKETED_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def normalise(text: str) -> str | None:
    """Return the host `text` in ASCII and lower case, without a trailing dot.

    IPv4 addresses become four decimal numbers, IPv6 addresses their shortest form in brackets. The
    brackets of an IPv6 address are optional in `text`. Percent-encoded bytes are decoded.

    Returns:
        The host, or None if `text` is not a host. A name that ends in an empty label
        (`example.com..`) is refused: it keeps a trailing dot after one dot is removed.
    """
    return _normalise(text) if len(text) <= MAX_LENGTH else None


@functools.lru_cache(maxsize=4096)  # most requests name one of a few hosts
def _normalise(text: str) -> str | None:
    if _UNBRACKETED_IPV6.fullmatch(text):
        text = f"[{text}]"
    if not _HOST.fullmatch(text):
        return None
    try:
        host = URL(f"http://{text}/").hostname.removesuffix(".")
    except ValueError:  # also for lone surrogates
        return None
    return host if 1 <= len(host) <= MAX_LENGTH and not host.endswith(".") else None
