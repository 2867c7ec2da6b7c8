"""Texts on which an exported model is measured."""

from __future__ import annotations

import itertools
import re
import tarfile
from dataclasses import dataclass
from pathlib import Path

from pyserini_tasb.evaluate import load_topics
from pyserini_tasb.texts.collections import open_collection

PASSAGES, QUERIES = 128, 64
# CACM, which comes with this package for the demo.
CACM = Path(__file__).parents[2] / "pipelines" / "cacm"
_MARKUP = re.compile(r"<[^>]*>|^\d+\t\d+\t\d+$", re.MULTILINE)
_TOPIC = re.compile(r"</DOCNO>(.*?)</DOC>", re.DOTALL)
LEAST_CHARACTERS = 400  # documents with less have no abstract


@dataclass(frozen=True)
class Sample:
    """Texts of both kinds."""

    passages: list[str]
    queries: list[str]


def read_sample(collection: Path, topics: str) -> Sample:
    """The first texts of a collection and of topics.

    Args:
        collection: what `open_collection` takes.
        topics: what `load_topics` takes.

    Raises:
        TasbError: they cannot be read.
    """
    passages = [text for _, text in itertools.islice(open_collection(collection), PASSAGES)]
    return Sample(passages, list(itertools.islice(load_topics(topics).values(), QUERIES)))


def built_in_sample() -> Sample:
    """The first abstracts and the topics of CACM."""
    with tarfile.open(CACM / "cacm.tar.gz") as files:
        contents = (file.read().decode("ascii") for member in files if (file := files.extractfile(member)))
        texts = (" ".join(_MARKUP.sub("", content).split()) for content in contents)
        passages = list(itertools.islice((text for text in texts if len(text) > LEAST_CHARACTERS), PASSAGES))
    topics = (CACM / "topics.cacm.txt").read_text(encoding="ascii")
    return Sample(passages, [" ".join(topic.split()) for topic in _TOPIC.findall(topics)][:QUERIES])
