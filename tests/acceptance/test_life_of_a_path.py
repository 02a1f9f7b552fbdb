"""What becomes of a path that is renamed, edited, replaced, deleted and made again; and what `why` tells of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from support.app import App, eventually
from support.faulty_store import FaultyStore
from support.files import jpeg, write


def why(app: App, path: Path) -> dict[str, Any]:
    done = app.command("why", "--json", str(path))
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def says(app: App, path: Path) -> str:
    said: str = why(app, path)["says"]
    return said


def until_said(app: App, path: Path, part: str) -> dict[str, Any]:
    """The story of a file once it says so."""
    return eventually(lambda: why(app, path), lambda story: part in story["says"])


def links(app: App) -> dict[str, str]:
    """The link of each published path, by its name below the home."""
    return {os.path.relpath(link["path"], app.home): link["link"] for link in app.links()}


@pytest.fixture
def archive(app: App, store: FaultyStore) -> Path:
    """A second watched folder, in which changes are ignored."""
    app.configure(store.url, watch="settle: 300ms")
    archive = app.home / "archive"
    archive.mkdir()
    more = f"  - path: {archive}\n    settle: 300ms\n    changed: ignore\n    max_size: 100KB\n"
    app.file.write_text(app.file.read_text() + more)
    return archive


def test_where_changes_are_ignored_the_first_link_stays_until_somebody_asks(
    app: App, store: FaultyStore, archive: Path
) -> None:
    with app.running():
        picture = write(archive / "a.jpg", jpeg(seed=1))
        app.wait_for(published=1)
        before = links(app)
        write(picture, jpeg(seed=2))
        story = until_said(app, picture, "its new content is not sent")
        assert (story["state"], story["link"]) == ("published", before["archive/a.jpg"])
        assert "`changed` is `ignore`" in story["says"]
        assert ["publish" in way["command"] for way in story["can_do"]] == [True]
        os.utime(picture)
        write(archive / "b.jpg", jpeg(seed=3))
        app.wait_for(published=2)
        assert links(app)["archive/a.jpg"] == before["archive/a.jpg"]
        assert app.command("publish", str(picture)).returncode == 0
        after = until_said(app, picture, "it is published as")
        assert (after["reason"], [old["link"] for old in after["before"]]) == (None, [before["archive/a.jpg"]])
    with app.running():
        app.wait_for(published=2)
    assert set(store.stored.values()) == {1}
    assert len(store.stored) == 3
