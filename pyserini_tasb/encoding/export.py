"""`export`: an encoder's model as a folder for ONNX Runtime, and how close its vectors are to the original's."""

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
from typing import TYPE_CHECKING, Literal, get_args

import yaml

from pyserini_tasb.encoding.export_accuracy import describe, measure, require_accuracy
from pyserini_tasb.encoding.export_graph import PACKAGES, fuse, optimise, require_packages, trace
from pyserini_tasb.encoding.int8 import asked_bits, best_int8_graph, speeds
from pyserini_tasb.environment.processor import processor
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.formats.cacm_collection import DATA
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.formats.named import as_topics
from pyserini_tasb.models.backends import Torch
from pyserini_tasb.models.checkpoints import (
    DESCRIPTION_FILES,
    EXPORTED,
    EXPORTED_WEIGHTS,
    find_checkpoint,
    folder_digest,
    is_exported,
    weights_digest,
)
from pyserini_tasb.models.onnx import Accuracy, ExportAbout, OnnxGraph, Timing, sizes_and_digests, write_about
from pyserini_tasb.models.queues import vectors_by_length
from pyserini_tasb.models.tokenizers import TOKENIZER, FileTokenizer
from pyserini_tasb.outputs import new_folder, require_new_folder
from pyserini_tasb.recipes.lookup import encoder_card
from pyserini_tasb.recipes.types import EncoderCard
from pyserini_tasb.registry import package_of, require_choice
from pyserini_tasb.results import FileResult

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyserini_tasb.encoding.export_accuracy import BothVectors
    from pyserini_tasb.formats.named import AnyTopics
    from pyserini_tasb.models.backends import TorchModel
    from pyserini_tasb.models.tokenizers import HuggingFaceTokenizer
    from pyserini_tasb.results import StrPath


ExportPrecision = Literal["fp32", "int8"]
# In an exported model's folder; the last one is its card.
FILES = (EXPORTED, EXPORTED_WEIGHTS, *DESCRIPTION_FILES, "*.yaml")


def export(
    encoder: str,
    *,
    output: StrPath,
    precision: ExportPrecision = "fp32",
    sample: tuple[StrPath, AnyTopics] | None = None,
    fields: Sequence[str] = (),
    docid_field: str | None = None,
    force: bool = False,
    overwrite: bool = False,
) -> Export:
    """Write an encoder's model as a folder for ONNX Runtime, with an encoder card that uses it.

    The exported model needs neither torch nor transformers.

    Args:
        encoder: `tasb`, `tasb:NAME`, a model's folder or hub id, or the path of a card.
        output: a new folder.
        precision: `fp32`, or `int8` for matrix products in 8 bits, which are faster on many CPUs.
        sample: a corpus and topics, whose first 128 passages and 64 queries measure the accuracy; by default abstracts
            and queries of CACM.
        fields: the fields of the sample's passages that are their text; by default `title` and `text`, or `contents`.
        docid_field: the field of their docid; by default `id`, `_id` or `docid`.
        force: write the model even if it loses more accuracy than its precision allows.
        overwrite: replace an exported model at `output`, once the new one is complete.

    Returns:
        the folder, and how close its vectors and rankings are to torch's in fp32.

    Raises:
        TasbError: packages are missing, the encoder does not exist, the folder exists, the model cannot be exported, or
            it loses too much accuracy.
    """
    require_choice("precision", precision, get_args(ExportPrecision))
    folder = Path(output)
    require_new_folder(folder, overwrite=overwrite, inputs=[encoder, sample], made=FILES)
    require_packages()
    if precision == "int8":
        asked_bits()  # refuses what is wrong before slow work
    card = encoder_card(encoder)
    named = Fields.named(fields, docid_field)
    if named.given and not sample:
        raise TasbError(
            expected=f"{argument('fields')} and {argument('docid_field')} with {argument('sample')}",
            found=f"no {argument('sample')}",
            do="leave them out",
        )
    texts = read_sample(Path(sample[0]), sample[1], named) if sample else built_in_sample()
    with new_folder(folder, overwrite=overwrite, inputs=[encoder, sample], made=FILES) as beside:
        about = export_model(card, beside, precision, texts, force=force)
    return Export(
        path=folder,
        model=card.model,
        precision=precision,
        attention_layers=about.attention_layers,
        attention_fused=about.attention_fused,
        accuracy=about.accuracy,
        timing=about.timing,
        trust=package_of(card.pooling),
    )


@dataclass(frozen=True)
class Export(FileResult):
    """A folder for ONNX Runtime.

    Attributes:
        model: the folder or hub id of the model that was exported.
        precision: `fp32` or `int8`.
        attention_layers: the number of layers with full attention.
        attention_fused: the number of these layers that compute attention in one operator. The other layers are correct
            but slow.
        accuracy: how close its vectors and rankings are to torch's in fp32.
        timing: the times of int8 and of fp32 on this processor; None in fp32, or if PYSERINI_TASB_INT8 chose the
            weights' bits.
        trust: the package with the code of the pooling, for `--trust`; None if the pooling comes with pyserini-tasb.
    """

    model: str
    precision: ExportPrecision
    attention_layers: int
    attention_fused: int
    accuracy: Accuracy
    timing: Timing | None = None
    trust: str | None = None

    @property
    def encoder(self) -> str:
        """The encoder's name, for `--encoder` and every `encoder=`."""
        return f"tasb:{next(self.path.glob('*.yaml'))}"

    @property
    def summary(self) -> str:
        """The exported model, its accuracy, and how to use it."""
        whole = self.attention_fused == self.attention_layers
        slow = "" if whole else "; the other layers are correct but slow"
        fused = f"{self.attention_fused} of {self.attention_layers} layers{slow}"
        lines = [
            f"{self.path}: {self.model} in {self.precision}; attention of all tokens fused in {fused}",
            f"  compared with torch in fp32: {describe(self.accuracy)}",
            *([f"  on this processor: {speeds(self.timing)}"] if self.timing else []),
            f"  use it: --encoder {self.encoder}{f' --trust {self.trust}' if self.trust else ''}",
        ]
        return "\n".join(lines)


PASSAGES, QUERIES = 128, 64
_MARKUP = re.compile(r"<[^>]*>|^\d+\t\d+\t\d+$", re.MULTILINE)
_TOPIC = re.compile(r"</DOCNO>(.*?)</DOC>", re.DOTALL)
LEAST_CHARACTERS = 400  # documents with less have no abstract


@dataclass(frozen=True)
class Sample:
    """Texts of both kinds."""

    passages: list[str]
    queries: list[str]


def read_sample(corpus: Path, topics: AnyTopics, fields: Fields = Fields()) -> Sample:  # noqa: B008 - immutable
    """The first texts of a corpus and of topics.

    Raises:
        TasbError: they cannot be read.
    """
    passages = [text for _, text in itertools.islice(open_collection(corpus, fields), PASSAGES)]
    return Sample(passages, list(itertools.islice(as_topics(topics).values(), QUERIES)))


def built_in_sample() -> Sample:
    """The first abstracts and the topics of CACM."""
    with tarfile.open(DATA / "cacm.tar.gz") as files:
        contents = (file.read().decode("ascii") for member in files if (file := files.extractfile(member)))
        texts = (" ".join(_MARKUP.sub("", content).split()) for content in contents)
        passages = list(itertools.islice((text for text in texts if len(text) > LEAST_CHARACTERS), PASSAGES))
    topics = (DATA / "topics.cacm.txt").read_text(encoding="ascii")
    return Sample(passages, [" ".join(topic.split()) for topic in _TOPIC.findall(topics)][:QUERIES])


def export_model(
    card: EncoderCard, folder: Path, precision: ExportPrecision, sample: Sample, *, force: bool = False
) -> ExportAbout:
    """Fill an empty folder with a card's model: graph, tokenizer, configuration, card, and what is known of it.

    Args:
        card: the card of a model that torch can load.
        folder: an empty folder. Delete its content after an error.
        precision: the precision of the graph.
        sample: texts to measure it on.
        force: write it even if it loses too much accuracy.

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

    def vectors(computes: TorchModel | OnnxGraph) -> BothVectors:
        encode = partial(vectors_by_length, computes, pad_id=tokenizer.pad_id, dimension=model.dimension)
        return encode(passages), encode(queries)

    exact = vectors(model)
    work = folder / "work"
    work.mkdir()
    with _failures_explained(card.model):
        fused = _write_fused_graph(model, work / "fused.onnx")
        if precision == "int8":
            graph = best_int8_graph(
                work / "fused.onnx", lambda graph: measure(exact, vectors(graph)), passages, queries, card.model
            )
            bits, accuracy, timing = graph.bits, graph.accuracy, graph.timing
            graph.path.rename(folder / EXPORTED_WEIGHTS)
        else:
            optimise(work / "fused.onnx", folder / EXPORTED_WEIGHTS)
            bits, accuracy, timing = 8, measure(exact, vectors(OnnxGraph(folder / EXPORTED_WEIGHTS, "cpu"))), None
    shutil.rmtree(work)
    model.module.transformer.config.save_pretrained(folder)
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
        processor=processor(),
        timing=timing,
        accuracy=accuracy,
        versions={name: version(name) for name in ("onnxruntime", "torch", "transformers", *PACKAGES)},
        files=sizes_and_digests(folder),  # all but `export.json` and the card, which its owner may change
    )
    write_about(about, folder)
    _write_card(card, folder, precision)
    return about


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
            do="use this model with the back end `torch`: it cannot be exported",
        ) from error


def _write_fused_graph(model: TorchModel, path: Path) -> int:
    """Write the model's graph in fp32; return how many layers' attention was fused."""
    config = model.module.transformer.config
    traced = path.with_name("traced.onnx")
    trace(model.module, traced)
    fused = fuse(traced, path, heads=int(config.num_attention_heads), hidden=int(config.hidden_size))
    traced.unlink()
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
            found="no such file, or one that gives other tokens",
            do="use this model with the back end `torch`: it cannot be exported",
        )


def _write_card(card: EncoderCard, folder: Path, precision: ExportPrecision) -> None:
    exported = EncoderCard(
        name=f"{card.name}-onnx-{precision}",
        description=f"{card.name}, exported to ONNX in {precision}",
        model=".",
        backend="onnx",
        precision=precision,
        # The other keys are about its name, its place, or numbers that were measured with other weights.
        **{key: getattr(card, key) for key in (*card.VECTORS, "citation")},
    )
    values = exported.model_dump(mode="json", exclude_defaults=True) | {"pooling": card.pooling}
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=110)
    note = "# Written by `tasb export`; every key is explained in encoders/README.md of pyserini-tasb.\n"
    (folder / f"{exported.name}.yaml").write_text(note + text, encoding="utf-8")
