"""A configuration that is meant: what counts where the file says nothing, and where everything lies."""

from __future__ import annotations

import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixstored.config import (
    Config,
    Existing,
    FilenameRule,
    KeyIn,
    LogFormat,
    Secret,
    WhenChanged,
    find_config,
    load_config,
)
from pixstored.config.places import Places
from pixstored.config.urls import is_plain, parse_store_url, shows_the_key, store_id
from pixstored.errors import ConfigError
from pixstored.store.client import check_url

NO_SUCH_UID = 3_000_000_000
SOMEBODY = next(user for user in pwd.getpwall() if user.pw_uid != os.geteuid())


def load(folder: Path, text: str, **environ: str) -> Config:
    file = folder / "config.yaml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return load_config(file, {"HOME": "/home/ann", **environ})


def test_two_lines_are_a_whole_configuration(tmp_path: Path) -> None:
    config = load(tmp_path, "watch:\n  - path: photos\n")
    assert config.path == tmp_path / "config.yaml"
    assert (config.workers, config.rescan_every, config.stop_timeout) == (4, 1800.0, 30.0)
    assert config.ledger == Path("/home/ann/.local/state/pixstored/ledger.db")
    assert config.control == Path("/home/ann/.local/state/pixstored/control.sock")
    assert (config.retry.first, config.retry.longest, config.retry.tries) == (5.0, 3600.0, 10)
    assert (config.log.level, config.log.format) == ("info", LogFormat.TEXT)
    assert config.warnings == ()

    store = config.store
    assert (store.url, store.id) == ("https://api.pixlab.io/store", "api.pixlab.io/store")
    assert (store.key, store.key_file, store.ca_file, store.is_embedded) == (None, None, None, False)
    assert (store.key_in, store.filename, store.proxy) == (KeyIn.FORM, FilenameRule.ORIGINAL, "env")
    assert (store.connect_timeout, store.stall_timeout, store.answer_timeout) == (10.0, 60.0, 300.0)
    assert (store.embedded.host, store.embedded.port) == ("127.0.0.1", 8787)
    assert store.embedded.dir == Path("/home/ann/.local/state/pixstored/store")

    (watch,) = config.watches
    assert (watch.path, watch.root) == (tmp_path / "photos", (tmp_path / "photos").resolve())
    assert watch.name == str(tmp_path / "photos")
    assert (watch.recursive, watch.create, watch.settle, watch.exclude_defaults) == (True, False, None, True)
    assert (watch.include, watch.exclude) == (("@media",), ())
    assert (watch.min_size, watch.max_size, watch.existing) == (1, None, Existing.IGNORE)
    assert watch.changed is WhenChanged.PUBLISH


def test_every_key_can_be_said(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        store:
          url: http://10.0.0.1:8080/Up
          id: ours
          key: sesame
          key_in: HEADER
          connect_timeout: 1s
          stall_timeout: 2s
          answer_timeout: 3s
          uncertain: hold
          filename: neutral
          allow_http: yes
          proxy: http://u:p@proxy:3128
          ca_file: ca.pem
          embedded: {dir: kept, listen: "[::1]:0"}
        workers: 256
        ledger: state/l.db
        control: run/c.sock
        retry: {first: 1s, longest: 1s, tries: 1}
        rescan_every: 1h
        stop_timeout: 0
        metrics: {listen: "[::1]:9797"}
        log: {level: DEBUG, format: json}
        watch:
          - path: a
            name: A
            recursive: off
            create: on
            settle: 0s
            include: ["@raw", "!x.raw", "*.JPG"]
            exclude:
            exclude_defaults: no
            min_size: 1KB
            max_size: 1MiB
            existing: publish
            changed: ignore
        """,
    )
    store, (watch,) = config.store, config.watches
    assert config.metrics_listen == ("::1", 9797)
    assert (store.url, store.id, store.key, store.key_in) == (
        "http://10.0.0.1:8080/Up",
        "ours",
        Secret("sesame"),
        KeyIn.HEADER,
    )
    assert (store.connect_timeout, store.stall_timeout, store.answer_timeout) == (1.0, 2.0, 3.0)
    assert (store.filename, store.proxy, store.ca_file) == (
        FilenameRule.NEUTRAL,
        "http://u:p@proxy:3128",
        tmp_path / "ca.pem",
    )
    assert (store.embedded.dir, store.embedded.host, store.embedded.port) == (tmp_path / "kept", "::1", 0)
    assert (config.workers, config.ledger, config.control) == (
        256,
        tmp_path / "state/l.db",
        tmp_path / "run/c.sock",
    )
    assert (config.retry.first, config.retry.longest, config.retry.tries) == (1.0, 1.0, 1)
    assert (config.rescan_every, config.stop_timeout) == (3600.0, 0.0)
    assert (config.log.level, config.log.format) == ("debug", LogFormat.JSON)
    assert (watch.path, watch.name, watch.recursive, watch.create, watch.settle) == (
        tmp_path / "a",
        "A",
        False,
        True,
        0.0,
    )
    assert (watch.include, watch.exclude, watch.exclude_defaults) == (("@raw", "!x.raw", "*.JPG"), (), False)
    assert (watch.min_size, watch.max_size, watch.existing) == (1000, 1 << 20, Existing.PUBLISH)
    assert watch.changed is WhenChanged.IGNORE
    assert "sesame" not in repr(config)


def test_words_and_numbers_mean_what_they_say_not_what_yaml_makes_of_them(tmp_path: Path) -> None:
    config = load(
        tmp_path, "store: {key: 0600, id: off}\nwatch:\n- {path: 22:30, name: 2024-01-01}\n- {path: 1e3, name: 0x1F}\n"
    )
    assert (config.store.key, config.store.id) == (Secret("0600"), "off")
    assert [(watch.path.name, watch.name) for watch in config.watches] == [("22:30", "2024-01-01"), ("1e3", "0x1F")]


def test_a_byte_order_mark_and_windows_line_ends_do_no_harm(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(b"\xef\xbb\xbfworkers: 2\r\nwatch:\r\n  - path: a\r\n")
    assert load_config(file, {"HOME": "/h"}).workers == 2


# --- the store


def test_the_built_in_store_is_a_word(tmp_path: Path) -> None:
    store = load(tmp_path, "store: {url: embedded}\nledger: x/l.db\nwatch: [{path: a}]\n").store
    assert (store.url, store.id, store.is_embedded) == (None, "embedded", True)
    assert store.embedded.dir == tmp_path / "x/store"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://API.PixLab.io/store", "api.pixlab.io/store"),
        ("https://api.pixlab.io:443/store/", "api.pixlab.io/store"),
        ("http://localhost:80/Store", "localhost/Store"),
        ("https://x.example:8443", "x.example:8443"),
        ("http://[::1]:9000/a/b?c=d", "[::1]:9000/a/b"),
    ],
)
def test_the_id_of_a_store_is_host_port_and_path(url: str, name: str) -> None:
    assert store_id(parse_store_url(url)) == name


@pytest.mark.parametrize(
    ("url", "shows"),
    [
        ("https://x.example/", False),
        ("http://localhost:1/", False),
        ("http://127.8.8.8/", False),
        ("http://[::1]/", False),
        ("http://localhost.evil.example/", True),
        ("http://127.0.0.1.evil.example/", True),
        ("http://0.0.0.0/", True),
        ("HTTP://x.example/", True),
    ],
)
def test_plain_http_shows_the_key_to_all_but_this_machine(url: str, shows: bool) -> None:
    assert shows_the_key(url) is shows


@given(st.text(max_size=40))
def test_no_text_makes_the_url_parser_fail_otherwise(text: str) -> None:
    try:
        url = parse_store_url(f"https://{text}")
    except ValueError:
        return
    assert store_id(url)


# --- paths


def test_paths_are_expanded_and_made_absolute(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "store: {key_file: ~/k}\nledger: $STATE/l.db\nwatch:\n- path: ~\n- path: ${DISK}/$$x\n- path: ../up//a/\n",
        STATE="/state",
        DISK="/disk",
    )
    assert config.store.key_file == Path("/home/ann/k")
    assert config.ledger == Path("/state/l.db")
    assert [str(watch.path) for watch in config.watches] == ["/home/ann", "/disk/$x", str(tmp_path.parent / "up/a")]


def test_the_home_of_a_named_user_is_known(tmp_path: Path) -> None:
    (watch,) = load(tmp_path, f"watch: [{{path: ~{SOMEBODY.pw_name}/x}}]\n").watches
    assert watch.path == Path(os.path.normpath(f"{SOMEBODY.pw_dir}/x"))


def test_a_path_keeps_its_symlinks_and_the_root_does_not(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    (watch,) = load(tmp_path, "watch: [{path: link/in}]\n").watches
    assert (watch.path, watch.root) == (tmp_path / "link/in", (tmp_path / "disk/in").resolve())


def test_dots_after_a_symlink_lead_where_the_kernel_goes(tmp_path: Path) -> None:
    (tmp_path / "disk/deep").mkdir(parents=True)
    (tmp_path / "link").symlink_to("disk/deep")
    (watch,) = load(tmp_path, "watch: [{path: link/../in}]\n").watches
    assert watch.path == watch.root == (tmp_path / "disk/in").resolve()


def test_folders_side_by_side_and_below_a_flat_one_are_fine(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        "watch:\n- {path: a, recursive: no}\n- path: a/b\n- path: a2\n"
        "ledger: state/l.db\ncontrol: a2/c.sock\nstore: {url: embedded, embedded: {dir: a/c}}\n",
    )
    assert [watch.path.name for watch in config.watches] == ["a", "b", "a2"]


@given(st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\x00"), min_size=1, max_size=20))
def test_any_text_is_an_absolute_path_or_a_clear_refusal(text: str) -> None:
    places = Places(Path("/srv/c.yaml"), "/home/ann", "/state", {"A": "b"})
    try:
        path = places.resolve(text)
    except ValueError as refused:
        assert str(refused)
    else:
        assert path.is_absolute()
        assert not str(path).startswith("//")


# --- one configuration, one ledger


def test_the_ledger_lies_in_the_state_folder_of_the_environment_if_the_file_is_ours() -> None:
    places = Places.of(Path("/home/ann/c.yaml"), os.geteuid(), {"HOME": "/home/ann", "XDG_STATE_HOME": "/xdg"})
    assert places.ledger() == Path("/xdg/pixstored/ledger.db")
    places = Places.of(Path("/home/ann/c.yaml"), os.geteuid(), {"HOME": "/home/ann", "XDG_STATE_HOME": "relative"})
    assert places.ledger() == Path("/home/ann/.local/state/pixstored/ledger.db")


def test_the_ledger_of_somebody_elses_file_is_theirs_whatever_our_environment_says() -> None:
    places = Places.of(Path("/srv/c.yaml"), SOMEBODY.pw_uid, {"HOME": "/root", "XDG_STATE_HOME": "/xdg"})
    assert places.ledger() == Path(SOMEBODY.pw_dir) / ".local/state/pixstored/ledger.db"
    assert places.resolve("~/x") == Path(os.path.normpath(f"{SOMEBODY.pw_dir}/x"))
    assert places.control(places.ledger()) == Path(SOMEBODY.pw_dir) / ".local/state/pixstored/control.sock"


def test_a_file_below_etc_is_the_machines() -> None:
    for owner in (os.geteuid(), SOMEBODY.pw_uid, NO_SUCH_UID):
        places = Places.of(Path("/etc/pixstored/config.yaml"), owner, {"HOME": "/root", "XDG_STATE_HOME": "/xdg"})
        assert places.ledger() == Path("/var/lib/pixstored/ledger.db")
        assert places.control(Path("/elsewhere/l.db")) == Path("/run/pixstored/control.sock")
    assert Places.of(Path("/etcetera/c.yaml"), os.geteuid(), {"HOME": "/h"}).ledger().is_relative_to("/h")


def test_an_owner_without_home_must_name_the_ledger() -> None:
    places = Places.of(Path("/srv/c.yaml"), NO_SUCH_UID, {"HOME": "/root"})
    with pytest.raises(ValueError, match="no home folder"):
        places.ledger()
    with pytest.raises(ValueError, match="write the path out"):
        places.resolve("~/x")


# --- which file


def test_the_configuration_is_looked_for_in_order(tmp_path: Path) -> None:
    named, variable = tmp_path / "a.yaml", tmp_path / "b.yaml"
    xdg, home = tmp_path / "xdg/pixstored/config.yaml", tmp_path / "home/.config/pixstored/config.yaml"
    for file in (named, variable, xdg, home):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    environ = {"HOME": str(tmp_path / "home")}
    assert find_config(None, environ) == home
    environ["XDG_CONFIG_HOME"] = str(tmp_path / "xdg")
    assert find_config(None, environ) == xdg
    environ["PIXSTORED_CONFIG"] = str(variable)
    assert find_config(None, environ) == variable
    assert find_config(str(named), environ) == named


def test_a_file_named_relatively_is_found_absolutely(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").touch()
    assert find_config("c.yaml", {}) == Path.cwd() / "c.yaml"


def test_a_named_file_must_be_there(tmp_path: Path) -> None:
    missing = str(tmp_path / "nope.yaml")
    with pytest.raises(ConfigError, match="-c/--config names it"):
        find_config(missing, {})
    with pytest.raises(ConfigError, match=r"\$PIXSTORED_CONFIG names it"):
        find_config(None, {"PIXSTORED_CONFIG": missing})


@pytest.mark.skipif(os.path.exists("/etc/pixstored/config.yaml"), reason="this machine has a configuration")
def test_without_any_every_place_looked_at_is_named_and_how_to_begin(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as nowhere:
        find_config(None, {"HOME": str(tmp_path)})
    told = str(nowhere.value)
    for place in ("--config", "$PIXSTORED_CONFIG", f"{tmp_path}/.config/pixstored/config.yaml", "/etc/pixstored/"):
        assert place in told
    file = tmp_path / "begin.yaml"
    file.write_text("\n".join(told.split("'")[1::2]).replace("(a file", "# (a file"))
    assert load_config(file, {"HOME": "/home/ann"}).watches


# --- warnings


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o400, False), (0o640, True), (0o604, True)])
def test_a_file_with_the_key_that_others_can_read_is_warned_about(tmp_path: Path, mode: int, told: bool) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("store: {key: sesame}\nwatch: [{path: a}]\n")
    file.chmod(mode)
    warnings = load_config(file, {"HOME": "/h"}).warnings
    assert [f"chmod 600 {file}" in warning for warning in warnings] == ([True] if told else [])
    assert "sesame" not in repr(warnings)


def test_a_key_file_that_others_can_read_is_warned_about(tmp_path: Path) -> None:
    text = "store: {key_file: key}\nwatch: [{path: a}]\n"
    assert load(tmp_path, text).warnings == ()
    key_file = tmp_path / "key"
    key_file.write_text("sesame")
    key_file.chmod(0o644)
    (warning,) = load(tmp_path, text).warnings
    assert f"chmod 600 {key_file}" in warning
    key_file.chmod(0o600)
    assert load(tmp_path, text).warnings == ()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_file_that_its_owner_shares_with_our_group_is_not_warned_about(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("store: {key: sesame}\nledger: l.db\nwatch: [{path: a}]\n")
    os.chown(file, SOMEBODY.pw_uid, -1)
    file.chmod(0o640)
    assert load_config(file, {}).warnings == ()
    file.chmod(0o644)
    assert f"chmod o= {file}" in load_config(file, {}).warnings[0]


def test_loading_the_usual_file_imports_no_heavy_library(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("watch: [{path: a, exclude: ['@raw']}]\n")
    program = (
        "import sys, pathlib; from pixstored.config import load_config; "
        f"load_config(pathlib.Path({str(file)!r}), {{'HOME': '/h'}}); "
        "print({'pathspec', 'requests', 'urllib3', 'watchdog', 'sqlite3', 'click'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("url", "plain"),
    [
        ("https://api.pixlab.io/store", True),
        ("HTTP://127.0.0.1:8080", True),
        ("http://nas?to=here", True),
        ("embedded", True),
        ("https://.example/store", False),
        ("https://*.example/store", False),
        ("https://bücher.example/store", False),
        ("https://[::1]/store", False),
        ("https://a_b.example/store", False),
    ],
)
def test_libraries_are_asked_of_addresses_that_are_not_plain(url: str, plain: bool) -> None:
    assert parse_store_url(url) == url
    assert is_plain(url) is plain


@given(st.from_regex(r"https?://[a-z0-9-]+(\.[a-z0-9-]+)*(:[1-9][0-9]{1,3})?([/?][!-~]*)?", fullmatch=True))
def test_whatever_is_plain_can_be_sent_to(url: str) -> None:
    assert is_plain(url)
    check_url(url)
