"""The STORE API: what stands at the door, the client for HTTP, what answers mean, how the store is doing.

`HttpStore` is imported when it is asked for: `requests` takes longer to load than a reading command may run.
`requests` does without the library that guesses encodings: nothing here is guessed, and it takes 12 ms of a start and
2.7 MB for good (measured).
"""

from __future__ import annotations

import sys
import warnings
from typing import TYPE_CHECKING, Any

from pixstored.store.base import Store, Upload
from pixstored.store.health import Go, Health, Look, Permit, Probe, Wait
from pixstored.store.verdict import Answer, judge

if TYPE_CHECKING:
    from pixstored.store.client import HttpStore

__all__ = ["Answer", "Go", "Health", "HttpStore", "Look", "Permit", "Probe", "Store", "Upload", "Wait", "judge"]


sys.modules.setdefault("charset_normalizer", None)  # type: ignore[arg-type] # how importing is made to fail
warnings.filterwarnings("ignore", "Unable to find acceptable character detection dependency")


def __getattr__(name: str) -> Any:
    if name == "HttpStore":
        from pixstored.store.client import HttpStore

        return HttpStore
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
