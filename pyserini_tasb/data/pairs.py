"""`tasb pairs`: a pair store from what people have."""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyserini_tasb.artifacts import MANIFEST, refuse_occupied, sha256, verify_files
from pyserini_tasb.data.pair_building import build_from_ids, build_from_triples
from pyserini_tasb.data.pair_sources import IdPairs, JudgedRun, TextTriples, relevant_passages
from pyserini_tasb.data.pair_store import Agreement, PairStore, all_equal, open_pair_store
from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    import argparse

    from pyserini_tasb.data.rows import RowFaults


EXAMPLES = 3
# What each source of pairs needs beside it, and what it can do without but may have.
NEEDED = {
    "scored_pairs": ("corpus", "topics"),
    "triples": (),
    "qrels": ("negatives", "corpus", "topics"),
}
# What manifests call these sources, those of stores that are there already too.
ROLES = {"corpus": "collection", "topics": "queries"}
ALLOWED = {"scored_pairs": ("known_positives",), "triples": (), "qrels": ("known_positives", "negatives_per_query")}


def run(arguments: argparse.Namespace) -> int:
    """Build the pair store that the arguments describe, unless it is there already; print what is in it.

    Raises:
        TasbError: arguments that do not go together, a faulty source, or something else stands at `--output`.
    """
    kind = _source_kind(arguments)
    start = time.monotonic()
    folder = Path(arguments.output)
    recipe = _recipe(arguments, kind)
    if _is_built(folder, recipe):
        print(summary(open_pair_store(folder)))
        print("built before, from the same sources with the same options; every checksum is right")
        return 0
    refuse_occupied(folder, overwrite=arguments.overwrite)
    skipped = _build(folder, arguments, recipe)
    store = open_pair_store(folder)
    print(summary(store))
    for faults in skipped:
        examples = "".join(f"\n    {fault}" for fault in faults.shown[:EXAMPLES])
        print(f"  {'left out':<16} {faults.count} faulty in {faults.path}, e.g.{examples}")
    seconds = time.monotonic() - start
    print(f"  {'built in':<16} {seconds:.1f} s: {len(store) / seconds:,.0f} pairs/s")
    return 0


def summary(store: PairStore) -> str:
    """What is in a pair store, for people."""
    manifest = store.manifest
    per_query = manifest["pairs_per_query"]
    rows = {
        "queries": f"{manifest['queries']:,}",
        "passages": f"{manifest['passages']:,}",
        "pairs": f"{manifest['pairs']:,} with {store.supervision}",
        "pairs per query": f"min {per_query['min']:,}, median {per_query['median']:,g}, max {per_query['max']:,}",
        "known positives": f"{manifest['known_positives']:,}",
        "skipped rows": f"{manifest['skipped_rows']:,}",
        "repeated rows": f"{manifest['repeated_rows']:,} left out",
        "contradicting": f"{manifest['contradicting_rows']:,} rows repeat a pair with other scores",
    }
    left_out = manifest.get("left_out")
    if left_out:
        rows["known negatives"] = f"{left_out['judged']:,} are judged positives of their query: left out"
        rows["query itself"] = f"{left_out['query_itself']:,} negatives are their query: left out"
        if left_out["queries"]:
            rows["queries"] += f"; {left_out['queries']:,} more have no negative left"
        if left_out["known"]:
            rows["known positives"] += f"; {left_out['known']:,} more have no text"
    if "margins" in manifest:
        mean, deviation = manifest["margins"]["mean"], manifest["margins"]["deviation"]
        rows["margins"] = f"mean {mean:.4g}, deviation {deviation:.4g}"
        if manifest["pairs"] > 1 and all_equal(mean, deviation):
            rows["margins"] += "; all are equal: they do not say which negative is harder"
    agreement = Agreement.of_store(store)
    if agreement:
        rows["teacher"] = str(agreement)
        if agreement.warning:
            rows["warning"] = agreement.warning
    return "\n".join([str(store.folder), *(f"  {name:<16} {value}" for name, value in rows.items())])


def _source_kind(arguments: argparse.Namespace) -> str:
    given = [kind for kind in NEEDED if getattr(arguments, kind)]
    if len(given) != 1:
        raise TasbError(
            expected="one source of pairs: " + ", ".join(map(_option, NEEDED)),
            found=", ".join(map(_option, given)) or "none",
            do="give exactly one of them",
        )
    kind = given[0]
    missing = [name for name in NEEDED[kind] if getattr(arguments, name) is None]
    others = {name for names in (*NEEDED.values(), *ALLOWED.values()) for name in names}
    stray = [name for name in others - {*NEEDED[kind], *ALLOWED[kind]} if getattr(arguments, name) is not None]
    if missing or stray:
        lacks = [f"no {_option(name)}" for name in missing]
        raise TasbError(
            expected=f"{_option(kind)} with {' and '.join(map(_option, NEEDED[kind])) or 'nothing else'}",
            found=", ".join([*lacks, *map(_option, sorted(stray))]),
            do="add or remove these options",
        )
    if arguments.negatives_per_query is not None and arguments.negatives_per_query < 1:
        raise TasbError(
            expected="--negatives-per-query at least 1",
            found=str(arguments.negatives_per_query),
            do="leave it out to take all",
        )
    return kind


def _recipe(arguments: argparse.Namespace, kind: str) -> dict[str, Any]:
    roles = [kind, *NEEDED[kind], "known_positives"]
    named = ((role, getattr(arguments, role)) for role in roles)
    sources = [
        describe_source(ROLES.get(role, role), str(name))
        for role, value in named
        if value is not None
        for name in (value if isinstance(value, list) else [value])
    ]
    options = ("negatives_per_query", "seed", "skip_bad", "keep_query", "allow_reversed")
    return {
        "sources": sources,
        "relevant_grade": arguments.min_relevance,
        **{name: getattr(arguments, name) for name in options},
    }


def _is_built(folder: Path, recipe: dict[str, Any]) -> bool:
    if not (folder / MANIFEST).is_file():
        return False
    try:
        store = open_pair_store(folder)
        if _content(store.manifest.get("recipe", {})) != _content(recipe):
            return False
        verify_files(folder)
    except TasbError:
        return False
    return True


def _content(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe without the paths: the same files elsewhere are the same sources."""
    sources = [
        {key: value for key, value in source.items() if key != "name" or "sha256" not in source}
        for source in recipe.get("sources", [])
    ]
    return {**recipe, "sources": sources}


def _build(folder: Path, arguments: argparse.Namespace, recipe: dict[str, Any]) -> list[RowFaults]:
    """Build the store; what was wrong with files of which lines were skipped."""
    if arguments.triples:
        triples = TextTriples(Path(arguments.triples), skip_bad=arguments.skip_bad, keep_query=arguments.keep_query)
        print(f"{triples.path}: {' TAB '.join(triples.columns)}", flush=True)
        build_from_triples(
            folder,
            triples,
            recipe=recipe,
            allow_reversed=arguments.allow_reversed,
            overwrite=arguments.overwrite,
        )
        return [triples.faults] if triples.faults.count else []
    known = relevant_passages(arguments.known_positives, arguments.min_relevance) if arguments.known_positives else {}
    source: IdPairs | JudgedRun
    if arguments.scored_pairs:
        source = IdPairs([Path(path) for path in arguments.scored_pairs], skip_bad=arguments.skip_bad)
        print(f"{source.paths[0]}: {source.format}", flush=True)
    else:
        source = JudgedRun(
            arguments.qrels,
            arguments.negatives,
            relevant_grade=arguments.min_relevance,
            negatives_per_query=arguments.negatives_per_query,
            seed=arguments.seed,
            skip_bad=arguments.skip_bad,
        )
    build_from_ids(
        folder,
        source,
        collection=Path(arguments.corpus).expanduser(),
        queries=arguments.topics,
        known=known,
        recipe=recipe,
        keep_query=arguments.keep_query,
        allow_reversed=arguments.allow_reversed,
        overwrite=arguments.overwrite,
    )
    if isinstance(source, JudgedRun):
        _print_without_pairs(source)
    return [faults for faults in source.faults if faults.count]


def _print_without_pairs(source: JudgedRun) -> None:
    if source.unpaired:
        print(f"{source.unpaired} queries of the run give no pair: nothing is relevant, or everything ranked is")
    for qids, what in (
        (source.not_in_run, "are not in the run"),
        (source.without_negatives, "have no negative in the run"),
    ):
        if qids:
            more = ", …" if len(qids) > EXAMPLES else ""
            print(f"{len(qids):,} judged queries {what}: {', '.join(qids[:EXAMPLES])}{more}")


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


# --------
# What a store was built from, for its manifest.


def describe_source(role: str, name: str) -> dict[str, Any]:
    """Size and checksum of a source.

    Args:
        role: what it was used as, e.g. `collection`.
        name: the path of a file or folder; what is neither, a name that Pyserini knows, has no size.

    Returns:
        The role, the name, and for files `bytes` and `sha256`; a folder's is that of its files' checksums and names.
    """
    path = Path(name).expanduser()
    description: dict[str, Any] = {"role": role, "name": name}
    if path.is_file():
        description |= {"bytes": path.stat().st_size, "sha256": sha256(path)}
    elif path.is_dir():
        files = sorted(file for file in path.rglob("*") if file.is_file())
        listing = "".join(f"{sha256(file)}  {file.relative_to(path).as_posix()}\n" for file in files)
        size = sum(file.stat().st_size for file in files)
        description |= {"bytes": size, "sha256": hashlib.sha256(listing.encode()).hexdigest()}
    return description
