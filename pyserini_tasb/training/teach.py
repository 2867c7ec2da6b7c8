"""`teach`: train a teacher, a BERT_CAT or a ColBERT."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pyserini_tasb.models.bert_cat import BertCat, save_bert_cat
from pyserini_tasb.models.colbert import ColBert, save_colbert
from pyserini_tasb.models.tokenizers import load_tokenizer
from pyserini_tasb.recipes.loading import as_recipe
from pyserini_tasb.training.assembly import Assembly, assemble_teacher
from pyserini_tasb.training.checkpoints import MODEL
from pyserini_tasb.training.config import TeachCatConfig, TeachColBertConfig, TeachConfig
from pyserini_tasb.training.distributed import agreed, joined_processes
from pyserini_tasb.training.loop import Trainer, finished_run
from pyserini_tasb.training.model_card import write_teacher_model_card
from pyserini_tasb.training.results import RunResult, load_best, model_folder, provenance, saved, saved_outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from pyserini_tasb.results import StrPath


def teach(
    config: TeachConfig | Mapping[str, Any] | StrPath,
    *,
    kind: Literal["cat", "colbert"],
    settings: Sequence[str] = (),
) -> TeachResult:
    """Train a teacher: a cross-encoder on labelled pairs, or a ColBERT on a cross-encoder's scores (docs/teachers.md).

        cat = tasb.teach("cat.yaml", kind="cat")
        scores = tasb.score(pairs="pairs.tsv", model=str(cat.model), corpus="documents", topics="queries.tsv", …)

    Args:
        config: a YAML file, a dict of the same keys, a `TeachCatConfig` or a `TeachColBertConfig`. In a dict, results
            of other verbs stand for their paths.
        kind: `cat`, query and passage read together (BERT_CAT), or `colbert`, late interaction.
        settings: `key=value` or `section.key=value`, each replaces a value of the configuration. Values are read as
            YAML.

    Returns:
        the teacher's folder, and its measures on the validation set.

    Raises:
        TasbError: something is missing, contradicts the rest, or cannot be written.
        TrainingInterruptedError: as in `train`.
    """
    with joined_processes() as joined:
        run = as_recipe(config, CONFIGS[kind], settings)
        with agreed(run, joined) as processes:
            result = processes.from_first(lambda: saved_outcome(run))
            if result is None:
                parts = assemble_teacher(run, processes)
                with finished_run(parts) as trainer:
                    if processes.first:
                        _write_teacher(run, kind, parts, trainer)
                    result = saved(run, parts, trainer)
        return TeachResult(kind=kind, model=run.output / MODEL, folder=run.output, first=joined.first, **result)


@dataclass(frozen=True, kw_only=True)
class TeachResult(RunResult):
    """A trained teacher. Wherever a path is taken, it stands for its model's folder.

    Attributes:
        kind: `cat` or `colbert`.
    """

    kind: Literal["cat", "colbert"]

    @property
    def uses(self) -> list[str]:
        """Commands that take the teacher."""
        return [command.replace("FOLDER", str(self.model)) for command in USES[self.kind]]


CONFIGS: dict[str, type[TeachCatConfig | TeachColBertConfig]] = {"cat": TeachCatConfig, "colbert": TeachColBertConfig}
WHAT = {
    "cat": "A cross-encoder (BERT_CAT): query and passage are read together; the score is linear in the CLS vector.",
    "colbert": "A late-interaction re-ranker (ColBERT): a vector for every token; the score is the sum over query "
    "tokens of the largest dot product with a token of the passage.",
}
RERANK = "tasb rerank --run bm25.txt --model FOLDER --topics Q --corpus C --output reranked.txt"
USES = {
    "cat": ("tasb score --model FOLDER --pairs pairs.tsv --corpus C --topics Q --output scores.tsv", RERANK),
    "colbert": ("tasb train config.yaml --set teacher.in_batch=FOLDER", RERANK),
}


def _write_teacher(config: TeachConfig, kind: str, parts: Assembly[Any], trainer: Trainer) -> None:
    model = parts.student.model
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
        what=WHAT[kind],
        commands=USES[kind],
    )
