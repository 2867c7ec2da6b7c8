"""Folders that would give vectors without meaning are refused when they are loaded, wherever; and what `last` pools."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BartConfig,
    BartForConditionalGeneration,
    BartModel,
    BertConfig,
    BertModel,
    GPT2Config,
    GPT2ForSequenceClassification,
    T5Config,
    T5EncoderModel,
    T5Model,
)

from pyserini_tasb import TasbDocumentEncoder, TasbError, TasbQueryEncoder
from pyserini_tasb.encoding.encoders import TextEncoder
from pyserini_tasb.formats.text_store import ListedTexts
from pyserini_tasb.models.bert_cat import BertCat, load_bert_cat, load_sequence_classifier, new_bert_cat, save_bert_cat
from pyserini_tasb.models.bert_dot import layers_are_known, load_bert_dot
from pyserini_tasb.models.colbert import load_colbert, new_colbert, save_colbert
from pyserini_tasb.models.tokenizers import padded
from pyserini_tasb.recipes.types import EncoderCard
from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer
from pyserini_tasb.training.config import StudentConfig
from pyserini_tasb.training.students import load_student, set_dropout
from tests.conftest import TINY_MODEL, plain_vectors
from tests.models.causal_models import CAUSAL, WORDS, causal_model, copy_of_tiny, last_vectors, tokenizer_without_cls

TEXTS = ["a sort", "merging of sorted lists in a language for lists", "time", "sort of time sharing system"]
SIZE = {"d_model": 32, "vocab_size": WORDS}


def last_card(folder, **keys):
    path = folder / "last.yaml"
    path.write_text("\n".join(["name: last", "model: .", "pooling: last", *(f"{k}: {v}" for k, v in keys.items())]))
    return path


@pytest.fixture(params=CAUSAL)
def causal(request, tmp_path):
    return causal_model(tmp_path / request.param, request.param)


def student(folder, **keys):
    return load_student(StudentConfig(model=str(folder), **keys), device="cpu", precision="fp32")


def test_a_causal_model_has_one_cls_vector(causal):
    ids = torch.tensor([[5, 6, 7], [5, 8, 9]])
    for precision in (torch.float32, torch.bfloat16):
        with pytest.raises(TasbError, match=r"causal model \((GPT2|Llama)Model\)[\s\S]*pooling: last"):
            load_bert_dot(causal, precision=precision)
    vectors = load_bert_dot(causal, pooling="last")(ids, torch.ones_like(ids))
    assert (vectors[0] - vectors[1]).abs().max() > 0.1


def test_cards_students_and_teachers_refuse_it(causal):
    for use in (
        lambda: TasbQueryEncoder(f"tasb:{causal}"),
        lambda: TasbDocumentEncoder(f"tasb:{causal}", device="cpu"),
        lambda: student(causal),
        lambda: load_scorer(str(causal), ScoringOptions("cpu")),
        lambda: new_bert_cat(causal, seed=0),
    ):
        with pytest.raises(TasbError, match="causal model"):
            use()


def test_a_decoder_that_looks_like_a_bert(tmp_path):
    folder = tokenizer_without_cls(tmp_path / "bert")
    config = BertConfig(vocab_size=WORDS, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                        num_attention_heads=2, is_decoder=True)  # fmt: skip
    BertModel(config).save_pretrained(folder)
    with pytest.raises(TasbError, match=r"causal model \(BertModel\)"):
        load_bert_dot(folder)
    (tmp_path / "cat").mkdir()
    save_bert_cat(tmp_path / "cat", BertCat(BertModel(config)))
    with pytest.raises(TasbError, match="causal model"):
        load_bert_cat(tmp_path / "cat")


@pytest.mark.parametrize("spread", [0.02, 0.3])
@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_random_bidirectional_model_is_none(tmp_path, spread, precision):
    torch.manual_seed(1)
    config = BertConfig(vocab_size=WORDS, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                        num_attention_heads=2, initializer_range=spread)  # fmt: skip
    BertModel(config).save_pretrained(tmp_path)
    assert load_bert_dot(tmp_path, precision=precision).pooling == "cls"


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_causal_language_model_needs_a_card_that_says_last(tmp_path, kind):
    folder = causal_model(tmp_path / kind, kind, head=True)
    with pytest.raises(TasbError, match=r"a causal model[\s\S]*pooling: last"):
        TasbQueryEncoder(f"tasb:{folder}")
    queries = TasbQueryEncoder(f"tasb:{last_card(folder)}").encode_batch(TEXTS)
    np.testing.assert_allclose(queries, last_vectors(folder, TEXTS), atol=1e-5)
    scorer = load_scorer(str(last_card(folder)), ScoringOptions("cpu"))
    one = np.zeros(1, dtype=np.int64)
    (score,) = scorer.score_pairs(ListedTexts(TEXTS[:1]), ListedTexts(TEXTS[1:2]), one, one)
    assert score == pytest.approx(float(queries[0] @ queries[1]), abs=1e-4)


def test_last_whatever_the_batch_and_the_length(causal):
    encoder = TasbDocumentEncoder(f"tasb:{last_card(causal, passage_max_length=6)}", device="cpu")
    expected = last_vectors(causal, TEXTS, max_length=6)
    np.testing.assert_allclose(encoder.encode(TEXTS), expected, atol=1e-5)
    np.testing.assert_allclose(np.concatenate([encoder.encode([text]) for text in TEXTS]), expected, atol=1e-5)


def test_last_with_padding_on_either_side(tmp_path):
    # Positions of a Llama are relative, so that padding on the left moves nothing.
    folder = causal_model(tmp_path / "llama", "llama")
    model, tokenizer = load_bert_dot(folder, pooling="last"), AutoTokenizer.from_pretrained(folder)
    expected = last_vectors(folder, TEXTS)
    right = padded(tokenizer(TEXTS)["input_ids"], 0, "cpu")
    lengths = right[1].sum(dim=1).tolist()
    left = [
        torch.stack([row.roll(len(row) - length) for row, length in zip(rows, lengths, strict=True)]) for rows in right
    ]
    for ids, mask in (right, left):
        torch.testing.assert_close(model(ids, mask), expected, atol=1e-5, rtol=1e-5)


def test_last_of_a_bidirectional_model_is_its_sep():
    model = load_bert_dot(TINY_MODEL, pooling="last")
    tokenizer = AutoTokenizer.from_pretrained(TINY_MODEL)
    ids, mask = padded(tokenizer(TEXTS)["input_ids"], 0, "cpu")
    torch.testing.assert_close(model(ids, mask), last_vectors(TINY_MODEL, TEXTS), atol=1e-5, rtol=1e-5)
    packed = student(TINY_MODEL, pooling="last")
    assert packed.packed == layers_are_known(packed.model.transformer)
    packed.model.eval()
    with torch.no_grad():
        vectors = packed.outputs(tokenizer(TEXTS)["input_ids"])
    torch.testing.assert_close(vectors, last_vectors(TINY_MODEL, TEXTS), atol=1e-5, rtol=1e-5)


def test_a_causal_student_on_a_cpu_stays_causal(causal):
    """The attention that BERT trains with on CPUs sees all tokens where nothing is padding."""
    learner = student(causal, pooling="last", attention_dropout=0.0, dropout=0.0)
    assert not learner.packed
    for texts in (TEXTS, [TEXTS[1]] * 2):  # with padding and without
        vectors = learner.outputs(learner.tokenizer(texts)["input_ids"])
        torch.testing.assert_close(vectors, last_vectors(causal, texts), atol=1e-5, rtol=1e-5)
    vectors.sum().backward()


def test_dropout_of_causal_models_is_set(causal):
    model = load_bert_dot(causal, pooling="last")
    set_dropout(model, 0.25, 0.5)
    attention = model.transformer.h[0].attn if causal.name == "gpt2" else model.transformer.layers[0].self_attn
    if causal.name == "gpt2":
        assert (attention.attn_dropout.p, attention.resid_dropout.p) == (0.5, 0.25)
    else:
        assert attention.attention_dropout == 0.5


@pytest.mark.parametrize("name", ["attention_dropout", "dropout_prob"])
def test_dropout_that_is_a_number_in_attention_is_set(name):
    """Llama has the one, BERT in transformers 4 the other, where torch's operator computes attention."""
    attention = torch.nn.Module()
    setattr(attention, name, 0.1)
    set_dropout(attention, None, None)
    assert getattr(attention, name) == 0.1
    set_dropout(attention, 0.25, 0.5)
    assert getattr(attention, name) == 0.5


def without_cls(folder):
    tokenizer_without_cls(folder)
    (folder / "vocab.txt").unlink(missing_ok=True)
    return folder


def test_a_tokenizer_that_adds_no_cls(tmp_path):
    folder = without_cls(copy_of_tiny(tmp_path / "model"))
    for use in (
        lambda: TasbQueryEncoder(f"tasb:{folder}"),
        lambda: TasbQueryEncoder(f"tasb:{TINY_MODEL}", tokenizer_name=str(folder)),
        lambda: student(folder),
        lambda: load_scorer(str(folder), ScoringOptions("cpu")),
    ):
        with pytest.raises(TasbError, match=r"puts \[CLS\][\s\S]*first word[\s\S]*pooling: last") as caught:
            use()
        assert caught.value.where == str(folder)
    (folder / "mean.yaml").write_text("name: mean\nmodel: .\npooling: mean\n")
    assert TasbQueryEncoder(f"tasb:{folder / 'mean.yaml'}").encode("a sort").shape == (32,)


@pytest.mark.parametrize("kind", ["bert-cat", "colbert", "sequence-classifier"])
def test_teachers_with_such_a_tokenizer(tmp_path, kind):
    folder = without_cls(copy_of_tiny(tmp_path / kind))
    if kind == "bert-cat":
        save_bert_cat(folder, new_bert_cat(TINY_MODEL, seed=0))
    elif kind == "colbert":
        save_colbert(folder, new_colbert(TINY_MODEL, dimension=8, query_masks=0, seed=0))
    else:
        AutoModelForSequenceClassification.from_pretrained(TINY_MODEL, num_labels=1).save_pretrained(folder)
    with pytest.raises(TasbError, match=r"puts \[CLS\]"):
        load_scorer(str(folder), ScoringOptions("cpu"))


@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize(("layers", "message"), [(1, r"further layers[\s\S]*transformer\.layer\.1"), (3, "random")])
def test_other_layers_than_the_weights_have(tmp_path, layers, head, message):
    folder = copy_of_tiny(tmp_path / "model")
    if head:  # names in the file then begin with `distilbert.`
        AutoModelForMaskedLM.from_pretrained(TINY_MODEL).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text()) | {"n_layers": layers}
    (folder / "config.json").write_text(json.dumps(config))
    for use in (
        lambda: TasbQueryEncoder(f"tasb:{folder}"),
        lambda: student(folder),
        lambda: new_bert_cat(folder, seed=0),
    ):
        with pytest.raises(TasbError, match=message):
            use()


def test_heads_that_are_left_out_are_no_layers(tmp_path):
    AutoModelForMaskedLM.from_pretrained(TINY_MODEL).save_pretrained(copy_of_tiny(tmp_path / "model"))
    vectors = TasbQueryEncoder(f"tasb:{tmp_path / 'model'}").encode_batch(TEXTS)
    np.testing.assert_allclose(vectors, plain_vectors(TINY_MODEL, TEXTS), atol=1e-5)


def test_further_layers_of_a_classifier_whose_weights_are_the_base_s(tmp_path):
    AutoModelForSequenceClassification.from_pretrained(TINY_MODEL, num_labels=1).save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    extra = {
        name.replace("layer.1", "layer.2"): tensor.clone() for name, tensor in weights.items() if "layer.1" in name
    }
    save_file(weights | extra, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(TasbError, match=r"16 weights of such layers"):
        load_sequence_classifier(tmp_path)


@pytest.mark.parametrize(
    ("model", "config"),
    [
        (T5Model, T5Config(**SIZE, d_kv=8, d_ff=64, num_layers=1, num_heads=2)),
        (T5EncoderModel, T5Config(**SIZE, d_kv=8, d_ff=64, num_layers=1, num_heads=2)),
        (BartModel, BartConfig(**SIZE, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32, decoder_ffn_dim=32,
                               encoder_attention_heads=2, decoder_attention_heads=2)),
        (BartForConditionalGeneration, BartConfig(**SIZE, encoder_layers=1, decoder_layers=1, encoder_ffn_dim=32,
                                                  decoder_ffn_dim=32, encoder_attention_heads=2,
                                                  decoder_attention_heads=2)),
    ],
)  # fmt: skip
def test_an_encoder_decoder_is_no_encoder(tmp_path, model, config):
    folder = shutil.copytree(TINY_MODEL, tmp_path / "model")
    model(config).save_pretrained(folder)
    for use in (lambda: TasbQueryEncoder(f"tasb:{folder}"), lambda: student(folder)):
        with pytest.raises(TasbError, match="an encoder-decoder"):
            use()


def test_a_t5_that_ranks_is_no_encoder_either(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"architectures": ["T5ForConditionalGeneration"]}))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(TasbError, match=r"kind `seq2seq`, an encoder-decoder[\s\S]*re-rank"):
        TasbQueryEncoder(f"tasb:{tmp_path}")


@pytest.fixture
def gpt2_classifier(tmp_path):
    """Scores at the last token that is no padding, whose number is in config.json."""
    folder = tokenizer_without_cls(tmp_path / "classifier")

    def make(**config):
        torch.manual_seed(0)
        described = GPT2Config(
            vocab_size=WORDS, n_embd=32, n_layer=2, n_head=2, n_positions=64, initializer_range=0.3, num_labels=1,
            **config,
        )  # fmt: skip
        GPT2ForSequenceClassification(described).save_pretrained(folder)
        return folder

    return make


def test_a_causal_classifier_pads_with_what_it_calls_padding(gpt2_classifier):
    folder = gpt2_classifier(pad_token_id=7)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = GPT2ForSequenceClassification.from_pretrained(folder).eval()
    rows = np.arange(len(TEXTS) - 1)
    with torch.no_grad():
        expected = [float(model(torch.tensor([tokenizer(TEXTS[0], text)["input_ids"]])).logits) for text in TEXTS[1:]]
    scorer = load_scorer(str(folder), ScoringOptions("cpu"))
    scores = scorer.score_pairs(ListedTexts(TEXTS[:1]), ListedTexts(TEXTS[1:]), np.zeros_like(rows), rows)
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_causal_classifier_that_does_not_say_so(gpt2_classifier):
    with pytest.raises(TasbError, match=r"pad_token_id"):
        load_scorer(str(gpt2_classifier(pad_token_id=None)), ScoringOptions("cpu"))


def test_a_classifier_that_reads_nothing(tmp_path):
    folder = shutil.copytree(TINY_MODEL, tmp_path / "model")
    config = BertConfig(vocab_size=WORDS, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                        num_attention_heads=2, is_decoder=True, num_labels=1)  # fmt: skip
    AutoModelForSequenceClassification.from_config(config).save_pretrained(folder)
    with pytest.raises(TasbError, match="scores from its first token"):
        load_scorer(str(folder), ScoringOptions("cpu"))


@pytest.mark.parametrize("heads", ["-1", "0", '"two"'])
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_model_whose_parts_do_not_fit(tmp_path, pooling, heads):
    bi_encoder, colbert = copy_of_tiny(tmp_path / "model"), tmp_path / "colbert"
    colbert.mkdir()
    save_colbert(colbert, new_colbert(TINY_MODEL, dimension=8, query_masks=0, seed=0))
    for folder in (bi_encoder, colbert):
        text = (folder / "config.json").read_text()
        (folder / "config.json").write_text(text.replace('"n_heads": 2', f'"n_heads": {heads}'))
    card = EncoderCard(name="misfit", model=str(bi_encoder), pooling=pooling)
    for use in (lambda: TextEncoder(card), lambda: load_colbert(colbert)):
        with pytest.raises(TasbError, match=r"a config\.json and weights that can be read"):
            use()


@pytest.mark.parametrize("limit", [-5, 2, "many", [512]])
def test_a_tokenizer_that_leaves_no_room_for_a_text(tmp_path, limit):
    bi_encoder, cat = copy_of_tiny(tmp_path / "model"), copy_of_tiny(tmp_path / "cat")
    save_bert_cat(cat, new_bert_cat(TINY_MODEL, seed=0))
    for folder in (bi_encoder, cat):
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model_max_length": limit}))
    for use in (lambda: TasbQueryEncoder(str(bi_encoder)), lambda: load_scorer(str(cat), ScoringOptions("cpu"))):
        with pytest.raises(TasbError, match=r"the model's tokenizer"):
            use()


def test_a_bert_cat_without_layers(tmp_path):
    save_bert_cat(tmp_path, new_bert_cat(TINY_MODEL, seed=0))
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(text.replace('"n_layers": 2', '"n_layers": 0'))
    with pytest.raises(TasbError, match="weights"):
        load_bert_cat(tmp_path)
