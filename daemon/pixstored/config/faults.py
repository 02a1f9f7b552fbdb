"""Every fault of one file, gathered while it is read, each with the line of the key it is about."""

from __future__ import annotations

from pathlib import Path

from pixstored.errors import ConfigError, Fault


class Faults:
    """Collects faults. Keys are told as paths like `watch[0].settle`, `""` being the whole file."""

    def __init__(self) -> None:
        self._lines: dict[str, int] = {}
        self._found: list[Fault] = []

    def met(self, key: str, line: int) -> None:
        """This key stands in this line (1-based): faults about it, and about what it should hold, are told there."""
        self._lines[key] = line

    def add(self, key: str, message: str, line: int | None = None) -> None:
        """Notes a fault; without `line` it is told at the key, or else at the nearest key around it."""
        self._found.append(Fault(key, line if line is not None else self.line(key), message))

    def line(self, key: str) -> int | None:
        """Where this key stands, or else the nearest key around it that was met; None if that is the whole file."""
        while key:
            if key in self._lines:
                return self._lines[key]
            key = key[: max(key.rfind("."), key.rfind("["), 0)]
        return None

    def __len__(self) -> int:
        return len(self._found)

    def error(self, file: Path) -> ConfigError:
        """All that was found, in the order of the file; what has no line comes first."""
        found = sorted(self._found, key=lambda fault: fault.line or 0)
        count = "1 fault" if len(found) == 1 else f"{len(found)} faults"
        return ConfigError(f"{file}: {count}", found)
