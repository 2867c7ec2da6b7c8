"""Measures by ir-measures' names: parsing with all faults at once, and the defaults."""

from __future__ import annotations

import difflib
import re
import string
from typing import TYPE_CHECKING

import ir_measures

from pyserini_tasb.errors import TasbError
from pyserini_tasb.evaluate.resolver import canonical_name

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ir_measures import Measure

# TREC-DL binarises at grade 2 for every measure that knows only relevant or not; MS MARCO dev has grade 1 only.
TREC_DL_MEASURES = ("nDCG@10", "AP(rel=2)@1000", "R(rel=2)@1000", "RR(rel=2)@10")
DEV_MEASURES = ("RR@10", "R@1000")
OTHER_MEASURES = ("nDCG@10", "AP@1000", "R@1000", "RR@10")


def default_measures(qrels_name: str) -> tuple[str, ...]:
    """The measures customary for named qrels: TREC-DL passage, MS MARCO dev, or any other."""
    name = canonical_name(qrels_name)
    if re.fullmatch(r"dl\d\d-passage", name):
        return TREC_DL_MEASURES
    return DEV_MEASURES if name == "msmarco-passage-dev-subset" else OTHER_MEASURES


def relevance_grade(measures: Iterable[Measure], qrels_name: str) -> int:
    """The grade from which a document is relevant: that of the measures' `rel=`, or else what the qrels' name says.

    Without measures that agree on one, it is 2 for TREC-DL passage, and 1 for any other qrels.
    """
    grades = {measure.params["rel"] for measure in measures if "rel" in measure.params}
    if len(grades) == 1:
        return int(grades.pop())
    return 2 if default_measures(qrels_name) == TREC_DL_MEASURES else 1


def shallowest_cutoff(measures: Iterable[Measure]) -> int:
    """The first cutoff at which one of the measures stops looking; 10 if none stops."""
    return min((measure.params["cutoff"] for measure in measures if "cutoff" in measure.params), default=10)


def parse_measures(measures: Iterable[str | Measure]) -> list[Measure]:
    """Measures from their ir-measures names, e.g. `nDCG@10` or `AP(rel=2)@1000`, each once.

    Raises:
        TasbError: names that mean nothing or parameters out of range; all are named, with the likely spelling.
    """
    parsed: dict[Measure, None] = {}
    found = []
    for measure in measures:
        try:
            parsed[_parse(measure)] = None
        except (ValueError, NameError, AssertionError) as error:
            # Of a missing parameter ir-measures prints a placeholder object.
            why = re.sub(r"=<object .*?>", " is missing", str(error))
            found.append(f"`{measure}`: {why}{_hint(str(measure))}")
    if found:
        raise TasbError(
            expected="measures as ir-measures writes them, separated by spaces: nDCG@10 AP(rel=2)@1000 R@1000 RR@10",
            found="\n    ".join(["", *found]),
            do="see https://ir-measur.es for names and parameters",
        )
    return list(parsed)


def _parse(text: str | Measure) -> Measure:
    measure = ir_measures.parse_measure(text) if isinstance(text, str) else text
    measure.validate_params()  # type: ignore[no-untyped-call]
    # ir-measures lets these through, and the C code behind it then ends the whole process.
    for parameter in ("cutoff", "rel"):
        value = measure.params.get(parameter, 1)
        if isinstance(value, bool) or value < 1:
            raise ValueError(f"{parameter} must be 1 or more")
    return measure


def _hint(text: str) -> str:
    """What was probably meant: trec_eval's name for a measure, or a misspelt one."""
    try:
        return f"; ir-measures writes it `{ir_measures.parse_trec_measure(text)[0]}`"
    except ValueError:
        pass
    spelt = text[: len(text) - len(text.lstrip(string.ascii_letters))]
    names = {name.casefold(): name for name in reversed(ir_measures.measures.registry)}
    close = difflib.get_close_matches(spelt.casefold(), names, n=1)
    return f"; did you mean `{names[close[0]]}{text[len(spelt) :]}`?" if close and names[close[0]] != spelt else ""
