"""`tasb index --queries`: codes trained to rank as the vectors do, in an index that stock Pyserini searches."""

from __future__ import annotations

import json
import re

import faiss
import numpy as np
import pytest

import pyserini_tasb
from pyserini_tasb import TasbError
from pyserini_tasb.indexes import compression, quantised
from pyserini_tasb.indexes.faiss_folder import open_folder
from tests.command_line import tasb
from tests.conftest import TINY, TINY_MODEL
from tests.encoding.corpus.vector_folders import write_vector_folder
from tests.indexes.stock import recall, search

OWN = f"tasb:{TINY_MODEL}"
WORDS = 4


@pytest.fixture(scope="module")
def queries(collection, tmp_path_factory):
    """Pieces of the passages, as queries: a vector folder by the tiny model."""
    folder = tmp_path_factory.mktemp("queries")
    words = [text.split() for text in collection.texts]
    pieces = [" ".join(each[at : at + WORDS]) for each in words for at in range(0, len(each) - WORDS, WORDS)]
    topics = folder / "topics.tsv"
    topics.write_text("".join(f"{number}\t{piece}\n" for number, piece in enumerate(dict.fromkeys(pieces))))
    pyserini_tasb.encode(topics, encoder=OWN, kind="query", output=folder / "vectors", device="cpu")
    return folder / "vectors"


def index(vectors, output, *options):
    return tasb("index", "--vectors", vectors.folder, "--output", output, "--threads", "1", *options)


@pytest.mark.parametrize("kind", ["jpq", "OPQ4,PQ4", "OPQ4,IVF4,PQ4"])
def test_training_finds_more_and_stock_pyserini_searches_it(kind, vectors, queries, exact, tmp_path, capsys):
    wide = ["--parameters", "nprobe=4"] if "IVF" in kind else []
    assert index(vectors, tmp_path / "index", "--kind", kind, "--queries", queries, *wide) == 0
    report = json.loads((tmp_path / "index" / "report.json").read_text())
    trained = report["trained"]
    assert trained["recall_after"] > trained["recall_before"]
    assert "held out" in report["queries"]
    assert report["quality"]["recall"]["10"] == pytest.approx(trained["recall_after"], abs=0.02)
    printed = capsys.readouterr()
    assert f"{trained['queries']:,} queries" in printed.out
    for step in (
        rf"fitting codes to {len(vectors.docids):,} vectors",
        rf"training codes with {trained['queries']:,} queries",
    ):
        assert re.search(rf"{step}, for about \d+ s", printed.err)
    found = search("pyserini.search.faiss", tmp_path / "index", tmp_path / "run", "--hits", 10)
    ours = tmp_path / "ours"
    topics = ["--topics", TINY / "topics.tsv", "--encoder", OWN]
    assert tasb("search", "--index", tmp_path / "index", *topics, "--hits", 10, "--output", ours) == 0
    same = pyserini_tasb.Run.read(ours)
    for qid, hits in found.items():
        assert sorted(hits.values()) == pytest.approx(sorted(same[qid].values()), abs=1e-3)
    assert recall(found, exact, 10) > 0.1


def test_a_trained_index_is_of_faisss_kind_and_its_codes_are_as_small(vectors, queries, tmp_path):
    assert index(vectors, tmp_path / "trained", "--kind", "OPQ4,PQ4", "--queries", queries) == 0
    assert index(vectors, tmp_path / "narrow", "--kind", "OPQ4_32,PQ4", "--queries", queries) == 0
    assert index(vectors, tmp_path / "faiss", "--kind", "OPQ4,PQ4") == 0
    trained, _narrow, made = (open_folder(tmp_path / name) for name in ("trained", "narrow", "faiss"))
    assert (tmp_path / "narrow" / "index").stat().st_size == (tmp_path / "faiss" / "index").stat().st_size
    assert type(trained.index) is type(made.index)
    assert list(trained.docids) == vectors.docids
    coded, wide = (faiss.downcast_index(each.index.index) for each in (made, trained))
    assert (wide.code_size, wide.codes.size()) == (coded.code_size, coded.codes.size())
    assert (coded.pq.dsub, wide.pq.dsub) == (8, 8 * quantised.WIDER)


def test_with_vectors_behind_it(vectors, queries, exact, tmp_path):
    kind = ["--kind", "OPQ1_32,PQ1", "--queries", queries]  # a byte for a vector
    assert index(vectors, tmp_path / "coarse", *kind) == 0
    assert index(vectors, tmp_path / "refined", *kind, "--refine", "fp32") == 0
    coarse, refined = (
        recall(search("pyserini.search.faiss", tmp_path / name, tmp_path / f"{name}.run", "--hits", 10), exact, 10)
        for name in ("coarse", "refined")
    )
    assert refined > coarse


def test_the_same_seed_gives_the_same_bytes(vectors, queries, tmp_path):
    for name, seed in (("one", 3), ("two", 3), ("other", 4)):
        assert index(vectors, tmp_path / name, "--kind", "jpq", "--queries", queries, "--seed", seed) == 0
    one, two, other = ((tmp_path / name / "index").read_bytes() for name in ("one", "two", "other"))
    assert one == two != other


def test_the_balanced_rotation_turns_and_no_more():
    sample = np.random.default_rng(0).standard_normal((500, 32), dtype=np.float32) * np.geomspace(1, 30, 32)
    matrix = balanced(sample)
    assert matrix @ matrix.T == pytest.approx(np.eye(32), abs=1e-5)
    assert np.ptp(variances(sample @ matrix.T)) < 0.5  # of 21 between the first eight numbers and the last


def test_the_rotation_is_balanced_for_vectors_from_all_over_the_corpus(monkeypatch):
    sample = np.random.default_rng(1).standard_normal((500, 32), dtype=np.float32) * np.geomspace(1, 30, 32)
    sample[:250] = np.random.default_rng(2).standard_normal((250, 32))  # the corpus begins with another kind
    monkeypatch.setattr(quantised, "FITTED_ON", 250)
    assert np.ptp(variances(sample @ balanced(sample).T)) < 1  # of 39


def balanced(sample):
    """The matrix of a rotation for four parts of eight numbers."""
    made = faiss.index_factory(32, "OPQ4,PQ4", faiss.METRIC_INNER_PRODUCT)
    quantised.balance_rotation(made, sample.astype(np.float32))
    return faiss.vector_to_array(faiss.downcast_VectorTransform(made.chain.at(0)).A).reshape(32, 32)


def variances(rotated):
    """The logarithm of the product of each part's variances."""
    return np.log(rotated.var(axis=0)).reshape(4, 8).sum(axis=1)


@pytest.mark.parametrize(
    ("given", "narrow", "wide"),
    [
        ("OPQ4,PQ4", "OPQ4_32,PQ4", "OPQ4_128,PQ4"),
        ("OPQ4,IVF8,PQ4,RFlat", "OPQ4_32,IVF8,PQ4,RFlat", "OPQ4_128,IVF8,PQ4,RFlat"),
        ("OPQ4_64,PQ4", "OPQ4_32,PQ4", "OPQ4_64,PQ4"),
        ("OPQ4_16,PQ4", "OPQ4_16,PQ4", "OPQ4_16,PQ4"),
    ],
)
def test_parts_are_four_times_as_wide_unless_the_factory_says_how_wide(given, narrow, wide):
    assert quantised.narrow_and_wide(given, 32) == (narrow, wide)


def cost(passages, codes, matrix, centroids):
    """The cost of each passage that `Codes.choose` makes least."""
    stands_for = np.hstack([centroids[part][codes[:, part]] for part in range(len(centroids))]) @ matrix
    errors = passages - stands_for
    along = (errors * passages).sum(axis=1) / np.linalg.norm(passages, axis=1)
    return (errors**2).sum(axis=1) + quantised.ALONG * along**2


def test_codes_are_chosen_by_the_errors_that_change_scores():
    random = np.random.default_rng(0)
    passages = random.standard_normal((40, 8), dtype=np.float32)
    matrix = random.standard_normal((12, 8), dtype=np.float32)  # parts overlap
    centroids = random.standard_normal((2, 256, 6), dtype=np.float32)
    before = random.integers(0, 256, (40, 2)).astype(np.uint8)
    once, same_matrix, same_centroids = quantised._refined(passages, before, matrix, centroids)
    assert (same_matrix == matrix).all()
    assert (same_centroids == centroids).all()
    after = once
    for _ in range(20):
        after, _, _ = quantised._refined(passages, after, matrix, centroids)

    def costs(codes):
        return cost(passages, codes, matrix, centroids)

    assert (costs(once) < costs(before)).all()
    for part in range(2):  # where nothing changes any more, no other code of one part is better
        others = [costs(np.where(np.arange(2) == part, code, after).astype(np.uint8)) for code in range(256)]
        assert np.min(others, axis=0) == pytest.approx(costs(after), rel=1e-3)


def test_centroids_are_fitted_to_codes():
    random = np.random.default_rng(0)
    passages = random.standard_normal((3_000, 8), dtype=np.float32)
    directions = passages / np.linalg.norm(passages, axis=1, keepdims=True)
    codes = random.integers(0, 200, 3_000)
    own = random.standard_normal((256, 4), dtype=np.float32)
    block = np.linalg.qr(random.standard_normal((8, 4)))[0].T.astype(np.float32)
    centroids, directions_found = quantised._fitted(passages, directions, codes, own, block)
    assert directions_found @ directions_found.T == pytest.approx(np.eye(4), abs=1e-5)
    # A centroid without a passage stays where it was, as far as the new directions reach.
    assert centroids[200:] @ directions_found == pytest.approx(
        own[200:] @ block @ directions_found.T @ directions_found, abs=1e-4
    )

    def total(centroids):
        return cost(passages, codes[:, np.newaxis], directions_found, centroids[np.newaxis]).sum()

    assert total(centroids) < cost(passages, codes[:, np.newaxis], block, own[np.newaxis]).sum()
    for _ in range(20):
        moved = centroids.copy()
        moved[:200] += 0.01 * random.standard_normal((200, 4), dtype=np.float32)
        assert total(moved) > total(centroids)


def test_each_round_of_fitting_makes_errors_smaller_and_wide_parts_have_smaller_ones():
    random = np.random.default_rng(0)
    passages = (random.standard_normal((2_000, 16)) * np.geomspace(1, 5, 16)).astype(np.float32)
    ends = []
    for kind in ("OPQ4_16,PQ4", "OPQ4_64,PQ4"):
        narrow = faiss.index_factory(16, "OPQ4_16,PQ4", faiss.METRIC_INNER_PRODUCT)
        quantised.balance_rotation(narrow, passages)
        narrow.train(passages)
        made = faiss.index_factory(16, kind, faiss.METRIC_INNER_PRODUCT)
        quantised.widen(narrow, made)
        codes = quantised.Codes(made)
        matrix, centroids, chosen = codes.matrix, codes.centroids, codes.nearest(passages)
        costs = [cost(passages, chosen, matrix, centroids).sum()]
        for _ in range(4):
            chosen, matrix, centroids = quantised._refined(passages, chosen, matrix, centroids, fit=True)
            costs.append(cost(passages, chosen, matrix, centroids).sum())
        assert costs == sorted(costs, reverse=True)
        ends.append(costs[-1])
    assert ends[1] < 0.9 * ends[0]


def test_queries_look_into_the_lists_of_the_same_centres_after_the_training():
    random = np.random.default_rng(0)
    passages = random.standard_normal((1_000, 16), dtype=np.float32)
    narrow, wide = quantised.narrow_and_wide("OPQ4,IVF8,PQ4", 16)
    trained, made = (faiss.index_factory(16, kind, faiss.METRIC_INNER_PRODUCT) for kind in (narrow, wide))
    trained.train(passages)
    quantised.widen(trained, made)
    made.add(passages)
    codes = quantised.Codes(made)
    inverted = faiss.extract_index_ivf(made)

    def scores():  # of passages as queries with the centres of lists
        centres = faiss.downcast_index(inverted.quantizer).reconstruct_n(0, 8)
        return passages @ codes.matrix.T @ centres.T

    before = scores()
    changed = codes.matrix + 0.1 * random.standard_normal(codes.matrix.shape, dtype=np.float32)
    codes.set(changed, codes.centroids)
    assert scores() == pytest.approx(before, abs=1e-3)
    assert np.ptp(before) > 1


def refused(vectors, tmp_path, **options):
    with pytest.raises(TasbError) as error:
        pyserini_tasb.index(vectors.folder, output=tmp_path / "index", threads=1, **options)
    assert not (tmp_path / "index").exists()
    return error.value


def test_no_queries(vectors, tmp_path):
    error = refused(vectors, tmp_path, kind="jpq")
    assert error.expected.startswith("queries=")
    assert "encode --kind query" in error.do


@pytest.mark.parametrize("kind", ["flat", "hnsw", "PQ4", "OPQ4,PQ4x4", "lucene-flat"])
def test_kinds_without_codes_to_train(kind, vectors, queries, tmp_path):
    assert "queries=" in f"{refused(vectors, tmp_path, kind=kind, queries=queries)}"


def test_too_few_queries(vectors, tmp_path):
    few = np.ones((compression.LEAST_QUERIES - 1, 32), np.float32)
    about = {"kind": "query", "encoder": "x", "card": "0" * 64, "corpus": "1" * 64}
    folder = write_vector_folder(tmp_path / "few", [str(number) for number in range(len(few))], few, about)
    assert refused(vectors, tmp_path, kind="jpq", queries=folder).found == str(len(few))


def test_vectors_of_passages_instead_of_queries(vectors, tmp_path):
    assert "passages" in refused(vectors, tmp_path, kind="jpq", queries=vectors.folder).found


def test_queries_of_another_dimension(vectors, tmp_path):
    about = {"kind": "query", "encoder": "x", "card": "0" * 64, "corpus": "1" * 64}
    folder = write_vector_folder(tmp_path / "q", [str(n) for n in range(300)], np.ones((300, 16), np.float32), about)
    assert refused(vectors, tmp_path, kind="jpq", queries=folder).found.endswith("of 16")


def test_queries_of_another_model(encoded_vectors, other_model, queries, tmp_path):
    topics = tmp_path / "topics.tsv"
    topics.write_text("".join(f"{number}\tquery {number}\n" for number in range(250)))
    others = tmp_path / "others"
    pyserini_tasb.encode(topics, encoder=f"tasb:{other_model}", kind="query", output=others, device="cpu")
    with pytest.raises(TasbError, match="other weights"):
        pyserini_tasb.index(encoded_vectors, output=tmp_path / "index", kind="jpq", queries=others)


@pytest.mark.parametrize(("kind", "suggested"), [("OPQ5,PQ5", "4, 8"), ("OPQ48,PQ48", "32")])
def test_parts_that_do_not_divide_the_dimension(kind, suggested, vectors, queries, tmp_path):
    assert suggested in refused(vectors, tmp_path, kind=kind, queries=queries).do
