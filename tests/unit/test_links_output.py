"""How links are written: a list that is as good as one made at once, and takes the memory of one entry."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from pixstored.cli.links import _write_json
from pixstored.model import Link
from pixstored.service.link_document import link_document


def link(name: str) -> Link:
    return Link(
        path=f"/p/{name}\n.jpg",
        link=f"https://media.example/{name}.jpg",
        id=f"{name}.jpg",
        sha256="00" * 32,
        size=1,
        published_at=0.0,
        watch=None,
        comment=None,
        store="shop",
        state="published",
    )


@pytest.mark.parametrize("names", ["", "a", "abc"])
def test_the_list_is_what_would_be_made_of_it_at_once(names: str, capsys: pytest.CaptureFixture[str]) -> None:
    links = [link(name) for name in names]
    _write_json(iter(links))
    at_once = json.dumps([link_document(each) for each in links], indent=2)
    assert capsys.readouterr().out == at_once + "\n"


def test_each_link_is_written_before_the_next_one_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    def links() -> Iterator[Link]:
        for name in "abc":
            yield link(name)
            assert f"{name}.jpg" in capsys.readouterr().out

    _write_json(links())
