"""Judged queries of one set of topics or of several, each with its own runs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate import load_qrels
from pyserini_tasb.evaluate.columnar import load_run_table
from pyserini_tasb.fuse.compatibility import require_compatible
from pyserini_tasb.pipelines.tune.tuning_set import TuningSet

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pyserini_tasb.fuse import Fusion
    from pyserini_tasb.recipes import FusionRecipe


@dataclass(frozen=True)
class TopicSets:
    """What belongs together, by name or path.

    Attributes:
        qrels: of each set.
        runs: set by set, in the order of the recipe's inputs.
        inputs: how many runs each set has.
        remove_query: a document whose docid is the query's id counts as absent from the runs.
    """

    qrels: tuple[str, ...]
    runs: tuple[str, ...]
    inputs: int
    remove_query: bool = False

    @classmethod
    def of(
        cls,
        qrels: Sequence[str],
        runs: Sequence[str],
        recipe: FusionRecipe,
        option: str = "--runs",
        *,
        remove_query: bool = False,
    ) -> TopicSets:
        """Those a user gave.

        Args:
            qrels: one or more.
            runs: to be dealt out to them.
            recipe: what the runs are for.
            option: that the runs were given to, for errors.
            remove_query: as the attribute.

        Raises:
            TasbError: more or fewer runs than the sets need, naming what each is to be.
        """
        wanted = [each.encoder or each.kind for each in recipe.inputs]
        if len(runs) != len(wanted) * len(qrels):
            each = f", for each of {' '.join(qrels)}" if len(qrels) > 1 else ""
            raise TasbError(
                where=f"recipe {recipe.name}",
                expected=f"{len(wanted) * len(qrels)} {option}, in this order: {', '.join(wanted)}{each}",
                found=f"{len(runs)}: {', '.join(runs)}",
                do="give one run for each input",
            )
        return cls(tuple(qrels), tuple(runs), len(wanted), remove_query)

    @property
    def name(self) -> str:
        """Of the qrels together."""
        return " and ".join(self.qrels)

    def runs_of_input(self, number: int) -> tuple[str, ...]:
        """One of each set."""
        return self.runs[number :: self.inputs]

    def queries(self, fusion: Fusion) -> TuningSet:
        """All of them, with their candidates; what is odd about runs is noted on stderr.

        Raises:
            TasbError: a name that leads nowhere, a faulty file, runs that do not belong together, or a query of two
                sets.
        """
        return TuningSet.joined([self._queries(*each, fusion) for each in self._dealt_out()])

    def _dealt_out(self) -> Iterator[tuple[str, tuple[str, ...]]]:
        for number, qrels in enumerate(self.qrels):
            yield qrels, self.runs[number * self.inputs : (number + 1) * self.inputs]

    def _queries(self, qrels: str, runs: Sequence[str], fusion: Fusion) -> TuningSet:
        tables = {name: load_run_table(name, remove_query=self.remove_query) for name in runs}
        for note in require_compatible(tables):
            print(f"tasb tune: note: {note}", file=sys.stderr)
        return TuningSet.of(list(tables.values()), load_qrels(qrels), fusion)
