"""What the installed Pyserini says in its files, read without importing it: that would start a JVM."""

from __future__ import annotations

import ast
import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from pyserini_tasb.errors import TasbError
from pyserini_tasb.recipes import Prebuilt
from pyserini_tasb.regress.environment import command_environment
from pyserini_tasb.regress.two_cr.schema import TwoCrFile

DEFINITIONS = "trec_eval_metric_definitions"
# The only way to Pyserini's table of indexes is to import it; 1.6 and 2.x name the size differently.
_ASK = """
import json, sys
from pyserini import prebuilt_index_info as tables
found = {}
for table, kind in (("TF", "lucene"), ("IMPACT", "lucene"), ("LUCENE_HNSW", "lucene"), ("LUCENE_FLAT", "lucene"),
                    ("FAISS", "faiss")):
    entries = getattr(tables, table + "_INDEX_INFO", {})
    for name in sys.argv[1:]:
        if name in entries and name not in found:
            entry = entries[name]
            found[name] = {
                "name": name, "kind": kind, "md5": entry["md5"], "records": entry.get("documents"),
                "archive": entry.get("filename") or entry["urls"][0].rsplit("/", 1)[-1],
                "bytes": entry.get("size compressed (bytes)") or entry.get("size"),
            }
print(json.dumps(found))
"""


@functools.cache
def two_cr_file(collection: str) -> TwoCrFile:
    """Pyserini's conditions for a collection, e.g. `msmarco-v1-passage`.

    Raises:
        TasbError: Pyserini has none, or in another schema than for MS MARCO.
    """
    folder = _folder()
    path = folder / f"{collection}.yaml"
    if path.parent != folder or not path.is_file():
        known = sorted(file.stem for file in folder.glob("msmarco-*.yaml"))
        raise TasbError(
            where=str(path),
            expected=f"a 2CR file of the installed Pyserini: {', '.join(known)}",
            found="no such file",
            do="name one of them before the colon",
        )
    try:
        return TwoCrFile.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        fault = error.errors()[0]
        raise TasbError(
            where=str(path),
            expected="conditions with `topics`, each with topic_key, eval_key and scores, as for MS MARCO",
            found=f"{'.'.join(map(str, fault['loc']))}: {fault['msg'].lower()}",
            do="run this one with Pyserini itself",
        ) from error


def measure_arguments(collection: str) -> dict[str, dict[str, str]]:
    """Of a collection's qrels: label → arguments of trec_eval.

    Raises:
        TasbError: this Pyserini keeps them elsewhere.
    """
    path = _folder() / "msmarco.py"
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        names = [target.id for target in getattr(node, "targets", []) if isinstance(target, ast.Name)]
        if isinstance(node, ast.Assign) and names == [DEFINITIONS]:
            found: dict[str, dict[str, dict[str, str]]] = ast.literal_eval(node.value)
            if collection in found:
                return found[collection]
    raise TasbError(
        where=str(path),
        expected=f"{DEFINITIONS} with {collection}",
        found="none",
        do="use a Pyserini whose 2CR is like that of 1.6 to 2.3",
    )


def index_archives(names: list[str]) -> list[Prebuilt]:
    """What Pyserini would download for these indexes; paths and other names are left out.

    Raises:
        TasbError: Pyserini does not start.
    """
    asked = subprocess.run(
        [sys.executable, "-c", _ASK, *names],
        env={**os.environ, **command_environment()},
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        raise TasbError(
            expected="a Pyserini that says which indexes it knows",
            found=(asked.stderr.strip().splitlines() or ["nothing"])[-1],
            do="see `tasb doctor`",
        )
    entries: dict[str, Any] = json.loads(asked.stdout.strip().splitlines()[-1])
    return [Prebuilt.model_validate(entry) for entry in entries.values()]


def _folder() -> Path:
    spec = importlib.util.find_spec("pyserini")
    for place in (spec.submodule_search_locations or ()) if spec else ():
        if (Path(place) / "2cr").is_dir():
            return Path(place) / "2cr"
    raise TasbError(expected="Pyserini with its 2CR files", found="none", do="pip install pyserini")
