"""Outputs, verb by verb: refused before slow work, complete or not there, `-`, and what a kill leaves.

`make test ARGS="tests/test_outputs.py --kills 10"` kills every verb ten times and prints what came of it. Without it,
a few are killed once.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from pyserini_tasb.errors import TasbError
from pyserini_tasb.outputs import new_file, new_files, new_folder, require_folder, require_new_folder
from tests.command_line import tasb
from tests.command_line_folder import contents, make_outputs, write_inputs

# Every argument but the output is wrong: that is not found out.
WRONG = {
    "search": "search --index no --encoder no --topics no --output {}",
    "hybrid": "hybrid --recipe tasb+bm25 --topics no --dense-index no --sparse-index no --output {}",
    "rerank": "rerank --run no --model no --topics no --corpus no --output {}",
    "fuse": "fuse --method rrf --runs no nowhere --output {}",
    "tune": "tune --recipe tasb+bm25 --runs no nowhere --qrels no --output {}.yaml",
    "rerank-depths": "rerank-depths --qrels no --first-stage no nowhere --output {}.png",
    "evaluate": "evaluate --qrels no --runs no --recall-plot {}.png",
    "show": "show no nowhere --corpus no --html {}",
    "mine": "mine --topics no --qrels no --corpus no --run no --output {}",
    "score": "score --model no --pairs no --corpus no --topics no --output {}",
    "score --ensemble": "score --ensemble no nowhere --output {}",
    "cluster --vectors": "cluster --topics no --encoder no --output new --vectors {}/v.npy",
    "regress --export-2cr": "regress ok.yaml --export-2cr {}",
    "pairs": "pairs --scored-pairs no --corpus no --topics no --output {}",
    "validation-set": "validation-set --topics no --qrels no --run no --corpus no --output {}",
    "pseudo-queries": "pseudo-queries --corpus no --output {}",
    "cluster": "cluster --topics no --encoder no --output {}",
    "index": "index --vectors no --output {}",
    "export": "export --encoder no --output {}",
    "expand": "expand --corpus no --predictions no --output {}",
    "expand --model": "expand --corpus no --model no --output {}",
    "report": "report --results no --output {}",
    "regress --report": "regress ok.yaml --report {}",
    "encode": "encode --encoder no --corpus no --output {}",
    "msmarco": "msmarco --skip-download --output {}",
    "train": "train train.yaml --set student.model=/no data.pairs=nowhere output={}",
    "teach": "teach --kind cat teach.yaml --set teacher.model=/no data.pairs=nowhere output={}",
    "study": "study study.yaml --set tasks.rerank.topics=nowhere output={}",
    "demo": "demo --output {}",
}
CONTINUED = {"encode", "msmarco", "train", "teach", "study", "demo", "cluster --vectors"}
EXISTS = {"tune": "mine.yaml", "rerank-depths": "mine.png", "evaluate": "mine.png", "cluster": "clustered",
          "report": "reported", "regress --report": "reported"}  # fmt: skip
FOLDERS = {"pairs", "validation-set", "pseudo-queries", "index", "export", "expand", "expand --model"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    write_inputs(folder)
    for name in ("mine.yaml", "mine.png"):
        (folder / name).write_text("precious")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        make_outputs(
            [
                "encode --encoder model --corpus corpus.jsonl --output vectors --device cpu --max-length 64",
                "index --vectors vectors --output index --threads 1",
                "pairs --scored-pairs scored.tsv --corpus corpus.jsonl --topics topics.tsv --output pairs",
                "regress ok.yaml --output regressed",
            ]
        )
    return folder


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    folder = shutil.copytree(prepared, tmp_path / "work")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path / "home"))
    return folder


def everything(folder):
    """Files with their content, and folders."""
    return contents(folder) | {str(path): None for path in folder.rglob("*") if path.is_dir()}


@pytest.mark.parametrize("place", ["mine.txt/new", "/proc/new", "new/" + "x" * 300])
@pytest.mark.parametrize("verb", WRONG)
def test_a_place_that_cannot_be_written_is_refused_first(verb, place, folder, capsys):
    before = everything(folder)
    assert tasb(*shlex.split(WRONG[verb].format(place))) == 2
    err = capsys.readouterr().err
    assert f"{place.partition('/')[0]}/" in err.splitlines()[0].partition(": ")[2]
    assert "can be written" in err or "a folder to write to" in err
    assert everything(folder) == before


@pytest.mark.parametrize("verb", [verb for verb in WRONG if verb not in CONTINUED])
def test_what_exists_is_refused_first(verb, folder, capsys):
    place = EXISTS.get(verb, "occupied" if verb in FOLDERS else "mine.txt")
    before = everything(folder)
    assert tasb(*shlex.split(WRONG[verb].format(Path(place).with_suffix("")
                if "{}." in WRONG[verb] else place))) == 2  # fmt: skip
    err = capsys.readouterr().err
    assert err.splitlines()[0].partition(": ")[2].removeprefix(f"{folder}/").startswith(place)
    assert "found:    it exists\n" in err
    assert "add --overwrite to replace it" in err
    assert everything(folder) == before


# What each verb writes, with `{}` for the output.
FILES = {
    "search": "search --index index --encoder model --topics topics.tsv --threads 1 --output {}",
    "hybrid": "hybrid --recipe tasb+bm25 --set depth=20 --encoder model --dense-index index --sparse-index "
    "$PWD/bm25/index --topics topics.tsv --output {}",
    "rerank": "rerank --run bm25.run --model model --topics topics.tsv --corpus corpus.jsonl --device cpu --output {}",
    "fuse": "fuse --method rrf --runs bm25.run dense.run --output {}",
    "tune": "tune --recipe tasb+bm25 --runs dense.run bm25.run --qrels qrels.txt --grid 0:1:0.5 --name mine "
    "--output {}",
    "mine": "mine --topics topics.tsv --qrels qrels.txt --corpus corpus.jsonl --run bm25.run --output {}",
    "score": "score --model model --pairs scored.tsv --corpus corpus.jsonl --topics topics.tsv --device cpu "
    "--output {}",
    "score --ensemble": "score --ensemble scored.tsv other.tsv --output {}",
    "show": "show bm25.run dense.run --corpus corpus.jsonl --html {}",
    "regress --export-2cr": "regress dl19-passage.tasb --export-2cr {}",
}
NOT_TEXT = {
    "rerank-depths": "rerank-depths --qrels qrels.txt --first-stage bm25.run dense.run --depths 5 10 --output {}.png",
    "evaluate": "evaluate --qrels qrels.txt --runs bm25.run --measures nDCG@10 --recall-plot {}.png",
    "pairs": "pairs --scored-pairs scored.tsv --corpus corpus.jsonl --topics topics.tsv --output {}",
    "validation-set": "validation-set --topics topics.tsv --qrels qrels.txt --run bm25.run --corpus corpus.jsonl "
    "--output {}",
    "pseudo-queries": "pseudo-queries --corpus corpus.jsonl --write-collection --output {}",
    "cluster": "cluster --topics topics.tsv --encoder model --batch-size 4 --output {}",
    "index": "index --vectors vectors --threads 1 --output {}",
    "export": "export --encoder model --sample corpus.jsonl topics.tsv --output {}",
    "expand": "expand --corpus corpus.jsonl --predictions predictions.txt --output {}",
    "report": "report --results regressed --output {}",
}
# They do not have the same bytes each time: seconds are in them.
TIMED = ("report.json", "outcome.json", "metrics.jsonl", "tensorboard", "state.json", "checksums.json")
LEFTOVERS = (".part", ".lock", ".old", ".work", ".new")


def typed(command, output):
    return shlex.split(command.format(output).replace("$PWD", str(Path.cwd())))


def made(folder):
    """What was written to `new`, without what has times in it."""
    return {
        name: content
        for name, content in contents(folder).items()
        if name.startswith("new/") and not any(part in name for part in TIMED)
    }


def make_other_scores(folder):
    """Another teacher's scores of the same pairs."""
    (folder / "other.tsv").write_text((folder / "scored.tsv").read_text().replace("8.0\t", "9.0\t"))


@pytest.mark.parametrize("verb", FILES)
def test_standard_output_gets_the_bytes_of_the_file(verb, folder, capfdbinary):
    make_other_scores(folder)
    output = "new/dir/output.yaml" if verb == "tune" else "new/dir/output"
    assert tasb(*typed(FILES[verb], output)) == 0
    capfdbinary.readouterr()
    assert tasb(*typed(FILES[verb], "-")) == 0
    printed = capfdbinary.readouterr()
    assert printed.out == (folder / output).read_bytes()
    assert printed.err


@pytest.mark.parametrize("verb", [*FILES, *NOT_TEXT])
def test_overwrite_replaces_it(verb, folder):
    make_other_scores(folder)
    output = "new/dir/output.yaml" if verb == "tune" else "new/dir/output"
    command = typed((FILES | NOT_TEXT)[verb], output)
    assert tasb(*command) == 0
    first = made(folder)
    assert first
    assert tasb(*command) == (0 if verb == "pairs" else 2)  # the very same pairs are there
    for name in first:
        if name.endswith((".run", "output", ".tsv", ".png", ".csv", ".html")):
            (folder / name).write_bytes(b"old")
    assert tasb(*command, "--overwrite") == 0
    assert made(folder) == first
    assert not [path for path in (folder / "new").rglob("*") if path.name.endswith(LEFTOVERS)]


@pytest.mark.parametrize("verb", ["fuse", "score", "rerank", "tune"])
def test_an_output_is_no_input(verb, folder, capsys):
    command = {"tune": FILES["tune"].replace("dense.run", "mine.yaml")}.get(verb, FILES[verb])
    output = {"score": "scored.tsv", "tune": "mine.yaml"}.get(verb, "bm25.run")
    before = everything(folder)
    assert tasb(*typed(command, output), "--overwrite") == 2
    assert "found:    it is also an input" in capsys.readouterr().err
    assert everything(folder) == before


def test_what_is_no_file_is_refused(folder, capsys):
    assert tasb(*typed(FILES["fuse"], "/dev/null"), "--overwrite") == 2
    assert "something that is not a file" in capsys.readouterr().err
    assert Path("/dev/null").is_char_device()
    assert tasb(*typed(FILES["fuse"], "occupied"), "--overwrite") == 2
    assert "found:    a folder" in capsys.readouterr().err
    assert tasb(*typed(NOT_TEXT["index"], "-")) == 2
    assert "a verb that writes one file" in capsys.readouterr().err
    assert not (folder / "-").exists()


FULL = """
import resource, sys
from tests.command_line import tasb
resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, 4_096))  # files end there, as on a full disk
sys.exit(tasb(*sys.argv[1:]))
"""


def test_a_full_disk_keeps_the_earlier_recipe(folder):
    output = folder / "new" / "mine.yaml"
    assert tasb(*typed(FILES["tune"], output)) == 0
    before = made(folder)
    assert sorted(before) == ["new/mine.csv", "new/mine.png", "new/mine.yaml"]
    command = [sys.executable, "-c", FULL, *typed(FILES["tune"], output), "--overwrite", "--set", "depth=10"]
    places = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=places)
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert "mine.png" in done.stderr
    assert made(folder) == before


def test_a_second_process_is_refused_before_its_work(tmp_path):
    with new_file(tmp_path / "out"):
        with pytest.raises(TasbError, match=rf"(?s)out\.part\n.*is running \(process {os.getpid()} on"):  # noqa: SIM117
            with new_file(tmp_path / "out"):
                pass
        assert [path.name for path in tmp_path.iterdir()] == ["out.part"]
    assert list(tmp_path.iterdir()) == []


def test_writers_of_small_files_wait_for_one_another(tmp_path):
    """Each writes all of it, and none is refused."""
    program = """
        import sys
        from pathlib import Path
        from pyserini_tasb.artifacts import write_whole
        for number in range(200):
            write_whole(Path(sys.argv[1]), sys.argv[2] * 1000)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), tmp_path / "state.json"]
    processes = [subprocess.Popen([*command, letter]) for letter in "abc"]
    seen = set()
    while any(process.poll() is None for process in processes):
        if (tmp_path / "state.json").exists():
            seen.add((tmp_path / "state.json").read_text())
    assert [process.returncode for process in processes] == [0, 0, 0]
    assert seen <= {letter * 1000 for letter in "abc"}
    assert [path.name for path in tmp_path.iterdir()] == ["state.json"]


def test_what_stood_there_stays_if_the_block_fails(tmp_path):
    (tmp_path / "one").write_text("old")

    def fail():
        with new_files([tmp_path / "one", tmp_path / "a" / "two"], overwrite=True) as files:
            for file in files:
                file.write("new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert everything(tmp_path) == {"one": b"old"}


def test_parts_of_earlier_versions_are_removed(tmp_path):
    for name in ("out.999999.part", f"out.{os.getpid()}.part", "out.1.2.part", "other.999999.part"):
        (tmp_path / name).touch()
    with new_file(tmp_path / "out") as file:
        file.write("x")
    left = {"out", f"out.{os.getpid()}.part", "out.1.2.part", "other.999999.part"}
    assert {path.name for path in tmp_path.iterdir()} == left


def test_only_a_folder_of_our_making_is_replaced(tmp_path):
    (tmp_path / "index").mkdir()
    for name in ("report.json", "index"):
        (tmp_path / "index" / name).write_text("x")
    made = ("report.json", "index", "_*")
    require_new_folder(tmp_path / "index", overwrite=True, made=made)
    with pytest.raises(TasbError, match=r"(?s)without inputs.*index/index is an input"):
        require_new_folder(tmp_path / "index", overwrite=True, made=made, inputs=[tmp_path / "index" / "index"])
    (tmp_path / "index" / "thesis.txt").write_text("mine")
    with pytest.raises(TasbError, match=r"found:    thesis\.txt"):
        require_new_folder(tmp_path / "index", overwrite=True, made=made)
    (tmp_path / "index.old").mkdir()  # somebody's own copy
    shutil.rmtree(tmp_path / "index")
    with new_folder(tmp_path / "index", made=made) as beside:
        (beside / "report.json").write_text("x")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["index", "index.old"]


def test_a_look_at_a_folder_leaves_nothing(tmp_path):
    require_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(TasbError, match="standard output"):
        require_folder(Path("-"))


# Forks a process for every moment at which it touches the disk, which kills it then.
EVERY_MOMENT = """
    import json, os, signal, sys
    from pathlib import Path

    from pyserini_tasb.artifacts import write_manifest, write_whole
    from pyserini_tasb.outputs import new_file, new_files, new_folder

    folder = Path(sys.argv[1])

    def one(overwrite=False):
        with new_file(folder / "deep" / "one", overwrite=overwrite) as file:
            file.write("one")

    def two(overwrite=True):
        with new_files([folder / "first", folder / "second"], overwrite=overwrite) as files:
            for file in files:
                file.write(file.path.name)

    def store(overwrite=True):
        with new_folder(folder / "store", overwrite=overwrite) as beside:
            (beside / "data").write_text("data")
            write_manifest(beside, "test", 1, {})

    def small():
        write_whole(folder / "small.json", "{}")

    def moment():
        global left
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)

    def before_and_after(owner, name):
        original = getattr(owner, name)
        def watched(*arguments, **options):
            moment()
            done = original(*arguments, **options)
            moment()
            return done
        setattr(owner, name, watched)

    def names():
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))

    found = {}
    for write in (one, two, store, small):
        found[write.__name__] = []
        for left in range(1, 1000):
            child = os.fork()
            if not child:
                watched = ((os, "fsync"), (os, "open"), (os, "ftruncate"), (Path, "open"), (Path, "replace"))
                for owner, name in (*watched, (Path, "rename"), (Path, "mkdir"), (Path, "unlink"), (os, "close")):
                    before_and_after(owner, name)
                write()
                os._exit(0)
            status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            if status == 0:
                break
            left = 0
            complete = (folder / "deep" / "one").exists()
            if not (write is one and complete):
                write()
            found[write.__name__].append([complete, names()])
            if write is one:
                (folder / "deep" / "one").unlink()
                (folder / "deep").rmdir()
    print(json.dumps(found))
"""


def test_a_kill_at_any_moment(tmp_path):
    command = [sys.executable, "-c", textwrap.dedent(EVERY_MOMENT), tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(len(kills) > 5 for kills in found.values())
    assert {tuple(names) for _, names in found["one"]} == {("deep", "deep/one")}
    both = ("deep", "deep/one", "first", "second")
    assert {tuple(names) for _, names in found["two"]} == {both}
    store = (*both, "store", "store/data", "store/manifest.json")
    assert {tuple(names) for _, names in found["store"]} == {store}
    assert {tuple(names) for _, names in found["small"]} == {tuple(sorted((*store, "small.json")))}


RESUMED = {
    "encode": "encode --encoder model --corpus corpus.jsonl --unit-size 20 --output-format faiss --device cpu "
    "--max-length 64 --output {}",
    "train": "train train.yaml --set max_steps=20 checkpoint.every=3 output={}",
    "teach": "teach --kind cat teach.yaml --set max_steps=12 checkpoint.every=3 output={}",
    "study": "study study.yaml --set output={}",
    "regress": "regress ok.yaml --report {}-report --output {}",
}
ALWAYS_KILLED = ("fuse", "tune", "score", "mine", "pairs", "train")


@pytest.mark.parametrize("verb", [*FILES, *NOT_TEXT, *RESUMED])
def test_killed_at_random_moments(verb, folder, pytestconfig, capsys):
    """In a process that is forked; then the same command is given again."""
    kills = pytestconfig.getoption("kills")
    if kills == 1 and verb not in ALWAYS_KILLED:
        pytest.skip("with --kills 10")
    make_other_scores(folder)
    command = (FILES | NOT_TEXT | RESUMED)[verb].replace("{}", "new/output.yaml" if verb == "tune" else "new/output")
    words = ["-m", "tests.killed", str(kills), *typed(command, "")]
    root = {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False, env=os.environ | root)
    assert done.returncode == 0, done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    if kills > 1:
        with capsys.disabled():
            print(f"\n{verb:<22}{found}")
    assert (found["other bytes"], found["left behind"], found["refused"]) == (0, 0, 0), done.stdout
