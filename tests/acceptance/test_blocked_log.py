"""A daemon whose log nobody takes: a pipe that is full, a terminal on hold, a journal that was stopped."""

from __future__ import annotations

import fcntl
import os

from support.app import App
from support.faulty_store import FaultyStore
from support.files import jpeg, write

FILES = 200
"""More than the pipe has room for lines."""


def test_a_daemon_whose_log_nobody_reads_publishes_and_stops_as_ever(app: App, store: FaultyStore) -> None:
    app.configure(store.url, watch="settle: 0s")
    os.mkfifo(app.log)
    reader = os.open(app.log, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.fcntl(reader, fcntl.F_SETPIPE_SZ, 4096)
        with app.running():
            for number in range(FILES):
                write(app.inbox / f"{number}.jpg", jpeg(seed=number))
            app.wait_for(published=FILES)
            assert app.status()["running"]
            assert app.stop() == 0
        assert b"published" in os.read(reader, 1 << 16)
    finally:
        os.close(reader)
