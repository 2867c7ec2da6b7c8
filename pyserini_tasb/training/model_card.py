"""`README.md` of a model's folder: what the model is, what it was trained on and how, and how to use it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from pyserini_tasb import __version__
from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.models.sentence_transformers_folder import FLAGS
from pyserini_tasb.parsing import explained, read_json
from pyserini_tasb.training.checkpoints import flattened

if TYPE_CHECKING:
    from pyserini_tasb.recipes.types import EncoderCard, PublishedNumber


MODEL_CARD, PROVENANCE = "README.md", "training.json"


@dataclass(frozen=True)
class Number:
    """A measured value.

    Args:
        of: what was measured, e.g. `this model (step 24,000)`, `before training`, `baseline run`.
        on: what it was measured on, e.g. `validation set, 3,200 queries`.
        measure: the measure's name in ir-measures.
        value: the value of the measure.
    """

    of: str
    on: str
    measure: str
    value: float


@dataclass(frozen=True)
class Provenance:
    """Where a model comes from.

    Args:
        base_model: what training began with: a folder, a hub id, or `pkg:PACKAGE/FOLDER`.
        data: what it was trained on, as label → value; shown as they stand, nested ones as `outer.inner`.
        parameters: how it was trained, likewise.
        numbers: what was measured.
        licence: the hub's name of it, e.g. `apache-2.0`; without it the card says that it is unknown.
        curves: the file in the model's folder with the picture of the curves.
        version: the version of pyserini-tasb.
    """

    base_model: str
    data: Mapping[str, Any]
    parameters: Mapping[str, Any]
    numbers: Sequence[Number] = ()
    licence: str | None = None
    curves: str | None = None
    version: str = __version__


def write_encoder_model_card(folder: Path, card: EncoderCard, provenance: Provenance, *, dimension: int) -> Path:
    """Write `folder/README.md` in the form of the Hugging Face hub; return its path.

    `folder/training.json` keeps what it was made of, from which `tasb push-model` makes the card of a repository.
    The same input gives the same bytes: there is no date in it.

    Args:
        folder: the model's.
        card: its encoder card: name, description, and how texts become vectors.
        provenance: where it comes from.
        dimension: the dimension of a vector.

    Raises:
        TasbError: the disk refuses; what was there before is there still.
    """
    kept = asdict(provenance) | {"base_model": _without_folder(provenance.base_model)}
    write_whole(folder / PROVENANCE, json.dumps(kept, indent=1, ensure_ascii=False) + "\n")
    path = folder / MODEL_CARD
    write_whole(path, encoder_model_card(card, provenance, dimension=dimension))
    return path


def read_provenance(folder: Path) -> Provenance | None:
    """The origin of a model that `tasb train` wrote; None for any other model.

    Raises:
        TasbError: its file is damaged.
    """
    from pydantic import TypeAdapter

    path = folder / PROVENANCE
    if not path.is_file():
        return None
    expected, do = "what `tasb train` writes beside a model", "remove the file, and the card will say `unknown`"
    values = read_json(path, expected=expected, do=do)
    with explained(path, expected=expected, do=do):
        json.dumps(values, ensure_ascii=False).encode()  # half a surrogate pair cannot be written
        return TypeAdapter(Provenance).validate_python(values)


def encoder_model_card(
    card: EncoderCard,
    provenance: Provenance | None,
    *,
    dimension: int,
    repo: str | None = None,
    licence: str | None = None,
) -> str:
    """The model card of an encoder, as text.

    Args:
        card: its encoder card.
        provenance: where it comes from. Without it, the card says what is unknown.
        dimension: the dimension of a vector.
        repo: the repository of the hub that the card is for; by default it is for the folder that it lies in.
        licence: the hub's name of it, in the place of the provenance's.
    """
    known = provenance or Provenance("", {}, {})
    licence = licence or known.licence
    readers = ["sentence-transformers"] if card.pooling in FLAGS else []
    # A model of the hub that is named without a card is read as TAS-B.
    lines = _lines_of_card(card) if repo else {}
    return _rendered(
        ENCODER,
        known,
        metadata=_metadata(known, licence, "feature-extraction", "dense-retrieval", *readers),
        card=card,
        dimension=dimension,
        readers=readers,
        place=repo or ".",
        encoder=f"tasb:{repo}" if repo and not lines else f"tasb:{card.name}",
        yaml=yaml.safe_dump({"name": card.name, "model": repo} | lines, sort_keys=False, allow_unicode=True).strip()
        if lines
        else "",
        published=[number for number in card.published if not number.source.startswith(OWN_SOURCE)],
        about={
            "Base model": _shown_model(known.base_model) if known.base_model else UNKNOWN,
            "Trained on": "see [Data](#data)" if known.data else UNKNOWN,
            "Teachers": _teachers(known.parameters),
            **_shorter_vectors(known.parameters),
            "Measured": _measured(provenance, card.published),
            "Licence": licence or f"{UNKNOWN}: ask who made it before you use it",
        },
    )


UNKNOWN = "unknown"
OWN_SOURCE = "tasb train, step "  # of a card's number that the model card has from the training itself


def _lines_of_card(card: EncoderCard) -> dict[str, Any]:
    fields = type(card).model_fields
    return {key: value for key in card.VECTORS if (value := getattr(card, key)) != fields[key].default}


def _teachers(parameters: Mapping[str, Any]) -> str:
    loss, teacher = parameters.get("loss"), parameters.get("teacher")
    if not (isinstance(loss, Mapping) and isinstance(teacher, Mapping)):
        return UNKNOWN
    used = []
    if loss.get("pairwise"):
        used.append("the scores of the training pairs")
    if loss.get("in_batch") and teacher.get("in_batch"):
        used.append(f"in the batch, {_shown_model(str(teacher['in_batch']))}")
    return "; ".join(used) or "none"


def _shorter_vectors(parameters: Mapping[str, Any]) -> dict[str, str]:
    """A line on the lengths that vectors can be cut to, of a model that was trained for it."""
    loss = parameters.get("loss")
    lengths = loss.get("matryoshka") if isinstance(loss, Mapping) else None
    dimensions = lengths.get("dimensions") if isinstance(lengths, Mapping) else None
    if not isinstance(dimensions, Sequence):
        return {}
    known = sorted((length for length in dimensions if isinstance(length, int)), reverse=True)
    shorter = list(map(str, known[1:]))
    if not shorter:
        return {}
    return {
        "Vectors can be cut": f"to their first {' or '.join(shorter)} numbers: `dimension: {shorter[0]}` in an encoder "
        f"card, `truncate_dim={shorter[0]}` in sentence-transformers"
    }


def _measured(provenance: Provenance | None, published: Sequence[PublishedNumber]) -> str:
    if (provenance and provenance.numbers) or published:
        return "see [Numbers](#numbers)"
    return "nothing: it was trained without a validation set" if provenance else UNKNOWN


def write_teacher_model_card(
    folder: Path, provenance: Provenance, *, name: str, description: str, what: str, commands: Sequence[str]
) -> Path:
    """Write the model card of a teacher, as `write_encoder_model_card` does of an encoder.

    Args:
        folder: the model's.
        provenance: where it comes from.
        name: the name of the run that made it.
        description: a sentence, or empty.
        what: how it scores, in a sentence.
        commands: what uses it.
    """
    metadata = _metadata(provenance, provenance.licence, "text-ranking", "re-ranking")
    card = {"name": name, "description": description}
    text = _rendered(TEACHER, provenance, metadata=metadata, card=card, what=what, commands=commands, published=[])
    path = folder / MODEL_CARD
    write_whole(path, text)
    return path


def _rendered(template: str, provenance: Provenance, **values: object) -> str:
    from jinja2 import Environment, StrictUndefined

    # Not huggingface_hub's `ModelCard.from_template`: its jinja2 leaves out a value that is missing without a word, and
    # leaves a blank line, which would end a table, for every tag.
    # Markdown, not HTML: there is nothing to escape for a browser here.
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False)  # noqa: S701
    environment.filters |= {"cell": _cell, "repr": repr}
    text = environment.from_string(
        template, globals={"usual_dimension": USUAL_DIMENSION, "version": provenance.version}
    ).render(
        base=_shown_model(provenance.base_model) if provenance.base_model else None,
        numbers=provenance.numbers,
        curves=provenance.curves,
        tables={"Data": flattened(provenance.data), "Parameters": flattened(provenance.parameters)},
        **values,
    )
    return f"{text}\n"


TAGS = ("tas-b", "passage-retrieval", "pyserini")


def _metadata(provenance: Provenance, licence: str | None, task: str, *tags: str) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        license=licence,
        library_name="transformers",
        pipeline_tag=task,
        tags=[*TAGS, *tags],
        base_model=provenance.base_model if _is_hub_id(provenance.base_model) else None,
    )
    return data.to_yaml().strip()


def _is_hub_id(model: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model) is not None and not Path(model).exists()


def _shown_model(model: str) -> str:
    if _is_hub_id(model):
        return f"[{model}](https://huggingface.co/{model})"
    return f"`{_without_folder(model)}`"


def _without_folder(model: str) -> str:
    # A card is made to be passed on: folders of this machine mean nothing elsewhere.
    elsewhere = _is_hub_id(model) or model.startswith(("pkg:", "tasb:"))
    return model if elsewhere and not Path(model.removeprefix("tasb:")).is_absolute() else Path(model).name


def _cell(value: object) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return ", ".join(_cell(item) for item in value)
    return " ".join(str(value).split()).replace("|", r"\|")


USUAL_DIMENSION = 768  # other vectors need --dimension
_HEAD = """\
---
{{ metadata }}
---
# {{ card.name }}
{% if card.description %}

{{ card.description }}
{% endif %}

"""


_NUMBERS = """\
{% if numbers or published %}

## Numbers
{% endif %}
{% if published %}

| On | Measure | Value | Source |
|---|---|---:|---|
{% for number in published %}
| {{ number.collection | cell }} | {{ number.measure | cell }} | {{ "%.4f" | format(number.value) }} \
| {{ number.source | cell }} |
{% endfor %}
{% endif %}
{% if numbers %}

| Of | On | Measure | Value |
|---|---|---|---:|
{% for number in numbers %}
| {{ number.of | cell }} | {{ number.on | cell }} | {{ number.measure | cell }} | {{ "%.4f" | format(number.value) }} |
{% endfor %}

On a validation set, only a query's candidates are ranked (the best of a baseline run, and all relevant passages), so \
values are higher than those of a search in the whole collection.
{% endif %}
{% if curves %}

![Loss and validation curves]({{ curves }})
{% endif %}
"""


_TABLES = """\
{% for heading, table in tables.items() if table %}

## {{ heading }}

| | |
|---|---|
{% for key, value in table.items() %}
| {{ key | cell }} | {{ value | cell }} |
{% endfor %}
{% endfor %}

## Citation

```
@inproceedings{Hofstaetter2021_tasb_dense_retrieval,
  author = {Sebastian Hofst{\\"a}tter and Sheng-Chieh Lin and Jheng-Hong Yang and Jimmy Lin and Allan Hanbury},
  title = {Efficiently Teaching an Effective Dense Retriever with Balanced Topic Aware Sampling},
  booktitle = {Proceedings of SIGIR 2021},
  doi = {10.1145/3404835.3462891},
  year = {2021},
}
```
"""


ENCODER = (
    _HEAD
    + """\
A dense passage retriever. A text becomes one vector of {{ dimension }} numbers, \
{{ {"cls": "its first token's last hidden state", "mean": "the mean of its tokens' last hidden states", \
"last": "its last token's last hidden state"}.get(card.pooling, "its tokens' last hidden states, pooled by `%s`" % \
card.pooling) }}\
{{ ", of which the first numbers are taken" if card.dimension }}\
{{ ", divided by its length" if card.normalise }}; a passage's score is its dot product with the query.
{% if base %}
Trained from {{ base }} by pyserini-tasb {{ version }}, with the settings below; the method is \
[TAS-Balanced](https://arxiv.org/abs/2104.06967).
{% endif %}

| | |
|---|---|
{% for key, value in about.items() %}
| {{ key }} | {{ value | cell }} |
{% endfor %}
"""
    + _NUMBERS
    + """\

## Use with Pyserini

```
pip install '.[cpu]'  # in a clone of pyserini-tasb
python -m pyserini.encode input --corpus corpus.jsonl --fields text output --embeddings index --to-faiss \
encoder --encoder {{ encoder }} --fields text{{ " --dimension %d" % dimension if dimension != usual_dimension }}
python -m pyserini.search.faiss --index index --encoder {{ encoder }} --topics topics.tsv --output run.txt
```

{% if ":" in card.pooling %}
{% set package = card.pooling.partition(":")[0].partition(".")[0] %}
Its pooling is code of the package `{{ package }}`, which has to be installed, too. `tasb` reads the card in this \
folder with `--trust {{ package }}`.
{% endif %}
{% if yaml %}
`{{ encoder }}` needs these lines in `~/.config/pyserini-tasb/encoders/{{ card.name }}.yaml`:

```yaml
{{ yaml }}
```
{% elif place == "." %}
`tasb:{{ card.name }}` is known where the model was trained. Elsewhere, `tasb:FOLDER/{{ card.name }}.yaml` with this \
folder's path does the same; or copy that card into `~/.config/pyserini-tasb/encoders/` and give the path in its line \
`model:`.
{% endif %}

{% if "sentence-transformers" in readers %}
## Use with sentence-transformers

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("{{ place }}"{{ ", truncate_dim=%d" % card.dimension if card.dimension }})\
{{ "  # this folder" if place == "." }}
queries = model.encode_query(["what is a dense retriever"])
scores = model.similarity(queries, model.encode_document(["Dense retrievers compare vectors."]))
```
`modules.json` and the files that it names have the pooling and the similarity. sentence-transformers cuts all texts\
 at the length of passages\
{{ "; queries should be cut at %d tokens" % card.query_max_length \
if card.query_max_length != card.passage_max_length }}.

{% else %}
## Not with sentence-transformers

sentence-transformers has no pooling like this one. It would average the tokens instead, and the scores would be wrong.

{% endif %}
## Use with transformers

```python
import torch
from transformers import AutoModel, AutoTokenizer
{% if ":" in card.pooling %}

from {{ card.pooling.partition(":")[0] }} import {{ card.pooling.partition(":")[2].partition(".")[0] }}
{% endif %}

folder = "{{ place }}"{{ "  # this one" if place == "." }}
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModel.from_pretrained(folder).eval()


@torch.no_grad()
def vectors(texts, max_length):
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=max_length, return_tensors="pt")
    states = model(input_ids=tokens["input_ids"], attention_mask=tokens["attention_mask"]).last_hidden_state
{% if card.pooling == "cls" %}
    pooled = states[:, 0]
{% elif card.pooling == "mean" %}
    mask = tokens["attention_mask"].unsqueeze(-1)
    pooled = (states * mask).sum(dim=1) / mask.sum(dim=1)
{% elif ":" in card.pooling %}
    pooled = {{ card.pooling.partition(":")[2] }}(states, tokens["attention_mask"])
{% elif card.pooling == "last" %}
    pooled = states[torch.arange(len(states)), tokens["attention_mask"].sum(dim=1) - 1]
{% endif %}
{% if card.dimension %}
    pooled = pooled[:, :{{ card.dimension }}]
{% endif %}
    return {{ "torch.nn.functional.normalize(pooled)" if card.normalise else "pooled" }}


query = vectors([{{ "%s + " % (card.query_prefix | repr) if card.query_prefix }}"what is a dense retriever"], \
max_length={{ card.query_max_length }})
passages = vectors([{{ "%s + " % (card.passage_prefix | repr) if card.passage_prefix }}"Dense retrievers compare \
vectors."], max_length={{ card.passage_max_length }})
scores = query @ passages.T
```
"""
    + _TABLES
)
TEACHER = (
    _HEAD
    + """\
{{ what }}
Trained from {{ base }} by pyserini-tasb {{ version }}, with the settings below, as a teacher of \
[TAS-Balanced](https://arxiv.org/abs/2104.06967).
"""
    + _NUMBERS
    + """\

## Use

```
pip install '.[cpu]'  # in a clone of pyserini-tasb
{% for command in commands %}
{{ command }}
{% endfor %}
```
"""
    + _TABLES
)
