"""`tasb export`: a card's model as a folder for ONNX Runtime."""

from __future__ import annotations

import contextlib
import itertools
import re
import shutil
import tarfile
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from pyserini_tasb.artifacts import new_folder, refuse_occupied
from pyserini_tasb.encoding.export_accuracy import measure, require_accuracy
from pyserini_tasb.encoding.export_graph import PACKAGES, fuse, optimise, quantise, require_packages, trace
from pyserini_tasb.environment.processor import int8_weight_bits
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.cacm_collection import DATA
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.named import load_topics
from pyserini_tasb.models.backends import Torch
from pyserini_tasb.models.checkpoints import (
    EXPORTED_WEIGHTS,
    find_checkpoint,
    folder_digest,
    is_exported,
    weights_digest,
)
from pyserini_tasb.models.onnx import ExportAbout, OnnxGraph, sizes_and_digests, write_about
from pyserini_tasb.models.tokenizers import TOKENIZER, FileTokenizer, vectors_by_length
from pyserini_tasb.recipes.lookup import encoder_card
from pyserini_tasb.recipes.types import EncoderCard

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pyserini_tasb.encoding.export_accuracy import Vectors
    from pyserini_tasb.environment.processor import WeightBits
    from pyserini_tasb.models.backends import TorchModel
    from pyserini_tasb.models.tokenizers import HuggingFaceTokenizer


def run(arguments: argparse.Namespace) -> int:
    """Write `arguments.output`, a new folder, and print what was lost; 0.

    Raises:
        TasbError: packages are missing, no such encoder, a folder in the way, or too much was lost.
    """
    output = Path(arguments.output)
    require_packages()
    refuse_occupied(output, overwrite=False)
    card = encoder_card(arguments.encoder)
    from pyserini_tasb.encoding.export_accuracy import describe

    sample = read_sample(Path(arguments.sample[0]), arguments.sample[1]) if arguments.sample else built_in_sample()
    with new_folder(output) as folder:
        about = export_model(card, folder, arguments.precision, sample, force=arguments.force)
    fused = f"{about.attention_fused} of {about.attention_layers} layers"
    whole = about.attention_fused == about.attention_layers
    print(
        f"{output}: {card.model} in {about.precision}; attention of all tokens fused in {fused}"
        f"{'' if whole else ', the others are right but slow'}\n"
        f"  beside torch in fp32: {describe(about.accuracy)}\n"
        f"  use it: --encoder tasb:{card_file(output)}"
    )
    return 0


# --------
# Texts on which an exported model is measured.

PASSAGES, QUERIES = 128, 64
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
    with tarfile.open(DATA / "cacm.tar.gz") as files:
        contents = (file.read().decode("ascii") for member in files if (file := files.extractfile(member)))
        texts = (" ".join(_MARKUP.sub("", content).split()) for content in contents)
        passages = list(itertools.islice((text for text in texts if len(text) > LEAST_CHARACTERS), PASSAGES))
    topics = (DATA / "topics.cacm.txt").read_text(encoding="ascii")
    return Sample(passages, [" ".join(topic.split()) for topic in _TOPIC.findall(topics)][:QUERIES])


# --------
# Export a card's model into a folder.

ExportPrecision = Literal["fp32", "int8"]
# Of the original card; the others are of its name, its place, or numbers that were measured with other weights.
KEPT = ("pooling", "normalise", "query_prefix", "passage_prefix", "query_max_length", "passage_max_length", "citation")


def export_model(
    card: EncoderCard, folder: Path, precision: ExportPrecision, sample: Sample, *, force: bool = False
) -> ExportAbout:
    """Fill an empty folder with a card's model: graph, tokenizer, configuration, card, and what is known of it.

    Args:
        card: of a model that torch can load.
        folder: what is in it after an error is to be thrown away.
        precision: of the graph.
        sample: texts to measure it on.
        force: also if it is less accurate than it should be.

    Raises:
        TasbError: packages are missing, the model cannot be exported, or it lost too much accuracy.
    """
    require_packages()
    source = find_checkpoint(card.model, allow_bin=card.allow_bin)
    if is_exported(source):
        raise TasbError(
            where=str(source), expected="a model of torch", found="one that is exported already", do="use it as it is"
        )
    model = Torch().load(card, "fp32", "cpu")
    tokenizer = model.tokenizer(None)
    longest = min(tokenizer.longest, model.longest or tokenizer.longest)
    passages, queries = (
        tokenizer.token_ids([prefix + text for text in texts], None, min(longest, most))
        for prefix, texts, most in (
            (card.passage_prefix, sample.passages, card.passage_max_length),
            (card.query_prefix, sample.queries, card.query_max_length),
        )
    )

    def vectors(computes: TorchModel | OnnxGraph) -> Vectors:
        encode = partial(vectors_by_length, computes, pad_id=tokenizer.pad_id, dimension=model.dimension)
        return encode(passages), encode(queries)

    exact = vectors(model)
    bits = int8_weight_bits()
    with _failures_explained(card.model):
        fused = _write_graph(model, folder, precision, bits)
        accuracy = measure(exact, vectors(OnnxGraph(folder / EXPORTED_WEIGHTS, "cpu")))
    _write_tokenizer(tokenizer, folder, sample)
    if not force:
        require_accuracy(accuracy, precision, card.model)
    about = ExportAbout(
        precision=precision,
        pooling=card.pooling,
        normalise=card.normalise,
        dimension=model.dimension,
        longest=model.longest,
        pad_id=tokenizer.pad_id,
        vocabulary=len(model.module.transformer.get_input_embeddings().weight),
        source_digest=folder_digest(source),
        source_weights=weights_digest(source),
        attention_layers=int(model.module.transformer.config.num_hidden_layers) - model.module.first_token_only,
        attention_fused=fused,
        weight_bits=bits,
        accuracy=accuracy,
        versions={name: version(name) for name in ("onnxruntime", "torch", "transformers", *PACKAGES)},
        files=sizes_and_digests(folder),  # all but `export.json` and the card, which its owner may change
    )
    write_about(about, folder)
    _write_card(card, folder, precision)
    return about


def card_file(folder: Path) -> Path:
    """The encoder card of an exported folder."""
    return next(folder.glob("*.yaml"))


@contextlib.contextmanager
def _failures_explained(model: str) -> Iterator[None]:
    """Exporters raise whatever they please; `auto` goes on with torch after a TasbError."""
    try:
        yield
    except (TasbError, OSError):
        raise
    except Exception as error:
        raise TasbError(
            where=model,
            expected="a model that torch and ONNX Runtime can make a graph of",
            found=f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}",
            do="take `torch` for a back end",
        ) from error


def _write_graph(model: TorchModel, folder: Path, precision: ExportPrecision, bits: WeightBits) -> int:
    """Write the graph; return how many layers' attention was fused."""
    config = model.module.transformer.config
    work = folder / "work"
    work.mkdir()
    trace(model.module, work / "traced.onnx")
    fused = fuse(
        work / "traced.onnx", work / "fused.onnx", heads=int(config.num_attention_heads), hidden=int(config.hidden_size)
    )
    if precision == "int8":
        quantise(work / "fused.onnx", work / "quantised.onnx", bits)
    optimise(work / ("quantised.onnx" if precision == "int8" else "fused.onnx"), folder / EXPORTED_WEIGHTS)
    shutil.rmtree(work)
    config.save_pretrained(folder)
    return fused


def _write_tokenizer(tokenizer: HuggingFaceTokenizer, folder: Path, sample: Sample) -> None:
    """Write the tokenizer, and check that it does without transformers what it does with it."""
    tokenizer.hugging_face.save_pretrained(folder)
    texts = [*sample.passages, *sample.queries]
    most = min(tokenizer.longest, 64)  # some texts are cut
    same = (folder / TOKENIZER).is_file() and FileTokenizer(folder, tokenizer.pad_id).token_ids(
        texts, None, most
    ) == tokenizer.token_ids(texts, None, most)
    if not same:
        raise TasbError(
            where=str(folder / TOKENIZER),
            expected="the model's tokenizer in one file, which gives the same tokens as transformers",
            found="none, or one that gives others",
            do="take `torch` for a back end",
        )


def _write_card(card: EncoderCard, folder: Path, precision: ExportPrecision) -> None:
    exported = EncoderCard(
        name=f"{card.name}-onnx-{precision}",
        description=f"{card.name}, exported to ONNX in {precision}",
        model=".",
        backend="onnx",
        precision=precision,
        **{key: getattr(card, key) for key in KEPT},
    )
    values = exported.model_dump(mode="json", exclude_defaults=True) | {"pooling": card.pooling}
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    note = "# Written by `tasb export`; every key is explained in encoders/README.md of pyserini-tasb.\n"
    (folder / f"{exported.name}.yaml").write_text(note + text, encoding="utf-8")
