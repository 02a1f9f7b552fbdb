"""Where the API key comes from, and that nobody is told what it is."""

from __future__ import annotations

import os
import traceback
from dataclasses import replace
from pathlib import Path

import pytest

from pixstored.config import KeySource, Secret, StoreConfig, load_config
from pixstored.errors import ConfigError

CANARY = "c4n4ry-77f0e1b2a9d8-s3cr3t"


@pytest.fixture
def store(tmp_path: Path) -> StoreConfig:
    """A store without any key in its configuration."""
    file = tmp_path / "config.yaml"
    file.write_text("watch: [{path: photos}]\n")
    return load_config(file, {"HOME": str(tmp_path)}).store


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text(f"  {CANARY}\n")
    return file


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "credentials"
    folder.mkdir()
    (folder / "store-key").write_text("from-systemd\n")
    return {"CREDENTIALS_DIRECTORY": str(folder)}


def revealed(source: KeySource) -> str | None:
    key = source.read()
    return key.reveal() if key is not None else None


def test_the_first_source_there_is_counts(store: StoreConfig, key_file: Path, credentials: dict[str, str]) -> None:
    source = KeySource.of(store, {})
    assert (source.describe(), source.read()) == ("none", None)
    source = KeySource.of(store, credentials)
    assert (source.describe(), revealed(source)) == ("systemd credential store-key", "from-systemd")
    environ = {**credentials, "PIXSTORED_KEY": " from-env "}
    source = KeySource.of(store, environ)
    assert (source.describe(), revealed(source)) == ("$PIXSTORED_KEY", "from-env")
    source = KeySource.of(replace(store, key_file=key_file), environ)
    assert (source.describe(), revealed(source)) == (f"file {key_file}", CANARY)
    source = KeySource.of(replace(store, key=Secret("in-file")), environ)
    assert (source.describe(), revealed(source)) == ("store.key", "in-file")


def test_the_built_in_store_needs_no_key(store: StoreConfig) -> None:
    source = KeySource.of(replace(store, url=None, key_file=Path("/nope")), {"PIXSTORED_KEY": "x"})
    assert (source.describe(), source.read()) == ("none", None)


def test_an_empty_variable_and_a_credential_that_was_not_loaded_are_no_sources(
    store: StoreConfig, tmp_path: Path
) -> None:
    source = KeySource.of(store, {"PIXSTORED_KEY": " ", "CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert source.describe() == "none"


def test_a_blank_credential_is_no_source(store: StoreConfig, credentials: dict[str, str]) -> None:
    Path(credentials["CREDENTIALS_DIRECTORY"], "store-key").write_text("\n")
    assert KeySource.of(store, credentials).describe() == "none"


def test_a_changed_key_file_counts_at_once(store: StoreConfig, key_file: Path, tmp_path: Path) -> None:
    source = KeySource.of(replace(store, key_file=key_file), {})
    assert revealed(source) == CANARY
    key_file.write_text("another")
    assert revealed(source) == "another"
    replacement = tmp_path / "new"
    replacement.write_text("renamed")
    replacement.rename(key_file)
    assert revealed(source) == "renamed"


def test_an_unchanged_key_file_is_not_read_again(store: StoreConfig, key_file: Path) -> None:
    source = KeySource.of(replace(store, key_file=key_file), {})
    assert source.read() is source.read()


def test_a_key_file_that_comes_later_counts(store: StoreConfig, key_file: Path) -> None:
    source = KeySource.of(replace(store, key_file=key_file), {})
    key_file.unlink()
    with pytest.raises(ConfigError, match="there is no such file"):
        source.read()
    key_file.write_text("at last")
    assert revealed(source) == "at last"


def test_a_key_file_that_vanishes_counts_no_more(store: StoreConfig, key_file: Path) -> None:
    source = KeySource.of(replace(store, key_file=key_file), {})
    assert revealed(source) == CANARY
    key_file.unlink()
    with pytest.raises(ConfigError, match="there is no such file"):
        source.read()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (CANARY.encode() + b"\nsecond line\n", "more than one line"),
        (b"\x1b[31m" + CANARY.encode(), "control character"),
        (CANARY.encode() + b"\xff", "is not text"),
        (f"{CANARY}λ".encode(), "Latin-1"),
        (CANARY.encode() * 400, "over 4096 bytes"),
    ],
)
def test_a_file_that_holds_no_key_is_told_without_what_it_holds(
    data: bytes, told: str, store: StoreConfig, key_file: Path
) -> None:
    key_file.write_bytes(data)
    source = KeySource.of(replace(store, key_file=key_file), {})
    with pytest.raises(ConfigError) as error:
        source.read()
    assert told in str(error.value)
    assert str(key_file) in str(error.value)
    assert CANARY not in "".join(traceback.format_exception(error.value))


def test_a_folder_or_a_pipe_is_no_key_file(store: StoreConfig, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(ConfigError, match="not a regular file"):
            KeySource.of(replace(store, key_file=path), {}).read()


def test_a_variable_that_is_no_key_is_told_without_what_it_holds(store: StoreConfig) -> None:
    with pytest.raises(ConfigError, match=r"\$PIXSTORED_KEY holds a control character") as error:
        KeySource.of(store, {"PIXSTORED_KEY": f"{CANARY}\x00x"})
    assert CANARY not in "".join(traceback.format_exception(error.value))


def test_nothing_shows_the_key(store: StoreConfig, key_file: Path) -> None:
    for source in (
        KeySource.of(replace(store, key_file=key_file), {}),
        KeySource.of(replace(store, key=Secret(CANARY)), {}),
        KeySource.of(store, {"PIXSTORED_KEY": CANARY}),
    ):
        assert revealed(source) == CANARY
        assert CANARY not in f"{source} {source!r} {source.describe()} {source.read()} {vars(source)}"
