"""What people write for durations, sizes and addresses, as numbers: pure, and one clear clause for each refusal.

No message repeats the value: somebody may have put the API key in the wrong line.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
BYTES = {
    "b": 1,
    "kb": 10**3,
    "mb": 10**6,
    "gb": 10**9,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
LONGEST_DURATION = 3650 * 86400
"""Seconds: ten years, well below where timers and dates overflow."""
LARGEST_SIZE = 2**63 - 1
"""Bytes: the largest file offset, and the largest integer of the ledger."""
LARGEST_PORT = 65535

_NUMBER_AND_UNIT = re.compile(r"([0-9]{1,19}(?:\.[0-9]{1,9})?) ?([A-Za-z]*)")
_SHORT_NUMBER = re.compile(r"[0-9]{1,6}")
_HOST_LABEL = re.compile(r"(?!-)[A-Za-z0-9_-]{1,63}(?<!-)")
_LONGEST_HOST = 253  # characters, RFC 1035


def parse_duration(text: str) -> float:
    """Seconds, from `300ms`, `2s`, `1.5h`, `2d`; `0` needs no unit. Raises ValueError."""
    number, parts, unit = _split(text, "must be a duration like 300ms, 2s, 5m, 1h or 2d")
    if not unit:
        if number == 0:
            return 0.0
        raise ValueError(f'has no unit: say "{_echo(text, "5")}s"')
    if unit not in MILLISECONDS:
        raise ValueError("has a unit that is none of ms, s, m, h, d")
    milliseconds, parts = number * MILLISECONDS[unit], parts * MILLISECONDS["s"]
    if milliseconds > LONGEST_DURATION * parts:
        raise ValueError("is longer than ten years (3650d)")
    return milliseconds / parts


def parse_size(text: str) -> int:
    """Bytes, from `500B`, `20MB` (decimal) or `4MiB` (binary), in any case; `0` needs no unit. Raises ValueError."""
    number, parts, unit = _split(text, "must be a size like 500B, 20MB or 4MiB")
    if not unit:
        if number == 0:
            return 0
        raise ValueError(f'has no unit: say "{_echo(text, "500")}B"')
    if unit.lower() not in BYTES:
        raise ValueError("has a unit that is none of B, KB, MB, GB, TB, KiB, MiB, GiB, TiB")
    size, rest = divmod(number * BYTES[unit.lower()], parts)
    if rest:
        raise ValueError("is not a whole number of bytes")
    if size > LARGEST_SIZE:
        raise ValueError("is larger than any file can be")
    return size


def parse_address(text: str) -> tuple[str, int]:
    """Host and port, from `127.0.0.1:8787`, `localhost:8787` or `[::1]:8787`; port 0 is any. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError("must be HOST:PORT, like 127.0.0.1:8787")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > LARGEST_PORT:
        raise ValueError(f"has a port that is no number from 0 to {LARGEST_PORT}")
    return _host(host), int(port)


def _split(text: str, otherwise: str) -> tuple[int, int, str]:
    """The number as a whole one of so many parts of a unit, and the unit: `1.5h` is 15 tenths of an hour."""
    match = _NUMBER_AND_UNIT.fullmatch(text.strip())
    if match is None:
        raise ValueError(otherwise)
    whole, _, fraction = match[1].partition(".")
    return int(whole + fraction), 10 ** len(fraction), match[2]


def _echo(text: str, sample: str) -> str:
    """The number as written if it is plainly one, not a key made of digits; else a sample."""
    return text.strip() if _SHORT_NUMBER.fullmatch(text.strip()) else sample


def _host(host: str) -> str:
    if not host:
        raise ValueError("has no host: say 127.0.0.1:PORT for this machine only, 0.0.0.0:PORT for everybody")
    if host.startswith("[") and host.endswith("]"):
        return _ipv6(host[1:-1])
    if ":" in host:
        raise ValueError("has an IPv6 host without brackets: write it like [::1]:8787")
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdecimal():
        return _ipv4(host)
    if len(host) > _LONGEST_HOST or not all(_HOST_LABEL.fullmatch(label) for label in labels):
        raise ValueError("has a host that is neither a name nor an IP address")
    return host


def _ipv4(host: str) -> str:
    try:
        return str(ip_address(host))
    except ValueError:
        raise ValueError("has a host that is not an IP address") from None


def _ipv6(host: str) -> str:
    try:
        return str(IPv6Address(host))
    except ValueError:
        raise ValueError("has a host in brackets that is not an IPv6 address") from None
