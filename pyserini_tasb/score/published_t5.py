"""What config.json does not say of the monoT5 and duoT5 that were published: it is known by their names."""

from __future__ import annotations

from pathlib import PurePath

from pyserini_tasb.errors import TasbError

ANSWERS = ("false", "true")
# Those of castorini answer with the words above; of unicamp-dl, these do not.
OTHER_ANSWERS = {
    "mt5-base-": ("no", "yes"),
    "ptt5-base-": ("não", "sim"),
    "mt5-3B-mmarco-en-pt": ("", "true"),  # "▁" alone
}
POINTWISE, PAIRWISE = "monot5", "duot5"


def answers_of(model: str) -> tuple[str, str]:
    """The words with which a model answers "not relevant" and "relevant".

    Args:
        model: a hub id, or a folder; what counts is the last part.
    """
    name = PurePath(model).name
    return next((words for start, words in OTHER_ANSWERS.items() if name.startswith(start)), ANSWERS)


def require_pointwise(model: str) -> None:
    """Check that a model is not known to compare two passages.

    Raises:
        TasbError: it is a duoT5.
    """
    if PurePath(model).name.lower().startswith(PAIRWISE):
        raise TasbError(
            where=model,
            expected="a model that reads a query and one passage",
            found="a duoT5, as its name says, which compares two passages",
            do="add `--pairwise sym-sum` to `tasb rerank`; nothing else can use it",
        )


def require_pairwise(model: str) -> None:
    """Check that a model is not known to read single passages.

    Raises:
        TasbError: it is a monoT5.
    """
    if PurePath(model).name.lower().startswith(POINTWISE):
        raise TasbError(
            where=model,
            expected="a model that compares two passages, for --pairwise",
            found="a monoT5, as its name says, which reads one",
            do="leave out --pairwise, or name a duoT5",
        )
