"""Normalises host names and addresses as browsers do (WHATWG URL standard, host parsing)."""

import functools
import re

from ada_url import URL

MAX_LENGTH = 1000
"""Characters that a host may have, before and after it is normalised: index entries have to hold
it."""

# What ends a host in a URL, or is left out of a URL wherever it stands: none of it belongs to a
# host.
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]|[^\x00-\x20/\\?#@:\[\]]+")
_BARE_IPV6 = re.compile(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*")


def normalise(text: str) -> str | None:
    """Return the ASCII form of the host `text`: in lower case, without a trailing dot; None if it
    is no host.

    IPv4 addresses become four decimal numbers, IPv6 addresses their shortest form in brackets. An
    IPv6 address may come without brackets. Percent-encoded bytes are decoded, so the result never
    holds any. A name that ends in an empty label (`example.com..`) is no host here: it has no form
    without a trailing dot.
    """
    return _normalise(text) if len(text) <= MAX_LENGTH else None


@functools.lru_cache(maxsize=4096)  # most requests name one of a few hosts
def _normalise(text: str) -> str | None:
    if _BARE_IPV6.fullmatch(text):
        text = f"[{text}]"
    if not _HOST.fullmatch(text):
        return None
    try:
        host = URL(f"http://{text}/").hostname.removesuffix(".")
    except ValueError:  # also for lone surrogates
        return None
    return host if 1 <= len(host) <= MAX_LENGTH and not host.endswith(".") else None
