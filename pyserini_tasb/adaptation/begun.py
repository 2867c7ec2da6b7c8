"""The options and inputs that a folder was begun with: another call goes on only with the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.adaptation.chain import QUERIES
from pyserini_tasb.adaptation.choices import DOCUMENTS
from pyserini_tasb.data.false_negatives import text_digest
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.topics import read_topics

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from pyserini_tasb.adaptation.inputs import Judged


def require_same(folder: Path, before: Mapping[str, Any], now: Mapping[str, Any], judged: Judged | None) -> None:
    """Refuse what the folder's steps were not begun with; judged queries may come later, if none has trained.

    Raises:
        TasbError: naming what changed, and the first step that would be another one.
    """
    options, inputs = before["options"], before["inputs"]
    changed = [name for name, value in now["options"].items() if options.get(name) != value]
    others = [name for name, digest in now["inputs"].items() if inputs.get(name) != digest]
    if others == ["judged"] and not changed and inputs["judged"] is None and judged:
        require_unseen(folder, judged)
        return
    if not changed and not others:
        return
    was = [_mentioned(name, options.get(name)) for name in changed]
    new = [_mentioned(name, now["options"][name]) for name in changed]
    # An option that names another model says it already.
    silent = [name for name in others if name not in changed and not (name in ROLES and "teacher" in changed)]
    was += [f"{INPUTS[name]} as before" for name in silent]
    new += [f"{'another' if now['inputs'][name] else 'no'} {INPUTS[name]}" for name in silent]
    raise TasbError(
        where=str(folder),
        expected=f"what this folder was begun with: {', '.join(was)}",
        found=f"{', '.join(new)}; that changes the step {_first_affected(before, now, others)} and what follows",
        do=f"repeat the first command, or choose another {argument('output')}",
    )


ROLES = ("teacher", "in_batch_teacher")  # the second is the first unless an option says otherwise
INPUTS = {
    "corpus": "corpus",
    "judged": f"{argument('topics')} and {argument('qrels')}",
    "student": "student",
    "teacher": "teacher",
    "in_batch_teacher": "in-batch teacher",
    "query_model": "model that predicts queries",
}


def _mentioned(name: str, value: object) -> str:
    given = value is not None and value is not False and value != []  # 0 is a number
    return f"{argument(name, value)}" if given else f"no {argument(name)}"


def _first_affected(before: Mapping[str, Any], now: Mapping[str, Any], others: Sequence[str]) -> str:
    """The name of the first step that would run otherwise."""
    of_the_corpus = ("fields", "docid_field")
    if "corpus" in others or any(before["options"].get(name) != now["options"][name] for name in of_the_corpus):
        return DOCUMENTS
    if "judged" in others:
        return "queries"
    for name, command in now["steps"].items():
        if before["steps"].get(name) != command or (name == "train" and before["training"] != now["training"]):
            return str(name)
    # The same commands, with another model of the same name; or fewer commands.
    first = {
        "query_model": "predict-queries",
        "student": "encode-student-",
        "teacher": "encode-teacher-",
        "in_batch_teacher": "encode-in-batch-",
    }
    prefixes = tuple(first[name] for name in others)
    missing = [name for name in before["steps"] if name not in now["steps"]]
    reading = [name for name in now["steps"] if prefixes and name.startswith(prefixes)]
    return next(iter([*reading, *missing]), "score" if "score" in now["steps"] else "train")


def require_unseen(folder: Path, judged: Judged) -> None:
    """Refuse judged queries that are training queries already.

    Raises:
        TasbError: so many are.
    """
    seen = _training_queries_that_are(judged, folder)
    if seen:
        raise TasbError(
            where=str(folder / QUERIES),
            expected=f"{argument('topics')} of which none was a training query",
            found=f"{len(seen):,} that were, such as {seen[0]}; the step queries leaves them out if it knows them",
            do=f"begin with {argument('topics')} and {argument('qrels')} in another {argument('output')}",
        )


def _training_queries_that_are(judged: Judged, folder: Path) -> list[str]:
    path = folder / QUERIES
    if not path.exists():
        return []
    texts = set(map(text_digest, judged.topics.values()))
    return [qid for qid, text in read_topics(path).items() if text_digest(text) in texts]
