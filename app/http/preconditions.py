"""Preconditions that request headers set: ETags (RFC 9110, section 13) and the lease token."""

import re
from collections.abc import Sequence

from flask import request

from app.errors import LeaseLost

LEASE_HEADER = "X-Lease-Token"

# ETags are compared weakly: a proxy that compresses an answer makes its ETag weak.
_TAG = r'(?:W/)?"([^"]*)"'
_LIST = re.compile(rf"[ \t]*{_TAG}(?:[ \t]*,[ \t]*{_TAG})*[ \t]*")
_TOKEN = re.compile(r"[!-~]{1,255}")
_VERSION = re.compile(r"([1-9][0-9]{0,17})(?:-[0-9]{1,18})?")


def etag(tag: str) -> str:
    """Return the ETag header for `tag`: a job's version and the state of its lease."""
    return f'"{tag}"'


def accepted_versions() -> Sequence[int] | None:
    """Return the versions that If-Match names, or None if every version is accepted.

    Only the version part of an ETag counts: extending a lease is not a modification, and must not
    make other clients repeat their updates.
    """
    header = request.headers.get("If-Match")
    return None if header is None or header.strip() == "*" else _versions(header)


def known_versions() -> Sequence[int]:
    """Return the versions that If-None-Match names: the client has one of them already."""
    return _versions(request.headers.get("If-None-Match", ""))


def is_known(tag: str) -> bool:
    """Return whether If-None-Match names `tag`: the client has this state of the job already."""
    header = request.headers.get("If-None-Match")
    return header is not None and (header.strip() == "*" or tag in _tags(header))


def lease_token() -> str | None:
    """Return the lease token of the request, or None. Raises LeaseLost if it is malformed."""
    token = request.headers.get(LEASE_HEADER)
    if token is not None and not _TOKEN.fullmatch(token):
        raise LeaseLost
    return token


def required_lease_token() -> str:
    """Return the lease token of the request. Raises LeaseLost if there is none."""
    token = lease_token()
    if token is None:
        raise LeaseLost("X-Lease-Token must carry the lease_token that came with the job")
    return token


def _versions(header: str) -> Sequence[int]:
    return [int(found[1]) for found in map(_VERSION.fullmatch, _tags(header)) if found]


def _tags(header: str) -> Sequence[str]:
    return re.findall(_TAG, header) if _LIST.fullmatch(header) else ()
