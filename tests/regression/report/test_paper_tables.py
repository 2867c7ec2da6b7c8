"""The paper's tables: each value is the fixture's, and what was measured here stands beside it."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from pyserini_tasb.recipes.lookup import own_folder, recipe_files
from pyserini_tasb.regression.condition import load_condition
from pyserini_tasb.regression.report_content import PaperTable, measured_values, paper_tables
from pyserini_tasb.regression.results import read_results

PUBLISHED = yaml.safe_load((Path(__file__).parents[2] / "data" / "published-numbers.yaml").read_text())
COLLECTIONS = {"dl19-passage": "dl19", "dl20-passage": "dl20", "msmarco-passage-dev": "dev"}


def reference(table, row) -> str:
    """What the fixture calls a row."""
    number, facts = table.name.removeprefix("table-"), dict(zip(table.facts, row.facts, strict=False))
    reranked = facts.get("re-ranker", "none") != "none"
    depth = facts.get("depth", "").replace("1,000", "1K")
    return f"Table {number}, {row.system}" + (f", {facts['re-ranker']} @{depth}" if reranked else "")


def test_every_number_of_both_tables_is_the_papers():
    shipped = {
        reference(table, row): {name: list(row.cited.get(topics, (None,) * 3)) for topics, name in COLLECTIONS.items()}
        for table in paper_tables()
        for group in table.groups
        for row in group.rows
        if row.cited
    }
    assert shipped == PUBLISHED["paper"] | PUBLISHED["paper-only"]


def test_rows_are_measured_by_conditions_that_there_are():
    systems = {
        system for table in paper_tables() for group in table.groups for row in group.rows for system in row.measured
    }
    known = {path.stem.split(".", 1)[1] for path in own_folder("regressions").glob("*.yaml")}
    assert systems <= known
    assert {"bm25", "doct5query", "tasb", "tasb+doct5query", "tct+doct5query", "margin-mse", "ance"} <= systems


def test_a_row_has_values_of_the_checkpoints_that_it_names():
    seen = []
    for table in paper_tables():
        for row in (row for group in table.groups for row in group.rows):
            for name in (f"{topics}.{system}" for topics in table.measures for system in row.measured):
                if name in recipe_files("regressions"):
                    assert set(row.checkpoints) == set(load_condition(name).checkpoints), name
                    seen.append(name)
    assert {"dl19-passage.tasb.run", "dl20-passage.tasb-duot5", "msmarco-passage-dev.tct+doct5query"} <= set(seen)


def test_latencies_are_the_groups_bounds():
    table = next(table for table in paper_tables() if table.name == "table-7")
    at = table.facts.index("latency (ms)")
    latencies = [[int(row.facts[at].replace(",", "")) for row in group.rows if row.facts[at]] for group in table.groups]
    assert max(latencies[0]) < 70 < min(latencies[1])
    assert max(latencies[1]) < 500 < min(latencies[2])


def test_measured_values_stand_in_their_columns(reported):
    results = {result.name: result for result in read_results(reported.outputs)}
    table = paper_tables()[0]
    row = next(row for group in table.groups for row in group.rows if row.system == "TAS-Balanced, batch size 256")
    measured = [value and (round(value.value, 4), value.condition) for value in measured_values(table, row, results)]
    # `tasb` is MISSING here: the bundled runs, of depth 100, have no R@1000.
    assert measured[:3] == [(0.7210, "dl19-passage.tasb.run"), (0.8754, "dl19-passage.tasb.run"), None]
    assert measured[3] == (0.6854, "dl20-passage.tasb.run")
    assert measured[6:] == [None] * 3


def test_cited_values_are_shown_as_cited(reported):
    assert '<tr class="cited"><th scope="row">RocketQA, batch size 4000</th>' in reported.html
    assert '<td class="value"><abbr title="dl19-passage.tasb.run">0.7210</abbr></td>' in reported.html
    markdown = (reported.report / "report.md").read_text()
    assert "RocketQA, batch size 4000 | ERNIE-Base | 12 | 4,000 |" in markdown
    assert "\n| TAS-B | none |  | 64 | TAS-B b96 (not published) | *0.722* |" in markdown
    b256 = "sebastian-hofstaetter/distilbert-dot-tas\\_b-b256-msmarco"
    assert f"\n| TAS-B, measured here | none |  |  | {b256} | 0.7210 |" in markdown
    assert '<td class="checkpoints">TAS-B b96 (not published)</td>' in reported.html


@pytest.mark.parametrize(
    "change",
    [
        {"facts": ["one", "two"]},
        {"cited": {"dl19-passage": [0.5, 0.5, 0.5, 0.5]}},
        {"cited": {"dl21-passage": [0.5, 0.5, 0.5]}},
    ],
)
def test_rows_are_as_wide_as_their_table(change):
    table = paper_tables()[0].model_dump(mode="json")
    PaperTable.model_validate(table)
    table["groups"][0]["rows"][0] |= change
    with pytest.raises(ValidationError, match="BM25"):
        PaperTable.model_validate(table)
