"""Tokens made by other processes: however many there are, the same bytes, and nothing left of them."""

from __future__ import annotations

import gzip
import os
import shutil
import signal
import sys
import textwrap

import numpy as np
import pytest
from tokenizers import Tokenizer

from pyserini_tasb.encoding import tokens, units
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.encoding.plan import plan_corpus
from pyserini_tasb.encoding.tokens import TokenisedUnits, Tokenisers, likely_device
from pyserini_tasb.environment.processor import cores
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.collections import Corpus
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.models.backends import TorchModel
from pyserini_tasb.models.queues import TorchQueue
from pyserini_tasb.models.tokenizers import PrefixedTokenizer, batches_by_length
from tests.conftest import TINY, TINY_MODEL
from tests.encoding.corpus.conftest import UNIT_SIZE, contents, encode, words
from tests.processes import marked

CORPUS = TINY / "corpus.jsonl"


def tokenised(path, tokenisers, unit_size, ask, early=()):
    """The results of `ask`, which is given the tokenised units of a corpus."""
    corpus = Corpus((str(path),))
    tokenizer = PrefixedTokenizer(Tokenizer.from_file(str(TINY_MODEL / "tokenizer.json")), prefix="")
    plan = plan_corpus(corpus, unit_size, "tiny")
    with TokenisedUnits(plan, tokenisers) as made:
        made.begin(tokenizer, (str(path),), Fields(), early)
        return ask(made, range(len(plan.marks)))


def same(one, other):
    assert (one.number, one.docids) == (other.number, other.docids)
    for name in ("rows", "lengths", "token_ids"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))


def test_units_come_in_order_from_any_number_of_processes(tmp_path):
    packed = tmp_path / "corpus.jsonl.gz"
    packed.write_bytes(gzip.compress(CORPUS.read_bytes()))
    every_other = slice(1, None, 2)

    def ask(made, numbers):
        first = [unit for unit, _ in made.units(numbers)]
        return first, [unit for unit, _ in made.units(numbers[every_other])]

    whole, some = tokenised(CORPUS, Tokenisers(), UNIT_SIZE, ask)
    assert [unit.number for unit in whole] == list(range(7))
    assert [unit.number for unit in some] == [1, 3, 5]
    others = [
        tokenised(CORPUS, Tokenisers(3, 2), UNIT_SIZE, ask, early=range(5)),
        tokenised(packed, Tokenisers(1, 2), UNIT_SIZE, ask, early=range(1)),
    ]
    for found, found_some in others:
        for expected, unit in zip(whole + some, found + found_some, strict=True):
            same(expected, unit)


def test_the_longest_passages_come_first():
    passages = [(docid, text) for _, docid, text in Corpus((str(CORPUS),)).marked()]
    (unit,) = tokenised(CORPUS, Tokenisers(), 200, lambda made, numbers: [unit for unit, _ in made.units(numbers)])
    tokenizer = Tokenizer.from_file(str(TINY_MODEL / "tokenizer.json"))
    ids = [encoding.ids for encoding in tokenizer.encode_batch([text for _, text in passages])]
    assert unit.docids == [docid for docid, _ in passages]
    expected = list(batches_by_length([len(each) for each in ids], 300))
    for batch, rows in zip(unit.batches(300), expected, strict=True):
        assert batch.rows.tolist() == rows.tolist()
        assert batch.lengths.tolist() == [len(ids[row]) for row in rows]
        assert batch.token_ids.tolist() == [token for row in rows for token in ids[row]]


@pytest.mark.parametrize(
    ("device", "variables", "expected"),
    [
        ("cpu", {}, (1, 1)),
        ("cuda:0", {"OMP_NUM_THREADS": "1"}, (1, 1)),
        ("cuda:0", {"OMP_NUM_THREADS": "4"}, (1, 3)),
        ("cuda", {"OMP_NUM_THREADS": "16"}, (4, 4)),
        # torchrun sets the first of these.
        ("cuda:1", {"OMP_NUM_THREADS": "1", "LOCAL_WORLD_SIZE": "2"}, (2, 4)),
    ],
)
def test_a_gpu_gets_all_cores_but_one(device, variables, expected, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tokens, "cores", lambda: 12)
    found = Tokenisers.beside(device, Corpus((str(CORPUS),)))
    assert (found.processes, found.threads) == expected


def test_what_cannot_be_begun_anywhere_is_read_by_one_process(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "16")
    packed = tmp_path / "corpus.jsonl.gz"
    packed.write_bytes(gzip.compress(CORPUS.read_bytes()))
    assert Tokenisers.beside("cuda", Corpus((str(CORPUS), str(packed)))) == Tokenisers(1, 15)
    assert Tokenisers.beside("cuda", Corpus((f"{__name__}:nothing:{CORPUS}",))) == Tokenisers(1, 15)


def nothing(_path):
    return []


def test_a_gpu_is_guessed_from_its_driver(tmp_path):
    assert likely_device(None, tmp_path) == "cpu"
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    assert likely_device(None, tmp_path) == "cuda"
    assert likely_device("cpu", tmp_path) == "cpu"
    assert cores() >= 1


@pytest.fixture
def as_on_a_gpu(monkeypatch):
    """Several processes tokenise, and batches are queued; the CPU computes."""
    monkeypatch.setattr(Tokenisers, "beside", classmethod(lambda cls, _device, _corpus: cls(3, 1)))
    monkeypatch.setattr(TorchModel, "queue", lambda model, pad_id: TorchQueue(model.module, "cpu", pad_id))


def test_the_folder_has_the_same_bytes(as_on_a_gpu, encoded, tmp_path, monkeypatch):
    begun = []
    monkeypatch.setattr(TorchQueue, "begin", counted(TorchQueue.begin, begun))
    assert encode(tmp_path / "out", "--max-length", 256) == 0
    assert sum(begun) >= 123
    found = contents(tmp_path / "out")
    assert found == {name: content for name, content in contents(encoded).items() if name in found}
    assert list(tmp_path.glob("out/units/*.lock")) == []


def counted(original, texts):
    def begin(self, token_ids, lengths, **options):
        texts.append(len(lengths))
        return original(self, token_ids, lengths, **options)

    return begin


def test_ctrl_c_keeps_what_is_finished(as_on_a_gpu, encoded, tmp_path, monkeypatch):
    batches, begin = [], TextEncoder.begin_tokens

    def interrupted(self, token_ids, lengths, **options):
        batches.append(len(lengths))
        if len(batches) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return begin(self, token_ids, lengths, **options)

    monkeypatch.setattr(TextEncoder, "begin_tokens", interrupted)
    assert encode(tmp_path / "out", "--max-length", 256) == 130
    assert len(batches) == 3
    assert encode(tmp_path / "out", "--max-length", 256) == 0
    found = contents(tmp_path / "out")
    assert found == {name: content for name, content in contents(encoded).items() if name in found}


def test_a_wrong_guess_is_corrected(encoded, tmp_path, monkeypatch):
    """The driver of a GPU that torch cannot use; a model that knows fewer positions than its tokenizer says."""
    monkeypatch.setattr(units, "likely_device", lambda _: "cuda")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    limits, begin = [], TokenisedUnits.begin

    def noted(self, tokenizer, *arguments):
        limits.append((tokenizer.tokenizer.truncation["max_length"], len(self.pids), self._threads))
        return begin(self, tokenizer, *arguments)

    monkeypatch.setattr(TokenisedUnits, "begin", noted)
    assert encode(tmp_path / "out", "--max-length", 256) == 0
    assert limits == [(256, 1, 2), (256, 1, 1)]
    found = contents(tmp_path / "out")
    assert found == {name: content for name, content in contents(encoded).items() if name in found}
    monkeypatch.undo()
    expected, shorter = tmp_path / "expected", tmp_path / "shorter"
    assert encode(expected, "--max-length", 16) == 0
    monkeypatch.setattr(TokenisedUnits, "begin", noted)
    longest = property(lambda _: 16, lambda _, __: None)
    monkeypatch.setattr(TextEncoder, "longest", longest, raising=False)
    assert encode(shorter, "--max-length", 256) == 0
    assert limits[2:] == [(256, 1, 1), (16, 1, 1)]
    assert vectors_of(shorter) == vectors_of(expected)


def vectors_of(folder):
    return [path.read_bytes() for path in sorted(folder.glob("units/*.npy"))]


def test_a_corpus_that_changes_is_refused_by_any_of_them(as_on_a_gpu, tmp_path, monkeypatch, capsys):
    from pyserini_tasb.encoding import corpus as command

    corpus, prepare = tmp_path / "c.jsonl", command.prepare
    shutil.copy(CORPUS, corpus)

    def prepare_then_change(*arguments, **options):
        plan = prepare(*arguments, **options)
        lines = corpus.read_text().splitlines(keepends=True)
        lines[65] = lines[65].replace('"}', ' more"}')
        corpus.write_text("".join(lines))
        return plan

    monkeypatch.setattr(command, "prepare", prepare_then_change)
    assert encode(tmp_path / "out", corpus=corpus) == 2
    told = capsys.readouterr().err
    assert "passages 61 to 80" in told
    assert "other docids or texts" in told
    assert {path.name[:6] for path in tmp_path.glob("out/units/*")} <= {"000000", "000001", "000002"}


def test_a_process_that_dies_is_told():
    def ask(made, numbers):
        received = made.units(numbers)
        next(received)
        os.kill(made.pids[1], signal.SIGKILL)
        return [unit for unit, _ in received]

    with pytest.raises(TasbError, match=r"the tokenising process to keep running.*\n.*signal SIGKILL"):
        tokenised(CORPUS, Tokenisers(2, 1), UNIT_SIZE, ask)


def test_a_unit_that_cannot_be_written_is_told(as_on_a_gpu, tmp_path, monkeypatch, capsys):
    """Vectors are written by a thread."""
    from pyserini_tasb.encoding.vectors import VectorUnit

    write = VectorUnit.write

    def refuse(unit, docids, vectors):
        if unit.number == 2:
            raise TasbError(expected="room", found="none", do="make room")
        write(unit, docids, vectors)

    monkeypatch.setattr(VectorUnit, "write", refuse)
    assert encode(tmp_path / "out") == 2
    assert "make room" in capsys.readouterr().err
    assert sorted(path.stem for path in tmp_path.glob("out/units/*.json"))[:2] == ["000000", "000001"]
    assert not (tmp_path / "out" / "units" / "000002.json").exists()
    assert list(tmp_path.glob("out/units/*.lock")) == []


SEVERAL = """
    import sys
    from pyserini_tasb.encoding.tokens import Tokenisers
    from tests.command_line import tasb

    Tokenisers.beside = classmethod(lambda cls, _device, _corpus: cls(3, 1))
    sys.exit(tasb(*sys.argv[1:]))
"""


def test_nothing_is_left_of_a_process_that_is_killed(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(SEVERAL), *words(tmp_path / "out")]
    with marked(command) as process:
        process.wait_until(lambda: list((tmp_path / "out").glob("units/*.lock")))
        assert len(process.living()) >= 4  # and Python's resource tracker
        process.popen.kill()
        assert process.orphans(5) == []
        assert "Traceback" not in process.popen.communicate()[1]
