"""The page in a real browser: by mouse, by keyboard, on a phone, in both themes, with hostile texts."""

from __future__ import annotations

import json

import pytest

from tests.chromium import CONTRASTS, HOSTILE, PHONE


def row(page, name, section="dl19-passage"):
    within = page.locator("section.topics").filter(has=page.get_by_role("heading", name=section, exact=True, level=2))
    return within.get_by_role("button", name=name, exact=True)


def detail(page, opener):
    return page.locator(f"[id='{opener.get_attribute('aria-controls')}']")


def open_all(page):
    for opener in page.locator(".opener:visible").all():
        if opener.get_attribute("aria-expanded") == "false":
            opener.click()


def test_a_row_opens_by_click_and_closes_again(page):
    opener = row(page, "tasb.run")
    assert (opener.get_attribute("aria-expanded"), detail(page, opener).is_visible()) == ("false", False)
    opener.locator("xpath=ancestor::tr").locator("td").nth(1).click()
    assert (opener.get_attribute("aria-expanded"), detail(page, opener).is_visible()) == ("true", True)
    assert "msmarco-v1-passage: distilbert-kd-tasb-pytorch" in detail(page, opener).inner_text()
    opener.click()
    assert (opener.get_attribute("aria-expanded"), detail(page, opener).is_visible()) == ("false", False)


@pytest.mark.parametrize("key", ["Enter", "Space"])
def test_a_row_opens_by_keyboard(page, key):
    opener = row(page, "bm25.run")
    opener.focus()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Tab")
    assert opener.evaluate("opener => opener === document.activeElement")
    assert opener.evaluate("opener => getComputedStyle(opener).outlineStyle") == "solid"
    page.keyboard.press(key)
    assert detail(page, opener).is_visible()
    page.keyboard.press(key)
    assert detail(page, opener).is_hidden()


def test_filters(page):
    shown = page.locator("tr.condition:visible")
    conditions = shown.count()
    assert page.locator("#shown").inner_text() == f"{conditions} of {conditions} conditions"
    opener = row(page, "tasb.run")
    opener.click()
    box = detail(page, opener)

    page.get_by_label("Find").fill("dl19 bm25")
    assert shown.locator(".opener").all_inner_texts() == ["bm25.run"]
    assert box.is_hidden()
    assert page.get_by_role("heading", name="dl20-passage").is_hidden()
    assert page.locator("#shown").inner_text() == f"1 of {conditions} conditions"

    page.get_by_label("Find").fill("")
    assert box.is_visible()
    for verdict in ("OK", "MISSING", "RECORDED"):
        page.get_by_role("checkbox", name=verdict, exact=True).uncheck()
    assert set(shown.locator(".badge").all_inner_texts()) == {"FAIL"}
    page.get_by_role("checkbox", name="OK", exact=True).check()
    page.locator("#filter-topics").select_option("dl20-passage")
    assert shown.locator(".opener").all_inner_texts() == ["bm25.run", "tasb.run"]
    page.get_by_label("Find").fill("no condition has this")
    assert page.locator("#shown").inner_text() == f"0 of {conditions} conditions"


def test_differences_to_another_condition(page, reported):
    opener = row(page, "tasb.run")
    opener.click()
    box = detail(page, opener)
    box.get_by_label("compare with").select_option("bm25.run")
    assert "+0.2152 significant (p < .001, paired t-test)" in box.locator(".differences").inner_text()
    results = [
        json.loads((reported.outputs / f"results/dl19-passage.{name}.run.json").read_text())
        for name in ("tasb", "bm25")
    ]
    mine, other = (result["per_query"]["nDCG@10"] for result in results)
    best = max(mine, key=lambda query: mine[query] - other[query])
    lines = box.locator(".differences tbody tr")
    assert lines.count() == 20
    cells = lines.first.locator("td").all_inner_texts()
    assert lines.first.locator("th").inner_text() == best
    assert cells[0] != "\N{EN DASH}"
    assert cells[1:] == [f"{mine[best]:.4f}", f"{other[best]:.4f}", f"+{mine[best] - other[best]:.4f}"]
    box.get_by_role("button", name="All 43 queries").click()
    assert lines.count() == 43
    # From the other side, the same with the other sign.
    opener = row(page, "bm25.run")
    opener.click()
    detail(page, opener).get_by_label("compare with").select_option("tasb.run")
    assert "\N{MINUS SIGN}0.2152 significant" in detail(page, opener).locator(".differences").inner_text()


def test_a_command_is_copied(page):
    opener = row(page, "hostile.made", "hostile-topics")
    opener.click()
    command = detail(page, opener).locator(".command").first
    command.get_by_role("button", name="Copy").click()
    command.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == command.locator("code").inner_text()
    command.get_by_text("the end").click()
    assert command.locator("details pre").inner_text() == "line one"


def test_hostile_texts_are_text(page):
    open_all(page)
    opener = row(page, "hostile.two", "hostile-topics")
    box = detail(page, opener)
    box.get_by_label("compare with").select_option("hostile.one")
    texts = box.locator(".differences tbody td:nth-child(2)").all_inner_texts()
    assert HOSTILE in texts
    assert max(map(len, texts)) < 500
    assert HOSTILE in detail(page, row(page, "hostile.one", "hostile-topics")).inner_text()
    failure = detail(page, row(page, "hostile.broken", "hostile-topics")).locator(".failure").inner_text()
    assert "<script>window.hacked=1" in failure
    assert len(failure) < 5_000
    assert page.locator("img, iframe, section script").count() == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_themes_follow_the_system_and_can_be_switched(page, scheme):
    background = "getComputedStyle(document.body).backgroundColor"
    page.emulate_media(color_scheme=scheme)
    first = page.evaluate(background)
    page.locator("#theme").click()
    second = page.evaluate(background)
    assert {first, second} == {"rgb(255, 255, 255)", "rgb(20, 24, 29)"}
    assert (first == "rgb(255, 255, 255)") == (scheme == "light")
    assert page.locator("#theme").get_attribute("aria-pressed") == ("true" if scheme == "light" else "false")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_has_contrast(page, scheme):
    page.emulate_media(color_scheme=scheme)
    open_all(page)
    contrasts = page.evaluate(CONTRASTS)
    assert len(contrasts) > 500
    assert [found for found in contrasts if found[0] < 4.5] == []


def test_nothing_is_cut_off_on_a_phone(page):
    page.set_viewport_size(PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]
    # Details keep to the screen, though their table is wider.
    for box in page.locator(".inner:visible").all():
        assert box.evaluate("box => box.getBoundingClientRect().right") <= PHONE["width"]


def test_tables_and_controls_can_be_read_out(page):
    assert page.evaluate("[...document.querySelectorAll('th:not([scope])')].length") == 0
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(each => each.id)")
    assert len(ids) == len(set(ids))
    controlled = page.evaluate(
        "[...document.querySelectorAll('[aria-controls]')].map(each => each.getAttribute('aria-controls'))"
    )
    assert set(controlled) <= set(ids)
    unnamed = "[...document.querySelectorAll('input, select')].filter(each => !each.labels.length).length"
    assert page.evaluate(unnamed) == 0
    assert page.locator("table caption").count() >= page.locator("section.topics").count()


def test_without_scripts_everything_is_open(browser, reported):
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((reported.report / "index.html").as_uri())
    assert page.locator("tr.detail").count() == page.locator("tr.detail:visible").count() > 5
    context.close()
