from pyserini_tasb.data.validation_set import overlap_warning
from pyserini_tasb.formats.text_store import write_text_store


def overlap(tmp_path, validation, training):
    stores = [
        write_text_store(tmp_path / name, enumerated(name, texts))
        for name, texts in (("v", validation), ("t", training))
    ]
    return overlap_warning(*stores)


def enumerated(name, texts):
    return [(f"{name}{number}", text) for number, text in enumerate(texts)]


def test_the_same_text_is_found_under_any_id(tmp_path):
    warning = overlap(tmp_path, ["what is  BM25", "who was Zipf", "why rank"], ["a", "What is bm25", "who was Zipf?"])
    assert "1 of 3 validation queries are also trained on (t1)" in warning


def test_a_few_are_named(tmp_path):
    texts = ["a", "b", "c", "d"]
    assert "4 of 4 validation queries are also trained on (t0, t1, t2, …)" in overlap(tmp_path, texts, texts)


def test_other_queries_are_no_overlap(tmp_path):
    assert overlap(tmp_path, ["a", "b"], ["c", "a b"]) is None
