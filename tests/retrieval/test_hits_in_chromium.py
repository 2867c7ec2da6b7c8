"""The page of `tasb show --html` in a real browser: by mouse, by keyboard, on a phone, in both themes."""

from __future__ import annotations

import json
import random
import re
import time
from typing import TYPE_CHECKING

import pytest

import pyserini_tasb
from pyserini_tasb import Run
from tests.chromium import CONTRASTS, HOSTILE, PHONE, watched_page

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Page


EVIL = HOSTILE.replace(" ", "_")  # an id has no white space
TOPICS = {"1": "which letters come first", "2": "nothing", "3": f"{HOSTILE} letters", EVIL: "a name"}
LONG = "many letters and words " * 30
RUNS = {
    "dense": {"1": {"a": 10.0, "b": 8.0, "c": 6.0}, "3": {"c": 5.0, "a": 4.0}, EVIL: {EVIL: 1.0}},
    f"sparse{HOSTILE}": {"1": {"b": 4.0, "d": 2.0, "a": 1.0}, "3": {"c": 2.0, "a": 1.0}, EVIL: {"a": 1.0}},
}
TEXTS = {"a": "First the LETTERS, then the words.", "b": LONG, "c": HOSTILE, EVIL: "an id"}
QRELS = {"1": {"b": 1, "a": 0}, "3": {"c": 1}, EVIL: {"b": 1}}


@pytest.fixture(scope="module")
def hits_page(tmp_path_factory) -> Path:
    """Two runs and what `linear` makes of them; one topic without hits, and names and texts that are HTML."""
    folder = tmp_path_factory.mktemp("hits")
    corpus, recipe = folder / "corpus.jsonl", folder / "linear.yaml"
    corpus.write_text("".join(json.dumps({"id": docid, "contents": text}) + "\n" for docid, text in TEXTS.items()))
    recipe.write_text(
        "name: linear\nmethod: linear\ninputs: [{kind: run}, {kind: run, weight: -0.5}]\n"
        "provenance: {tuned: false, source: these tests}\n"
    )
    page = folder / "hits.html"
    pyserini_tasb.show(RUNS, corpus=corpus, topics=TOPICS, qrels=QRELS, recipe=recipe, html=page)
    return page


@pytest.fixture
def page(browser, hits_page) -> Iterator[Page]:
    with watched_page(browser, hits_page) as page:
        yield page


def topics(page):
    return page.locator("#topics button")


def listed(page):  # also those that are out of sight, and so not yet laid out
    return [text.split(" ", 1)[0] for text in topics(page).all_text_contents()]


def columns(page):
    return page.locator("#runs .run")


def test_a_topic_has_its_runs_side_by_side(page):
    assert page.locator("h2").inner_text() == "1 which letters come first"
    fused, dense, sparse = columns(page).all()
    assert dense.locator("h3").inner_text() == "dense"
    assert "3 of 3 hits · nDCG@10 0.6309" in dense.inner_text()
    assert dense.locator(".docid").all_inner_texts() == ["a", "b", "c"]
    assert dense.locator(".badge").all_inner_texts() == ["grade 0", "grade 1", "not judged"]
    assert dense.locator(".score").all_inner_texts() == ["10.0000", "8.0000", "6.0000"]
    assert dense.locator(".others").first.inner_text().startswith("rank 1 in linear\nrank 3 in sparse")
    assert "not in dense" in sparse.locator(".hit").nth(1).inner_text()
    assert "not in the corpus" in sparse.locator(".hit").nth(1).inner_text()
    # The weight of the second input is negative: its part is hatched, and has its sign in the text.
    assert fused.locator(".parts").first.inner_text().split("\n")[0] == "dense: 10.0000 (95 %)"
    assert "\N{MINUS SIGN}0.5000 (5 %)" in fused.locator(".parts").first.inner_text()
    assert fused.locator(".hit").first.locator(".bar .below-zero").count() == 1
    assert dense.locator(".bar").count() == 0
    assert dense.locator("mark").all_inner_texts()[:2] == ["First", "LETTERS"]


def test_topics_by_what_changed(page):
    assert listed(page) == ["1", "2", "3", EVIL]
    assert "no hits" in topics(page).nth(1).text_content()
    assert "nDCG@10 0.6309 and 0.6309±0.0000RBO" in topics(page).nth(0).text_content()
    page.get_by_label(re.compile("^with")).select_option("2")  # the fused run with sparse
    page.get_by_label("Order").select_option("loss")
    assert listed(page)[0] == "1"
    assert "\N{MINUS SIGN}0.3691" in topics(page).nth(0).text_content()
    page.get_by_label("Order").select_option("gain")
    assert listed(page) == ["3", EVIL, "1", "2"]
    page.get_by_label("Compare").select_option("1")
    page.get_by_label("Order").select_option("overlap")
    assert listed(page) == [EVIL, "1", "2", "3"]
    page.get_by_label("Show").select_option("different")
    assert listed(page) == [EVIL, "1"]
    page.get_by_label("Show").select_option("worse")
    assert listed(page) == ["1"]
    page.get_by_label("Show").select_option("better")
    assert listed(page) == []
    assert page.locator("#shown").inner_text() == "0 of 4 topics"


def test_topics_by_words(page):
    page.get_by_label("Find").fill("LETTERS first")
    assert listed(page) == ["1"]
    page.get_by_label("Find").fill("letters script")
    assert listed(page) == ["3"]
    page.get_by_label("Find").press("Enter")  # sends nothing
    page.get_by_role("button", name="Next").click()
    assert page.locator("h2").inner_text().startswith("3 ")


def test_a_topic_that_a_run_lacks(page):
    topics(page).nth(1).click()
    assert page.locator("h2").inner_text() == "2 nothing"
    assert page.get_by_text("This run has no hits for the topic.").count() == 3


def test_by_keyboard(page):
    topics(page).nth(0).focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    assert page.locator("h2").inner_text().startswith("3 ")
    assert topics(page).nth(2).get_attribute("aria-current") == "true"
    page.get_by_role("button", name="Previous").press("Enter")
    page.get_by_role("button", name="Previous").press("Enter")
    assert page.locator("h2").inner_text().startswith("1 ")
    assert page.get_by_role("button", name="Previous").is_disabled()
    # From a hit to the same document in another run.
    columns(page).nth(1).get_by_role("button", name="rank 3 in sparse").press("Enter")
    assert page.evaluate("document.activeElement.id") == "hit-2-3"
    assert page.evaluate("document.activeElement.querySelector('.docid').textContent") == "a"


def test_the_address_names_the_topic(page):
    topics(page).nth(2).click()
    assert page.evaluate("location.hash") == "#topic=3"
    topics(page).nth(3).click()
    assert page.locator("h2").inner_text().startswith(EVIL)
    page.go_back()
    assert page.locator("h2").inner_text().startswith("3 ")
    page.reload()
    assert page.locator("h2").inner_text().startswith("3 ")
    page.evaluate("location.hash = '#topic=%'")
    assert page.locator("h2").inner_text().startswith("3 ")


def test_long_texts_are_cut_until_they_are_wanted(page):
    hit = columns(page).nth(1).locator(".hit").nth(1)
    text, more = hit.locator(".text"), hit.locator(".more")
    cut = text.bounding_box()["height"]
    more.click()
    assert more.get_attribute("aria-expanded") == "true"
    assert text.bounding_box()["height"] > 2 * cut
    assert text.inner_text() == LONG.strip()
    more.click()
    assert text.bounding_box()["height"] == cut


def test_hostile_texts_are_text(page):
    for topic in topics(page).all():
        topic.click()
    assert EVIL in page.locator("h2").inner_text()
    assert columns(page).nth(1).locator(".docid").inner_text() == EVIL
    assert columns(page).nth(2).locator("h3").inner_text() == f"sparse{HOSTILE}"
    assert HOSTILE in topics(page).nth(2).text_content()
    topics(page).nth(2).click()
    assert HOSTILE in columns(page).nth(1).locator(".hit").first.inner_text()
    assert page.locator("img, iframe, main script, pre").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_themes_and_contrast(page, scheme):
    background = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme=scheme)
    assert page.evaluate(background) == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 24, 29)"}[scheme]
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 80
    assert [found for found in contrasts if found[0] < 4.5] == []
    page.locator("#theme").click()
    assert page.evaluate(background) == {"dark": "rgb(255, 255, 255)", "light": "rgb(20, 24, 29)"}[scheme]


def test_on_a_phone_runs_are_below_each_other(page):
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    for topic in topics(page).all():
        topic.click()
        assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    assert page.evaluate("document.activeElement.id") == "title"
    assert page.locator("h2").bounding_box()["y"] < 100
    boxes = [column.bounding_box() for column in columns(page).all()]
    assert len({box["x"] for box in boxes}) == 1
    assert [box["y"] for box in boxes] == sorted(box["y"] for box in boxes)
    page.locator("#jump button").nth(1).click()
    assert page.evaluate("document.activeElement.textContent") == "dense"
    assert columns(page).nth(1).locator("h3").is_visible()


def test_controls_can_be_read_out(page):
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))
    unnamed = "[...document.querySelectorAll('input, select')].filter(each => !each.labels.length).length"
    assert page.evaluate(unnamed) == 0
    assert page.locator("#runs").get_attribute("aria-label") == "Runs side by side"


def test_one_run_without_topics_and_judgments(browser, tmp_path):
    corpus, html = tmp_path / "corpus.tsv", tmp_path / "hits.html"
    corpus.write_text("a\talpha\n")
    pyserini_tasb.show({"1": {"a": 1.0}}, corpus=corpus, html=html)
    with watched_page(browser, html) as page:
        assert page.locator("h2").inner_text() == "1"
        assert page.locator(".hit").inner_text().split() == ["1", "a", "1.0000", "alpha"]
        assert page.locator("select").count() == page.locator("#overlaps:not(:empty)").count() == 0


def test_many_topics_are_listed_in_parts(browser, tmp_path):
    corpus, html = tmp_path / "corpus.tsv", tmp_path / "hits.html"
    corpus.write_text("a\talpha\n")
    pyserini_tasb.show({str(topic): {"a": 1.0} for topic in range(1_203)}, corpus=corpus, html=html)
    with watched_page(browser, html) as page:
        assert topics(page).count() == 500
        page.get_by_role("button", name="500 more topics").click()
        assert page.evaluate("document.activeElement.textContent") == "500"
        page.get_by_role("button", name="203 more topics").click()
        assert topics(page).count() == 1_203
        assert page.locator("#more").is_hidden()
        page.get_by_label("Find").fill("1202")
        assert listed(page) == ["1202"]


def test_43_topics_of_100_hits_of_3_runs(browser, tmp_path):
    """Under 5 MB, and there in under a second, with passages as long as MS MARCO's."""
    chance = random.Random(21)
    letters = ["retrieval", "of", "passages", "the", "dense", "is", "query", "and", "index", "a", "score", "water"]
    texts = {str(docid): " ".join(chance.choices(letters, k=64)) for docid in range(1_000_000, 1_012_900)}
    corpus, html = tmp_path / "corpus.tsv", tmp_path / "hits.html"
    corpus.write_text("".join(f"{docid}\t{text}\n" for docid, text in texts.items()))
    assert 330 < sum(map(len, texts.values())) / len(texts) < 370
    runs, qrels = {}, {}
    for name in ("one", "two", "three"):
        run = {}
        for topic in range(43):
            docids = list(texts)[topic * 300 :][:300]
            docids = chance.sample(docids, 100)
            run[str(topic)] = {docid: 100 - place / 3 for place, docid in enumerate(docids)}
            qrels.setdefault(str(topic), {}).update(dict.fromkeys(docids[:20], 1))
        runs[name] = Run(run)
    topics = {str(topic): "which passages are of water" for topic in range(43)}
    shown = pyserini_tasb.show(runs, corpus=corpus, topics=topics, qrels=qrels, html=html)
    assert sum(len(run.hits) for query in shown.queries for run in query.runs) == 43 * 3 * 100
    assert html.stat().st_size < 5_000_000
    context = browser.new_context()
    page = context.new_page()
    page.goto("about:blank")
    seconds = []
    for _ in range(3):  # the machine may be busy
        start = time.perf_counter()
        page.goto(html.as_uri())
        assert page.locator(".hit").count() == 300
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1, seconds
    seconds = []
    for number in (40, 30, 20):
        start = time.perf_counter()
        page.locator("#topics button").nth(number).click()
        page.wait_for_function(f"document.querySelector('h2').textContent.startsWith('{number} ')")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 1, seconds
    context.close()
