"""Numbers as text: what float() reads and repr() writes, for a column at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pyserini_tasb.formats.text_columns import PackedText, decimal_texts, read_decimals, shortest_decimals

FINITE = st.floats(allow_nan=False, allow_infinity=False)
# Around every limit between two ways of writing.
LIMITS = [
    2.0**-11,
    2.0**20,
    0.001,
    0.01,
    0.1,
    *(10.0**power for power in range(7)),
    *(2.0**power for power in range(-12, 21)),
]


def read(texts):
    ends = np.cumsum([len(text) + 1 for text in texts]) - 1
    starts = np.concatenate([[0], ends[:-1] + 1])
    numbers, known = read_decimals(PackedText(" ".join(texts).encode() + b" "), starts, ends)
    return numbers.tolist(), known.tolist()


def written(numbers):
    rows = decimal_texts(np.array(numbers, dtype=np.float64))
    return [row.tobytes().replace(b"\0", b"").decode() for row in rows]


def around(number):
    return [np.nextafter(number, -np.inf), number, np.nextafter(number, np.inf)]


@given(st.lists(FINITE, min_size=1, max_size=40))
@example([near for limit in LIMITS for near in around(limit)])
@example([1 + 2.0**-17, 0.0, -0.0, -1.5, 5e-324, 1.7976931348623157e308, 1 / 1060, 0.3])
def test_written_as_repr_does(numbers):
    assert written(numbers) == [repr(float(number)) for number in numbers]


@pytest.mark.parametrize("digits", [1, 3, 6, 15, 16, 17])
def test_written_as_repr_does_for_scores_of_many_sizes(digits):
    random = np.random.default_rng(digits)
    numbers = [
        float(f"{number:.{digits}g}") for number in random.normal(size=20_000) * 10.0 ** random.integers(-4, 7, 20_000)
    ]
    assert written(numbers) == [repr(number) for number in numbers]


@pytest.mark.parametrize("step", [1, 1 / 2, 1 / 8, 10, 1000])
@pytest.mark.parametrize("sign", [1, -1])
def test_few_digits_are_written_without_zeros_behind_them(step, sign):
    numbers = (sign * step * np.arange(1.0, 3000.0)).tolist()
    assert written(numbers) == [repr(number) for number in numbers]


@pytest.mark.parametrize("scale", [2.0**-10, 0.02, 1, 30, 400, 100_000])
def test_scores_of_every_usual_size_are_written_without_repr(scale):
    scores = np.random.default_rng(0).random(20_000) * scale + scale
    for numbers in (scores, np.round(scores, 6)):
        assert np.mean(shortest_decimals(numbers)[-1]) > 0.998  # the rest are powers of two, more or less


@given(st.lists(FINITE.map(repr), min_size=1, max_size=40))
def test_what_is_read_is_what_float_reads(texts):
    numbers, known = read(texts)
    assert [number for number, ok in zip(numbers, known, strict=True) if ok] == [
        float(text) for text, ok in zip(texts, known, strict=True) if ok
    ]


def test_scores_of_every_usual_form_are_read_without_float():
    random = np.random.default_rng(0)
    numbers = random.normal(size=20_000) * 10.0 ** random.integers(-3, 6, 20_000)
    texts = [f"{number:.{decimals}f}" for decimals in (0, 1, 6, 12) for number in numbers]
    texts += [repr(float(np.float32(number))) for number in numbers if abs(number) > 0.01]
    texts += [repr(float(number)) for number in numbers if abs(number) > 0.1]
    found, known = read(texts)
    assert np.mean(known) > 0.998  # the rest lies half way between two float64, more or less
    assert [one for one, ok in zip(found, known, strict=True) if ok] == [
        float(text) for text, ok in zip(texts, known, strict=True) if ok
    ]


@pytest.mark.parametrize(
    "text",
    [
        "nan",
        "inf",
        "1e5",
        "1_0",
        "-",
        ".",
        "1.2.3",
        "1,5",
        "+-1",
        "0x1",
        "1:0",
        "1/0",
        "\u0661",
        "12345678901",
        "1" * 30,
    ],
)
def test_what_is_not_plainly_a_decimal_is_left_to_float(text):
    ends = np.array([len(text.encode())])
    assert not read_decimals(PackedText(text.encode() + b" tag 1.5 "), np.array([0]), ends)[1][0]


@pytest.mark.parametrize(
    ("text", "number"), [("7", 7.0), ("-0", 0.0), ("12.", 12.0), ("00.50", 0.5), ("12345678", 12345678.0)]
)
def test_unusual_decimals(text, number):
    assert read([text, "1 2.5"])[0][0] == number
