"""JSON Merge Patch (RFC 7396)."""

from collections.abc import Mapping
from typing import Any


def merge_patch(target: Any, patch: Any) -> Any:
    """Return `target` with `patch` applied.

    Objects are merged in depth, null removes a key, and any other value replaces the old one.
    Neither argument is changed.

    Source: RFC 7396, section 2.
    """
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged
