"""What a caller demands of the job that it changes or reads (RFC 9110, section 13)."""

import re
from collections.abc import Sequence

from flask import request

from app.errors import LeaseLost

# Weak comparison: a proxy that compresses an answer weakens its ETag.
_TAG = r'(?:W/)?"([^"]*)"'
_LIST = re.compile(rf"[ \t]*{_TAG}(?:[ \t]*,[ \t]*{_TAG})*[ \t]*")
_TOKEN = re.compile(r"[!-~]{1,255}")
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


def etag(version: int) -> str:
    """Return the ETag of a job's version."""
    return f'"{version}"'


def accepted_versions() -> Sequence[int] | None:
    """Return the versions that If-Match names, or None where any will do."""
    return _versions(request.headers.get("If-Match"))


def is_known(version: int) -> bool:
    """Tell whether If-None-Match says that the caller has this version already."""
    header = request.headers.get("If-None-Match")
    return header is not None and (header.strip() == "*" or version in (_versions(header) or ()))


def lease_token() -> str | None:
    """Return the caller's proof that the job is leased to it, if any; raises LeaseLost for what can be none."""
    token = request.headers.get("X-Lease-Token")
    if token is not None and not _TOKEN.fullmatch(token):
        raise LeaseLost
    return token


def _versions(header: str | None) -> Sequence[int] | None:
    if header is None or header.strip() == "*":
        return None
    tags = re.findall(_TAG, header) if _LIST.fullmatch(header) else ()
    return [int(tag) for tag in tags if _VERSION.fullmatch(tag)]
