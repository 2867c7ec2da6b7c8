"""The verbs that train and publish: train, teach, study, adapt, push-model."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

from pyserini_tasb.cli.options import (
    ALLOW_BIN,
    CORPUS,
    DEVICE_OR_GPU,
    QRELS,
    TOPICS,
    add_allow_reversed_option,
    add_fields_options,
    add_precision_option,
    add_ray_options,
    add_remove_query_option,
    at_least_one,
)
from pyserini_tasb.cli.verbs import Verb, print_interrupted, say

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.training.study import StudyResult
    from pyserini_tasb.training.teach import TeachResult
    from pyserini_tasb.training.train import TrainResult


def _add_train(parser: argparse.ArgumentParser) -> None:
    _add_config(parser, "The training configuration, a YAML file. docs/train.md explains every key.")


def _report_train(result: TrainResult, _options: argparse.Namespace) -> int:
    if result.first:
        say(f"\n{result.summary}\nmodel {result.model}\ncard  {result.card}")
        say(f"use   python -m pyserini.search.faiss --encoder {result.encoder} …")
    return 0


def _add_teach(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kind",
        required=True,
        choices=("cat", "colbert"),
        help="The kind of teacher: cat is a cross-encoder (BERT_CAT), colbert a late-interaction model (ColBERT).",
    )
    _add_config(parser, "The training configuration, a YAML file. docs/teachers.md explains its keys.")


def _report_teach(result: TeachResult, _options: argparse.Namespace) -> int:
    if result.first:
        say(f"\n{result.summary}\nmodel {result.model}")
        say("\n".join(f"use   {command}" for command in result.uses))
    return 0


def _add_study(parser: argparse.ArgumentParser) -> None:
    _add_config(
        parser, "The study, a YAML file that says which models to train and compare. docs/study.md explains it."
    )
    parser.add_argument("--report-only", action="store_true", help="Train nothing, and report the results so far.")
    add_ray_options(parser, "Train several models at a time")


def _report_study(result: StudyResult, options: argparse.Namespace) -> int:
    say(result.table)
    for name, error in result.failed.items():
        print(f"tasb study: {name} failed\n{error.worded(options.called.option)}", file=sys.stderr)
    if options.report_only:
        say(f"measured: {result.measured} of {result.models} models")
    return 1 if result.failed else 0


def _add_adapt(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--corpus", required=True, metavar="PATH", help=CORPUS)
    add_fields_options(parser)
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="The folder for everything: a new one, or one that the same command began.",
    )
    parser.add_argument(
        "--name", metavar="NAME", help="The name of the adapted encoder, tasb:NAME (default: that of --output)."
    )
    parser.add_argument(
        "--student", default="tasb", metavar="NAME|PATH", help="The encoder to start from (default: %(default)s)."
    )
    parser.add_argument(
        "--teacher",
        default="cross-encoder/ms-marco-MiniLM-L6-v2",
        metavar="NAME|PATH",
        help="The model that scores pairs: an encoder's name, or the folder or hub id of a cross-encoder or a ColBERT "
        "(default: %(default)s).",
    )
    parser.add_argument(
        "--in-batch-teacher",
        metavar="NAME|PATH",
        help="The model that teaches within batches: an encoder or a ColBERT (default: --teacher, if it is one of "
        "these, or else none).",
    )
    add_precision_option(parser)
    parser.add_argument("--device", metavar="DEVICE", help=DEVICE_OR_GPU)
    parser.add_argument("--seed", type=int, default=0, help="The random seed (default: %(default)s).")
    parser.add_argument("--allow-bin", action="store_true", help=ALLOW_BIN)
    queries = parser.add_argument_group("training queries")
    queries.add_argument(
        "--source",
        choices=["title", "sentence", "auto"],
        default="auto",
        help="The text that becomes a query: the title; the first sentences; or (auto) the title if it is long enough, "
        "and sentences if not (default: %(default)s).",
    )
    queries.add_argument(
        "--query-model",
        metavar="NAME|PATH",
        help="Let this model predict queries instead of --source: the folder or hub id of a T5 (docs/docT5query.md).",
    )
    queries.add_argument(
        "--queries-per-document",
        type=at_least_one,
        default=3,
        metavar="N",
        help="Predict N queries for each document, with --query-model (default: %(default)s).",
    )
    queries.add_argument(
        "--queries",
        type=at_least_one,
        default=250_000,
        metavar="N",
        help="Train with N queries at most, chosen at random (default: %(default)s).",
    )
    training = parser.add_argument_group("training")
    training.add_argument(
        "--mine-with",
        nargs="+",
        choices=["bm25", "student"],
        default=["bm25", "student"],
        help="Find negatives with BM25, with the student's own vectors, or with both (default: both).",
    )
    training.add_argument(
        "--negatives",
        type=at_least_one,
        default=10,
        metavar="N",
        help="Find N negatives for each query with each of --mine-with (default: %(default)s).",
    )
    training.add_argument(
        "--sampling",
        choices=["random", "tas", "tas-balanced"],
        default="tas-balanced",
        help="The strategy of batches: random; (tas) queries of one topic; or (tas-balanced) queries of one topic with "
        "pairs of all margins (default: %(default)s).",
    )
    training.add_argument(
        "--batch-size",
        type=int,
        default=32,
        metavar="N",
        help="The number of queries in a batch (default: %(default)s).",
    )
    training.add_argument(
        "--max-steps",
        type=at_least_one,
        metavar="N",
        help="Train N steps (default: 3 passes over the queries, at least 60 and at most 140000).",
    )
    training.add_argument(
        "--max-length",
        type=int,
        default=200,
        metavar="N",
        help="Keep at most N tokens of a passage, in training and in measuring (default: %(default)s).",
    )
    training.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="Set other keys of the training, such as optimiser.learning_rate=1e-5 (docs/train.md).",
    )
    add_allow_reversed_option(training)
    judged = parser.add_argument_group("judged queries, to measure on")
    judged.add_argument("--topics", metavar="NAME|PATH", help=TOPICS)
    judged.add_argument("--qrels", metavar="NAME|PATH", help=QRELS)
    judged.add_argument(
        "--measures",
        nargs="+",
        default=["nDCG@10", "R@100"],
        metavar="MEASURE",
        help="The measures, by ir-measures' names (default: nDCG@10 R@100).",
    )
    add_remove_query_option(judged)


def _add_push_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--encoder",
        required=True,
        metavar="NAME|PATH",
        help="The encoder to upload: tasb:NAME, a model's folder, or a card's path.",
    )
    parser.add_argument(
        "--repo",
        required=True,
        metavar="ORGANISATION/NAME",
        help="The repository of the Hugging Face hub. It is made if it does not exist. The organisation may be a user.",
    )
    parser.add_argument(
        "--public", action="store_true", help="Let everybody read a new repository (default: it is private)."
    )
    parser.add_argument(
        "--licence",
        metavar="LICENCE",
        help="The model's licence as the hub calls it, such as apache-2.0 (default: unknown).",
    )
    parser.add_argument(
        "--model-card",
        metavar="FILE",
        help="Take this file as the model card (default: a card is made of what the training wrote).",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="Print the model card and the list of files, and upload nothing."
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="Replace a model that the repository already has, by a new commit (default: stop with an error).",
    )


def _add_config(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("config", metavar="CONFIG.yaml", help=what)
    parser.add_argument(
        "--set",
        dest="settings",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="Replace values of the file, such as max_steps=400 or optimiser.learning_rate=1e-5.",
    )


def _say_how_to_go_on(interruption: KeyboardInterrupt, options: argparse.Namespace) -> None:
    from pyserini_tasb.training.loop import TrainingInterruptedError

    if not isinstance(interruption, TrainingInterruptedError):
        print_interrupted(interruption, options)
    elif interruption.first and interruption.world > 1:
        say(f"\nstopped after step {interruption.step:,}, which is saved; the same torchrun command continues")
    elif interruption.first:
        command = ["tasb", options.verb]
        if options.verb == "teach":
            command += ["--kind", options.kind]
        command += [options.config, *(word for setting in options.settings for word in ("--set", setting))]
        command += [word for package in options.trust for word in ("--trust", package)]
        say(f"\nstopped after step {interruption.step:,}, which is saved; continue with\n  {shlex.join(command)}")


VERBS = (
    Verb(
        "train",
        "Train a TAS-B model (docs/train.md).",
        example="tasb train train.yaml --set max_steps=400",
        add_options=_add_train,
        report=_report_train,
        interrupted=_say_how_to_go_on,
    ),
    Verb(
        "teach",
        "Train a teacher: a BERT_CAT or a ColBERT model (docs/teachers.md).",
        example="tasb teach --kind cat teach.yaml",
        add_options=_add_teach,
        report=_report_teach,
        interrupted=_say_how_to_go_on,
    ),
    Verb(
        "study",
        "Train a grid of models and compare them (docs/study.md).",
        example="tasb study study.yaml",
        add_options=_add_study,
        report=_report_study,
        interrupted=_say_how_to_go_on,
    ),
    Verb(
        "adapt",
        "Adapt a retriever to documents without judgments (docs/adapt.md).",
        example="tasb adapt --corpus documents --output adapted --student tasb:minilm --teacher cat",
        add_options=_add_adapt,
    ),
    Verb(
        "push-model",
        "Upload a model to the Hugging Face hub, with a model card (docs/publish.md).",
        example="tasb push-model --encoder tasb:mine --repo organisation/mine --dry-run",
        add_options=_add_push_model,
    ),
)
