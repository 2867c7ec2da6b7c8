"""The verbs that train: train, teach, study."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.cli.verbs import Verb

if TYPE_CHECKING:
    import argparse


def _add_teach(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--kind",
        dest="teacher",
        required=True,
        choices=("cat", "colbert"),
        help="cat: a cross-encoder, BERT_CAT; colbert: a late-interaction model, ColBERT",
    )
    _add_config(parser)


def _add_study(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser, "what to train, measure and compare")
    parser.add_argument("--report-only", action="store_true", help="of what is measured so far; train nothing")


def _add_config(parser: argparse.ArgumentParser) -> None:
    _add_recipe(parser, "what to train on, from, and how")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint, if there is one")


def _add_recipe(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("config", metavar="CONFIG.yaml", help=what)
    parser.add_argument("--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help="over the file's")


VERBS = (
    Verb(
        "train",
        "Train a TAS-B model (docs/train.md).",
        example="tasb train train.yaml --set max_steps=400",
        add_options=_add_config,
        old="pyserini_tasb.training.train:run",
    ),
    Verb(
        "teach",
        "Train a teacher, a BERT_CAT or a ColBERT (docs/teachers.md).",
        example="tasb teach --kind cat teach.yaml",
        add_options=_add_teach,
        old="pyserini_tasb.training.train:run_teach",
    ),
    Verb(
        "study",
        "Train a grid of models and compare them (docs/study.md).",
        example="tasb study study.yaml",
        add_options=_add_study,
        old="pyserini_tasb.training.study:run",
    ),
)
