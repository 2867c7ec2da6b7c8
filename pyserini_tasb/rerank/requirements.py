"""What re-ranking cannot do without: a text for every query and every passage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

NAMED = 5


def require_topics(qids: Collection[str], topics: Mapping[str, str], where: str | None = None) -> None:
    """Refuse a run with queries that have no text.

    Args:
        qids: the run's queries.
        topics: qid → text.
        where: what the topics are of, for messages.

    Raises:
        TasbError: counting them and naming the first.
    """
    without = [qid for qid in qids if not topics.get(qid, "").strip()]
    if without:
        raise TasbError(
            where=where,
            expected=f"a topic for every query of the run, {len(qids)} of them",
            found=f"{len(topics)} topics, and none for {_counted(without)}",
            do="check that run and topics belong together",
        )


def require_texts(docids: Iterable[str], passages: Mapping[str, str], where: str | None = None) -> None:
    """Refuse passages that are missing or empty.

    Args:
        docids: of the passages to be scored; repeated ones count once.
        passages: docid → text.
        where: what the passages are of, for messages.

    Raises:
        TasbError: counting them and naming the first.
    """
    wanted = dict.fromkeys(docids)
    missing = [docid for docid in wanted if docid not in passages]
    empty = [docid for docid in wanted if docid in passages and not passages[docid].strip()]
    found = [f"{_counted(missing)} not in the collection"] if missing else []
    found += [f"{_counted(empty)} without text"] if empty else []
    if found:
        raise TasbError(
            where=where,
            expected=f"the texts of the run's passages, {len(wanted)} of them",
            found="; ".join(found),
            do="check that run and collection belong together; take out of the run what has no text",
        )


def _counted(ids: Sequence[str]) -> str:
    return f"{len(ids)} ({', '.join(ids[:NAMED])}{', …' if len(ids) > NAMED else ''})"
