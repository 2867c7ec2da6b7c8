"""`serve`: indexes behind HTTP, as Pyserini 2's REST server has them, with their shards in a Ray cluster."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pyserini_tasb.encoding.index_manifest import require_encoder
from pyserini_tasb.errors import FailedError, TasbError, argument
from pyserini_tasb.folders import FAISS, LUCENE, at_home
from pyserini_tasb.fusion.methods import Fusion
from pyserini_tasb.indexes.bm25 import Bm25
from pyserini_tasb.indexes.opening import encoders_of
from pyserini_tasb.indexes.shards import kind_of_shards, shard_paths
from pyserini_tasb.ray_cluster.actors import Setting
from pyserini_tasb.ray_cluster.joining import LOCAL, connected
from pyserini_tasb.recipes.loading import load_recipe
from pyserini_tasb.recipes.lookup import fusion_recipe
from pyserini_tasb.recipes.types import Strict
from pyserini_tasb.retrieval.endpoint import DENSE, HYBRID, TF, Endpoint, Limits, ServedIndex
from pyserini_tasb.retrieval.on_ray import RayShards

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from pyserini_tasb.recipes.types import Backend, FusionInput
    from pyserini_tasb.results import StrPath

LOG = logging.getLogger(__name__)

APPLICATION = "tasb"
KIND = {TF: LUCENE, DENSE: FAISS}
# The kinds of a recipe's inputs that each kind of index gives.
GIVES = {TF: ("bm25", "doct5query"), DENSE: ("dense",)}
# The endpoint refuses what is too much in its own words. Ray Serve refuses only what is more than that by so many.
SPARE = 1_000
SECONDS_BETWEEN_LOOKS = 0.5


class IndexConfig(Strict):
    """An index of a server's configuration: Pyserini's keys, and those of hybrid indexes."""

    path: str | tuple[str, ...] | None = None
    """The folder, or the folders or a pattern (`shards/*`) of several shards; from the configuration's folder on."""
    index_type: Literal["tf", "faiss", "hybrid"] = "tf"
    """Lucene terms, vectors (in Faiss indexes or vector folders), or a fusion of other indexes of this file."""
    encoder: str | None = None
    """The query encoder of vectors."""
    base_index: str | None = None
    """The index of terms that stores the documents."""
    ef_search: int | None = None
    """Pyserini's, of Lucene HNSW indexes; without meaning here."""
    recipe: str | None = None
    """The fusion recipe of a hybrid index: a name or a path."""
    inputs: tuple[str, ...] = ()
    """The indexes that a hybrid one fuses, in the order of the recipe's inputs."""


class ServerConfig(Strict):
    """The configuration of a server, as Pyserini 2 has it."""

    indexes: dict[str, IndexConfig | str] = Field(min_length=1)
    """Name → index; a text is the path of an index of terms."""
    api_keys: tuple[str, ...] = ()
    """Keys of which a request needs one."""


def serve(
    config: StrPath,
    *,
    host: str = "127.0.0.1",
    port: int = 8081,
    ray: str = LOCAL,
    max_hits: int = 10_000,
    queue: int = 1_000,
    threads: int | None = None,
    device: str = "cpu",
    backend: Backend | None = None,
    allow_other_encoder: bool = False,
) -> None:
    """Answer queries over HTTP as the REST server of Pyserini 2 does, until a signal ends it.

    Args:
        config: a YAML file with the indexes, as Pyserini's server takes it. A path can also be a pattern of shards,
            and a hybrid index fuses others by a recipe: see docs/ray.md.
        host: the address to listen at, of the cluster's head node.
        port: the port to listen at.
        ray: the Ray cluster that holds the shards: its address, or `local` for one on this machine.
        max_hits: the most hits of a request.
        queue: the most requests that wait for their turn; another one is answered with status 503.
        threads: the threads in which each process searches its shards of vectors; by default 1.
        device: the query encoders' device, `cpu` or `cuda:0`.
        backend: `auto`, `torch` or `onnx`; by default $PYSERINI_TASB_BACKEND, else the encoder card's.
        allow_other_encoder: serve even if an index does not list its encoder; scores may be meaningless.

    Raises:
        TasbError: a faulty configuration, an index that does not exist or does not fit, too little memory in the
            cluster, or a port that is taken.
        FailedError: Ray Serve cannot start the endpoint.
        KeyboardInterrupt: the user stopped it; nothing of it is left.
    """
    path = at_home(config)
    content = load_recipe(path, ServerConfig)
    configured = {
        name: IndexConfig(path=index) if isinstance(index, str) else index for name, index in content.indexes.items()
    }
    require_consistent(configured, path)
    if ray == LOCAL:
        _require_free(host, port)
    limits = Limits(hits=max_hits, waiting=queue)
    encoders = {"device": device, "backend": backend}
    with connected(ray), _cleared():
        indexes = {
            name: _opened(index, path.parent, threads, encoders, allow_other=allow_other_encoder)
            for name, index in configured.items()
        }
        _deploy((indexes, limits, content.api_keys, Setting.here(threads or 1), encoders), limits, host, port)
        LOG.info("%s at http://%s:%d/v1/INDEX/search?query=…; Ctrl-C ends it", ", ".join(indexes), host, port)
        while True:  # a signal interrupts it
            time.sleep(SECONDS_BETWEEN_LOOKS)


def require_consistent(indexes: Mapping[str, IndexConfig], where: Path) -> None:
    """Refuse indexes that lack what their kind needs, or name others that do not fit.

    Raises:
        TasbError: with all that is wrong.
    """
    faults = [f"{name}: {fault}" for name, index in indexes.items() for fault in _faults(index, indexes)]
    if faults:
        raise TasbError(
            where=str(where),
            expected="indexes as docs/ray.md shows them",
            found="\n    ".join(["", *faults]).lstrip(" "),
            do="correct these keys",
        )


def _faults(index: IndexConfig, indexes: Mapping[str, IndexConfig]) -> Iterator[str]:
    if index.index_type == HYBRID:
        if not index.recipe:
            yield "a hybrid index needs a `recipe`"
        if index.path or index.encoder:
            yield "a hybrid index has `inputs`, and no `path` or `encoder` of its own"
        unknown = [name for name in index.inputs if name not in indexes or indexes[name].index_type == HYBRID]
        if unknown or not index.inputs:
            yield f"`inputs` are names of indexes of this file that are not hybrid, not {unknown}"
        elif index.recipe:
            yield from _unfit(fusion_recipe(index.recipe).inputs, [indexes[name] for name in index.inputs])
    else:
        if not index.path:
            yield "it needs a `path`"
        if index.index_type == DENSE and not index.encoder:
            yield "an index of vectors needs an `encoder`"
        if index.recipe or index.inputs:
            yield "`recipe` and `inputs` belong to a hybrid index"
    base = index.base_index
    if base is not None and (base not in indexes or indexes[base].index_type != TF):
        yield f"`base_index` is the name of an index of terms (index_type tf), not {base}"


def _unfit(wanted: tuple[FusionInput, ...], given: list[IndexConfig]) -> Iterator[str]:
    kinds = [each.kind for each in wanted]
    fit = len(kinds) == len(given) and all(
        kind in GIVES[index.index_type] for kind, index in zip(kinds, given, strict=True)
    )
    if not fit:
        yield f"the recipe fuses {', '.join(kinds)}, but `inputs` are {', '.join(each.index_type for each in given)}"


def _require_free(host: str, port: int) -> None:
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise TasbError(
            expected=f"a free port at {host} for {argument('port', port)}",
            found=error.strerror or str(error),
            do=f"end what listens there, or choose another {argument('port')}",
        ) from error


@contextlib.contextmanager
def _cleared() -> Iterator[None]:
    """After the block, nothing of Ray Serve runs in the cluster, as before it.

    Raises:
        TasbError: it runs there already.
    """
    import ray
    from ray import serve as ray_serve

    with contextlib.suppress(ValueError):  # no such actor
        ray.get_actor("SERVE_CONTROLLER_ACTOR", namespace="serve")
        raise TasbError(
            expected="a Ray cluster in which Ray Serve does not run: its port cannot be changed, and `/` is taken",
            found="one in which it does",
            do=f"end it (`serve shutdown` there), or choose another cluster; {argument('ray', LOCAL)} starts one here",
        )
    try:
        yield
    finally:
        ray_serve.shutdown()


def _opened(
    index: IndexConfig, folder: Path, threads: int | None, encoders: Mapping[str, Any], *, allow_other: bool
) -> ServedIndex:
    if index.index_type == HYBRID:
        recipe = fusion_recipe(str(index.recipe))
        bm25 = [None if each.k1 is None or each.b is None else Bm25(each.k1, each.b) for each in recipe.inputs]
        inputs = tuple(zip(index.inputs, bm25, strict=True))
        fusion = Fusion.from_recipe(recipe)
        return ServedIndex(HYBRID, base=index.base_index, inputs=inputs, fusion=fusion, depth=recipe.depth)
    given = [index.path] if isinstance(index.path, str) else list(index.path or ())
    paths = shard_paths([folder / each for each in given])
    kind = kind_of_shards(paths)
    if kind != KIND[index.index_type]:
        raise TasbError(
            where=str(paths[0]),
            expected=f"{KIND[index.index_type]} for index_type {index.index_type}",
            found=kind,
            do="correct the index_type, or the path",
        )
    dimension = 0
    if index.index_type == DENSE:
        from pyserini_tasb.encoding.encoders import TasbQueryEncoder  # imports torch

        encoder = TasbQueryEncoder(str(index.encoder), **encoders)
        for path in paths:
            require_encoder(path, encoder, allow_other=allow_other, known=encoders_of(path))
        dimension = encoder.dimension
    shards = RayShards(paths, kind, dimension=dimension, threads=threads, for_ever=True)
    shards.load()
    return ServedIndex(index.index_type, shards, index.encoder, index.base_index)


def _deploy(arguments: tuple[Any, ...], limits: Limits, host: str, port: int) -> None:
    """Start the endpoint as an application of Ray Serve."""
    from ray import serve as ray_serve

    ray_serve.start(proxy_location="HeadOnly", http_options={"host": host, "port": port})
    deployment = ray_serve.deployment(
        Endpoint,
        name="Endpoint",
        # One process encodes and merges; the shards search in others.
        num_replicas=1,
        max_ongoing_requests=limits.at_once + limits.waiting + SPARE,
        max_queued_requests=SPARE,
        ray_actor_options={"num_cpus": 0},
        graceful_shutdown_timeout_s=5,
    )
    try:
        ray_serve.run(deployment.bind(*arguments), name=APPLICATION, route_prefix="/")
    except RuntimeError as error:
        raise FailedError(f"Ray Serve could not start the endpoint: {error}") from error
