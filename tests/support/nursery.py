"""Starts daemons that die at a named moment of their life, and waits for their end; see `support.crashing`."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_TESTS = Path(__file__).resolve().parent.parent

PATIENCE = 30.0
"""Seconds after which a process that should have said something has not."""


class Nursery:
    """One daemon at a time, each forked from a process that has the program loaded already."""

    def __init__(self) -> None:
        path = os.pathsep.join([str(_TESTS), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-m", "support.crashing"],
            env={**os.environ, "PYTHONPATH": path},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._pid: int | None = None

    def __enter__(self) -> Nursery:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        if self._pid is not None:
            self.kill()
        assert self._process.stdin and self._process.stdout
        self._process.stdin.close()
        self._process.wait(PATIENCE)
        self._process.stdout.close()

    def start(
        self,
        config: Path,
        environ: dict[str, str],
        *,
        log: Path,
        trace: Path,
        kill_at: tuple[str, int] | None = None,
        hesitates: Path | None = None,
    ) -> None:
        """Starts `pixstored -c CONFIG run`. `trace` gets one line for each point it crosses; at the n-th crossing
        of the point `kill_at` names it kills itself. With `hesitates` it waits for the store's word before the
        last bytes go, or for a file of the upload's name in that folder."""
        point, number = kill_at or (None, 0)
        order = {
            "config": str(config),
            "environ": environ,
            "log": str(log),
            "trace": str(trace),
            "point": point,
            "number": number,
            "hesitates": str(hesitates) if hesitates else None,
        }
        assert self._pid is None, "one daemon at a time"
        assert self._process.stdin
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        self._pid = self._heard()

    def ended(self, within: float = 0.0) -> int | None:
        """The daemon's exit code, negative for a signal; None while it lives."""
        assert self._process.stdout
        if self._pid is None or not select.select([self._process.stdout], [], [], within)[0]:
            return None
        self._pid = None
        return self._heard()

    def kill(self, number: int = signal.SIGKILL) -> int:
        """Ends the daemon, if it has not ended by itself, and returns its exit code."""
        assert self._pid is not None
        with suppress(ProcessLookupError):  # it may have died just now
            os.kill(self._pid, number)
        code = self.ended(PATIENCE)
        assert code is not None, f"it has not ended within {PATIENCE:g} s"
        return code

    def _heard(self) -> int:
        assert self._process.stdout
        assert select.select([self._process.stdout], [], [], PATIENCE)[0], "the nursery says nothing"
        line = self._process.stdout.readline()
        assert line, "the nursery has died"
        return int(line)
