"""`status` as somebody sees it who looks on while the daemon comes and goes."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from support.app import App
from support.faults import Answer, says
from support.faulty_store import FaultyStore
from support.files import jpeg, write

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130


def test_a_followed_status_outlives_the_daemon_and_ends_without_a_word_too_many(app: App) -> None:
    app.configure()
    follow = [sys.executable, "-m", "pixstored", "-c", str(app.file), "status", "--follow", "--json"]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(follow, env=app.environ, **pipes) as process:
        assert process.stdout
        documents = map(json.loads, process.stdout)

        def read_until(is_so: Callable[[dict[str, Any]], bool]) -> None:
            assert any(map(is_so, documents))

        read_until(lambda status: not status["running"])
        with app.running():
            read_until(lambda status: status["running"])
        read_until(lambda status: not status["running"])
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    assert (process.returncode, told) == (EXIT_INTERRUPTED, "")


def test_to_look_once_and_for_ever_is_told_apart(app: App) -> None:
    app.configure()
    done = app.command("status", "--check", "--follow")
    assert (done.returncode, "--check looks once" in done.stderr) == (EXIT_USAGE, True)


def test_a_need_is_told_with_a_command_that_works_as_it_stands(app: App, store: FaultyStore) -> None:
    app.configure(store.url, watch="settle: 0s", top="retry: {tries: 1}")
    store.next(Answer(says(500, 500)))
    with app.running():
        write(app.inbox / "a.jpg", jpeg())
        app.wait_for(failed=1)
        page = app.command("status").stdout
        assert "! 1 file failed" in page
        [line] = [each for each in page.split("`") if "retry --failed" in each]
        program, *words = shlex.split(line)
        assert (program, words[:2]) == ("pixstored", ["-c", str(app.file)])
        done = app.command(*words[2:])
        assert done.returncode == 0, done.stderr
        app.wait_for(published=1)
        check = app.command("status", "--check")
        assert (check.returncode, check.stdout) == (0, "OK: 1 watching, 1 published, store ok\n")
