"""When two texts count as the same."""

from __future__ import annotations

from hashlib import blake2b


def text_digest(text: str) -> int:
    """64 bits that are equal for texts which differ in white space and letter case only; never 0."""
    normalised = " ".join(text.split()).casefold()
    return int.from_bytes(blake2b(normalised.encode(), digest_size=8).digest(), "little") or 1
