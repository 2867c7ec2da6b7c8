"""`tasb data validation`: the early-stopping set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from pyserini_tasb.evaluate import load_qrels, load_run, load_topics, parse_measures
from pyserini_tasb.texts.collections import StoredCollection, open_collection
from pyserini_tasb.texts.new_folder import refuse_occupied
from pyserini_tasb.train.validation.build import ValidationOptions, build_validation_set

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    from pyserini_tasb.texts.collections import Collection
    from pyserini_tasb.train.validation.validation_set import ValidationSet


def run(arguments: argparse.Namespace) -> int:
    """Build the validation set at `arguments.output` and say what is in it.

    Raises:
        TasbError: a name or path that leads nowhere, a faulty file, data that does not belong together, or a folder
            that is in the way.
    """
    folder = Path(arguments.output).expanduser()
    refuse_occupied(folder, overwrite=arguments.overwrite)
    parse_measures([arguments.stratify_by])
    options = ValidationOptions(
        size=arguments.queries_sampled,
        sampling=arguments.sampling,
        stratify_by=arguments.stratify_by,
        strata=arguments.strata,
        depth=arguments.depth,
        min_relevance=arguments.min_relevance,
        remove_query=arguments.remove_query,
        seed=arguments.seed,
    )
    collection = open_collection(Path(arguments.collection).expanduser())
    made = build_validation_set(
        folder,
        topics=load_topics(arguments.topics),
        qrels=load_qrels(arguments.qrels),
        run=load_run(arguments.baseline_run),
        passages=collection.store if isinstance(collection, StoredCollection) else _shown(collection),
        options=options,
        sources={
            "topics": arguments.topics,
            "qrels": arguments.qrels,
            "run": arguments.baseline_run,
            "collection": arguments.collection,
        },
        overwrite=arguments.overwrite,
    )
    print("\n".join(summary(made)))
    return 0


def _shown(collection: Collection) -> Iterator[tuple[str, str]]:
    yield from tqdm(collection, desc="reading the collection", unit=" passages", unit_scale=True)


def summary(made: ValidationSet) -> list[str]:
    """What a validation set holds, in lines for a reader."""
    what = made.description
    each = what["candidates"] / what["queries"]
    lines = [
        f"{made.folder}: {what['queries']:,} of {what['queries_usable']:,} queries, {what['passages']:,} passages",
        f"{each:.1f} candidates a query; {what['candidates_added']:,} relevant passages were not in the run",
    ]
    lines += [f"left out: {count:,} judged queries, {why}" for why, count in what["queries_left_out"].items()]
    if what["strata"]:
        strata = ", ".join(f"{stratum['sampled']:,} of {stratum['queries']:,}" for stratum in what["strata"])
        lines.append(f"strata by {what['options']['stratify_by']}, lowest first: {strata}")
    values = ", ".join(f"{measure} {value:.4f}" for measure, value in what["baseline"].items())
    lines.append(f"the baseline run on these queries: {values}")
    return lines
