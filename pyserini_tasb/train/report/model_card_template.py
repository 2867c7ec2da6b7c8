"""The texts of model cards, for Jinja."""

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
"last": "its last token's last hidden state"}[card.pooling] }}\
{{ ", divided by its length" if card.normalise }}; a passage's score is its dot product with the query.
Trained from {{ base }} by pyserini-tasb {{ version }}, with the settings below; the method is \
[TAS-Balanced](https://arxiv.org/abs/2104.06967).
"""
    + _NUMBERS
    + """\

## Use with Pyserini

```
pip install 'pyserini-tasb[cpu]'
python -m pyserini.encode input --corpus corpus.jsonl --fields text output --embeddings index --to-faiss \
encoder --encoder tasb:{{ card.name }} --fields text{{ " --dimension %d" % dimension if dimension != usual_dimension }}
python -m pyserini.search.faiss --index index --encoder tasb:{{ card.name }} --topics topics.tsv --output run.txt
```

`tasb:{{ card.name }}` is known where the model was trained. Elsewhere, `tasb:FOLDER/{{ card.name }}.yaml` with this \
folder's path does the same; or copy that card into `~/.config/pyserini-tasb/encoders/` and give the path in its line \
`model:`.

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

## Use with transformers

```python
import torch
from transformers import AutoModel, AutoTokenizer

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
{% else %}
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
pip install 'pyserini-tasb[cpu]'
{% for command in commands %}
{{ command }}
{% endfor %}
```
"""
    + _TABLES
)
