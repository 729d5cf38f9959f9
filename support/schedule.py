"""Which tests are quick, and in which order the tests run.

A test is *quick* if it needs only this process and the worker's shared database. `make quick` runs
these tests. A new test is quick by default. It is not quick if

- it uses a fixture that starts a process or creates a database (`SLOW_FIXTURES`),
- its module imports something that starts processes (`PROCESS_MODULES`, `PROCESS_CLASSES`), so keep
  such tests in separate modules,
- it is a property test, which runs many examples, or
- it or its module has the mark `slow`.
"""

from collections import defaultdict
from collections.abc import Sequence
from types import ModuleType

import pytest

SLOW_FIXTURES = {"service", "tree", "folder", "empty_database", "server_url"}

PROCESS_MODULES = {
    "subprocess",
    "support.nginx",
    "support.node",
    "support.pgbouncer",
    "support.postgres",
    "support.redis",
    "support.replication",
    "support.terminal",
    "support.tree",
}

PROCESS_CLASSES = {"Service", "Dispatcher"}
"""Of support.service, whose functions start nothing."""


def is_quick(item: pytest.Item) -> bool:
    """Return whether the test needs no process or database of its own."""
    return not (
        SLOW_FIXTURES & set(getattr(item, "fixturenames", ()))
        or item.get_closest_marker("slow")
        or hasattr(getattr(item, "obj", None), "hypothesis")
        or _starts_processes(item)
    )


def _starts_processes(item: pytest.Item) -> bool:
    module = item.getparent(pytest.Module)
    names = vars(module.obj) if module is not None else {}
    return any(_origin(value) in PROCESS_MODULES for value in names.values()) or any(
        _origin(names.get(name)) == "support.service" for name in PROCESS_CLASSES
    )


def _origin(value: object) -> str:
    """Return the name of the module that `value` is or comes from."""
    if isinstance(value, ModuleType):
        return value.__name__
    return str(getattr(value, "__module__", ""))


def deal(items: Sequence[pytest.Item], workers: int) -> list[list[pytest.Item]]:
    """Return one list of tests per worker, of equal length, each with slow modules at its start.

    xdist (`--dist worksteal`) first gives each worker an equal part of the tests in their order.
    Towards the end, idle workers take over tests of others, which works best with quick tests. The
    tests of a module stay together, because they share the fixtures of their module. Modules that
    start processes come first, because they are the slowest.
    """
    slow: dict[str, list[pytest.Item]] = defaultdict(list)
    quick = []
    for item in items:
        if item.get_closest_marker("quick"):
            quick.append(item)
        else:
            slow[str(item.path)].append(item)
    parts: list[list[pytest.Item]] = [[] for _ in range(workers)]
    order = sorted(slow.values(), key=lambda tests: (_starts_processes(tests[0]), len(tests)))
    for module in reversed(order):
        min(parts, key=len).extend(module)
    length = -(-len(items) // workers)
    for part in parts:
        missing = max(length - len(part), 0)
        part.extend(quick[:missing])
        del quick[:missing]
    parts[-1].extend(quick)
    return parts
