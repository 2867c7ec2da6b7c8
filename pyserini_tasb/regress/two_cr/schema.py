"""The YAML of Pyserini's 2CR for MS MARCO, as versions 1.6 and 2.x have it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class TopicScores(BaseModel):
    """Scores on one set of topics: a list with one mapping, label → value."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    topic_key: str
    eval_key: str
    scores: tuple[dict[str, float], ...] = Field(min_length=1)


class TwoCrCondition(BaseModel):
    """A command with `$topics` and `$output`, and its scores. How a page shows it is nothing to us."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    display: str
    command: str
    topics: tuple[TopicScores, ...]


class TwoCrFile(BaseModel):
    """All conditions of a collection."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    conditions: tuple[TwoCrCondition, ...]


# How the names of regressions begin that are Pyserini's conditions: then come collection, condition and topics.
IMPORTED = "2cr."
# What `${…}` in a command stands for (pyserini/2cr/msmarco.py).
VARIABLES = {"dense_threads": "16", "dense_batch_size": "512", "sparse_threads": "16", "sparse_batch_size": "128"}
