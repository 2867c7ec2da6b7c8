"""A recipe's inputs, with the indexes and encoders that were given for them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pyserini_tasb.environment.prebuilt_indexes import prebuilt_index
from pyserini_tasb.errors import TasbError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyserini_tasb.recipes.types import FusionRecipe


DENSE = ("dense",)
SPARSE = ("bm25", "doct5query", "impact")
# What an option sets, and of which inputs.
_SETS = {"--dense-index": (DENSE, "index"), "--sparse-index": (SPARSE, "index"), "--encoder": (DENSE, "encoder")}


def with_given(
    recipe: FusionRecipe, dense_indexes: Sequence[str], sparse_indexes: Sequence[str], encoders: Sequence[str]
) -> FusionRecipe:
    """The recipe with what was given put in the place of what it says.

    Args:
        recipe: what is to be searched and fused.
        dense_indexes: one for each dense input, in the recipe's order; none leaves the recipe's own.
        sparse_indexes: the same for the inputs of the other kinds.
        encoders: the same for the encoders of dense inputs.

    Raises:
        TasbError: an input that is a run, not something to search; more or fewer given than there are inputs; or an
            input for which neither the recipe nor anybody else names an index.
    """
    _require_searchable(recipe)
    recipe = _with(recipe, "--dense-index", dense_indexes)
    recipe = _with(recipe, "--sparse-index", sparse_indexes)
    recipe = _with(recipe, "--encoder", encoders)
    without = [each for each in recipe.inputs if each.index is None]
    if without:
        options = sorted({"--dense-index" if each.kind in DENSE else "--sparse-index" for each in without})
        raise TasbError(
            where=f"recipe {recipe.name}",
            expected="an index for each input",
            found=f"none for {', '.join(each.kind for each in without)}",
            do=f"give {' and '.join(options)}, or the recipe's inputs an `index`",
        )
    return recipe


def _require_searchable(recipe: FusionRecipe) -> None:
    if any(each.kind not in DENSE + SPARSE for each in recipe.inputs):
        raise TasbError(
            where=f"recipe {recipe.name}",
            expected=f"inputs that can be searched: {', '.join(DENSE + SPARSE)}",
            found=", ".join(each.kind for each in recipe.inputs),
            do="fuse runs with `tasb fuse`, or name another recipe; `--set method=…` gives it this one's method",
        )


def _with(recipe: FusionRecipe, option: str, given: Sequence[str]) -> FusionRecipe:
    if not given:
        return recipe
    kinds, field = _SETS[option]
    places = [place for place, each in enumerate(recipe.inputs) if each.kind in kinds]
    if len(given) != len(places):
        wanted = ", ".join(recipe.inputs[place].kind for place in places)
        raise TasbError(
            where=f"recipe {recipe.name}",
            expected=f"{option} for each of its inputs {wanted}, in this order" if places else f"no {option}",
            found=f"{len(given)}: {', '.join(given)}",
            do=f"give {len(places) or 'none'}",
        )
    inputs = list(recipe.inputs)
    for place, value in zip(places, given, strict=True):
        inputs[place] = inputs[place].model_copy(update={field: value})
    return recipe.model_copy(update={"inputs": tuple(inputs)})


# --------
# Where an index is, and what it can be searched for.

TERM_FIELD, VECTOR_FIELD = "contents", "vector"  # Anserini's Constants
VECTOR_FORMAT = "PerFieldKnnVectorsFormat.format"  # Lucene's, of the attribute that names a field's format

Content = Literal["terms", "flat vectors", "HNSW vectors", "nothing to search"]


def index_folder(name: str) -> Path:
    """The folder itself, or that of an index by a name of Pyserini's, which is downloaded if it is not there.

    Raises:
        TasbError: no such folder, and no such name or no way to download it.
    """
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if os.sep in name or name.startswith(("~", ".")) or path.exists():
        raise _not_found(name, "a file" if path.exists() else "no such folder")
    try:
        return prebuilt_index(name)
    except LookupError as error:
        raise _not_found(name, f"no such folder, and {error}") from error


def content_of(reader: Any) -> Content:
    """What Anserini put into a Lucene index.

    Args:
        reader: Lucene's.
    """
    for fields in _fields(reader):
        vectors = fields.fieldInfo(VECTOR_FIELD)
        if vectors is not None and vectors.getVectorDimension():
            return "HNSW vectors" if "Hnsw" in (vectors.getAttribute(VECTOR_FORMAT) or "") else "flat vectors"
        terms = fields.fieldInfo(TERM_FIELD)
        if terms is not None and terms.getIndexOptions().toString() != "NONE":
            return "terms"
    return "nothing to search"


def _fields(reader: Any) -> Iterator[Any]:
    leaves = reader.leaves()
    for number in range(leaves.size()):
        yield leaves.get(number).reader().getFieldInfos()


def _not_found(name: str, found: str) -> TasbError:
    return TasbError(
        where=name,
        expected="the folder of a Faiss or Lucene index, or the name of one that Pyserini knows",
        found=found,
        do="check the path, or the recipe's `index`",
    )
