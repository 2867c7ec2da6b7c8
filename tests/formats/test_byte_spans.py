from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pyserini_tasb.formats.arrays import Spans

# Lengths around the word of eight bytes, and zero bytes, which look like padding.
STRINGS = st.lists(st.binary(max_size=20) | st.text("\0a", max_size=17).map(str.encode), max_size=30)


@given(strings=STRINGS)
def test_hashes_and_equality_are_those_of_the_strings(strings):
    spans = Spans.of(strings)
    hashes = spans.hashes()
    assert list(spans.strings()) == strings
    for number in range(len(strings)):
        same = np.array([string == strings[number] for string in strings])
        others = spans[np.full(len(strings), number)]
        np.testing.assert_array_equal(spans.equal(others), same)
        np.testing.assert_array_equal(hashes == hashes[number], same)


def test_hash_depends_on_the_string_not_on_what_stands_around_it():
    inside = Spans(np.frombuffer(b"xx1234567yyyyyyyyyy", np.uint8), np.array([2]), np.array([7]))
    assert inside.hashes() == Spans.of([b"1234567"]).hashes()
    assert inside.string(0) == "1234567"


def mix(value: int) -> int:
    """SplitMix64's step, in plain integers."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return value ^ (value >> 31)


@given(strings=STRINGS)
def test_hashes_are_the_same_on_every_machine(strings):
    # Stores travel: with another hash, those that exist would lose their ids.
    expected = []
    for string in strings:
        value = mix(len(string))
        for start in range(0, len(string), 8):
            value = mix(value ^ int.from_bytes(string[start : start + 8], "little"))
        expected.append(value)
    assert Spans.of(strings).hashes().tolist() == expected


def test_splitmix64_itself():
    assert mix(0) == 0xE220A8397B1DCDAF  # the generator's first number from seed 0
    assert Spans.of([b""]).hashes().tolist() == [0xE220A8397B1DCDAF]
