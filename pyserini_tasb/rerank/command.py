"""`tasb rerank`: the top of a run, scored again by any model."""

from __future__ import annotations

import itertools
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from pyserini_tasb.encode.model_digest import model_digest
from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import load_run, load_topics
from pyserini_tasb.evaluate.line_files import columns_of
from pyserini_tasb.evaluate.ranking import ranked_docids
from pyserini_tasb.recipes.encoder_cards import ENCODER_PREFIX
from pyserini_tasb.rerank.fingerprint import text_digests
from pyserini_tasb.rerank.partial_run import PartialRun
from pyserini_tasb.rerank.passages import read_passages
from pyserini_tasb.rerank.requirements import require_texts, require_topics
from pyserini_tasb.rerank.reranking import rerank, top_of_run
from pyserini_tasb.rerank.timing import summary

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.evaluate import Run, Topics
    from pyserini_tasb.score.list_scorer import ListScorer
    from pyserini_tasb.score.pair_scorer import PairScorer, ScoringOptions

DEPTH, PAIRWISE_DEPTH = 100, 50


@dataclass(frozen=True)
class _Texts:
    """What is re-ranked: a run, its docids down to the depth, those that are written, and the texts."""

    run: Run
    tops: dict[str, list[str]]
    written: dict[str, list[str]]
    topics: Topics
    passages: dict[str, str]


def run(arguments: argparse.Namespace) -> int:
    """Write `arguments.output`: each query's top `arguments.depth` by a model's scores.

    Raises:
        TasbError: options that cannot be, a name or path that leads nowhere, a faulty file, queries without a topic,
            passages without text, an output that is there, or what is left of another command.
    """
    tag = arguments.tag if arguments.tag is not None else default_tag(arguments.model)
    _require_tag(tag)
    depth = arguments.depth
    if depth is None:
        depth = PAIRWISE_DEPTH if arguments.pairwise else DEPTH
    seconds = []
    with PartialRun(Path(arguments.output), tag, overwrite=arguments.overwrite) as output:
        from pyserini_tasb.score.pair_scorer import ScoringOptions  # imports torch

        # What can be wrong is found out before a large collection is read.
        options = ScoringOptions(
            arguments.device,
            arguments.precision,
            arguments.query_max_length,
            arguments.max_length,
            arguments.answers,
        )
        digest = model_digest(arguments.model, allow_bin=arguments.allow_bin)
        texts = _read(arguments, depth)
        about = {
            **text_digests(texts.written, texts.tops, texts.topics, texts.passages),
            "model": digest,
            "depth": depth,
            "pairwise": arguments.pairwise,
            "tag": tag,
            **asdict(options),
            "device": options.found_device,
        }
        done = output.resume(about, texts.written)
        if done < len(texts.tops):
            scorer = _load_scorer(arguments, options)
            remaining = {qid: texts.run[qid] for qid in itertools.islice(texts.tops, done, None)}
            queries = rerank(remaining, texts.topics, texts.passages, scorer, depth, keep_rest=arguments.keep_rest)
            for query in tqdm(queries, desc="re-ranking", unit=" queries", total=len(texts.tops), initial=done):
                output.append(query)
                seconds.append(query.seconds)
        output.finish()
    print(f"{arguments.output}: {summary([len(docids) for docids in texts.tops.values()], seconds)}")
    return 0


def default_tag(model: str) -> str:
    """The model's name without white space; of a path, its last part."""
    path = Path(model.removeprefix(ENCODER_PREFIX)).expanduser()
    name = path.resolve().name.removesuffix(".yaml") if path.exists() else model
    return "_".join(name.split())


def _require_tag(tag: str) -> None:
    try:
        fits = columns_of(tag) == [tag]
    except ValueError:  # not UTF-8
        fits = False
    if not fits:
        raise TasbError(expected="a tag without white space", found=repr(tag), do="name another with --tag")


def _load_scorer(arguments: argparse.Namespace, options: ScoringOptions) -> PairScorer | ListScorer:
    from pyserini_tasb.score import list_scorer, pair_scorer

    model, allow_bin = arguments.model, arguments.allow_bin
    if arguments.pairwise:
        return list_scorer.load_list_scorer(model, arguments.pairwise, options, allow_bin=allow_bin)
    return pair_scorer.load_scorer(model, options, allow_bin=allow_bin)


def _read(arguments: argparse.Namespace, depth: int) -> _Texts:
    run = load_run(arguments.run_file, remove_query=arguments.remove_query)
    topics = load_topics(arguments.topics)
    tops = top_of_run(run, depth, where=arguments.run_file)
    written = {qid: ranked_docids(ranking) for qid, ranking in run.items()} if arguments.keep_rest else tops
    require_topics(tops, topics, where=arguments.topics)
    docids = dict.fromkeys(docid for ranking in tops.values() for docid in ranking)
    passages = read_passages(Path(arguments.collection), docids)
    require_texts(docids, passages, where=arguments.collection)
    return _Texts(run, tops, written, topics, passages)
