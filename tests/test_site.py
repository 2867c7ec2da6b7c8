"""The site that `make docs` builds: its links, what it loads, how it looks, and its pages that nobody types."""

from __future__ import annotations

import functools
import html
import html.parser
import http.server
import json
import posixpath
import re
import subprocess
import sys
import threading
import typing
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml
from pydantic import BaseModel

import pyserini_tasb
from pyserini_tasb.cli.listing import AXES, listing
from pyserini_tasb.recipes.types import EncoderCard, FusionRecipe, Regression
from pyserini_tasb.training.config import TeachCatConfig, TrainConfig
from pyserini_tasb.training.study_config import StudyConfig
from tests.command_line import parser
from tests.command_line_options import has_a_line, verbs

pytest.importorskip("mkdocs", reason="the extra docs is not installed")
pytest.importorskip("mkdocstrings_handlers.python", reason="the extra docs is not installed")

ROOT = Path(__file__).parents[1]
BUILD = """
import sys
from mkdocs.__main__ import cli
cli(["build", "--strict", "--quiet", "--site-dir", sys.argv[1]], standalone_mode=False)
print({"torch", "transformers", "jnius", "pyserini"} & {name.partition(".")[0] for name in sys.modules})
"""
TIMES = "×"  # noqa: RUF001


class Parsed(html.parser.HTMLParser):
    """The parts of a page: ids, links, what it loads, and the links of its navigation."""

    def __init__(self, path):
        super().__init__()
        self.ids, self.links, self.loads, self.navigation, self.text = Counter(), [], [], set(), []
        self._inside, self._unseen = 0, 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.ids.update([given["id"]] if given.get("id") else [])
        self._inside += tag == "nav"
        self._unseen += tag in ("script", "style")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
            if self._inside:
                self.navigation.add(given["href"])
        if tag == "link" and given.get("rel") not in ("canonical", "prev", "next"):
            self.loads.append(given["href"])
        if tag in ("script", "img", "iframe", "source", "video", "object", "embed"):
            self.loads += [given[name] for name in ("src", "data", "srcset") if given.get(name)]

    def handle_endtag(self, tag):
        self._inside -= tag == "nav"
        self._unseen -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._unseen:
            self.text.append(data)


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-c", BUILD, folder], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    assert (built.returncode, built.stderr) == (0, "")
    assert built.stdout == "set()\n"  # neither torch nor Java
    return folder


@pytest.fixture(scope="session")
def pages(site):
    return {path.relative_to(site).as_posix(): Parsed(path) for path in sorted(site.rglob("*.html"))}


def test_no_link_leads_nowhere(site, pages):
    lost = []
    for name, page in pages.items():
        for link in page.links:
            if urlsplit(link).scheme or name == "404.html":
                continue
            path, anchor = urldefrag(link)
            target = posixpath.normpath(posixpath.join(posixpath.dirname(name), unquote(path))) if path else name
            target = "index.html" if target == "." else target
            if not (site / target).is_file() or (anchor and unquote(anchor) not in pages[target].ids):
                lost.append((name, link))
    assert lost == []


def test_every_page_is_in_the_navigation(pages):
    assert {name for name in pages if name != "404.html"} - {
        posixpath.normpath(link) for link in pages["index.html"].navigation
    } == set()


def test_ids_are_unique(pages):
    assert {
        name: twice for name, page in pages.items() if (twice := [i for i, count in page.ids.items() if count > 1])
    } == {}


def test_nothing_is_loaded_from_outside(site, pages):
    loaded = [(name, each) for name, page in pages.items() for each in page.loads if re.match(r"(\w+:)?//", each)]
    styles = [
        (path.name, url)
        for path in site.rglob("*.css")
        for url in re.findall(r"url\(['\"]?(\w+://[^)]+)", path.read_text())
    ]
    assert (loaded, styles) == ([], [])


def test_blocks_are_blocks(site):
    """A list or a block of code that Python-Markdown takes for a part of the paragraph above it."""
    swallowed = re.compile(r"<p>(?:(?!</p>).)*?(?:<div|\n(?:[*-]|\d+\.) |```)", re.DOTALL)
    lost = {path.name: swallowed.findall(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    assert {name: found for name, found in lost.items() if found} == {}


def github_anchor(title):
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "")
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


def prose_of(path):
    """A page without its code; of a notebook, what is written between its cells of code."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        cells = json.loads(text)["cells"]
        text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    return re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)


def headings(path):
    text = prose_of(path)
    return {github_anchor(title) for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}


SOURCES = [
    *ROOT.glob("*.md"),
    *(ROOT / "docs").glob("*.md"),
    *(ROOT / "docs" / "tutorials").glob("*.md"),
    *(ROOT / "docs" / "tutorials").glob("*.ipynb"),
    *(ROOT / folder / "README.md" for folder in ("encoders", "fusion", "regressions", "regressions/data")),
    ROOT / "pyserini_tasb" / "formats" / "cacm" / "README.md",
]


@pytest.mark.parametrize("source", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_on_github(source):
    text = prose_of(source)
    lost = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if urlsplit(link).scheme:
            continue
        path, anchor = urldefrag(link)
        target = (source.parent / path).resolve() if path else source
        if target.suffix == ".py":  # a model, whose keys the site shows
            found = target.exists() and f"\nclass {anchor}(" in target.read_text(encoding="utf-8")
        else:
            found = target.exists() and (not anchor or anchor in headings(target))
        if not found:
            lost.append(link)
    assert lost == []


def test_the_list_of_pages_on_github_has_them_all(pages):
    listed = re.findall(r"\]\(([^)]+\.md)\)", (ROOT / "docs" / "README.md").read_text(encoding="utf-8"))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} - {"README.md"} - set(listed) == set()
    assert all((ROOT / "docs" / link).is_file() for link in listed)


# The pages that nobody types.


def test_each_public_name_is_documented_once(pages):
    found = Counter(i for page in pages.values() for i in page.ids if i.startswith("pyserini_tasb."))
    names = [name for name in pyserini_tasb.__all__ if name != "__version__"]
    assert {name: found[f"pyserini_tasb.{name}"] for name in names} == dict.fromkeys(names, 1)


def test_each_option_is_on_the_page_of_its_verb(pages):
    overview = pages["reference/verbs/index.html"]
    for words, tree in verbs(parser()):
        page = pages[f"reference/verbs/tasb-{words[0]}.html"] if words else overview
        options = [action for action in tree._actions if has_a_line(action)]
        for action in options:
            name = next(reversed(action.option_strings), str(action.metavar or action.dest))
            shared = words and action.dest in ("verbosity", "trust")
            assert name in (overview if shared else page).ids, (words, name)
        if words:
            shown = {i for i in page.ids if i.startswith("--")}
            assert shown <= {name for action in options for name in action.option_strings}, words


def plain(markup):
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", markup)).split())


@pytest.mark.parametrize("axis", AXES)
def test_names_are_those_of_the_registry(site, axis, tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path))  # not where other tests' training leaves its cards
    text = (site / "reference" / "names.html").read_text(encoding="utf-8")
    (table,) = re.findall(rf'<h2 id="{axis}">.*?<table>(.*?)</table>', text, re.DOTALL)
    shown = [tuple(map(plain, row)) for row in re.findall(r"<tr>\s*<td>(.*?)</td>\s*<td>(.*?)</td>", table, re.DOTALL)]
    known = [(row.get("encoder", row.get("name")), row["description"]) for row in listing(axis).rows]
    assert shown == [(name, " ".join(said.replace("`", "").split())) for name, said in known]


def keys_of(model, prefix="", above=()):
    """Each key of a model and of the sections that it holds, with its field."""
    for name, field in model.model_fields.items():
        yield f"{prefix}{name}", field
        for part in reference_models(field.annotation):
            if part not in above:
                yield from keys_of(part, f"{prefix}{name}.", (*above, part))


def reference_models(annotation):
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in typing.get_args(annotation) for model in reference_models(argument)]


@pytest.mark.parametrize(
    ("page", "model"),
    [
        ("encoder-card", EncoderCard),
        ("fusion-recipe", FusionRecipe),
        ("regression", Regression),
        ("train", TrainConfig),
        ("teach", TeachCatConfig),
        ("study", StudyConfig),
    ],
)
def test_keys_are_those_of_the_model(site, page, model):
    text = (site / "reference" / "yaml" / f"{page}.html").read_text(encoding="utf-8")
    shown = {
        key: (plain(kind), plain(said))
        for key, kind, said in re.findall(
            r'<dt><code id="([^"]+)">.*?</code>(.*?)</dt>\s*<dd>(.*?)</dd>', text, re.DOTALL
        )
    }
    known = dict(keys_of(model))
    repeated = {"cited.source", "expected.source"}  # one section, shown where it stands first
    for key, field in known.items():
        if key not in shown and any(key.startswith(f"{section}.") for section in repeated):
            continue
        kind, said = shown[key]
        assert said.endswith("."), key
        if field.is_required():
            assert kind.endswith(", required"), key
        elif not isinstance(field.default, BaseModel):
            default = field.get_default(call_default_factory=True)
            default = list(default) if isinstance(default, tuple) else default
            assert yaml.safe_load(kind.rpartition(", default ")[2]) == default, key
    if page not in ("regression", "teach"):  # these pages have several models
        assert shown.keys() == known.keys()


def test_links_to_models_lead_to_their_keys(pages):
    kinds = ("", "#topic-sets", "#downloads", "#tables-of-the-paper")
    assert {f"reference/yaml/regression.html{kind}" for kind in kinds} <= set(pages["regression-files.html"].links)
    assert not [link for page in pages.values() for link in page.links if ".py" in link and not urlsplit(link).scheme]


def test_the_chart_shows_what_was_measured(site):
    text = (site / "index.html").read_text(encoding="utf-8")
    charts = re.findall(r"<figure>(.*?)</figure>", text, re.DOTALL)
    files = sorted((ROOT / "docs" / "speed").glob("*.json"))
    assert len(charts) == len(files)
    for path, chart in zip(files, charts, strict=True):
        measured = json.loads(path.read_text())["benchmarks"]
        tables = re.findall(r"<table.*?</table>", chart, re.DOTALL)
        for benchmark, table in zip(("encode", "query_latency"), tables, strict=True):
            rows = measured[benchmark]["rows"]
            known = {row: f"{cells['times Pyserini'][0]:.1f}{TIMES}" for row, cells in rows.items()}
            shown = {
                plain(label): plain(value)
                for label, value in re.findall(r"<th[^>]*>(.*?)</th>.*?<td>([^<]*)</td>", table, re.DOTALL)
            }
            assert shown["Pyserini"] == known["Pyserini"] == f"1.0{TIMES}"
            assert shown["ours, int8"] == known["onnx int8"]
            assert set(shown.values()) <= set(known.values())


def test_a_notebook_is_a_page_with_its_pictures_and_tables(site, pages):
    notebooks = sorted((ROOT / "docs" / "tutorials").glob("*.ipynb"))
    assert len(notebooks) == 5
    for path in notebooks:
        text = (site / "tutorials" / f"{path.stem}.html").read_text(encoding="utf-8")
        cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
        outputs = [output for cell in cells for output in cell["outputs"]]
        assert text.count('<div class="output">') == len(outputs)
        pictures = [load for load in pages[f"tutorials/{path.stem}.html"].loads if load.startswith(path.stem)]
        assert len(pictures) == sum("image/png" in output.get("data", {}) for output in outputs)
        assert all((site / "tutorials" / picture).read_bytes().startswith(b"\x89PNG") for picture in pictures)
        assert (site / "tutorials" / path.name).read_bytes() == path.read_bytes()  # to download


# What a reader sees.


@pytest.fixture(scope="module")
def address(site):
    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Visit:
    """A window of Chromium. Whatever is asked of another server, or logged as an error, is found at the end."""

    def __init__(self, browser, address, **window):
        self._context, self._address = browser.new_context(**window), address
        self.page = self._context.new_page()
        self._strange = []
        self.page.on("request", lambda request: self._look(request.url))
        self.page.on("console", lambda said: self._strange.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self._strange.append(str(error)))

    def _look(self, url):
        if not url.startswith((self._address, "data:", "blob:")):
            self._strange.append(url)

    def goto(self, name):
        self.page.goto(self._address + name, wait_until="domcontentloaded")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._context.close()
        assert self._strange == []


def test_search_finds_a_known_word(browser, address):
    with Visit(browser, address, viewport={"width": 1280, "height": 900}) as visit:
        visit.goto("index.html")
        visit.page.fill("input[name=query]", "matchmaker")
        found = visit.page.locator(".md-search-result__link").first
        found.wait_for()
        assert "method.html" in found.get_attribute("href")


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_page_is_as_light_as_the_reader_wants_it(browser, address, scheme, dark):
    with Visit(browser, address, color_scheme=scheme) as visit:
        visit.goto("index.html")
        background = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", background)[:3])) < 3 * 128) is dark
        visit.page.locator("label.md-header__button[for^=__palette]:visible").click()
        after = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert after != background


def test_no_page_is_wider_than_a_phone(browser, address, pages):
    # Scripts only wrap what is wide, so that it scrolls, and on each page they make an index of all pages' words.
    with Visit(browser, address, viewport={"width": 390, "height": 844}, java_script_enabled=False) as visit:
        wide = []
        for name in pages:
            visit.goto(name)
            visit.page.wait_for_load_state("load")  # without scripts, a page's styles may come after its content
            if visit.page.evaluate("document.documentElement.scrollWidth") > 390:
                wide.append(name)
        assert wide == []
