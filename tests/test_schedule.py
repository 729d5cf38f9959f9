"""The order of the tests: every test runs once, and slow modules start first."""

from pathlib import Path
from typing import Any, cast

import pytest

from support.schedule import deal


class FakeItem:
    """A test of a module, with the part of pytest's interface that the order depends on."""

    def __init__(self, module: str, *, quick: bool) -> None:
        self.path = Path(module)
        self._quick = quick

    def get_closest_marker(self, name: str) -> bool:
        return name == "quick" and self._quick

    def getparent(self, _kind: Any) -> None:
        return None


def fake_items(**sizes: int) -> list[pytest.Item]:
    """Return as many tests per module; modules are quick if their name begins with `quick`."""
    return [
        cast(pytest.Item, FakeItem(module, quick=module.startswith("quick")))
        for module, size in sizes.items()
        for _ in range(size)
    ]


@pytest.mark.parametrize("workers", [1, 2, 3, 4, 7])
@pytest.mark.parametrize(
    "sizes",
    [
        {},
        {"slow": 1},
        {"quick": 10},
        {"slow_a": 5, "quick_a": 3, "slow_b": 2, "quick_b": 30},
        {"slow_a": 50, "slow_b": 1, "quick": 2},
    ],
)
def test_every_test_is_dealt_once(workers: int, sizes: dict[str, int]) -> None:
    items = fake_items(**sizes)
    parts = deal(items, workers)
    assert len(parts) == workers
    dealt = [item for part in parts for item in part]
    assert len(dealt) == len(items)
    assert {id(item) for item in dealt} == {id(item) for item in items}


def test_slow_modules_stay_whole_and_come_first() -> None:
    parts = deal(fake_items(quick=20, slow_a=3, slow_b=4, slow_c=5), 2)
    names = [[item.path.name for item in part] for part in parts]
    assert [len(part) for part in names] == [16, 16]
    assert names == [
        ["slow_c"] * 5 + ["quick"] * 11,
        ["slow_b"] * 4 + ["slow_a"] * 3 + ["quick"] * 9,
    ]


def test_quick_mark_depends_on_fixtures(request: pytest.FixtureRequest) -> None:
    assert request.node.get_closest_marker("quick")
