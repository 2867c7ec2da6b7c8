"""The result of a student's run: a folder for transformers and sentence-transformers, a model card, an encoder card."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pyserini_tasb.model.sentence_transformers_folder import make_tokenizer_plain, write_sentence_transformers_files
from pyserini_tasb.model.tokenizer import load_tokenizer, longest_text
from pyserini_tasb.recipes.types import EncoderCard, PublishedNumber
from pyserini_tasb.train.ending import load_best, model_folder, provenance, without_folders
from pyserini_tasb.train.report.encoder_card import write_encoder_card
from pyserini_tasb.train.report.model_card import write_encoder_model_card
from pyserini_tasb.train.run_folder import MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.train.assembly import Assembly
    from pyserini_tasb.train.loop import Trainer


def finish(parts: Assembly, trainer: Trainer) -> tuple[EncoderCard, Path]:
    """Write the best model; return its card, and where the card is."""
    config, model = parts.config, parts.student.model
    best = load_best(parts, trainer)
    # A new one: the one that training used remembers its last truncation.
    tokenizer, card = load_tokenizer(parts.student.folder), _card(parts, trainer, best)
    longest = longest_text(tokenizer, model.transformer)
    make_tokenizer_plain(tokenizer)
    with model_folder(config.output, tokenizer) as folder:
        model.transformer.save_pretrained(folder)
        write_sentence_transformers_files(folder, card, dimension=model.dimension, longest=longest)
    written = provenance(parts, trainer, config.student.model, best)
    write_encoder_model_card(config.output / MODEL, card, written, dimension=model.dimension)
    return card, write_encoder_card(card)


def _card(parts: Assembly, trainer: Trainer, best: int) -> EncoderCard:
    config, student = parts.config, parts.config.student
    published: tuple[PublishedNumber, ...] = ()
    if trainer.stopping.best_value is not None:
        number = PublishedNumber(
            collection="validation set",
            measure=config.validation.measure,
            value=round(trainer.stopping.best_value, 4),
            source=f"tasb train, step {best}",
        )
        published = (number,)
    return EncoderCard(
        name=config.name,
        description=config.description or f"trained by tasb train from {without_folders(student.model)}",
        model=str((config.output / MODEL).resolve()),
        pooling=student.pooling,
        normalise=student.normalise,
        query_prefix=student.query_prefix,
        passage_prefix=student.passage_prefix,
        published=published,
    )
