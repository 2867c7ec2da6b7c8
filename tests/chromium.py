"""Chromium, to look at pages: what they ask of a network, what they log, and whether every text can be read."""

from __future__ import annotations

import contextlib
import shutil
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page


HOSTILE = (
    """</script></pre><script>window.hacked=1</script><img src="http://127.0.0.1:9/x" onerror='window.hacked=2'>"""
)
PHONE = {"width": 390, "height": 844}
# Of every element with text of its own: its contrast with the first background behind it that is not transparent.
CONTRASTS = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const luminance = (colour) => rgba(colour).slice(0, 3).map((part) => part / 255)
    .map((part) => part <= .03928 ? part / 12.92 : ((part + .055) / 1.055) ** 2.4)
    .reduce((sum, part, at) => sum + part * [.2126, .7152, .0722][at], 0);
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (rgba(colour)[3] === 255) return colour;
    }
    return "white";
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!own || !element.checkVisibility() || ["SCRIPT", "OPTION"].includes(element.tagName)) continue;
    const style = getComputedStyle(element), isSvg = element.namespaceURI.includes("svg");
    const levels = [luminance(isSvg ? style.fill : style.color), luminance(behind(element))].sort((a, b) => b - a);
    found.push([(levels[0] + .05) / (levels[1] + .05), element.outerHTML.slice(0, 120)]);
  }
  return found;
}"""


@pytest.fixture(scope="module")  # while Playwright runs, nothing else in this process can use asyncio
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no chromium on PATH (apt-get install chromium)")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        # Root, as in most containers, has no sandbox.
        browser = started.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()


@contextlib.contextmanager
def watched_page(browser: Browser, path: Path) -> Iterator[Page]:
    """A page. Nothing may be asked of a network, logged as an error, or run out of a hostile text."""
    context = browser.new_context(viewport={"width": 1280, "height": 900})
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    page = context.new_page()
    page.set_default_timeout(10_000)
    requests, errors = [], []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto(path.as_uri())
    yield page
    assert {request.partition("#")[0] for request in requests} == {path.as_uri()}
    assert errors == []
    assert page.evaluate("window.hacked") is None
    context.close()
