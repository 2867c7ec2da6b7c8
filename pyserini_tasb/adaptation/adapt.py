"""`adapt`: adapt a retriever to a domain that has documents only, as GPL does, and measure what it brought."""

from __future__ import annotations

import json
import logging
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from pyserini_tasb.adaptation.begun import require_same, require_unseen
from pyserini_tasb.adaptation.chain import JUDGED_TOPICS, MADE, MINERS, RUNS, TRAINING, steps
from pyserini_tasb.adaptation.choices import DOCUMENTS, PAIRS, RUN, Models, training_yaml
from pyserini_tasb.adaptation.inputs import digest_of_corpus, judged_queries, write_documents, write_judged
from pyserini_tasb.artifacts import installed_versions, read_sidecar, write_whole
from pyserini_tasb.data.pair_store import open_pair_store
from pyserini_tasb.environment.java import java_environment, required_java
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.evaluation.evaluate import evaluate
from pyserini_tasb.evaluation.measures import parse_measures
from pyserini_tasb.folders import at_home
from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.fields import Fields
from pyserini_tasb.recipes.lookup import ENCODER_PREFIX, recipe_files
from pyserini_tasb.recipes.types import Precision
from pyserini_tasb.registry import require_choice, trusted_packages
from pyserini_tasb.regression.steps import LOGS, PACKAGES, Pipeline, StepFailedError
from pyserini_tasb.results import FileResult

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pyserini_tasb.evaluation.comparison import Comparison
    from pyserini_tasb.formats.named import AnyQrels, AnyTopics
    from pyserini_tasb.regression.steps import Step
    from pyserini_tasb.results import StrPath

LOG = logging.getLogger(__name__)

ABOUT, REPORT, TABLE = "adapt.json", "report.json", "report.txt"
STUDENT, TEACHER = "tasb", "cross-encoder/ms-marco-MiniLM-L6-v2"
MOST_QUERIES = 250_000  # GPL's number, for corpora of any size
Source = Literal["auto", "title", "sentence"]
Sampling = Literal["random", "tas", "tas-balanced"]


def adapt(
    corpus: StrPath,
    *,
    output: StrPath,
    fields: Sequence[str] = (),
    docid_field: str | None = None,
    name: str | None = None,
    student: str = STUDENT,
    teacher: str = TEACHER,
    in_batch_teacher: str | None = None,
    source: Source = "auto",
    query_model: str | None = None,
    queries_per_document: int = 3,
    queries: int = MOST_QUERIES,
    mine_with: Sequence[Literal["bm25", "student"]] = ("bm25", "student"),
    negatives: int = 10,
    sampling: Sampling = "tas-balanced",
    batch_size: int = 32,
    max_steps: int | None = None,
    max_length: int = 200,
    settings: Sequence[str] = (),
    topics: AnyTopics | None = None,
    qrels: AnyQrels | None = None,
    measures: Sequence[str] = ("nDCG@10", "R@100"),
    remove_query: bool = False,
    allow_reversed: bool = False,
    allow_bin: bool = False,
    seed: int = 0,
    precision: Precision | None = None,
    device: str | None = None,
) -> Adaptation:
    """Adapt a retriever to a corpus without judgments (GPL: Wang et al., NAACL 2022), with TAS-B's batches and losses.

    Training queries are made of the documents; BM25 and the student's own vectors find negatives; a teacher scores the
    pairs; the queries are clustered; the student is trained. With `topics` and `qrels`, the student is measured before
    and after, beside its teacher and BM25. These queries train nothing: none of them becomes a training query.

        adapted = tasb.adapt("documents", output="adapted", student="tasb", topics="topics.tsv", qrels="qrels.txt")
        vectors = tasb.encode("documents", encoder=adapted.encoder, output="vectors")

    Each step is a command, which is shown with an estimate of its time. Repeat an interrupted call to continue it:
    finished steps do not run again. Options may not change, except `measures` and `remove_query`.

    Args:
        corpus: TSV, JSONL, a Lucene index that stores text, or a text store.
        output: the folder for everything: a new one, or one that the same call began.
        fields: the fields of a passage that are its text, joined by spaces; by default `title` and `text`, or
            `contents`. The field `title`, or else the first of several, is the title. See docs/encode.md.
        docid_field: the field of the docid; by default `id`, `_id` or `docid`.
        name: the name of the adapted encoder, `tasb:NAME`; by default the name of `output`.
        student: the encoder to start from.
        teacher: the model that scores pairs: an encoder's name, or the folder or hub id of a cross-encoder or ColBERT.
        in_batch_teacher: the model that teaches within batches, an encoder or a ColBERT; by default `teacher`, if it is
            one of these, or else none.
        source: the text that becomes a query, as in `pseudo_queries`: `title`, `sentence` or `auto`.
        query_model: the folder or hub id of a T5 that predicts queries, instead of `source`.
        queries_per_document: the number of queries to predict for each document, with `query_model`.
        queries: the most training queries. If there are more, some are drawn.
        mine_with: where negatives are found: `bm25`, `student` (its own vectors), or both.
        negatives: the number of negatives for each query from each of these.
        sampling: the strategy of batches: `random`, `tas` or `tas-balanced`.
        batch_size: the number of queries in a batch.
        max_steps: the number of training steps; by default 3 passes over the queries, at least 60 and at most 140,000.
        max_length: the most tokens of a passage, in training and in measuring.
        settings: `key=value` or `section.key=value` for the configuration of `train`, such as
            `optimiser.learning_rate=1e-5`.
        topics: judged queries, to measure on. With `qrels`; they can also be added by a later call.
        qrels: their judgments.
        measures: ir-measures' names.
        remove_query: drop each query's own document, whose docid is the query's id, from every run.
        allow_reversed: continue even if the teacher scores most negatives above the documents that queries are made of.
        allow_bin: accept weights in `pytorch_model.bin`, a pickle file. Its code is not run.
        seed: the random seed.
        precision: the number format in which vectors are computed, as in `encode`; by default each encoder card's.
        device: `cpu`, `cuda:0`, …; by default a GPU, or else the CPU.

    Returns:
        the adapted encoder, and the comparison on judged queries.

    Raises:
        TasbError: an option, the corpus or a model is faulty; the folder was begun with other options, or another
            process works in it; or no suitable Java.
        StepFailedError: a command failed; the same call goes on from this step.
        KeyboardInterrupt: the user stopped the call; the same call goes on.
    """
    _require_choices(source, mine_with, sampling, measures)
    if precision is not None:
        require_choice("precision", precision, get_args(Precision))
    _require_together(topics, qrels)
    folder = Path(output)
    options: dict[str, Any] = {
        "fields": list(fields),
        "docid_field": docid_field,
        "name": name or _name_like(folder),
        "student": _found_anywhere(student),
        "teacher": _found_anywhere(teacher),
        "in_batch_teacher": in_batch_teacher and _found_anywhere(in_batch_teacher),
        "source": source,
        "query_model": query_model and _found_anywhere(query_model),
        "queries_per_document": queries_per_document,
        "queries": queries,
        "mine_with": list(mine_with),
        "negatives": negatives,
        "sampling": sampling,
        "batch_size": batch_size,
        "max_steps": max_steps,
        "max_length": max_length,
        "settings": list(settings),
        "allow_reversed": allow_reversed,
        "allow_bin": allow_bin,
        "seed": seed,
        "precision": precision,
        "device": device,
        "trust": sorted(trusted_packages()),
    }
    _require_in_range(options)
    _require_free_name(options["name"], folder)
    java = required_java()
    judged = None if topics is None or qrels is None else judged_queries(topics, qrels)
    models = Models.named(options)
    collection = open_collection(at_home(corpus), Fields.named(fields, docid_field))
    inputs = {"corpus": digest_of_corpus(corpus), "judged": judged and judged.digest, **models.digests(options)}
    pipeline = Pipeline(folder, java_environment(java) | _environment())
    before = read_sidecar(folder / ABOUT)
    documents = int(before["documents"]) if before else write_documents(collection, folder / DOCUMENTS)
    choices = models.choices(options, documents)
    training = training_yaml(choices, settings)
    chain = steps(choices, documents, len(judged.topics) if judged else 0)
    about = {
        "corpus": os.fspath(corpus),
        "documents": documents,
        "options": options,
        "inputs": inputs,
        "steps": {step.name: step.command for step in chain},
        "training": training,
    }
    if before:
        require_same(folder, before, about, judged)
        if not (folder / DOCUMENTS).exists():
            write_documents(collection, folder / DOCUMENTS)
    if judged:
        write_judged(judged, folder / JUDGED_TOPICS)
    write_whole(folder / TRAINING, training)
    write_whole(folder / ABOUT, json.dumps(about, indent=1, ensure_ascii=False) + "\n")
    LOG.info("%s documents; the commands run in %s, and print into its %s", f"{documents:,}", folder, LOGS)
    seconds = _run(pipeline, chain)
    comparison = None
    if judged:
        require_unseen(folder, judged)
        runs = {name: folder / path for name, path in RUNS.items()}
        comparison = evaluate(
            runs, qrels=judged.qrels, measures=measures, remove_query=remove_query, all_pairs=True, details=True
        )
    store = open_pair_store(folder / PAIRS)
    result = Adaptation(
        folder,
        encoder=f"tasb:{choices.name}",
        model=(folder / RUN / "model").resolve(),
        documents=documents,
        queries=len(store.queries),
        pairs=len(store),
        steps=choices.max_steps,
        judged=len(judged.topics) if judged else 0,
        comparison=comparison,
        seconds=dict(seconds),
    )
    result.write_report(about)
    return result


@dataclass(frozen=True)
class Adaptation(FileResult):
    """An adapted encoder. Wherever a path is taken, it stands for its folder.

    Attributes:
        path: the folder with everything.
        encoder: the encoder's name, for `encoder=` of other verbs and `--encoder`.
        model: the model's folder.
        documents: the number of documents.
        queries: the number of training queries.
        pairs: the number of training pairs.
        steps: the number of training steps.
        judged: the number of judged queries, none of which is a training query.
        comparison: the runs of BM25, the start, the adapted student and the teacher on the judged queries; None without
            any.
        seconds: step → wall seconds.
    """

    encoder: str
    model: Path
    documents: int
    queries: int
    pairs: int
    steps: int
    judged: int
    comparison: Comparison | None = field(repr=False)
    seconds: Mapping[str, float] = field(repr=False)

    @property
    def summary(self) -> str:
        """The numbers of documents and queries, the comparison, the encoder's name and the seconds."""
        trained = f"{self.documents:,} documents, {self.queries:,} training queries, {self.pairs:,} pairs"
        seconds = ", ".join(f"{name} {value:.0f}" for name, value in self.seconds.items())
        measured = f"\n{self.judged:,} judged queries, 0 of them among the training queries\n\n{self.comparison!r}\n"
        return "\n".join(
            [
                f"{trained}, {self.steps:,} steps",
                *([measured] if self.comparison else []),
                f"The adapted encoder, for any command: --encoder {self.encoder}",
                f"model {self.model}",
                f"Seconds: {seconds}; {sum(self.seconds.values()):.0f} in all",
            ]
        )

    def write_report(self, about: Mapping[str, Any]) -> None:
        """Write `report.json` and `report.txt` into the folder.

        Args:
            about: the options and inputs.

        Raises:
            TasbError: the disk refuses.
        """
        report = {
            "encoder": self.encoder,
            **{name: about[name] for name in ("corpus", "options", "inputs")},
            "counts": {name: getattr(self, name) for name in ("documents", "queries", "pairs", "steps", "judged")},
            "queries": (self.path / MADE).read_text(encoding="utf-8").splitlines(),
            "judged queries among the training queries": 0,  # more were refused
            "seconds": self.seconds,
            "versions": installed_versions(PACKAGES),
            "comparison": self.comparison.to_dict() if self.comparison else None,
        }
        text = json.dumps(report, indent=1, ensure_ascii=False, allow_nan=False)
        write_whole(self.path / REPORT, text + "\n")
        write_whole(self.path / TABLE, self.summary + "\n")


def _require_choices(source: str, mine_with: Sequence[str], sampling: str, measures: Sequence[str]) -> None:
    require_choice("source", source, get_args(Source))
    require_choice("sampling", sampling, get_args(Sampling))
    for miner in mine_with:
        require_choice("mine_with", miner, MINERS)
    if not mine_with or len(set(mine_with)) < len(mine_with):
        raise TasbError(
            expected=f"{argument('mine_with')} with {' or '.join(MINERS)}, or both",
            found=" ".join(mine_with) or "none",
            do="name each once",
        )
    parse_measures(measures)  # a mistake would be late after the training


def _require_together(topics: object, qrels: object) -> None:
    if (topics is None) != (qrels is None):
        one, other = ("topics", "qrels") if qrels is None else ("qrels", "topics")
        raise TasbError(
            expected=f"{argument('topics')} and {argument('qrels')}, to measure, or neither",
            found=f"only {argument(one)}",
            do=f"add {argument(other)}, or leave out {argument(one)}",
        )


def _require_in_range(options: Mapping[str, Any]) -> None:
    for name, least in {
        "queries": 1,
        "queries_per_document": 1,
        "negatives": 1,
        "batch_size": 2,
        "max_steps": 1,
        "max_length": 3,
        "seed": 0,
    }.items():
        value = options[name]
        if value is not None and value < least:
            raise TasbError(expected=f"{argument(name)} of at least {least}", found=str(value), do="raise it")


def _name_like(folder: Path) -> str:
    return re.sub(r"[^a-z0-9._+-]+", "-", folder.absolute().name.lower()).strip("._+-") or "adapted"


def _found_anywhere(model: str) -> str:
    """A model as a command in another folder finds it."""
    prefix = ENCODER_PREFIX if model.lower().startswith(ENCODER_PREFIX) else ""
    rest = model[len(prefix) :]
    path = at_home(rest)
    return f"{prefix}{path.absolute()}" if rest.lower() not in recipe_files("encoders") and path.exists() else model


def _require_free_name(name: str, folder: Path) -> None:
    from pyserini_tasb.training.results import check_card_name  # loads torch

    check_card_name(name, folder / RUN / "model")


def _environment() -> dict[str, str]:
    home = os.environ.get("PYSERINI_TASB_HOME")
    # Pyserini orders equal scores by the hashes of their docids.
    return {"PYTHONHASHSEED": "0"} | ({"PYSERINI_TASB_HOME": str(at_home(home).absolute())} if home else {})


def _run(pipeline: Pipeline, chain: Sequence[Step]) -> dict[str, float]:
    try:
        return pipeline.run(chain)
    except StepFailedError as error:
        raise StepFailedError(f"{error}\nThe same command goes on from this step.") from error
    except KeyboardInterrupt:
        LOG.info("the same command continues from this step")
        raise
