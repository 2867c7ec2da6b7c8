"""A training run's folder: which configuration made it, and whether a run may go on in it."""

from __future__ import annotations

import contextlib
import json
import sys
from typing import TYPE_CHECKING, Any

import yaml

from pyserini_tasb.errors import TasbError
from pyserini_tasb.folder_lock import locked_folder
from pyserini_tasb.versions import installed_versions
from pyserini_tasb.whole_file import whole_text_file

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pyserini_tasb.train.run_config import RunConfig

CONFIG, VERSIONS, METRICS = "config.yaml", "versions.json", "metrics.jsonl"
CHECKPOINTS, MODEL, TENSORBOARD, CURVES = "checkpoints", "model", "tensorboard", "curves.png"
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "safetensors", "pyserini")
# What may change when a run goes on: how long it trains and how it is watched, not what it trains.
FREE_TO_CHANGE = {
    "description", "output", "max_steps", "workers", "log_every", "checkpoint", "validation.patience", "device",
    "data.allow_reversed",
}  # fmt: skip


@contextlib.contextmanager
def claimed(config: RunConfig, *, resume: bool) -> Iterator[None]:
    """Make the run's folder, or check that the run in it is this one; save the configuration and versions.

    Raises:
        TasbError: the folder has a run that was not asked to go on, one of another configuration, or one that is still
            going on.
    """
    with locked_folder(config.output):
        _begin(config, resume=resume)
        yield


def _begin(config: RunConfig, *, resume: bool) -> None:
    folder = config.output
    values = resolved(config)
    if (folder / CONFIG).exists():
        if not resume:
            raise TasbError(
                where=str(folder),
                expected="a folder without a training run in it",
                found=f"the run that {CONFIG} there describes",
                do="add --resume to go on with it, or choose another `output`",
            )
        _require_same(folder, values)
        _compare_versions(folder)
    # The configuration last: where it is, a run has begun.
    with whole_text_file(folder / VERSIONS) as file:
        json.dump(versions(), file, indent=1)
    with whole_text_file(folder / CONFIG) as file:
        yaml.safe_dump(values, file, sort_keys=False, allow_unicode=True)


def resolved(config: RunConfig) -> dict[str, Any]:
    """Every key with its value, defaults too."""
    return config.model_dump(mode="json")


def versions() -> dict[str, str]:
    """What the bits of a result depend on besides configuration and data."""
    import torch

    return installed_versions(PACKAGES) | {"threads": str(torch.get_num_threads())}


def _require_same(folder: Path, values: dict[str, Any]) -> None:
    before = _flat(yaml.safe_load((folder / CONFIG).read_text(encoding="utf-8")))
    now = _flat(values)
    changed = [
        key
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not FREE_TO_CHANGE & {key, key.partition(".")[0]}
    ]
    if changed:
        raise TasbError(
            where=str(folder / CONFIG),
            expected="the configuration that the run began with",
            found="; ".join(f"`{key}`: {now.get(key)!r}, was {before.get(key)!r}" for key in changed),
            do="change it back to go on with this run, or choose another `output` for a new one",
        )


def _compare_versions(folder: Path) -> None:
    before: dict[str, str] = json.loads((folder / VERSIONS).read_text(encoding="utf-8"))
    now = versions()
    changed = [f"{name} {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]
    if changed:
        print(
            f"tasb train: the run began with others of these, so its result will not be the same bits as if it had "
            f"never stopped: {', '.join(changed)}",
            file=sys.stderr,
        )


def _flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat
