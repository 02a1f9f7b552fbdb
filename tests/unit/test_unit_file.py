"""The unit of one configuration: what `service install` writes, and what `check` reads of the one that is there."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from pixstored.config import Config, load_config
from pixstored.errors import PixstoredError
from pixstored.service.installed import Installed, installed_unit
from pixstored.service.unit_file import UNIT, WRITTEN_BY, access_for, system_unit, sysusers, user_unit
from pixstored.service.unit_places import home_of

SHIPPED = Path(__file__).parents[2] / "systemd"
PROGRAM = ["/opt/pixstored/bin/pixstored"]
STATE = "/var/lib/pixstored"


def load(folder: Path, watch: str = "path: /srv/photos", top: str = "") -> Config:
    file = folder / "config.yaml"
    own = "" if "ledger:" in top else f"ledger: {STATE}/ledger.db\ncontrol: /run/pixstored/control.sock\n"
    file.write_text(f"{own}store: {{url: embedded}}\nwatch: [{{{watch}}}]\n{top}\n")
    return load_config(file, {})


def settings_of(unit: str, folder: Path) -> dict[str, list[str]]:
    (folder / UNIT).write_text(unit)
    found = installed_unit([folder])
    assert found
    return found.settings


# --- what is written


def test_a_plain_configuration_gets_the_shipped_unit_with_its_own_paths(tmp_path: Path) -> None:
    config = replace(load(tmp_path), path=Path("/etc/pixstored/config.yaml"))
    lines = system_unit(config, PROGRAM, None).splitlines()
    shipped = (SHIPPED / UNIT).read_text().splitlines()
    assert lines[0] == WRITTEN_BY
    changed = [line for line in lines[1:] if line not in shipped]
    ours = "/opt/pixstored/bin/pixstored -c /etc/pixstored/config.yaml"
    assert changed == [f"ExecStart={ours} run", f"ExecReload={ours} reload"]
    assert len(lines) == len(shipped) + 1


def test_a_person_gets_the_shipped_user_unit_with_their_own_paths(tmp_path: Path) -> None:
    lines = user_unit(load(tmp_path, watch="path: /home/anna/Pictures"), PROGRAM, None, {}).splitlines()
    shipped = (SHIPPED / "pixstored.user.service").read_text().splitlines()
    ours = f"/opt/pixstored/bin/pixstored -c {tmp_path}/config.yaml"
    assert [line for line in lines[1:] if line not in shipped] == [f"ExecStart={ours} run", f"ExecReload={ours} reload"]


def test_a_persons_service_looks_for_the_ledger_where_their_commands_do(tmp_path: Path) -> None:
    unit = user_unit(load(tmp_path), PROGRAM, None, {"XDG_STATE_HOME": "/home/anna/my 100% state"})
    line = 'Environment="XDG_STATE_HOME=/home/anna/my 100%% state"'
    assert line in unit.partition("[Service]")[2].partition("[Install]")[0].splitlines()


def test_the_user_is_made_by_what_is_shipped() -> None:
    assert sysusers() == f"{WRITTEN_BY}\n{(SHIPPED / 'pixstored.sysusers.conf').read_text()}"


def test_the_home_of_a_watched_folder_is_shown_and_no_other(tmp_path: Path) -> None:
    settings = settings_of(system_unit(load(tmp_path, "path: /home/anna/Pictures/Export"), PROGRAM, None), tmp_path)
    assert settings["BindReadOnlyPaths"] == ["-/home/anna"]
    assert settings["ProtectHome"] == ["tmpfs"]


def test_a_folder_above_all_homes_shows_them_all(tmp_path: Path) -> None:
    settings = settings_of(system_unit(load(tmp_path, "path: /home"), PROGRAM, None), tmp_path)
    assert settings["ProtectHome"] == ["read-only"]
    assert settings["TemporaryFileSystem"] == []
    assert "BindReadOnlyPaths" not in settings


def test_what_is_to_be_written_to_may_be(tmp_path: Path) -> None:
    config = load(
        tmp_path, "path: /srv/incoming, create: true", "ledger: /data/state/ledger.db\ncontrol: /data/run/control.sock"
    )
    settings = settings_of(system_unit(config, PROGRAM, None), tmp_path)
    assert settings["ReadWritePaths"] == ["-/data/run", "-/data/state", "-/data/state/store", "-/srv/incoming"]


def test_a_folder_in_tmp_is_the_machines(tmp_path: Path) -> None:
    for folder in ("/tmp/in", "/var/tmp/in"):
        assert settings_of(system_unit(load(tmp_path, f"path: {folder}"), PROGRAM, None), tmp_path)["PrivateTmp"] == [
            "no"
        ]


def test_a_stop_is_given_more_time_than_it_takes(tmp_path: Path) -> None:
    config = load(tmp_path, top="stop_timeout: 2500ms")
    assert settings_of(system_unit(config, PROGRAM, None), tmp_path)["TimeoutStopSec"] == ["18s"]


@pytest.mark.parametrize(("systemd", "backs_off"), [(None, False), (252, False), (254, True), (257, True)])
def test_crash_after_crash_is_waited_for_longer_where_systemd_can(
    systemd: int | None, backs_off: bool, tmp_path: Path
) -> None:
    for unit in (system_unit(load(tmp_path), PROGRAM, systemd), user_unit(load(tmp_path), PROGRAM, systemd, {})):
        assert ("RestartSteps=6\nRestartMaxDelaySec=5min\n" in unit) is backs_off


def test_any_name_is_one_word_of_the_unit(tmp_path: Path) -> None:
    odd = tmp_path / 'a "b" %h $HOME \\ ü'
    odd.mkdir()
    unit = system_unit(load(odd), PROGRAM, None)
    start = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    words = shlex.split(start.removeprefix("ExecStart="))
    assert words[2].replace("%%", "%").replace("$$", "$") == f"{odd}/config.yaml"
    (odd / UNIT).write_text(unit)
    found = installed_unit([odd])
    assert found
    assert found.runs(odd / "config.yaml")
    assert found.credential() == odd / "store-key"


def test_a_name_that_is_no_text_is_refused(tmp_path: Path) -> None:
    odd = Path(f"{tmp_path}/\udcff")
    odd.mkdir()
    with pytest.raises(PixstoredError, match="not UTF-8"):
        system_unit(load(odd), PROGRAM, None)


def test_what_a_link_leads_to_is_shown_too(tmp_path: Path) -> None:
    (tmp_path / "photos").symlink_to("/home/anna/Pictures")
    assert access_for(load(tmp_path, f"path: {tmp_path}/photos")).homes == (Path("/home/anna"),)


@pytest.mark.parametrize(
    ("place", "home"),
    [
        ("/home/anna/Pictures", "/home/anna"),
        ("/home/anna", "/home/anna"),
        ("/home", None),
        ("/root/in", "/root"),
        ("/root", "/root"),
        ("/run/user/1000/x", "/run/user/1000"),
        ("/srv/home/anna", None),
        ("/homes/anna", None),
    ],
)
def test_a_home_is_what_protect_home_hides(place: str, home: str | None) -> None:
    assert home_of(Path(place)) == (Path(home) if home else None)


# --- what is read


def installed(folder: Path, **files: str) -> Installed | None:
    places = [folder / "etc", folder / "usr"]
    for number, place in enumerate(places):
        (place / f"{UNIT}.d").mkdir(parents=True)
        for name, text in files.items():
            where, _, rest = name.partition("_")
            if where == ("etc", "usr")[number]:
                (place / (f"{UNIT}.d/{rest}.conf" if rest else UNIT)).write_text(text)
    return installed_unit(places)


def test_there_may_be_no_unit(tmp_path: Path) -> None:
    assert installed(tmp_path) is None


def test_the_administrators_unit_counts_before_the_packages_and_drop_ins_of_both_in_the_order_of_their_names(
    tmp_path: Path,
) -> None:
    unit = installed(
        tmp_path,
        usr="[Service]\nUser=package\n",
        etc="[Unit]\nUser=no\n[Service]\nUser=admin\nProtectHome=yes\n# User=comment\n",
        usr_a="[Service]\nReadWritePaths=/a\n",
        etc_b="[Service]\nReadWritePaths=/b \\\n /c\n",
        usr_c="[Service]\nReadWritePaths=/overridden\n",
        etc_c="[Service]\nProtectHome=no\n",
    )
    assert unit
    assert unit.user == "admin"
    assert unit.settings["ReadWritePaths"] == ["/a", "/b   /c"]
    assert unit.settings["ProtectHome"][-1] == "no"


def test_an_empty_setting_takes_back_what_was_set(tmp_path: Path) -> None:
    unit = installed(tmp_path, etc="[Service]\nExecStart=/a -c /x run\n", etc_a="[Service]\nExecStart=\nExecStart=/b\n")
    assert unit
    assert not unit.runs(Path("/x"))


@pytest.mark.parametrize(
    ("settings", "place", "line"),
    [
        ("ProtectHome=tmpfs", "/home/anna/Pictures", "BindReadOnlyPaths=-/home/anna"),
        ("ProtectHome=yes", "/root/in", "BindReadOnlyPaths=-/root"),
        ("ProtectHome=read-only", "/home/anna/Pictures", None),
        ("ProtectHome=no\nTemporaryFileSystem=/home:ro", "/home/anna", "BindReadOnlyPaths=-/home/anna"),
        ("ProtectHome=tmpfs\nBindReadOnlyPaths=-/home/anna", "/home/anna/Pictures", None),
        ("ProtectHome=tmpfs\nBindPaths=/home/anna/Pictures:/home/anna/Pictures", "/home/anna/Pictures/x", None),
        (
            "ProtectHome=tmpfs\nBindReadOnlyPaths=/home/anna/other",
            "/home/anna/Pictures",
            "BindReadOnlyPaths=-/home/anna",
        ),
        ("ProtectHome=tmpfs", "/srv/photos", None),
        ("PrivateTmp=yes", "/tmp/in", "PrivateTmp=no"),
        ("PrivateTmp=no", "/tmp/in", None),
    ],
)
def test_what_the_unit_hides_is_known_with_the_line_that_shows_it(
    settings: str, place: str, line: str | None, tmp_path: Path
) -> None:
    unit = installed(tmp_path, etc=f"[Service]\n{settings}\n")
    assert unit
    assert unit.hides(Path(place)) == line


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ("ProtectSystem=strict", "ReadWritePaths=-/srv/in"),
        ("ProtectSystem=full", None),
        ("ProtectSystem=strict\nReadWritePaths=-/srv/in /srv/other", None),
        ("ProtectSystem=strict\nReadWritePaths=/srv", None),
    ],
)
def test_where_the_unit_lets_nothing_be_written_is_known_with_the_line_that_does(
    settings: str, line: str | None, tmp_path: Path
) -> None:
    unit = installed(tmp_path, etc=f"[Service]\n{settings}\n")
    assert unit
    assert unit.keeps_from_writing(Path("/srv/in")) == line


def test_its_own_folders_may_be_written_to(tmp_path: Path) -> None:
    unit = installed(tmp_path, etc="[Service]\nProtectSystem=strict\nStateDirectory=pixstored\n")
    assert unit
    assert unit.keeps_from_writing(Path("/var/lib/pixstored/store")) is None
