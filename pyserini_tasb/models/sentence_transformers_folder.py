"""Files that tell sentence-transformers how a folder makes vectors: written for our models, compared with cards."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.parsing import explained, read_json, read_json_list, read_yaml

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.recipes.types import EncoderCard


MODULES, SETTINGS, CAP = "modules.json", "config_sentence_transformers.json", "sentence_bert_config.json"
POOLING, NORMALISE = "1_Pooling", "2_Normalize"
SENTENCE_TRANSFORMERS_FILES = (MODULES, SETTINGS, CAP, f"{POOLING}/config.json")
FLAG = "pooling_mode_"
# Since version 6 one key has the name that these flags had before; both versions read the flags.
FLAGS: dict[str, str] = {"cls": "cls_token", "mean": "mean_tokens", "last": "lasttoken"}
NAMES = {flag: pooling for pooling, flag in FLAGS.items()} | {"lasttoken": "last"}
EXPECTED, FETCH_AGAIN = "what sentence-transformers writes beside a model", "fetch the file again"
KNOWN = ("Transformer", "Pooling", "Normalize", "Dropout")  # described by a card, or without effect in use


def write_sentence_transformers_files(folder: Path, card: EncoderCard, *, dimension: int, longest: int) -> None:
    """Let `SentenceTransformer(folder)` make the card's vectors and compare them as we do.

    sentence-transformers has one length cap for all texts: it gets the passages'.

    Args:
        folder: a whole model of Hugging Face.
        card: how texts become vectors; its pooling is one of `FLAGS`.
        dimension: the dimension of a vector.
        longest: the most tokens that the model and its tokenizer take.
    """
    parts = {"Transformer": "", "Pooling": POOLING} | ({"Normalize": NORMALISE} if card.normalise else {})
    modules = [
        # Names that versions before 6 had, and that 6 understands.
        {"idx": number, "name": str(number), "path": path, "type": f"sentence_transformers.models.{part}"}
        for number, (part, path) in enumerate(parts.items())
    ]
    pooling = {f"{FLAG}{flag}": name == card.pooling for name, flag in FLAGS.items()}
    settings = {
        "model_type": "SentenceTransformer",
        "prompts": {"query": card.query_prefix, "document": card.passage_prefix},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine" if card.normalise else "dot",
    }
    (folder / POOLING).mkdir()
    for path, content in {
        MODULES: modules,
        SETTINGS: settings,
        CAP: {"max_seq_length": min(card.passage_max_length, longest), "do_lower_case": False},
        f"{POOLING}/config.json": {"word_embedding_dimension": dimension, **pooling, "include_prompt": True},
    }.items():
        (folder / path).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def make_tokenizer_plain(tokenizer: Any) -> None:
    """Let a tokenizer of Hugging Face give other programs what training gave the model: ids, padded on the right.

    Padding on the left would move first tokens and positions. A GPT-2 would read the numbers of segments, which
    training never gives, as further words.
    """
    tokenizer.padding_side = "right"
    tokenizer.model_input_names = tokenizer.init_kwargs["model_input_names"] = ["input_ids", "attention_mask"]
    if tokenizer.pad_token is None:  # GPT-2 and Llama have none, and what stands there is not read
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token


def contradiction(card: EncoderCard, folder: Path) -> str:
    """The differences between the vectors that a folder was made for and those that a card reads; empty without any.

    A key that the card sets is right. A key that it leaves at its default may be a mistake, and so may be all keys of
    a folder named without a card.

    Raises:
        TasbError: files of sentence-transformers that cannot be read.
    """
    if not (folder / MODULES).is_file():
        return _contradiction_of_own_card(card, folder)
    with explained(folder / MODULES, expected=EXPECTED, do=FETCH_AGAIN):
        return _contradiction_of_modules(card, folder)


def _contradiction_of_modules(card: EncoderCard, folder: Path) -> str:
    content = read_json_list(folder / MODULES, expected=EXPECTED, do=FETCH_AGAIN)
    modules = {module["type"].rpartition(".")[2]: module.get("path", "") for module in content}
    settings = _read(folder / SETTINGS) if (folder / SETTINGS).is_file() else {}
    prompts = settings.get("prompts") or {}
    made_for = {
        "pooling": _pooling(folder / modules["Pooling"] / "config.json") if "Pooling" in modules else card.pooling,
        "normalise": "Normalize" in modules or settings.get("similarity_fn_name") == "cosine",
        "query_prefix": prompts.get("query") or "",
        # In the order in which `encode_document` looks for them.
        "passage_prefix": next((prompts[name] for name in ("document", "passage", "corpus") if prompts.get(name)), ""),
    }
    keys = [
        f"{key}: {json.dumps(value, ensure_ascii=False)}"
        for key, value in made_for.items()
        if key not in card.model_fields_set and value != getattr(card, key)
    ]
    keys += [f"a module {name}, which is left out here" for name in modules if name not in KNOWN]
    if not keys:
        return ""
    return (
        f"{folder} was made for other vectors ({', '.join(keys)}), as its {MODULES} says. It is read with pooling "
        f"{card.pooling}{', normalised' if card.normalise else ', compared by dot product'}. To read it as it was "
        "made, write a card (encoders/README.md)"
    )


def _contradiction_of_own_card(card: EncoderCard, folder: Path) -> str:
    """The same for a model that we trained with a pooling from outside, which sentence-transformers does not know."""
    for path in sorted(folder.glob("[!.]*.yaml")):
        try:
            made_for, _ = read_yaml(path)
        except TasbError:
            continue
        pooling = made_for.get("pooling") if made_for.get("model") == "." else None
        if isinstance(pooling, str) and pooling != card.pooling and "pooling" not in card.model_fields_set:
            return (
                f"{folder} was made for other vectors (pooling: {pooling}), as its {path.name} says. It is read with "
                f"pooling {card.pooling}. `--encoder {path}` reads it as it was made"
            )
    return ""


def _pooling(config: Path) -> str:
    """Our name of the pooling where we have one, else theirs."""
    said = _read(config)
    modes = said.get("pooling_mode") or [key.removeprefix(FLAG) for key, value in said.items() if value is True]
    names = [modes] if isinstance(modes, str) else [name for name in modes if name != "include_prompt"]
    return "+".join(NAMES.get(name, name) for name in names) or "mean"


def _read(path: Path) -> dict[str, Any]:
    return read_json(path, expected=EXPECTED, do=FETCH_AGAIN)
