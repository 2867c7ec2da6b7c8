"""`README.md` of a model's folder: what the model is, what it was trained on and how, and how to use it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb import __version__
from pyserini_tasb.artifacts import write_whole
from pyserini_tasb.models.sentence_transformers_folder import FLAGS
from pyserini_tasb.training.checkpoints import flattened

if TYPE_CHECKING:
    from pyserini_tasb.recipes.types import EncoderCard


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
        licence: the hub's name of it, e.g. `apache-2.0`; without it the card names none.
        curves: the file in the model's folder with the picture of the curves.
    """

    base_model: str
    data: Mapping[str, Any]
    parameters: Mapping[str, Any]
    numbers: Sequence[Number] = ()
    licence: str | None = None
    curves: str | None = None


def write_encoder_model_card(folder: Path, card: EncoderCard, provenance: Provenance, *, dimension: int) -> Path:
    """Write `folder/README.md` in the form of the Hugging Face hub; return its path.

    The same input gives the same bytes: there is no date in it.

    Args:
        folder: the model's.
        card: its encoder card: name, description, and how texts become vectors.
        provenance: where it comes from.
        dimension: the dimension of a vector.

    Raises:
        TasbError: the disk refuses; what was there before is there still.
    """
    readers = ["sentence-transformers"] if card.pooling in FLAGS else []
    metadata = _metadata(provenance, "feature-extraction", "dense-retrieval", *readers)
    return _write(folder, ENCODER, provenance, metadata=metadata, card=card, dimension=dimension, readers=readers)


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
    metadata = _metadata(provenance, "text-ranking", "re-ranking")
    card = {"name": name, "description": description}
    return _write(folder, TEACHER, provenance, metadata=metadata, card=card, what=what, commands=commands)


def _write(folder: Path, template: str, provenance: Provenance, **values: object) -> Path:
    from jinja2 import Environment, StrictUndefined

    # Not huggingface_hub's `ModelCard.from_template`: its jinja2 leaves out a value that is missing without a word, and
    # leaves a blank line, which would end a table, for every tag.
    # Markdown, not HTML: there is nothing to escape for a browser here.
    environment = Environment(trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined, autoescape=False)  # noqa: S701
    environment.filters |= {"cell": _cell, "repr": repr}
    text = environment.from_string(
        template, globals={"usual_dimension": USUAL_DIMENSION, "version": __version__}
    ).render(
        base=_shown_base(provenance.base_model),
        numbers=provenance.numbers,
        curves=provenance.curves,
        tables={"Data": flattened(provenance.data), "Parameters": flattened(provenance.parameters)},
        **values,
    )
    path = folder / "README.md"
    write_whole(path, text + "\n")
    return path


TAGS = ("tas-b", "passage-retrieval", "pyserini")


def _metadata(provenance: Provenance, task: str, *tags: str) -> str:
    from huggingface_hub import ModelCardData

    data = ModelCardData(
        license=provenance.licence,
        library_name="transformers",
        pipeline_tag=task,
        tags=[*TAGS, *tags],
        base_model=provenance.base_model if _is_hub_id(provenance.base_model) else None,
    )
    return data.to_yaml().strip()


def _is_hub_id(model: str) -> bool:
    return re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", model) is not None and not Path(model).exists()


def _shown_base(model: str) -> str:
    if _is_hub_id(model):
        return f"[{model}](https://huggingface.co/{model})"
    # A card is made to be passed on: folders of this machine mean nothing elsewhere.
    return f"`{model if model.startswith('pkg:') else Path(model).name}`"


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
{% if numbers %}

## Numbers

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
{{ ", divided by its length" if card.normalise }}; a passage's score is its dot product with the query.
Trained from {{ base }} by pyserini-tasb {{ version }}, with the settings below; the method is \
[TAS-Balanced](https://arxiv.org/abs/2104.06967).
"""
    + _NUMBERS
    + """\

## Use with Pyserini

```
pip install '.[cpu]'  # in a clone of pyserini-tasb
python -m pyserini.encode input --corpus corpus.jsonl --fields text output --embeddings index --to-faiss \
encoder --encoder tasb:{{ card.name }} --fields text{{ " --dimension %d" % dimension if dimension != usual_dimension }}
python -m pyserini.search.faiss --index index --encoder tasb:{{ card.name }} --topics topics.tsv --output run.txt
```

{% if ":" in card.pooling %}
{% set package = card.pooling.partition(":")[0].partition(".")[0] %}
Its pooling is code of the package `{{ package }}`, which has to be installed, too. `tasb` reads the card in this \
folder with `--trust {{ package }}`.
{% endif %}
`tasb:{{ card.name }}` is known where the model was trained. Elsewhere, `tasb:FOLDER/{{ card.name }}.yaml` with this \
folder's path does the same; or copy that card into `~/.config/pyserini-tasb/encoders/` and give the path in its line \
`model:`.

{% if "sentence-transformers" in readers %}
## Use with sentence-transformers

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer(".")  # this folder
queries = model.encode_query(["what is a dense retriever"])
scores = model.similarity(queries, model.encode_document(["Dense retrievers compare vectors."]))
```
`modules.json` and the files it names tell it how to pool and to compare. It cuts all texts at the length of passages\
{{ ", where queries are meant to be cut at %d tokens" % card.query_max_length \
if card.query_max_length != card.passage_max_length }}.

{% endif %}
## Use with transformers

```python
import torch
from transformers import AutoModel, AutoTokenizer
{% if ":" in card.pooling %}

from {{ card.pooling.partition(":")[0] }} import {{ card.pooling.partition(":")[2].partition(".")[0] }}
{% endif %}

folder = "."  # this one
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
