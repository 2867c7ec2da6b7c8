"""`tasb data mine`: hard negatives for judged queries, found with Pyserini."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import load_qrels, load_topics
from pyserini_tasb.texts.collections import open_collection, store_collection
from pyserini_tasb.texts.text_store import fill_text_store
from pyserini_tasb.train.data.mining.counts import REMOVALS, TOPIC_FAULTS, MiningCounts
from pyserini_tasb.train.data.mining.mine import (
    Candidates,
    MiningRules,
    mine_negatives,
    pairs_of,
    usable_positives,
)
from pyserini_tasb.train.data.mining.negative_search import Ranking, bm25_rankings, dense_rankings, run_rankings
from pyserini_tasb.whole_file import whole_text_file

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from pyserini_tasb.texts.text_store import TextStore

ENCODER = "name the encoder that the index was made with"


def run(arguments: argparse.Namespace) -> int:
    """Write `arguments.output`: scored pairs with `--score-with`, else triples of ids; print what was removed.

    Raises:
        TasbError: options that do not go together, a name or path that leads nowhere, a faulty file, or no pair.
    """
    rules = _rules(arguments)
    topics, qrels = load_topics(arguments.topics), load_qrels(arguments.qrels)
    counts = MiningCounts()
    output = Path(arguments.output)
    with ExitStack() as opened:
        file = opened.enter_context(whole_text_file(output))  # first of all: hours later is late to find no folder
        passages = _passages(Path(arguments.collection), opened, beside=output)
        positives = usable_positives(topics, qrels, passages, rules, counts)
        _require_positives(arguments, counts, positives)
        searched = {qid: topics[qid] for qid in positives}
        queries = _queries(searched, opened, arguments)
        teacher = None
        if arguments.score_with:
            from pyserini_tasb.score.pair_scorer import ScoringOptions, load_scorer

            teacher = load_scorer(arguments.score_with, ScoringOptions(arguments.device))
        rankings = _rankings(arguments, searched)
        for query in mine_negatives(rankings, positives, passages, rules, counts, topics=queries, teacher=teacher):
            _write(file, query, passages, rules, counts)
        _require_pairs(arguments, counts)
        counts.agreement.require(
            where=f"--score-with {arguments.score_with}",
            allowed=arguments.allow_reversed,
            do="use a model that was trained for relevance, and the qrels of this collection; --margin-cutoff 0 leaves "
            "out what scores above its positive",
        )
    print(report(counts, rules, arguments))
    return 0


def _rules(arguments: argparse.Namespace) -> MiningRules:
    per_query, depth = arguments.per_query, f"--skip-top {arguments.skip_top}, --depth {arguments.depth}"
    encoder = f"--encoder {arguments.encoder} alone"
    for wrong, expected, found, do in (
        (arguments.dense_index and not arguments.encoder, "--encoder with --dense-index", "no --encoder", ENCODER),
        (arguments.encoder and not arguments.dense_index, "--encoder with --dense-index only", encoder, "leave it out"),
        (not 0 <= arguments.skip_top < arguments.depth, "--skip-top from 0 to less than --depth", depth, "mend one"),
        (per_query is not None and per_query < 1, "--per-query at least 1", f"{per_query}", "leave it out for all"),
        (arguments.threads < 1, "--threads at least 1", f"{arguments.threads}", "leave it out"),
        (
            arguments.margin_cutoff is not None and not arguments.score_with,
            "a teacher's scores for --margin-cutoff",
            "no --score-with",
            "add --score-with ENCODER",
        ),
    ):
        if wrong:
            raise TasbError(expected=expected, found=found, do=do)
    return MiningRules(
        skip_top=arguments.skip_top,
        per_query=arguments.per_query,
        sampling=arguments.sampling,
        margin_cutoff=arguments.margin_cutoff,
        min_relevance=arguments.min_relevance,
        keep_query=arguments.keep_query,
        seed=arguments.seed,
    )


def _passages(path: Path, opened: ExitStack, *, beside: Path) -> TextStore:
    """The collection as a text store; unless it is one, written to disk for the time of the run."""
    collection = open_collection(path)
    folder = opened.enter_context(tempfile.TemporaryDirectory(prefix=f"{beside.name}.passages.", dir=beside.parent))
    return store_collection(Path(folder), collection, str(path))


def _queries(searched: Mapping[str, str], opened: ExitStack, arguments: argparse.Namespace) -> TextStore:
    output = Path(arguments.output)
    folder = tempfile.TemporaryDirectory(prefix=f"{output.name}.queries.", dir=output.parent)
    return fill_text_store(Path(opened.enter_context(folder)), searched.items(), arguments.topics)


def _rankings(arguments: argparse.Namespace, topics: Mapping[str, str]) -> Iterator[Ranking]:
    depth, threads = arguments.depth, arguments.threads
    if arguments.run_file:
        return run_rankings(arguments.run_file, topics, depth=depth)
    if arguments.index:
        return bm25_rankings(arguments.index, topics, depth=depth, threads=threads)
    device = arguments.device or "cpu"
    return dense_rankings(arguments.dense_index, arguments.encoder, topics, depth=depth, threads=threads, device=device)


def _write(file: TextIO, query: Candidates, passages: TextStore, rules: MiningRules, counts: MiningCounts) -> None:
    positive_ids, negative_ids = passages.ids(query.positives), passages.ids(query.negatives)
    pairs = pairs_of(query, rules, counts).tolist()
    if query.taught is None:
        file.writelines(f"{query.qid}\t{positive_ids[p]}\t{negative_ids[n]}\n" for p, n in pairs)
        return
    # Of float32 these are the fewest digits that read back as the same number.
    of_positives, of_negatives = ([str(score) for score in scores] for scores in query.taught)
    file.writelines(
        f"{of_positives[p]}\t{of_negatives[n]}\t{query.qid}\t{positive_ids[p]}\t{negative_ids[n]}\n" for p, n in pairs
    )


def _require_positives(arguments: argparse.Namespace, counts: MiningCounts, positives: Mapping[str, object]) -> None:
    if not positives:
        raise TasbError(
            expected=f"topics with positives (grade {arguments.min_relevance} or more) that are in the collection",
            found=f"none of {counts.topics} topics: {counts.without_qrels} have no qrels, {counts.without_positive} no "
            f"positive, {counts.without_positive_text} no positive with a text",
            do="check that topics, qrels and collection belong together, and --min-relevance",
        )


def _require_pairs(arguments: argparse.Namespace, counts: MiningCounts) -> None:
    if counts.pairs:
        return
    found = f"none: {counts.hits} hits for {counts.topics} topics, of which " + ", ".join(
        f"{getattr(counts, kind)} {what}" for kind, what in REMOVALS.items()
    )
    advice = "mend the cause of most removals" if counts.hits else "check that the index is of the kind you named"
    raise TasbError(where=arguments.output, expected="pairs to write", found=found, do=advice)


def report(counts: MiningCounts, rules: MiningRules, arguments: argparse.Namespace) -> str:
    """What was written, and everything that was left out."""
    scores = f"scores of {arguments.score_with}" if arguments.score_with else "scores of the search"
    how = f"{rules.sampling} by {scores}" if rules.sampling == "stratified" else rules.sampling
    lines = [f"{counts.topics} topics, {counts.positives} positives"]
    for kind, what in TOPIC_FAULTS.items():
        if number := getattr(counts, kind):
            lines.append(f"  {number} topics {what}: {counts.named(kind)}")
    if counts.without_topic:
        lines.append(f"  {counts.without_topic} judged queries are no topics: {counts.named('without_topic')}")
    if counts.positives_without_text:
        lines.append(f"  {counts.positives_without_text} positives are not in the collection, or empty there")
    lines.append(f"{counts.hits} hits at depth {arguments.depth}")
    lines += [f"  {getattr(counts, kind)} {what}" for kind, what in REMOVALS.items()]
    drawn = f"at most {rules.per_query} each, {how}" if rules.per_query is not None else "all that were left"
    lines.append(f"{counts.negatives} negatives of {counts.queries} queries: {drawn}")
    if rules.margin_cutoff is not None:
        lines.append(f"  {counts.pairs_too_close} pairs left out: the negative is too close to that positive")
        lines.append(f"  {counts.positives_without_pair} positives are left without a pair")
    lines.append(f"{counts.pairs} pairs in {arguments.output}")
    if arguments.score_with:
        lines.append(f"{arguments.score_with} {counts.agreement}")
        lines += [f"  warning: {warning}" for warning in [counts.agreement.warning] if warning]
    return "\n".join(lines)
