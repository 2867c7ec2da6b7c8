"""The tutorials: notebooks in `docs/tutorials/`, run afresh by `make notebooks`, and shown as pages of the site.

A notebook is committed with its outputs, so that GitHub and the site show tables and pictures. `executed` runs one in
an empty folder; `tests/test_notebooks.py` does so too, and compares. `pages` needs neither Jupyter nor a kernel.
"""

from __future__ import annotations

import base64
import html
import io
import json
import os
import re
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER = Path(__file__).parent / "tutorials"
ROOT = Path(__file__).parents[1]
SECONDS = 1_200  # of a cell; one that hangs is to fail

# With so few texts, exporting a model to ONNX takes longer than it saves.
ENVIRONMENT = {"TQDM_DISABLE": "1", "PYSERINI_TASB_BACKEND": "torch", "HF_HUB_OFFLINE": "1"}
# Java writes to the process's stderr: there, and not into the notebook.
KERNEL = ["--log-level=40", "--IPKernelApp.capture_fd_output=False"]

LARGE, COLOURS = 60_000, 128  # bytes of a picture, and colours that are left of a larger one


def notebooks() -> list[Path]:
    """The notebooks, in the order in which they are read."""
    return sorted(FOLDER.glob("*.ipynb"))


def cells_of(notebook: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    """The cells of one kind: `code` or `markdown`."""
    return [cell for cell in notebook["cells"] if cell["cell_type"] == kind]


def joined(text: str | Sequence[str]) -> str:
    """A text that nbformat may keep as a list of lines."""
    return text if isinstance(text, str) else "".join(text)


# Run them.


def executed(path: Path, *, further: Sequence[str] = ()) -> dict[str, Any]:
    """The notebook with the outputs of a fresh run in an empty folder.

    Args:
        path: the notebook.
        further: code of cells that are run after its own, and not kept.

    Raises:
        nbclient.exceptions.CellExecutionError: a cell failed.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    own = len(notebook.cells)
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in further]
    with tempfile.TemporaryDirectory() as folder:
        imported = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
        folders = {"PYTHONPATH": imported, "PYSERINI_TASB_HOME": f"{folder}/home", "TMPDIR": folder}
        client = NotebookClient(
            notebook,
            timeout=SECONDS,
            kernel_name="python3",
            record_timing=False,
            extra_arguments=KERNEL,
            resources={"metadata": {"path": folder}},
        )
        client.execute(env={**os.environ, **ENVIRONMENT, **folders})
    del notebook.cells[own:]
    return cleaned(json.loads(nbformat.writes(notebook)))


def cleaned(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook without what differs from run to run though nothing has changed, and with small pictures.

    What goes to stderr is not kept, nor are progress bars: they are for whoever waits, and name folders of the machine.
    """
    for cell in notebook["cells"]:
        tags = cell["metadata"].get("tags")
        cell["metadata"] = {"tags": tags} if tags else {}
    for number, cell in enumerate(cells_of(notebook, "code"), 1):
        cell["execution_count"] = number
        cell["outputs"] = _together([output for output in cell["outputs"] if _is_kept(output)])
        for output in cell["outputs"]:
            if "execution_count" in output:
                output["execution_count"] = number
            if "metadata" in output:
                output["metadata"] = {}
            output.pop("transient", None)
            if "data" in output:
                output["data"] = _best(output["data"])
    notebook["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return notebook


def _together(outputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Outputs in which neighbouring parts of one stream are one: what came between them is not kept."""
    found: list[dict[str, Any]] = []
    for output in outputs:
        if found and output["output_type"] == found[-1]["output_type"] == "stream":
            text = joined(found[-1]["text"]) + joined(output["text"])
            found[-1] = found[-1] | {"text": text.splitlines(keepends=True)}
        else:
            found.append(output)
    return found


def _is_kept(output: dict[str, Any]) -> bool:
    return output.get("name") != "stderr" and not any("widget" in kind for kind in output.get("data", ()))


def _best(data: dict[str, Any]) -> dict[str, Any]:
    """The form of an output that a reader sees."""
    kind = next(kind for kind in ("image/png", "text/markdown", "text/html", "text/plain") if kind in data)
    return {kind: _smaller(joined(data[kind])) if kind == "image/png" else data[kind]}


def _smaller(picture: str) -> str:
    """A picture in base64; a large one with fewer colours, which nobody sees in a diagram."""
    from PIL import Image

    png = base64.b64decode(picture)
    image = Image.open(io.BytesIO(png))
    if len(png) > LARGE and image.mode != "P":
        written = io.BytesIO()
        image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(written, format="png", optimize=True)
        png = written.getvalue()
    return base64.b64encode(png).decode("ascii") + "\n"


def write(path: Path, notebook: dict[str, Any]) -> None:
    """Write a notebook as Jupyter does."""
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


# Show them.


def page_of_each() -> dict[str, str]:
    """The path of each notebook in the repository, and that of its page on the site."""
    return {f"docs/tutorials/{path.name}": f"tutorials/{path.stem}.md" for path in notebooks()}


def pages() -> dict[str, str | bytes]:
    """The notebooks' pages on the site, and their pictures: path → content."""
    found: dict[str, str | bytes] = {}
    for path in notebooks():
        notebook = json.loads(path.read_text(encoding="utf-8"))
        pictures: list[bytes] = []
        parts = list(_parts(notebook, path.stem, pictures))
        # As HTML: a link in Markdown would be turned to this page.
        link = f'<a href="{path.name}" download>Download it</a>'
        download = f"This page is a notebook. {link}, and open it in [Jupyter](README.md#open-them)."
        title, _, rest = parts[0].partition("\n")
        parts[0] = f"{title}\n\n{download}\n{rest}"
        found[f"tutorials/{path.stem}.md"] = "\n\n".join(parts) + "\n"
        found |= {f"tutorials/{path.stem}-{number}.png": picture for number, picture in enumerate(pictures, 1)}
    return found


def _parts(notebook: dict[str, Any], name: str, pictures: list[bytes]) -> Iterator[str]:
    for cell in notebook["cells"]:
        source = joined(cell["source"])
        if cell["cell_type"] == "markdown":
            yield source
            continue
        first = source.partition("\n")[0]
        yield f"```{'bash' if first.startswith('%%bash') else 'python'}\n{source}\n```"
        for output in cell["outputs"]:
            if "text/markdown" in output.get("data", {}):
                yield f'<div class="output" markdown="1">\n\n{joined(output["data"]["text/markdown"])}\n\n</div>'
            else:
                yield f'<div class="output">{_shown(output, name, pictures)}</div>'


def _shown(output: dict[str, Any], name: str, pictures: list[bytes]) -> str:
    """An output as HTML on one line, in which nothing is Markdown."""
    data = output.get("data", {})
    if "image/png" in data:
        pictures.append(base64.b64decode(joined(data["image/png"])))
        return f'<img src="{name}-{len(pictures)}.png" alt="Picture {len(pictures)} of this notebook">'
    if "text/html" in data:
        return _on_one_line(joined(data["text/html"]))
    text = joined(output["text"] if output["output_type"] == "stream" else data["text/plain"])
    return f"<pre><code>{_on_one_line(html.escape(text.rstrip(), quote=False))}</code></pre>"


def _on_one_line(markup: str) -> str:
    return re.sub(r"\]\(", "&#93;(", markup).replace("\n", "&#10;").replace("\t", "&#9;")


def main() -> None:
    """Run the notebooks that are named, or all, and write what they put out."""
    chosen = [Path(name) for name in sys.argv[1:]] or notebooks()
    for path in chosen:
        start = time.monotonic()
        write(path, executed(path))
        print(f"{path.name}: {time.monotonic() - start:.0f} s, {path.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
