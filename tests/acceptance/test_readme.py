"""What the README and the pages beside it show is what a user gets: commands are run, outputs compared."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from support.app import App
from support.files import jpeg, write

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#]+)(#[^)]*)?\)")


def blocks(page: Path, language: str) -> list[str]:
    return [body for kind, body in FENCE.findall(page.read_text()) if kind == language]


def steps(block: str) -> list[tuple[str, list[str]]]:
    """The commands of a console block, each with the output that is shown under it."""
    found: list[tuple[str, list[str]]] = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], []))
        else:
            found[-1][1].append(line)
    return found


def pattern(shown: str) -> str:
    """What a shown line stands for: `…` is anything, and times and ids are not always these."""
    text = re.escape(shown).replace("…", ".*")
    text = re.sub(r"[0-9a-f]{32}", "[0-9a-f]{32}", text)
    return re.sub(r"\d{4}\\-\d{2}\\-\d{2}\\ \d{2}:\d{2}:\d{2}", r"\\d{4}-\\d{2}-\\d{2} \\d{2}:\\d{2}:\\d{2}", text)


def typed(command: str, folder: Path, environ: dict[str, str]) -> str:
    """Runs a line as a user types it, with our `pixstored` on the path."""
    done = subprocess.run(["bash", "-c", command], cwd=folder, env=environ, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, f"{command}: {done.stderr}"
    return done.stdout


@pytest.fixture
def environ(app: App) -> dict[str, str]:
    """A fresh home in which `pixstored` is on the path."""
    program = write(app.home / "bin" / "pixstored", f'#!/bin/sh\nexec "{sys.executable}" -m pixstored "$@"\n'.encode())
    program.chmod(0o755)
    plain = {name: value for name, value in app.environ.items() if name != "PIXSTORED_KEY"}
    return {**plain, "PATH": f"{app.home}/bin:{os.environ['PATH']}"}


def test_the_first_picture_is_published_as_the_readme_tells(app: App, environ: dict[str, str]) -> None:
    write(app.home / "Pictures" / "holiday.jpg", jpeg(seed=1))
    app.file.write_text((ROOT / "config.example.yaml").read_text())
    app.file.rename(app.home / "config.example.yaml")
    app.file = app.home / "config.example.yaml"
    [(copy, _), (links, shown)] = steps(blocks(ROOT / "README.md", "console")[0])
    with app.running():
        typed(copy, app.home, environ)
        app.wait_for(published=1)
        out = typed(links.replace(".venv/bin/", ""), app.home, environ)
    assert re.fullmatch("\n".join(map(pattern, shown)), out.rstrip("\n")), out


def test_the_way_to_the_real_store_is_as_the_readme_tells(app: App, environ: dict[str, str]) -> None:
    for seed in range(2):
        write(app.home / "Pictures" / "Export" / f"{seed}.jpg", jpeg(seed=seed))
    [configuration] = blocks(ROOT / "README.md", "yaml")
    write(app.home / ".config" / "pixstored" / "config.yaml", configuration.encode())
    environ["YOUR_KEY"] = "a-key"
    for command, shown in steps(blocks(ROOT / "README.md", "console")[1]):
        if command == "pixstored run":
            continue  # that would speak to the real service
        out = typed(command, app.home, environ)
        assert re.fullmatch("\n".join(map(pattern, shown)), out.rstrip("\n")), out


def test_every_command_has_help_and_is_told_in_the_documentation(app: App) -> None:
    app.configure()
    listed = app.command("--help").stdout.partition("Commands:\n")[2]
    told = "".join(page.read_text() for page in PAGES)
    commands = re.findall(r"^  (\S+)", listed, re.MULTILINE)
    assert len(commands) >= 8
    for name in commands:
        assert app.command(name, "--help").stdout.startswith(f"Usage: pixstored {name}")
        assert f"pixstored {name}" in told


def test_the_status_that_is_documented_is_the_one_that_programs_get(app: App) -> None:
    section = (ROOT / "docs" / "commands.md").read_text().partition("\n## status\n")[2].partition("\n## ")[0]
    [told] = [json.loads(body) for kind, body in FENCE.findall(section) if kind == "json"]
    app.configure()
    status = app.status()
    assert list(told) == list(status)
    for name in ("config", "ledger", "counts", "contents", "store", "seconds_to_link"):
        assert list(told[name]) == list(status[name]), name
    assert list(told["watches"][0]) == list(status["watches"][0])


def test_every_link_between_the_pages_leads_somewhere() -> None:
    for page in PAGES:
        for target, _ in LINK.findall(page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_service_is_installed_by_the_same_commands_on_both_pages() -> None:
    """Those of docs/service.md are run on a real systemd by tests/system."""

    def section(page: Path) -> list[str]:
        text = page.read_text().partition("## As a service\n")[2].partition("\n## ")[0]
        return [body for kind, body in FENCE.findall(text) if kind == "sh"]

    assert len(section(ROOT / "README.md")) >= 4
    assert section(ROOT / "README.md") == section(ROOT / "docs" / "service.md")


@pytest.mark.parametrize("page", [ROOT / "docs" / "recipes.md"], ids=lambda page: page.name)
def test_every_recipe_loads(page: Path, app: App) -> None:
    for recipe in blocks(page, "yaml"):
        app.file.write_text(f"ledger: state/ledger.db\nstore: {{url: embedded}}\n{recipe}")
        done = app.command("check", "--config-only")
        assert done.returncode == 0, done.stderr


def test_the_demo_ends_with_links_and_leaves_what_it_says(app: App, environ: dict[str, str]) -> None:
    out = typed("pixstored demo --dir demo", app.home, environ)
    links = re.findall(r"^  (\S+\.png) +(http://\S+)$", out, re.MULTILINE)
    assert [name for name, _ in links] == ["copy-of-1.png", "picture-1.png", "picture-2.png", "picture-3.png"]
    assert len({link for _, link in links}) == 3
    assert typed("pixstored -c demo/config.yaml links --format jsonl", app.home, environ).count("\n") == 4
    for command in re.findall(r"^  (pixstored .* (?:links|why)\b[^#\n]*)", out, re.MULTILINE):
        assert typed(command, app.home, environ)


def test_what_completes_a_shell_is_there(app: App, environ: dict[str, str]) -> None:
    assert "_PIXSTORED_COMPLETE" in typed("_PIXSTORED_COMPLETE=bash_source pixstored", app.home, environ)
