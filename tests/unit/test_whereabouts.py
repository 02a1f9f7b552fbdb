"""The daemon of a configuration is found though the file has become faulty."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixstored.config.whereabouts import Whereabouts, whereabouts
from pixstored.errors import ConfigError


def found(folder: Path, text: str | bytes) -> Whereabouts | None:
    file = folder / "config.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    return whereabouts(file, {"HOME": str(folder / "home")})


@pytest.mark.parametrize(
    "rest",
    [
        "workers: banana\n",
        "workers: [1\n",
        "watch:\n\t- path: x\n",
        "ledger: twice.db\n",
        "store: {key: *secret}\nwatch: &x\n",
        "watch: []\nunknown: {a: [b, c]}\n",
    ],
)
def test_what_stands_before_the_fault_counts(tmp_path: Path, rest: str) -> None:
    place = found(tmp_path, "store:\n  url: embedded\nledger: state/l.db\ncontrol: c.sock\n" + rest)
    assert place == Whereabouts(tmp_path / "state/l.db", tmp_path / "c.sock")


@pytest.mark.parametrize("text", ["", "just words", "- a\n- list\n", "ledger: [a]\ncontrol: {}\n", b"\xff\xfe\x00"])
def test_the_usual_places_count_where_the_file_says_nothing(tmp_path: Path, text: str | bytes) -> None:
    state = tmp_path / "home/.local/state/pixstored"
    assert found(tmp_path, text) == Whereabouts(state / "ledger.db", state / "control.sock")


def test_the_socket_lies_beside_the_ledger_that_is_named(tmp_path: Path) -> None:
    assert found(tmp_path, "ledger: /srv/l.db\nworkers: no\n") == Whereabouts(
        Path("/srv/l.db"), Path("/srv/control.sock")
    )


def test_a_place_that_cannot_be_told_is_none(tmp_path: Path) -> None:
    assert found(tmp_path, "ledger: $NOT_SET/l.db\n") is None


def test_a_file_that_is_not_there_is_an_error_of_the_configuration(tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        whereabouts(tmp_path / "none.yaml", {})
