"""`tasb teach cat`, `tasb teach colbert`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.model.bert_cat import BertCat, save_bert_cat
from pyserini_tasb.model.colbert import ColBert, save_colbert
from pyserini_tasb.model.tokenizer import load_tokenizer
from pyserini_tasb.recipes import load_recipe
from pyserini_tasb.train.command import resume_command
from pyserini_tasb.train.distributed import processes_of_torchrun
from pyserini_tasb.train.ending import load_best, model_folder, provenance
from pyserini_tasb.train.report.model_card import write_teacher_model_card
from pyserini_tasb.train.run_folder import MODEL
from pyserini_tasb.train.session import train
from pyserini_tasb.train.teach.assembly import TeachAssembly, assemble_teacher
from pyserini_tasb.train.teach.config import TeachCatConfig, TeachColBertConfig

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.train.loop import Trainer

CONFIGS = {"cat": TeachCatConfig, "colbert": TeachColBertConfig}
WHAT = {
    "cat": "A cross-encoder (BERT_CAT): query and passage are read together; the score is linear in the CLS vector.",
    "colbert": "A late-interaction re-ranker (ColBERT): a vector for every token; the score is the sum over query "
    "tokens of the largest dot product with a token of the passage.",
}
USES = {
    "cat": ("tasb score --model FOLDER --pairs pairs.tsv --collection C --queries Q --output scores.tsv",),
    "colbert": ("tasb train config.yaml --set teacher.in_batch=FOLDER",),
}
RERANK = "tasb rerank --run bm25.txt --model FOLDER --topics Q --collection C --output reranked.txt"


def run(arguments: argparse.Namespace) -> int:
    """Train a teacher, from the start or from where it stopped."""
    config = load_recipe(Path(arguments.config), CONFIGS[arguments.teacher], arguments.set)
    with processes_of_torchrun(config.device) as processes:
        parts = assemble_teacher(config, processes)
        return train(
            parts,
            resume=arguments.resume,
            computing=str(parts.student.compute).removeprefix("torch."),
            to_go_on=resume_command(f"teach {arguments.teacher}", arguments),
            finish=lambda trainer: _finish(arguments.teacher, parts, trainer),
        )


def _finish(teacher: str, parts: TeachAssembly, trainer: Trainer) -> list[str]:
    config, model = parts.config, parts.student.pairs.module
    best = load_best(parts, trainer)
    # A new tokenizer: the one that training used remembers its last truncation.
    with model_folder(config.output, load_tokenizer(parts.student.folder)) as folder:
        if isinstance(model, ColBert):
            save_colbert(folder, model)
        elif isinstance(model, BertCat):
            save_bert_cat(folder, model)
    write_teacher_model_card(
        config.output / MODEL,
        provenance(parts, trainer, config.teacher.model, best),
        name=config.name,
        description=config.description,
        what=WHAT[teacher],
        commands=(*USES[teacher], RERANK),
    )
    folder = config.output / MODEL
    return [f"model {folder}", *(f"use   {use.replace('FOLDER', str(folder))}" for use in (*USES[teacher], RERANK))]
