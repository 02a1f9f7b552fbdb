"""All rows, in the order in which they are measured and shown."""

from __future__ import annotations

from collections.abc import Mapping

from bench.job import Row
from bench.rows import resting, scale, sending, waiting

ROWS: Mapping[str, Row] = {
    row.__name__: row
    for row in (
        sending.small_files,
        sending.medium_files,
        sending.large_file,
        sending.sinks_ceiling,
        scale.queued_files,
        scale.known_files,
        scale.million_files,
        resting.one_shot,
        resting.idle,
        resting.commands,
        waiting.distant_store,
        waiting.slow_disk,
    )
}
