"""Parts of paths are what the standard library says they are: it is only asked for less."""

from __future__ import annotations

import os

from hypothesis import example, given
from hypothesis import strategies as st

from pixstored.ledger.sqlite_values import join, split
from pixstored.model import extension_of
from pixstored.store.body import header_name

names = st.text(st.sampled_from([*'aB.~ \\"\n%é🎉', "\udcff"]), min_size=1, max_size=12)
paths = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))


@example("/p/.cshrc")
@example("/p.d/a")
@example("/p/a.")
@example("/p/..a.JPG")
@example("...")
@given(paths | names)
def test_an_extension(path: str) -> None:
    assert extension_of(path) == os.path.splitext(path)[1].lower()


@example("/a")
@example("//a")
@example("/p/q/")
@given(paths)
def test_a_folder_and_a_name_and_back(path: str) -> None:
    folder, name = os.path.split(path)
    assert split(path) == (os.fsencode(folder), os.fsencode(name))
    assert join(*split(path)) == os.path.join(folder, name)


@given(names)
def test_a_name_in_a_header_neither_ends_its_quotes_nor_its_line(name: str) -> None:
    shown = header_name(name)
    assert shown.isprintable()
    assert not set(shown) & set('"\\')
    assert shown == name or set(name) & set('"\\\n\udcff')
