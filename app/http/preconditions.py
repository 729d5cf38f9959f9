"""What a caller preconditions of the job that it changes or reads (RFC 9110, section 13)."""

import re
from collections.abc import Sequence

from flask import request

from app.errors import LeaseLost

LEASE_HEADER = "X-Lease-Token"

# Weak comparison: a proxy that compresses an answer weakens its ETag.
_TAG = r'(?:W/)?"([^"]*)"'
_LIST = re.compile(rf"[ \t]*{_TAG}(?:[ \t]*,[ \t]*{_TAG})*[ \t]*")
_TOKEN = re.compile(r"[!-~]{1,255}")
_VERSION = re.compile(r"([1-9][0-9]{0,17})(?:-[0-9]{1,18})?")


def etag(tag: str) -> str:
    """Return the ETag of a job: its version, and the state of its lease where it has one."""
    return f'"{tag}"'


def accepted_versions() -> Sequence[int] | None:
    """Return the versions that If-Match names, or None where any will do.

    A lease that was extended in between is no modification, and nobody's update has to be made
    again for it.
    """
    header = request.headers.get("If-Match")
    if header is None or header.strip() == "*":
        return None
    return [int(found[1]) for found in map(_VERSION.fullmatch, _tags(header)) if found]


def is_known(tag: str) -> bool:
    """Tell whether If-None-Match says that the caller has exactly this state of the job already."""
    header = request.headers.get("If-None-Match")
    return header is not None and (header.strip() == "*" or tag in _tags(header))


def lease_token() -> str | None:
    """Return the caller's proof that the job is leased to it, if any; raises LeaseLost for what can
    be none."""
    token = request.headers.get(LEASE_HEADER)
    if token is not None and not _TOKEN.fullmatch(token):
        raise LeaseLost
    return token


def required_lease_token() -> str:
    """Return the caller's proof that the job is leased to it; raises LeaseLost where it brings
    none."""
    token = lease_token()
    if token is None:
        raise LeaseLost("X-Lease-Token must carry the lease_token that came with the job")
    return token


def _tags(header: str) -> Sequence[str]:
    return re.findall(_TAG, header) if _LIST.fullmatch(header) else ()
