"""A training run's folder, and the whole state of the run in it: written at once or not at all, read back exactly."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from pyserini_tasb.artifacts import installed_versions, locked_folder, read_sidecar, sha256, whole_text_file
from pyserini_tasb.errors import TasbError, shown
from pyserini_tasb.outputs import require_folder
from pyserini_tasb.parsing import read_json, read_yaml

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import torch

    from pyserini_tasb.training.config import RunConfig


LOG = logging.getLogger(__name__)
CONFIG, VERSIONS, METRICS = "config.yaml", "versions.json", "metrics.jsonl"
CHECKPOINTS, MODEL, TENSORBOARD, CURVES = "checkpoints", "model", "tensorboard", "curves.png"
TEACHER_VECTORS = "teacher-vectors"
PACKAGES = ("torch", "transformers", "tokenizers", "numpy", "safetensors", "pyserini")


# What may change when a run goes on: how long it trains and how it is watched, not what it trains. A run goes on with
# what it began with where `teacher.precompute` is another now.
FREE_TO_CHANGE = {
    "description", "output", "max_steps", "workers", "log_every", "checkpoint", "validation.patience", "device",
    "data.allow_reversed", "teacher.precompute", "teacher.token_cache_gb",
}  # fmt: skip


@contextlib.contextmanager
def claimed(config: RunConfig) -> Iterator[None]:
    """Hold the run's folder, which is new or has this very run; to be entered before anything is loaded.

    Raises:
        TasbError: the folder has a run of another configuration, one that is still going on, or other files; or it
            cannot be made.
    """
    # Its `model` would take the place of another one.
    require_folder(config.output, name="`output`", ours=(CONFIG, VERSIONS, CHECKPOINTS, TEACHER_VECTORS))
    with locked_folder(config.output):
        if done := CheckpointFolder(config.output / CHECKPOINTS, keep=1).steps():
            _require_same(config.output, resolved(config))
            if config.max_steps is not None and done[-1] > config.max_steps:
                raise TasbError(
                    where=str(config.output),
                    expected=f"`max_steps` of at least {done[-1]}: that many steps are done",
                    found=str(config.max_steps),
                    do="raise `max_steps`, or choose another `output`",
                )
        yield


def begin(config: RunConfig, processes: int = 1) -> None:
    """Save the configuration and versions into the run's folder, which `claimed` holds.

    Args:
        config: the run's.
        processes: the number of processes that train together.

    Raises:
        TasbError: the disk refuses.
    """
    folder = config.output
    for left in (folder / CHECKPOINTS).glob(f"*{UNFINISHED}"):  # by a process that was killed while it saved
        shutil.rmtree(left)
    if CheckpointFolder(folder / CHECKPOINTS, keep=1).steps():
        _compare_versions(folder, processes)
    with whole_text_file(folder / VERSIONS) as file:
        json.dump(versions(processes), file, indent=1)
    with whole_text_file(folder / CONFIG) as file:
        yaml.safe_dump(resolved(config), file, sort_keys=False, allow_unicode=True)


def resolved(config: RunConfig) -> dict[str, Any]:
    """Every key with its value, defaults too."""
    return config.model_dump(mode="json")


def versions(processes: int = 1) -> dict[str, str]:
    """The versions, processes and threads of each that decide the bits of a result, besides configuration and data."""
    import torch

    return installed_versions(PACKAGES) | {"processes": str(processes), "threads": str(torch.get_num_threads())}


def _require_same(folder: Path, values: dict[str, Any]) -> None:
    if not (folder / CONFIG).exists():
        raise TasbError(
            where=str(folder),
            expected=f"{CONFIG} beside the checkpoints, with the configuration they belong to",
            found="no such file",
            do="put it back, remove the checkpoints, or choose another `output`",
        )
    before = flattened(read_yaml(folder / CONFIG)[0])
    now = flattened(values)
    changed = [
        key
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key) and not FREE_TO_CHANGE & {key, key.partition(".")[0]}
    ]
    if changed:
        raise TasbError(
            where=str(folder / CONFIG),
            expected="the configuration that the run began with",
            found="; ".join(f"`{key}`: {shown(now.get(key))}, was {shown(before.get(key))}" for key in changed),
            do="change it back to continue this run, or choose another `output` for a new one",
        )


def _compare_versions(folder: Path, processes: int) -> None:
    before = {"processes": "1"} | read_sidecar(folder / VERSIONS)
    now = versions(processes)
    changed = [f"{name} {before.get(name)} → {now[name]}" for name in now if before.get(name) != now[name]]
    if changed:
        LOG.warning(
            "these have changed since the run began, so its result will differ in bits from an uninterrupted run: %s",
            ", ".join(changed),
        )


def flattened(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested values as one dict, whose keys are `outer.inner`."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat |= flattened(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat


@dataclass(frozen=True)
class Checkpoint:
    """All that a step depends on, besides the configuration and the data.

    Args:
        step: steps done.
        model: the student's weights.
        optimiser: moments and counts of the optimiser.
        state: the rest, as JSON: early stopping, loss scale, margins' scale, seconds so far.
    """

    step: int
    model: dict[str, torch.Tensor]
    optimiser: dict[str, torch.Tensor]
    state: dict[str, Any]


WEIGHTS, OPTIMISER, STATE, CHECKSUMS = "model.safetensors", "optimiser.safetensors", "state.json", "checksums.json"
PREFIX, UNFINISHED = "step-", ".part"


class CheckpointFolder:
    """A run's checkpoints.

    Args:
        folder: holds one folder for each, `step-00001000`.
        keep: how many of the newest stay when another is written.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder, self._keep = folder, keep

    def path(self, step: int) -> Path:
        """Where the checkpoint after `step` steps is."""
        return self.folder / f"{PREFIX}{step:08d}"

    def steps(self) -> list[int]:
        """Steps of the checkpoints that are here, ascending."""
        return sorted(int(path.name.removeprefix(PREFIX)) for path in self.folder.glob(f"{PREFIX}{'[0-9]' * 8}"))

    def save(self, checkpoint: Checkpoint, best: int | None) -> None:
        """Write a checkpoint, then remove those that are neither among the newest nor after step `best`.

        Raises:
            TasbError: it cannot be written, for example because the disk is full; what was there before is still.
        """
        final = self.path(checkpoint.step)
        beside = final.with_name(final.name + UNFINISHED)
        try:
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            _write(beside, checkpoint)
            if final.exists():  # an earlier try of the same step, damaged: `latest` would have taken a good one
                shutil.rmtree(final)
            beside.rename(final)
            _sync(self.folder)
        except Exception as error:
            shutil.rmtree(beside, ignore_errors=True)
            if not _is_file_error(error):
                raise
            raise self._not_saved(error) from error
        for step in self.steps()[: -self._keep]:
            if step != best:
                shutil.rmtree(self.path(step))

    def newest_state(self) -> Mapping[str, Any] | None:
        """The state of the newest checkpoint that has a readable one, without its weights."""
        for step in reversed(self.steps()):
            with contextlib.suppress(TasbError):
                return read_json(self.path(step) / STATE)
        return None

    def latest(self) -> Checkpoint | None:
        """The newest undamaged checkpoint."""
        for step in reversed(self.steps()):
            try:
                return self.read(step)
            except TasbError as error:
                LOG.warning("skipping a damaged checkpoint\n%s", error)
        return None

    def read(self, step: int) -> Checkpoint:
        """The checkpoint after `step` steps.

        Raises:
            TasbError: a file is absent, or not as it was written.
        """
        from safetensors.torch import load_file

        folder = self.path(step)
        try:
            checksums = read_json(folder / CHECKSUMS)
            wrong = [name for name in (WEIGHTS, OPTIMISER, STATE) if sha256(folder / name) != checksums.get(name)]
        except TasbError as error:
            raise _damaged(folder, f"{CHECKSUMS}: {error.found}") from error
        except OSError as error:
            raise _damaged(folder, str(error)) from error
        if wrong:
            raise _damaged(folder, f"{', '.join(wrong)} with a wrong checksum")
        return Checkpoint(step, load_file(folder / WEIGHTS), load_file(folder / OPTIMISER), read_json(folder / STATE))

    def _not_saved(self, error: Exception) -> TasbError:
        steps = self.steps()
        last = f"the last good one is {self.path(steps[-1])}" if steps else "there is no earlier one"
        return TasbError(
            where=str(self.folder),
            expected="a checkpoint to be written",
            found=f"{error} ({last})",
            do="free some disk space, then repeat the command",
        )


def _write(folder: Path, checkpoint: Checkpoint) -> None:
    from safetensors.torch import save_file

    save_file({name: tensor.contiguous() for name, tensor in checkpoint.model.items()}, folder / WEIGHTS)
    save_file(checkpoint.optimiser, folder / OPTIMISER)
    (folder / STATE).write_text(json.dumps(checkpoint.state, indent=1), encoding="utf-8")
    checksums = {name: sha256(folder / name) for name in (WEIGHTS, OPTIMISER, STATE)}
    (folder / CHECKSUMS).write_text(json.dumps(checksums, indent=1), encoding="utf-8")
    for path in (*folder.iterdir(), folder):
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_file_error(error: Exception) -> bool:
    from safetensors import SafetensorError

    return isinstance(error, (OSError, SafetensorError))


def _damaged(folder: Path, found: str) -> TasbError:
    return TasbError(
        where=str(folder),
        expected=f"{WEIGHTS}, {OPTIMISER} and {STATE} as {CHECKSUMS} has them",
        found=found,
        do="remove the folder; training continues from the checkpoint before it",
    )
