"""From the official files to a folder that training can start from; each stage is done once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pyserini_tasb.errors import TasbError
from pyserini_tasb.folder_lock import locked_folder
from pyserini_tasb.train.data.msmarco.acquisition import acquire
from pyserini_tasb.train.data.msmarco.disk import require_room
from pyserini_tasb.train.data.msmarco.held_out import write_held_out
from pyserini_tasb.train.data.msmarco.next_steps import DEV, FILES, PAIRS, write_next_steps
from pyserini_tasb.train.data.msmarco.verified_folder import VerifiedFolder

if TYPE_CHECKING:
    from pathlib import Path

    from pyserini_tasb.train.data.msmarco.download import Internet
    from pyserini_tasb.train.data.msmarco.files import TrainingFiles
    from pyserini_tasb.train.store.pair_store import PairStore

# While it is built, a store has all texts twice (as given, and those that pairs need), with tables of their ids, and
# the pairs unsorted and sorted.
TEXTS_AT_ONCE, BYTES_PER_PAIR = 2.4, 48


def prepare(
    files: TrainingFiles, output: Path, *, source: Path | None = None, internet: Internet | None = None
) -> list[str]:
    """Get and verify the files, set apart the queries for early stopping, build the pair store.

    What an earlier call finished and nobody changed since is not done again. An interrupted call goes on where it
    stopped.

    Args:
        files: which files.
        output: new, or of an earlier call; gets `files/`, `dev-49k/`, `pairs/`, `next-steps.sh` and `tas-b.yaml`.
        source: a folder with copies of files, plain or in their archives.
        internet: how to download what is missing; None: not at all.

    Returns:
        The commands that come next.

    Raises:
        TasbError: a file is missing or not as published, the disk has no room, or another process works in `output`.
    """
    with locked_folder(output):
        here = VerifiedFolder(output / FILES)
        room = _room_to_build(files)
        acquire(files, here, source=source, internet=internet, reserve=0 if (output / PAIRS).exists() else room)
        for file in files.data_files:
            print(f"{file.name}: {file.rows:,} rows; verified by {here.vouched(file)}")
        count = write_held_out(here.path(files.dev_queries), here.path(files.dev_qrels), output / DEV)
        print(f"{output / DEV}: {count:,} judged dev queries that are in no evaluation set")
        _build_pairs(files, here, output / PAIRS, room)
        return write_next_steps(output)


def _build_pairs(files: TrainingFiles, here: VerifiedFolder, folder: Path, room: int) -> None:
    from pyserini_tasb.train.data.id_pairs import IdPairs
    from pyserini_tasb.train.data.judged_run import relevant_passages
    from pyserini_tasb.train.data.pair_building import build_from_ids
    from pyserini_tasb.train.data.pairs_command import summary
    from pyserini_tasb.train.store.pair_store import open_pair_store

    recipe = _recipe(files, here)
    store = _built(folder, recipe)
    if store:
        print(f"{summary(store)}\nbuilt before, from the same files")
        return
    require_room(folder.parent, room, "the pair store while it is built")
    build_from_ids(
        folder,
        IdPairs([here.path(files.scores)], skip_bad=False),
        collection=here.path(files.collection),
        queries=str(here.path(files.train_queries)),
        known=relevant_passages(str(here.path(files.train_qrels)), 1),
        recipe=recipe,
        overwrite=True,
    )
    print(summary(open_pair_store(folder)))


def _recipe(files: TrainingFiles, here: VerifiedFolder) -> dict[str, Any]:
    roles = {
        "scored_pairs": files.scores,
        "collection": files.collection,
        "queries": files.train_queries,
        "known_positives": files.train_qrels,
    }
    sources = [{"role": role, "name": file.name, "md5": here.md5(file)} for role, file in roles.items()]
    return {"sources": sources, "relevant_grade": 1}


def _built(folder: Path, recipe: dict[str, Any]) -> PairStore | None:
    """The store, if it is whole and made of these very files."""
    from pyserini_tasb.train.store.pair_store import open_pair_store

    try:
        store = open_pair_store(folder)
    except TasbError:
        return None
    return store if store.manifest.get("recipe") == recipe else None


def _room_to_build(files: TrainingFiles) -> int:
    texts = files.collection.about + files.train_queries.about
    return int(TEXTS_AT_ONCE * texts) + BYTES_PER_PAIR * files.scores.rows
