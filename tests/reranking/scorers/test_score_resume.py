"""A `tasb score` that was killed ends with the bytes of one that was not, and never mixes scores of two makings."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest

from pyserini_tasb import TasbError
from tests.conftest import TINY, TINY_MODEL
from tests.reranking.scorers.commands import ROWS_AT_ONCE, WINDOW, options_of, tasb_score, written

pytestmark = pytest.mark.usefixtures("small_windows")

# Runs `tasb score` once for each moment, in a process that kills itself then: without mercy, nothing is tidied up.
KILLED = f"""
import os, signal, sys
from pathlib import Path
import torch
from pyserini_tasb.reranking.scorers import BiEncoderScorer
from pyserini_tasb.reranking.scorers import ScoringOptions
from pyserini_tasb.reranking.scorers import load_scorer
from pyserini_tasb.formats.text_store import TextStore
from pyserini_tasb.data import scored_pairs as pair_table
from pyserini_tasb.data import scored_pairs as windows
from pyserini_tasb.resume import PartialFile
from tests.command_line import tasb

def die_at(number, owner, name, before=lambda *arguments: None):
    calls, method = [], getattr(owner, name)
    def wrapped(*arguments, **options):
        calls.append(1)
        if len(calls) == number:
            before(*arguments)
            os.kill(os.getpid(), signal.SIGKILL)
        return method(*arguments, **options)
    setattr(owner, name, wrapped)

def write_half(part, content):
    with part.path.open("ab") as file:
        file.write(content[: len(content) // 2 + 1])

MOMENTS = {{
    "scoring": (4, BiEncoderScorer, "score_pairs"),
    "appending": (4, PartialFile, "append", write_half),
    "before the sidecar": (5, PartialFile, "note"),
    "in the sidecar": (5, Path, "replace"),
    "writing": (4, TextStore, "ids"),
    "removing": (1, PartialFile, "remove"),
}}
torch.set_num_threads(1)
load_scorer({str(TINY_MODEL)!r}, ScoringOptions("cpu"))  # imports once what every child needs
windows.PAIRS_PER_WINDOW, pair_table.ROWS_AT_ONCE = {WINDOW}, {ROWS_AT_ONCE}
for moment, place in MOMENTS.items():
    child = os.fork()
    if not child:
        die_at(*place)
        tasb("score", *sys.argv[2:], "--output", Path(sys.argv[1], moment, "out.tsv"))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL, moment
"""


@pytest.fixture(scope="module")
def killed(tmp_path_factory, pairs):
    """A folder for each moment, as a killed process left it."""
    folder = tmp_path_factory.mktemp("killed")
    subprocess.run([sys.executable, "-c", KILLED, folder, *map(str, options_of("", pairs))], check=True)
    return folder


@pytest.mark.parametrize("moment", ["scoring", "appending", "before the sidecar", "in the sidecar", "writing"])
def test_a_killed_run_goes_on_from_the_last_whole_window(killed, pairs, distinct, watch, uninterrupted, moment):
    output = killed / moment / "out.tsv"
    part, sidecar = output.with_name("out.tsv.part"), output.with_name("out.tsv.part.json")
    done = len(distinct) if moment == "writing" else 3 * WINDOW
    half, whole = 2 * WINDOW + 1, 4 * WINDOW
    beyond = {"appending": half, "before the sidecar": whole, "in the sidecar": whole}
    assert not output.exists()
    assert json.loads(sidecar.read_text())["scores"] == done
    assert part.stat().st_size == 4 * done + beyond.get(moment, 0)
    assert output.with_name("out.tsv.texts.part").is_dir()
    watched = watch()
    tasb_score(output, pairs)
    assert output.read_bytes() == uninterrupted
    assert len(watched[0].pairs) == len(distinct) - done
    assert [path.name for path in output.parent.iterdir()] == ["out.tsv"]


def test_a_run_that_was_killed_when_all_was_written_has_written_all(killed, pairs, watch, uninterrupted):
    output = killed / "removing" / "out.tsv"
    assert output.read_bytes() == uninterrupted
    watched = watch()
    tasb_score(output, pairs, "--overwrite")
    assert output.read_bytes() == uninterrupted
    assert watched[0].pairs == []
    assert [path.name for path in output.parent.iterdir()] == ["out.tsv"]


@pytest.fixture
def begun(tmp_path, pairs, watch):
    """An output of which three windows are scored; its folder holds nothing else."""
    output = tmp_path / "begun" / "out.tsv"
    watch(interrupted_at=4)
    with pytest.raises(KeyboardInterrupt):
        tasb_score(output, pairs)
    assert sorted(path.name for path in output.parent.iterdir()) == ["out.tsv.part", "out.tsv.part.json"]
    assert output.with_name("out.tsv.part").stat().st_size == 4 * 3 * WINDOW
    watch()
    return output


def test_the_same_pairs_in_another_order_and_a_model_that_was_moved_go_on(
    tmp_path, begun, rows, distinct, watch, capsys
):
    moved = shutil.copytree(TINY_MODEL, tmp_path / "moved")
    (moved / "README.md").write_text("no part of the model")
    other = written(tmp_path / "other.tsv", rows[::-1], "1\t")
    watched = watch()
    tasb_score(begun, other, model=moved)
    assert len(watched[0].pairs) == len(distinct) - 3 * WINDOW
    assert f"{len(distinct)} distinct scores ({3 * WINDOW} of them from an earlier run)" in capsys.readouterr().out
    tasb_score(tmp_path / "anew.tsv", other, model=moved)
    assert begun.read_bytes() == (tmp_path / "anew.tsv").read_bytes()


def with_other_weights(tmp_path):
    other = shutil.copytree(TINY_MODEL, tmp_path / "other")
    weights = bytearray((other / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (other / "model.safetensors").write_bytes(weights)
    return other


def with_another_text(tmp_path, name):
    """In another order, too: then the same pairs have other numbers."""
    other = tmp_path / f"other-{name}"
    lines = (TINY / name).read_text().replace("language", "speech", 1).splitlines(keepends=True)
    other.write_text("".join(lines[::-1]))
    return other


CHANGES = {
    "model": lambda folder, _: ("--model", with_other_weights(folder)),
    "collection": lambda folder, _: ("--corpus", with_another_text(folder, "corpus.jsonl")),
    "queries": lambda folder, _: ("--topics", with_another_text(folder, "topics.tsv")),
    "pairs": lambda folder, rows: ("--pairs", written(folder / "fewer.tsv", rows[1:])),
    "options": lambda *_: ("--max-length", 64),
}


@pytest.mark.parametrize("what", CHANGES)
def test_a_part_of_another_making_is_refused_and_kept(tmp_path, begun, pairs, rows, watch, what):
    changed = CHANGES[what](tmp_path, rows)
    before = begun.with_name("out.tsv.part").read_bytes(), begun.with_name("out.tsv.part.json").read_bytes()
    with pytest.raises(TasbError) as caught:
        tasb_score(begun, pairs, *changed)
    assert caught.value.where == str(begun.with_name("out.tsv.part"))
    assert caught.value.expected.startswith(what)
    assert str(changed[1]) in caught.value.expected
    assert caught.value.found.startswith(what)
    assert ";" not in caught.value.found  # nothing else differs
    assert "overwrite=True" in caught.value.do
    assert (begun.with_name("out.tsv.part").read_bytes(), begun.with_name("out.tsv.part.json").read_bytes()) == before
    watched = watch()
    tasb_score(begun, pairs, *changed, "--overwrite")
    tasb_score(tmp_path / "anew.tsv", pairs, *changed)
    assert begun.read_bytes() == (tmp_path / "anew.tsv").read_bytes()
    assert watched[0].pairs == watched[1].pairs


def test_a_card_that_pools_in_another_way_is_another_model(tmp_path, pairs, watch):
    card = tmp_path / "mine.yaml"
    card.write_text(f"name: mine\nmodel: {TINY_MODEL}\n")
    watch(interrupted_at=4)
    with pytest.raises(KeyboardInterrupt):
        tasb_score(tmp_path / "out.tsv", pairs, model=card)
    card.write_text(f"name: mine\nmodel: {TINY_MODEL}\nnormalise: true\n")
    with pytest.raises(TasbError, match=r"found: +model `.*mine.yaml`, which has changed since\n"):
        tasb_score(tmp_path / "out.tsv", pairs, model=card)


@pytest.mark.parametrize("content", [None, "{", "[]", '{"scores": 48}'])
def test_a_part_of_unknown_making_is_refused(begun, pairs, content, uninterrupted, watch):
    sidecar = begun.with_name("out.tsv.part.json")
    sidecar.unlink()
    if content is not None:
        sidecar.write_text(content)
    with pytest.raises(TasbError, match="nothing that describes these scores"):
        tasb_score(begun, pairs)
    watched = watch()
    tasb_score(begun, pairs, "--overwrite")
    assert begun.read_bytes() == uninterrupted
    assert len(watched[0].calls[0]) == WINDOW


def test_a_part_that_was_cut_is_begun_anew(begun, pairs, distinct, uninterrupted, watch):
    with begun.with_name("out.tsv.part").open("r+b") as part:
        part.truncate(4 * 3 * WINDOW - 1)
    watched = watch()
    tasb_score(begun, pairs)
    assert begun.read_bytes() == uninterrupted
    assert len(watched[0].pairs) == len(distinct)


def test_a_sidecar_without_a_part_is_no_reason_to_refuse(begun, pairs, uninterrupted):
    begun.with_name("out.tsv.part").unlink()
    tasb_score(begun, pairs)
    assert begun.read_bytes() == uninterrupted


def test_a_full_disk_is_explained_and_loses_nothing(begun, pairs, distinct, uninterrupted, watch, monkeypatch):
    def refuse(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", refuse)
        with pytest.raises(TasbError, match="No space left on device"):
            tasb_score(begun, pairs)
    watched = watch()
    tasb_score(begun, pairs)
    assert begun.read_bytes() == uninterrupted
    assert len(watched[0].pairs) == len(distinct) - 3 * WINDOW
