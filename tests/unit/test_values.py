"""Durations, sizes and addresses: what people write, and what they are told when it cannot be meant."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixstored.config.values import BYTES, MILLISECONDS, parse_address, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0s", 0.0),
        ("0", 0.0),
        ("300ms", 0.3),
        ("2s", 2.0),
        ("5m", 300.0),
        ("1h", 3600.0),
        ("2d", 172800.0),
        ("1.5h", 5400.0),
        (" 5 s ", 5.0),
    ],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("5", 'say "5s"'),
        ("30", 'say "30s"'),
        ("2.5", "no unit"),
        ("5M", "none of ms, s, m, h, d"),
        ("5 weeks", "none of ms, s, m, h, d"),
        ("-1s", "must be a duration"),
        ("1h30m", "must be a duration"),
        ("", "must be a duration"),
        ("s", "must be a duration"),
        ("22:30", "must be a duration"),
        ("٣s", "must be a duration"),
        ("99999d", "longer than ten years"),
        ("9" * 5000 + "s", "must be a duration"),
    ],
)
def test_a_duration_that_cannot_be_meant_is_refused_with_a_hint(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        parse_duration(text)
    assert told in str(refused.value)


@given(st.integers(0, 3650), st.sampled_from(sorted(MILLISECONDS)))
def test_every_whole_number_with_a_unit_is_a_duration(number: int, unit: str) -> None:
    assert parse_duration(f"{number}{unit}") == pytest.approx(number * MILLISECONDS[unit] / 1000)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("500B", 500),
        ("20MB", 20_000_000),
        ("20mb", 20_000_000),
        ("4MiB", 4_194_304),
        ("1.5GB", 1_500_000_000),
        ("2 TiB", 2_199_023_255_552),
        ("0.5KiB", 512),
    ],
)
def test_sizes_are_bytes(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("500", 'say "500B"'),
        ("20M", "none of B, KB"),
        ("-1B", "must be a size"),
        ("0.5B", "not a whole number"),
        ("99999999TB", "larger than any file"),
        ("big", "must be a size"),
    ],
)
def test_a_size_that_cannot_be_meant_is_refused_with_a_hint(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        parse_size(text)
    assert told in str(refused.value)


@given(st.integers(0, 10**6), st.sampled_from(sorted(BYTES)))
def test_every_whole_number_with_a_unit_is_a_size(number: int, unit: str) -> None:
    assert parse_size(f"{number}{unit}") == number * BYTES[unit]


@given(st.text(max_size=30))
def test_any_other_text_is_refused_with_one_clause_that_does_not_repeat_it(text: str) -> None:
    for parse in (parse_duration, parse_size, parse_address):
        try:
            parse(text)
        except ValueError as refused:
            told = str(refused)
            assert "\n" not in told
            assert len(text.strip()) < 7 or text.strip() not in told


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8787", ("127.0.0.1", 8787)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:8787", ("::1", 8787)),
        ("photos.example.org:65535", ("photos.example.org", 65535)),
    ],
)
def test_addresses_are_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("8787", "HOST:PORT"),
        ("localhost", "HOST:PORT"),
        (":8787", "no host"),
        ("::1:8787", "without brackets"),
        ("[::x]:8787", "not an IPv6 address"),
        ("localhost:http", "no number from 0 to 65535"),
        ("localhost:65536", "no number from 0 to 65535"),
        ("1.2.3.400:80", "not an IP address"),
        ("a b:80", "neither a name nor an IP address"),
        ("http://x:80", "without brackets"),
        ("x/y:80", "neither a name nor an IP address"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$") as refused:
        parse_address(text)
    assert told in str(refused.value)


@given(st.ip_addresses(), st.integers(0, 65535))
def test_every_ip_address_with_a_port_is_an_address(ip: IPv4Address | IPv6Address, port: int) -> None:
    text = f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}"
    assert parse_address(text) == (str(ip), port)
