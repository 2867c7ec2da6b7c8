"""`tasb mine`: hard negatives for judged queries, found with Pyserini."""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

from pyserini_tasb.artifacts import whole_text_file
from pyserini_tasb.data.negatives import Candidates, MiningRules, mine_negatives, pairs_of, usable_positives
from pyserini_tasb.data.pair_store import Agreement
from pyserini_tasb.errors import TasbError
from pyserini_tasb.formats.collections import open_collection, store_collection
from pyserini_tasb.formats.named import load_qrels, load_run, load_topics
from pyserini_tasb.formats.text_store import fill_text_store

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray

    from pyserini_tasb.formats.text_store import TextStore


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
        passages = _passages(Path(arguments.corpus), opened, beside=output)
        positives = usable_positives(topics, qrels, passages, rules, counts)
        _require_positives(arguments, counts, positives)
        searched = {qid: topics[qid] for qid in positives}
        queries = _queries(searched, opened, arguments)
        teacher = None
        if arguments.score_with:
            from pyserini_tasb.reranking.scorers import ScoringOptions, load_scorer

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


# --------
# What happened to topics, positives, hits and pairs while negatives were mined.

EXAMPLES = 5
REMOVALS = {
    "hits_without_text": "are not in the collection, or empty there",
    "known_positives": "are positives",
    "same_text": "have the text of a positive",
    "query_itself": "are the query itself (--keep-query keeps them)",
    "skipped_top": "are among the first ranks (--skip-top)",
    "too_close": "are too close to every positive (--margin-cutoff)",
}
TOPIC_FAULTS = {
    "without_qrels": "have no qrels",
    "without_positive": "have no positive (--min-relevance)",
    "without_positive_text": "have no positive with a text in the collection",
    "without_negatives": "have no hit that can be a negative",
    "without_hits": "of these have no hits at all",
}


@dataclass
class MiningCounts:
    """Numbers of topics, positives, hits and pairs; the first few topics of each kind of fault by name."""

    topics: int = 0
    without_topic: int = 0
    without_qrels: int = 0
    without_positive: int = 0
    without_positive_text: int = 0
    positives: int = 0
    positives_without_text: int = 0
    hits: int = 0
    hits_without_text: int = 0
    known_positives: int = 0
    same_text: int = 0
    query_itself: int = 0
    skipped_top: int = 0
    too_close: int = 0
    without_negatives: int = 0
    without_hits: int = 0
    negatives: int = 0
    pairs_too_close: int = 0
    positives_without_pair: int = 0
    queries: int = 0
    pairs: int = 0
    agreement: Agreement = field(default_factory=Agreement)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def note(self, kind: str, qid: str) -> None:
        """Count a query under `kind`, and keep the first few of the kind by name."""
        setattr(self, kind, getattr(self, kind) + 1)
        if len(examples := self.examples.setdefault(kind, [])) < EXAMPLES:
            examples.append(qid)

    def named(self, kind: str) -> str:
        """The first few topics of a kind, for people."""
        return ", ".join(self.examples[kind]) + (", …" if getattr(self, kind) > EXAMPLES else "")

    def keep(self, kind: str, removed: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Count under `kind` what is removed; True where something stays."""
        setattr(self, kind, getattr(self, kind) + int(removed.sum()))
        return ~removed


# --------
# Rankings to mine negatives from: stock Pyserini searching with BM25 or in a Faiss index, or a run that exists.

# The same whatever the number of threads: the last bits of a matrix product depend on the size of the matrices.
QUERIES_PER_SEARCH = 512


@dataclass(frozen=True)
class Ranking:
    """One query's hits, the best first.

    Args:
        qid: the query.
        docids: of the hits.
        scores: [hits] as the searcher gave them.
    """

    qid: str
    docids: list[str]
    scores: NDArray[np.float32]


def bm25_rankings(index: str, topics: Mapping[str, str], *, depth: int, threads: int) -> Iterator[Ranking]:
    """Search a Lucene index with `LuceneSearcher`: BM25 with Pyserini's own parameters.

    Args:
        index: a folder, or the name of one of Pyserini's prebuilt indexes.
        topics: qid → query.
        depth: hits for each query.
        threads: for searching; the rankings do not depend on it.

    Raises:
        TasbError: no such index.
    """
    from pyserini.search.lucene import LuceneSearcher

    try:
        searcher = LuceneSearcher(index) if Path(index).is_dir() else LuceneSearcher.from_prebuilt_index(index)
    except Exception as error:  # Java's, and those of a download
        raise _not_an_index(index, "a Lucene index", str(error).partition("\n")[0]) from error
    if searcher is None:
        raise _not_an_index(index, "a Lucene index", "no such folder, and no prebuilt index of that name")
    return _search(searcher, topics, depth, threads)


def dense_rankings(
    index: str, encoder: str, topics: Mapping[str, str], *, depth: int, threads: int, device: str
) -> Iterator[Ranking]:
    """Search a Faiss index with `FaissSearcher`, the queries encoded as a card says.

    Args:
        index: a folder, or the name of one of Pyserini's prebuilt indexes.
        encoder: the one that the index was made with: `tasb`, `tasb:NAME`, a folder, a hub id, a card's path.
        topics: qid → query.
        depth: hits for each query.
        threads: for searching; the rankings do not depend on it.
        device: where queries are encoded: `cpu`, `cuda:0`, …

    Raises:
        TasbError: no such index or encoder, the index holds vectors of another size, or the encoder does not belong
            to it.
    """
    folder = Path(index)
    absent = [name for name in ("index", "docid") if not (folder / name).is_file()]
    if folder.is_dir() and absent:
        raise _not_an_index(index, "a folder with a Faiss index and its docids", f"no file `{'`, `'.join(absent)}`")
    from pyserini.search.faiss import FaissSearcher

    from pyserini_tasb.encoding.encoders import TasbQueryEncoder

    open_index = FaissSearcher if folder.is_dir() else FaissSearcher.from_prebuilt_index
    searcher = open_index(index, TasbQueryEncoder(encoder, device=device))
    if searcher is None:
        raise _not_an_index(index, "a Faiss index", "no such folder, and no prebuilt index of that name")
    return _with_warning(_search(searcher, topics, depth, threads), searcher, depth)


def _with_warning(rankings: Iterator[Ranking], searcher: Any, depth: int) -> Iterator[Ranking]:
    """The rankings; after the last of them, a warning if some were short."""
    from pyserini_tasb.indexes.quality import faiss_advice, short_lists_warning

    lengths = []
    for ranking in rankings:
        lengths.append(len(ranking.docids))
        yield ranking
    if warning := short_lists_warning(lengths, depth, searcher.docids, faiss_advice(searcher.index)):
        print(f"tasb mine: warning: {warning}", file=sys.stderr)


def run_rankings(run: str, topics: Mapping[str, str], *, depth: int) -> Iterator[Ranking]:
    """Take the rankings from a TREC run, which is read into memory whole.

    Args:
        run: a file, or the name of a bundled run.
        topics: qid → query; a query that the run lacks has no hits.
        depth: hits for each query, by score and then docid, as trec_eval ranks.

    Raises:
        TasbError: no such run, or a faulty one.
    """
    rankings = load_run(run)
    for qid in topics:
        hits = sorted(((score, docid) for docid, score in rankings.get(qid, {}).items()), reverse=True)[:depth]
        yield Ranking(qid, [docid for _, docid in hits], np.array([score for score, _ in hits], dtype=np.float32))


def _search(searcher: Any, topics: Mapping[str, str], depth: int, threads: int) -> Iterator[Ranking]:
    from tqdm import tqdm

    remaining = iter(topics.items())
    with tqdm(total=len(topics), desc="search", unit=" queries", mininterval=1.0) as progress:
        while chunk := dict(islice(remaining, QUERIES_PER_SEARCH)):
            found = searcher.batch_search(list(chunk.values()), list(chunk), k=depth, threads=threads)
            _require_all(chunk, found)
            for qid in chunk:
                hits = [(hit.docid, hit.score) for hit in found[qid]]
                scores = np.array([score for _, score in hits], dtype=np.float32)
                yield Ranking(qid, [docid for docid, _ in hits], scores)
            progress.update(len(chunk))


def _require_all(chunk: Mapping[str, str], found: Mapping[str, Any]) -> None:
    # Anserini logs what fails in its threads and returns the rest.
    missing = [qid for qid in chunk if qid not in found]
    if missing:
        raise TasbError(
            expected=f"rankings of {len(chunk)} queries",
            found=f"none for {len(missing)} of them: {', '.join(missing[:10])}{' …' if len(missing) > 10 else ''}",
            do="see Anserini's own error above; a run made with `python -m pyserini.search.lucene` can be given "
            "with --run",
        )


def _not_an_index(index: str, expected: str, found: str) -> TasbError:
    return TasbError(
        where=index, expected=f"{expected}, or the name of a prebuilt one", found=found, do="check the path"
    )
