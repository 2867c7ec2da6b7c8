"""Run by test_names.py in a process of its own: print which class and arguments each encoder name leads to.

Every encoder class is replaced by a recorder, so no model is loaded; how Pyserini chooses stays Pyserini's.
"""

from __future__ import annotations

import json
import sys

import pyserini.encode
import pyserini.encode.__main__ as encode_command
import pyserini.encode.query as encode_query
import pyserini.search.faiss.__main__ as search_command
import pyserini.search.faiss._searcher as faiss_searcher


def recorder(name):
    def record(*arguments, **options):
        return {"class": name, "arguments": list(arguments), "options": options}

    return record


def replace_classes(namespace, names):
    for name in names:
        if name.endswith("Encoder") and isinstance(namespace[name], type):
            namespace[name] = recorder(name)


for class_map in (pyserini.encode.query_encoder_class_map, pyserini.encode.document_encoder_class_map):
    for key, kind in class_map.items():
        class_map[key] = recorder(getattr(kind, "__name__", str(kind)))
for module in (encode_command, encode_query, faiss_searcher, search_command):
    replace_classes(vars(module), list(vars(module)))
for module in ("commands", "searchers"):
    adapter = sys.modules.get(f"pyserini_tasb.plugin.{module}")
    if adapter is not None:
        replace_classes(vars(adapter), list(vars(adapter)))


def outcome(function, *arguments):
    try:
        return function(*arguments)
    except Exception as error:  # noqa: BLE001 - which one is what is compared
        return repr(error)


def resolve(name, kind):
    return {
        "search": outcome(
            search_command.init_query_encoder, name, kind, "tok", "topics", None, "cpu", 77, "mean", True, "pre"
        ),
        "encode": outcome(encode_command.init_encoder, name, kind, "cpu", "mean", True, "pre", False, False),
        "encode.query": outcome(encode_query.init_encoder, name, "cpu", "mean", True, "pre"),
        "FaissSearcher": outcome(faiss_searcher.FaissSearcher._init_encoder_from_str, name),
    }


json.dump([resolve(name, kind) for name, kind in json.load(sys.stdin)], sys.stdout, default=str)
