"""A kind of index, ways to fuse, and readers of TREC's formats."""

import re

import numpy as np

from pyserini_tasb.indexes.build import FaissRecipe

PCA = FaissRecipe("PCA16,Flat", summary="All vectors, in 16 dimensions.")


def squares(candidates):
    """The squares of the runs' scores, weighted and summed."""
    return candidates.scores() ** 2


def shares(lists):
    """Each score as its share of the list's sum."""
    return np.zeros_like(lists.lowest), lists.sums(lists.scores)


def trec_documents(path):
    """TREC's documents: <DOC>, <DOCNO>, <TEXT>."""
    for document in re.findall(r"<DOC>(.*?)</DOC>", path.read_text(), re.DOTALL):
        yield _field(document, "DOCNO"), " ".join(_field(document, "TEXT").split())


def trec_topics(path):
    """TREC's topics: <top>, <num>, <title>."""
    return re.findall(r"<num>\s*Number:\s*(\S+)\s*<title>\s*(.*?)\s*<", path.read_text(), re.DOTALL)


def _field(document, name):
    return re.search(rf"<{name}>\s*(.*?)\s*</{name}>", document, re.DOTALL)[1]
