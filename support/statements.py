"""All the SQL statements that the application has."""

import importlib
import pkgutil
from collections.abc import Mapping

import app
from app.database import Statement


def statements() -> Mapping[str, Statement]:
    """Return them by name: those that stand in a module, alone or in a table of them."""
    found: dict[str, Statement] = {}
    for module in pkgutil.walk_packages(app.__path__, "app."):
        for value in vars(importlib.import_module(module.name)).values():
            for each in value.values() if isinstance(value, dict) else (value,):
                if isinstance(each, Statement):
                    found[each.name] = each
    assert {
        "change_job",
        "claim_all",
        "fan_out_status_changes",
        "count_events",
        "remove_old_jobs",
    } < set(found)
    return found
