"""The house keeps its shape: imports go one way, and each library has one room."""

from __future__ import annotations

import ast
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "daemon" / "pixstored"
MODULES = sorted(PACKAGE.rglob("*.py"))

ROOMS_BELOW = {
    "cli": {"service", "publish", "watch", "ledger", "store", "config"},
    "service": {"publish", "watch", "ledger", "store", "config"},
    "publish": {"watch", "ledger", "store", "config"},
    "watch": {"config"},
    "ledger": {"config"},
    "store": {"config"},
    "config": set(),
}
GROUND = {"errors", "slotted", "loading", "interrupts", "model", "eventlog", "shown"}
"""Modules at the root that every room may use, and that use no room."""

ONE_ROOM = {
    "watchdog": {"watch/inotify", "watch/observer"},
    "sqlite3": {"ledger/sqlite"},
    "requests": {"store/client", "store/connection"},
    "urllib3": {"store/client", "store/connection"},
    "tenacity": {"publish/schedule"},
    "prometheus_client": {"service/metrics"},
    "yaml": {"config/"},
    "click": {"cli/"},
    "pathspec": {"watch/filters", "config/patterns"},
    "python_multipart": {"store/embedded"},
}


def imports_of(module: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{module}: a relative import hides where it goes"
            yield node.module


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).with_suffix("").as_posix()


@pytest.mark.parametrize("module", MODULES, ids=room_of)
def test_imports_go_one_way(module: Path) -> None:
    room = room_of(module).split("/")[0]
    for name in imports_of(module):
        parts = name.split(".")
        if parts[0] != "pixstored" or len(parts) == 1 or parts[1] == room or room == "__main__":
            continue
        if room in GROUND or room == "__init__":
            assert parts[1] in GROUND, f"{module} imports {name}: the ground floor stands on nothing"
        else:
            assert parts[1] in ROOMS_BELOW[room] | GROUND, f"{module} imports {name}: that arrow goes up"


@pytest.mark.parametrize("module", MODULES, ids=room_of)
def test_each_library_has_one_room(module: Path) -> None:
    place = room_of(module)
    for name in imports_of(module):
        rooms = ONE_ROOM.get(name.split(".")[0])
        if rooms:
            assert any(place.startswith(room) for room in rooms), f"{place} imports {name}"


def test_the_ground_and_every_room_are_there() -> None:
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir() and path.name != "__pycache__"} == set(ROOMS_BELOW)


def test_no_thread_of_ours_overrides_what_threads_need() -> None:
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.ClassDef) and any(ast.unparse(base) == "threading.Thread" for base in node.bases):
                theirs = set(vars(threading.Thread())) | set(dir(threading.Thread))
                ours = {child.name for child in node.body if isinstance(child, ast.FunctionDef)}
                ours |= {
                    each.attr for each in ast.walk(node) if isinstance(each, ast.Attribute) and _is_set_on_self(each)
                }
                assert ours & theirs <= {"__init__", "run"}, f"{module}: {node.name}"


def _is_set_on_self(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store) and isinstance(node.value, ast.Name) and node.value.id == "self"
