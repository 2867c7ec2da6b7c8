"""The tutorials in docs/tutorials: each runs as it stands, puts out what is committed, and keeps what its text says.

What depends on the processor (vectors differ a little between kinds of them) is compared by its shape. The outputs of
cells with the tag `exact` are compared to the letter. `make notebooks` writes the outputs anew.
"""

from __future__ import annotations

import base64
import importlib.util
import json
import re
import resource
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("notebooks", ROOT / "docs" / "notebooks.py")
tutorials = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tutorials)

NOTEBOOKS = tutorials.notebooks()
# Pictures of each notebook.
PICTURES = {"01-first-search": 2, "02-hybrid": 3, "03-train": 3, "04-reproduce": 2, "05-extend": 3}
CORES, SECONDS = 2, 180  # of a notebook
LARGEST = 500_000
OF_A_MACHINE = re.compile(r"(?<![\w.])/(home|root|tmp|work|Users|opt|usr|private|var)/|\d{4}-\d\d-\d\dT?\s*\d\d:\d\d")
# What the texts say about numbers, as code that runs after a notebook's own.
FACTS = {
    "01-first-search": """
assert [hit.docid for hit in faiss_searcher.search(topics["25"], k=5)] == list(dense["25"])[:5]
bm25_values, minilm_values = (comparison[name].overall for name in ("bm25", "minilm"))
assert bm25_values["nDCG@10"] > minilm_values["nDCG@10"]
assert bm25_values["R@1000"] < minilm_values["R@1000"]
assert not any(test.significant for tests in comparison.tests.values() for test in tests.values())
assert difference["2"] == difference.min() == -1
assert os.path.getsize("hits.html") > 100_000
""",
    "02-hybrid": """
measured = {name: untuned[name].overall["nDCG@10"] for name in runs_on_cacm}
assert min(measured["rrf"], measured["convex 0.5"]) > max(measured["bm25"], measured["minilm"]) + 0.03
assert on_all.held_out_value < on_all.untuned_value + 0.005 < on_all.tuned_value
assert gain.idxmin() == "2" and table["bm25"]["2"] == 1
of_nDCG = compared_on_dl20.tests["nDCG@10"]
assert of_nDCG["rrf", "tasb"].difference < 0 < of_nDCG["tuned on DL19", "tasb"].difference
assert not of_nDCG["rrf", "tasb"].significant and not of_nDCG["tuned on DL19", "tasb"].significant
assert round(on_dl19.weights[1], 3) == 0.74
""",
    "03-train": """
before, after, teachers = (comparison[name].overall["nDCG@10"] for name in ("before", "after", "teacher"))
assert (after - before) / (teachers - before) > 0.5
assert model.steps == 30
assert not {*held_out} & {*training}
""",
    "04-reproduce": """
assert {*map(str, result.verdicts.values())} == {"OK"} and len(result.verdicts) == 7
assert wrong.failed == ("wrong",)
""",
    "05-extend": """
assert means["my_training:tas_harder"] < min(means["tas"], means["tas-balanced"]) - 0.02
assert all(np.mean(losses(each)[-3:]) < losses(each)[0] for each in (paper, mine))
""",
}


@pytest.fixture(scope="module", params=NOTEBOOKS, ids=lambda path: path.stem)
def run(request):
    """A notebook as it is committed, as a fresh run left it, and the seconds of processors that this took."""
    pytest.importorskip("nbclient", reason="the extra test is not installed")
    pytest.importorskip("ipykernel", reason="the extra test is not installed")
    path = request.param
    before = processor_seconds()
    fresh = tutorials.executed(path, further=[FACTS[path.stem]])
    return json.loads(path.read_text(encoding="utf-8")), fresh, processor_seconds() - before


def processor_seconds():
    """Seconds of one core. By the clock, a machine with other work on it would be slow."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_it_runs_in_time_and_puts_out_what_is_committed(run):
    committed, fresh, seconds = run
    for was, now in zip(tutorials.cells_of(committed, "code"), tutorials.cells_of(fresh, "code"), strict=True):
        assert was["source"] == now["source"]
        shown = letter_by_letter if "exact" in was["metadata"].get("tags", ()) else shape
        assert [*map(shown, now["outputs"])] == [*map(shown, was["outputs"])], tutorials.joined(was["source"])
    assert seconds < CORES * SECONDS


def letter_by_letter(output):
    """An output's text; pictures differ between versions of matplotlib."""
    return {kind: content for kind, content in contents(output).items() if kind != "image/png"}


def shape(output):
    """What an output is: its kind; of a table, how many rows it has, and their names that are no numbers."""
    return {
        kind: (content.count("<tr>"), re.findall(r"<tr><td>([^<]*[A-Za-z][^<]*)</td>", content))
        for kind, content in contents(output).items()
    }


def contents(output):
    if output["output_type"] == "stream":
        return {output["name"]: tutorials.joined(output["text"])}
    return {kind: tutorials.joined(content) for kind, content in output["data"].items()}


def committed_outputs(path):
    for cell in tutorials.cells_of(json.loads(path.read_text(encoding="utf-8")), "code"):
        yield from cell["outputs"]


each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


@each_notebook
def test_what_is_committed_is_a_clean_run(path):
    notebook = json.loads(path.read_text(encoding="utf-8"))
    assert tutorials.cleaned(json.loads(json.dumps(notebook))) == notebook
    assert path.stat().st_size < LARGEST
    kinds = {output.get("name", output["output_type"]) for output in committed_outputs(path)}
    assert kinds <= {"stdout", "display_data", "execute_result"}  # neither errors nor warnings
    for output in committed_outputs(path):
        texts = [content for kind, content in contents(output).items() if kind != "image/png"]
        assert [found[0] for text in texts for found in OF_A_MACHINE.finditer(text)] == []


@each_notebook
def test_it_has_pictures(path):
    pictures = [
        base64.b64decode(contents(output)["image/png"])
        for output in committed_outputs(path)
        if "image/png" in contents(output)
    ]
    assert len(pictures) == PICTURES[path.stem]
    for picture in pictures:
        assert picture.startswith(b"\x89PNG")
        assert len(picture) > 5_000


@each_notebook
def test_each_cell_is_explained_and_the_end_is_on_the_command_line(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    assert tutorials.joined(cells[0]["source"]).startswith("# ")
    assert "## The same on the command line" in tutorials.joined(cells[-1]["source"])
    ids = [cell["id"] for cell in cells]
    assert len({*ids}) == len(ids)


def test_the_notebook_that_trains_takes_at_most_thirty_steps():
    source = (ROOT / "docs" / "tutorials" / "03-train.ipynb").read_text(encoding="utf-8")
    assert [int(steps) for steps in re.findall(r'\\"max_steps\\": (\d+)', source)] == [30]


def test_an_output_is_text_and_no_markdown():
    output = {"output_type": "stream", "name": "stdout", "text": ["- a [link](x)\n", "\n", "<b>&\t|\n"]}
    shown = tutorials._shown(output, "name", [])
    assert "\n" not in shown
    assert shown == "<pre><code>- a [link&#93;(x)&#10;&#10;&lt;b&gt;&amp;&#9;|</code></pre>"


def test_what_stood_around_a_progress_bar_is_one_output():
    def stream(name, text):
        return {"output_type": "stream", "name": name, "text": [text]}

    outputs = [stream("stdout", "one "), stream("stderr", "100%"), stream("stdout", "line\nand another\n")]
    cell = {"cell_type": "code", "metadata": {}, "execution_count": 1, "outputs": outputs}
    (kept,) = tutorials.cleaned({"cells": [cell], "metadata": {}})["cells"][0]["outputs"]
    assert kept == {"output_type": "stream", "name": "stdout", "text": ["one line\n", "and another\n"]}
