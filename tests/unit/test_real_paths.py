"""Where a path leads is told, and where its disk does not answer, not waited for."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from pixstored.config.real import real_path, real_paths

PATIENCE = 1.0
"""Seconds in which whoever can answer does, on a busy machine, too; each of the dead costs them."""


def test_symlinks_are_followed(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    real = tmp_path.resolve()
    assert real_paths([tmp_path / "link" / "below", tmp_path]) == [real / "there" / "below", real]
    assert real_paths([]) == []


def test_disks_that_do_not_answer_keep_no_other_from_being_asked() -> None:
    answer = threading.Event()

    def resolve(path: Path) -> str:
        if path.name == "dead":
            answer.wait()
        return f"/real{path}"

    paths = [Path(each) for each in ("/a", "/nas/dead", "/b", "/other/dead", "/c", "/dead")]
    try:
        told = real_paths(paths, resolve, PATIENCE)
    finally:
        answer.set()
    assert [os.fspath(each) for each in told] == ["/real/a", "/nas/dead", "/real/b", "/other/dead", "/real/c", "/dead"]


def test_a_real_path_is_what_the_system_says(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "relative").symlink_to("a/b")
    (tmp_path / "a" / "up").symlink_to("../relative/..")
    (tmp_path / "absolute").symlink_to(tmp_path / "a" / "up")
    (tmp_path / "dangling").symlink_to("none/x")
    (tmp_path / "loop").symlink_to("loop")
    for name in ("a/b", "relative", "a/up/b", "absolute/none", "dangling/y", "a//./b/"):
        assert real_path(tmp_path / name) == os.path.realpath(tmp_path / name), name
    assert real_path(tmp_path / "loop") == f"{tmp_path}/loop"
