"""The STORE API: what stands at the door, the client for HTTP, what answers mean, how the store is doing.

`requests` does without the library that guesses encodings: nothing here is guessed, and it takes 12 ms of a start and
2.7 MB for good (measured).
"""

import sys
import warnings

sys.modules.setdefault("charset_normalizer", None)  # type: ignore[arg-type] # how importing is made to fail
warnings.filterwarnings("ignore", "Unable to find acceptable character detection dependency")
