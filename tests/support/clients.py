"""HTTP clients of the store for tests, with patient time limits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pixstored.config.schema import KeyIn, Secret
from pixstored.store.client import HttpStore
from support.rawserver import PATIENCE
from support.uploads import BytesUpload

KEY = "K3Y-never-shown-anywhere"


@contextmanager
def a_store(url: str, **changes: Any) -> Iterator[HttpStore]:
    """A client for `url`, with patient time limits; `changes` are `HttpStore`'s own arguments."""
    options: dict[str, Any] = {
        "key_in": KeyIn.FORM,
        "connect_timeout": PATIENCE,
        "stall_timeout": PATIENCE,
        "answer_timeout": PATIENCE,
        "proxy": "none",
        "ca_file": None,
    }
    key: Callable[[], Secret | None] = changes.pop("key", lambda: Secret(KEY))
    store = HttpStore(url, key, **(options | changes))
    try:
        yield store
    finally:
        store.close()


def in_thread(store: HttpStore, upload: BytesUpload) -> Callable[[], object]:
    """Sends in another thread; the call returns the receipt or the error."""
    result: list[object] = []

    def run() -> None:
        try:
            result.append(store.send(upload))
        except Exception as error:  # noqa: BLE001  # handed to the test, which says which it expects
            result.append(error)

    thread = threading.Thread(target=run, name="send")
    thread.start()

    def outcome() -> object:
        thread.join(PATIENCE)
        assert not thread.is_alive()
        return result[0]

    return outcome
