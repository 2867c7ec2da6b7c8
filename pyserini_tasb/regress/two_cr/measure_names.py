"""trec_eval's arguments as ir-measures' names."""

from __future__ import annotations

import argparse
from typing import NoReturn

from pyserini_tasb.errors import TasbError

_NAMES = {
    "map": "AP",
    "ndcg": "nDCG",
    "recall": "R",
    "recip_rank": "RR",
    "P": "P",
    "success": "Success",
    "num_ret": "NumRet",
}
_GRADED = ("ndcg",)


def measure_of(trec_eval: str) -> str:
    """The measure that trec_eval prints, e.g. `AP(rel=2)@100` for `-c -l 2 -M 100 -m map`.

    Raises:
        TasbError: arguments that mean something else here, or nothing.
    """
    parser = _Parser(prog="trec_eval", add_help=False)
    parser.add_argument("-c", action="store_true")
    parser.add_argument("-l", type=int)
    parser.add_argument("-M", type=int)
    parser.add_argument("-m", required=True)
    try:
        found = parser.parse_args(trec_eval.split())
        name, _, cutoff = found.m.replace("_cut", "").partition(".")
        measure = _NAMES[name]
    except (ValueError, KeyError) as error:
        raise _unknown(trec_eval, str(error)) from error
    if not found.c:
        raise _unknown(trec_eval, "no -c: queries that a run lacks would not count")
    grade = f"(rel={found.l})" if found.l and name not in _GRADED else ""
    depth = cutoff or found.M
    return f"{measure}{grade}" + (f"@{depth}" if depth else "")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def _unknown(trec_eval: str, found: str) -> TasbError:
    return TasbError(
        expected=f"trec_eval arguments: -c, [-l GRADE], [-M DEPTH], -m one of {', '.join(_NAMES)}, with .CUTOFF",
        found=f"`{trec_eval}`: {found}",
        do="run this condition with Pyserini itself",
    )
