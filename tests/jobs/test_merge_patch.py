"""JSON Merge Patch, the pure rule (RFC 7396)."""

import copy
from typing import Any

import pytest
from hypothesis import given

from app.jobs.merge_patch import merge_patch
from support.patching import (
    RFC_7396_APPENDIX_A,
    objects,
    values,
    without_nulls,
)


def difference(old: Any, new: Any) -> Any:
    """Return a patch from `old` to `new`, which both have no null members."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return new
    gone: dict[str, Any] = dict.fromkeys(old.keys() - new.keys())
    return gone | {
        key: difference(old.get(key), value) for key, value in new.items() if old.get(key) != value
    }


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396_APPENDIX_A)
def test_examples_of_rfc_7396(target: Any, patch: Any, result: Any) -> None:
    assert merge_patch(target, patch) == result


@given(values, values)
def test_a_patch_applied_twice_changes_nothing_more(target: Any, patch: Any) -> None:
    once = merge_patch(target, patch)
    assert merge_patch(once, patch) == once


@given(values, values)
def test_neither_argument_is_changed(target: Any, patch: Any) -> None:
    before = copy.deepcopy((target, patch))
    merge_patch(target, patch)
    assert (target, patch) == before


@given(objects)
def test_an_empty_patch_changes_no_object(target: dict[str, Any]) -> None:
    assert merge_patch(target, {}) == target


@given(values, values.filter(lambda value: not isinstance(value, dict)))
def test_patch_that_is_no_object_replaces_target(target: Any, patch: Any) -> None:
    assert merge_patch(target, patch) == patch


@given(values, objects)
def test_nulls_remove_and_other_keys_stay(target: Any, patch: dict[str, Any]) -> None:
    merged = merge_patch(target, patch)
    old = target if isinstance(target, dict) else {}
    assert merged.keys() == (old.keys() | patch.keys()) - {
        key for key, value in patch.items() if value is None
    }
    assert all(merged[key] == value for key, value in old.items() if key not in patch)


@given(objects)
def test_patch_of_nothing_drops_its_nulls(patch: dict[str, Any]) -> None:
    assert merge_patch({}, patch) == without_nulls(patch)


@given(objects.map(without_nulls), objects.map(without_nulls))
def test_any_object_can_be_patched_to_another(old: dict[str, Any], new: dict[str, Any]) -> None:
    assert merge_patch(old, difference(old, new)) == new
