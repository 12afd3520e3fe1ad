"""Counts with units."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitjax.config import PerParam, format_count, parse_count, tokens_of
from splitjax.config.units import exact_count

LARGEST = 2**63 - 1
counts = st.integers(0, LARGEST)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("0", 0), (7, 7), (3.0, 3), ("40M", 40_000_000), ("2.7B", 2_700_000_000), ("2.7b", 2_700_000_000),
        ("1_000", 1000), ("1e6", 10**6), ("1.5e3k", 1_500_000), (" 3 k ", 3000), ("1T", 10**12), ("1G", 10**9),
        ("0.3M", 300_000), (1e6, 10**6), (LARGEST, LARGEST),
    ],
)
def test_a_count_is_read(text: object, count: int) -> None:
    read = parse_count(text)
    assert read == count
    assert type(read) is int


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "M", "-1", -1, 1.5, "1.5", "0.3", "1.2.3", "1__x", "40 MM", "4O", "0x10", "0x", "-20x", "infx", "nanx",
        True, None, [1], {}, b"1", float("inf"), float("nan"), "inf", "1e99", "1e999", 10**400, LARGEST + 1, "²",
        "9" * 5000, 1e30,
    ],
)
def test_what_is_no_count_is_refused_in_one_line(text: object) -> None:
    with pytest.raises(ValueError) as caught:
        parse_count(text)
    assert len(str(caught.value)) < 120
    assert "\n" not in str(caught.value)


@given(counts)
def test_integers_of_any_size_are_exact(count: int) -> None:
    assert parse_count(count) == parse_count(str(count)) == parse_count(f" {count:_} ") == count


@given(counts)
def test_an_exact_count_reads_back(count: int) -> None:
    assert parse_count(exact_count(count)) == count


@given(st.decimals(0, 10**6, allow_nan=False, places=3), st.sampled_from("kKmMbBgGtT"))
def test_a_unit_is_a_power_of_ten(number: Decimal, unit: str) -> None:
    power = {"k": 3, "m": 6, "b": 9, "g": 9, "t": 12}[unit.lower()]
    assert parse_count(f"{number}{unit}") == int(number * 10**power)


@given(st.floats(1e-6, 1e6))
def test_tokens_per_parameter_read_back_exactly(ratio: float) -> None:
    read = parse_count(str(PerParam(ratio)))
    assert isinstance(read, PerParam)
    assert read == ratio


def test_tokens_per_parameter_need_a_model() -> None:
    assert tokens_of(PerParam(20), 1_000_003) == 20_000_060
    assert tokens_of(7, 1_000_003) == 7
    assert repr(parse_count("20x")) == "20x"


@given(st.integers(1, 10**16))
def test_a_count_for_people_is_near_the_truth(count: int) -> None:
    text = format_count(count)
    assert "e" not in text
    power = {"k": 3, "M": 6, "B": 9, "T": 12}.get(text[-1], 0)
    assert float(Decimal(text.rstrip("kMBT")).scaleb(power)) == pytest.approx(count, rel=0.005)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0"), (999, "999"), (999.9, "1k"), (1000, "1k"), (1234567, "1.23M"), (999_999, "1M"), (-2500, "-2.5k"),
     (2.7e9, "2.7B"), (123_456e12, "123456T"), (float("nan"), "nan")],
)
def test_a_count_for_people(count: float, text: str) -> None:
    assert format_count(count) == text
