"""The files in regressions/data are what its README says they are."""

from __future__ import annotations

import hashlib
import re

import pytest

from pyserini_tasb.formats.named import bundled_files
from pyserini_tasb.recipes.lookup import own_folder

DATA = own_folder("regressions") / "data"
KINDS = ("topics", "qrels", "run")


def test_readme_lists_every_file_with_its_size_and_sha256():
    rows = re.findall(
        r"^\| `(\S+\.gz)` \|.*\| ([\d,]+) \| `([0-9a-f]{64})` \|$", (DATA / "README.md").read_text(), re.MULTILINE
    )
    assert {name: (int(size.replace(",", "")), digest) for name, size, digest in rows} == {
        path.name: (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) for path in DATA.glob("*.gz")
    }


def test_every_file_has_a_name_users_can_type():
    assert {path for kind in KINDS for path in bundled_files(kind).values()} == set(DATA.glob("*.gz"))


@pytest.mark.parametrize("path", sorted(DATA.glob("*.gz")), ids=lambda path: path.name)
def test_no_file_is_large_or_carries_a_time(path):
    header = path.read_bytes()[:10]
    assert header[:3] == b"\x1f\x8b\x08"
    assert header[3:8] == b"\0" * 5  # no name, no time
    assert path.stat().st_size < 1_000_000
