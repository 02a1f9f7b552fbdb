"""What a reload may change at once, and what waits for a restart."""

from __future__ import annotations

from pathlib import Path

import pytest

from pixstored.config import Config, load_config
from pixstored.config.changes import Changes, changes
from pixstored.errors import ConfigError

AS_IT_WAS = """
ledger: state/ledger.db
store: {url: https://one.example/store, key: first-secret}
watch: [{path: photos}]
"""


def read(folder: Path, text: str) -> Config:
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    return load_config(file, {"HOME": str(folder)})


def reloaded(folder: Path, *, replace: tuple[str, str] = ("", ""), more: str = "") -> tuple[Config, Changes]:
    """The configuration as it was, and what becomes of it with other text in place of some of it, and more below."""
    before = read(folder, AS_IT_WAS)
    return before, changes(before, read(folder, AS_IT_WAS.replace(*replace) + more))


def test_the_same_file_changes_nothing(tmp_path: Path) -> None:
    before, change = reloaded(tmp_path)
    assert (change.config, change.made, change.waiting) == (before, (), ())


def test_almost_everything_counts_at_once_by_the_name_of_its_key(tmp_path: Path) -> None:
    more = """
workers: 9
retry: {first: 7s, tries: 3}
stop_timeout: 1s
rescan_every: 5m
log: {format: json}
metrics: {listen: 127.0.0.1:9797}
"""
    _, change = reloaded(tmp_path, replace=("path: photos", "path: photos, settle: 0s"), more=more)
    assert change.made == (
        "workers",
        "retry.first",
        "retry.tries",
        "rescan_every",
        "stop_timeout",
        "log.format",
        "metrics.listen",
        "watch",
    )
    assert change.waiting == ()
    assert (change.config.workers, change.config.retry.first, change.config.watches[0].settle) == (9, 7.0, 0.0)


def test_another_key_counts_at_once_and_is_not_told(tmp_path: Path) -> None:
    _, change = reloaded(tmp_path, replace=("first-secret", "second-secret"))
    assert change.made == ("store.key",)
    assert change.config.store.key and change.config.store.key.reveal() == "second-secret"


def test_ledger_and_socket_stay_where_they_are(tmp_path: Path) -> None:
    before, change = reloaded(tmp_path, replace=("state/ledger.db", "elsewhere/ledger.db"), more="workers: 2\n")
    assert change.made == ("workers",)
    assert change.waiting == ("ledger", "control")
    assert (change.config.ledger, change.config.control) == (before.ledger, before.control)


@pytest.mark.parametrize(
    ("old", "new", "waiting"),
    [
        ("https://one.example/store", "https://two.example/store", ("store.url", "store.id", "store.key")),
        ("https://one.example/store", "embedded", ("store.url", "store.id", "store.key")),
        ("key: first-secret", "id: ours, key: first-secret", ("store.id", "store.key")),
    ],
)
def test_the_key_of_another_place_waits_with_it(tmp_path: Path, old: str, new: str, waiting: tuple[str, ...]) -> None:
    before = read(tmp_path, AS_IT_WAS)
    wanted = read(tmp_path, AS_IT_WAS.replace(old, new).replace("first-secret", "second-secret"))
    change = changes(before, wanted)
    assert (change.made, change.waiting) == ((), waiting)
    assert change.config.store == before.store


def test_the_built_in_stores_place_waits(tmp_path: Path) -> None:
    text = "ledger: l.db\nstore: {url: embedded, embedded: {listen: 127.0.0.1:1}}\nwatch: [{path: photos}]\n"
    before = read(tmp_path, text)
    change = changes(before, read(tmp_path, text.replace("127.0.0.1:1", "127.0.0.2:2") + "workers: 1\n"))
    assert (change.made, change.waiting) == (("workers",), ("store.embedded.listen",))


def test_a_folder_that_holds_the_ledger_in_use_is_refused_though_the_file_names_another(tmp_path: Path) -> None:
    before = read(tmp_path, AS_IT_WAS)
    wanted = read(tmp_path, AS_IT_WAS.replace("state/ledger.db", "new/ledger.db").replace("photos", "state"))
    with pytest.raises(ConfigError) as refused:
        changes(before, wanted)
    (fault,) = refused.value.faults
    assert (fault.key, "holds the ledger" in fault.message) == ("watch[0].path", True)
