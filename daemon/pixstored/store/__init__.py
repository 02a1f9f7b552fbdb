"""The STORE API: what stands at the door, the client for HTTP, what answers mean, how the store is doing.

`HttpStore` is imported when it is asked for: `requests` takes longer to load than a reading command may run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pixstored.store.base import Store, Upload
from pixstored.store.health import Go, Health, Permit, Probe, Wait
from pixstored.store.verdict import Answer, judge

if TYPE_CHECKING:
    from pixstored.store.client import HttpStore

__all__ = ["Answer", "Go", "Health", "HttpStore", "Permit", "Probe", "Store", "Upload", "Wait", "judge"]


def __getattr__(name: str) -> Any:
    if name == "HttpStore":
        from pixstored.store.client import HttpStore

        return HttpStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
