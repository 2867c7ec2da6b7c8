"""A report as one HTML page that needs nothing else: no network, no files beside it."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import shlex
from typing import TYPE_CHECKING, Any

from pyserini_tasb.palette import COLOURS
from pyserini_tasb.regress.report.figures import NDCG, ndcg_svg, recall_svg, study_svgs
from pyserini_tasb.regress.report.log_tail import cut, log_tail
from pyserini_tasb.regress.report.paper_table import measured_values
from pyserini_tasb.regress.report.query_comparison import compare_queries
from pyserini_tasb.regress.report.study_table import differences_of, rows_of
from pyserini_tasb.regress.verdicts import DECIMALS, as_printed

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jinja2 import Environment

    from pyserini_tasb.evaluate import PairedTest
    from pyserini_tasb.regress.report.content import Content
    from pyserini_tasb.regress.report.query_comparison import Pair, QueryComparison
    from pyserini_tasb.regress.report.sections import Section

TEMPLATES = "templates"
EMBEDDED_DECIMALS = 6  # so that differences are right to the four that are shown


def as_page(content: Content) -> str:
    """The page. What results, logs, topics and studies say is text in it, whatever it contains."""
    environment = _environment()
    script, style = (_source(environment, name) for name in ("report.js", "report.css"))
    comparisons = [compare_queries(section, content.folder) for section in content.sections]
    return environment.get_template("index.html").render(
        content=content,
        style=style,
        script=script,
        # The browser runs this script alone, even if something else should find its way into the page.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        colours=COLOURS,
        comparisons=comparisons,
        data=_embedded([_data(*pair) for pair in zip(content.sections, comparisons, strict=True)]),
        plots=[
            {NDCG: ndcg_svg(section, f"ndcg-{number}"), "Recall at cutoffs": recall_svg(section, f"recall-{number}")}
            for number, section in enumerate(content.sections)
        ],
        study_plots=[study_svgs(study, f"study-{number}") for number, study in enumerate(content.studies)],
        measured=lambda table, row: measured_values(table, row, content.results),
        log=lambda name: log_tail(content.folder, name),
    )


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__, TEMPLATES),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters |= {
        "value": lambda value: f"{value:.{DECIMALS}f}",
        "signed": lambda value: f"{value:+.{DECIMALS}f}",
        "printed": as_printed,
        "lines": lambda text: "\n".join(cut(line) for line in text.splitlines()),
        "command": shlex.join,
    }
    environment.globals |= {"rows_of": rows_of, "differences_of": differences_of}
    return environment


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None  # noqa: S101 - for mypy: it was given one
    return environment.loader.get_source(environment, name)[0]


def _data(section: Section, comparison: QueryComparison | None) -> dict[str, Any] | None:
    """What the script shows of a section's queries."""
    if comparison is None:
        return None
    return {
        "conditions": [row.label for row in section.rows],
        "queries": comparison.queries,
        "texts": comparison.texts,
        "measures": {
            measure: {
                "values": {place: [round(value, EMBEDDED_DECIMALS) for value in of] for place, of in values.items()},
                "tests": _tests(comparison.tests.get(measure, {})),
            }
            for measure, values in comparison.values.items()
        },
    }


def _tests(tests: Mapping[Pair, PairedTest]) -> dict[str, dict[str, Any]]:
    return {
        f"{one} {other}": {
            "difference": test.difference,
            "low": _finite(test.interval[0]),
            "high": _finite(test.interval[1]),
            "p": test.p_holm,
            "significant": test.significant,
            "wins": test.wins,
            "ties": test.ties,
            "losses": test.losses,
        }
        for (one, other), test in tests.items()
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _embedded(data: object) -> str:
    """JSON for a script element, which ends at `</script` wherever that stands."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")
