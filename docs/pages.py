"""How the site is put together: MkDocs calls the functions whose names begin with `on_`.

The pages of `docs/` are written for GitHub too, so links lead to files of the repository. Here files from elsewhere
join them, pages that nobody types are added (`reference.py`), notebooks become pages (`notebooks.py`), and links are
turned to where those pages are.
"""

from __future__ import annotations

import html
import posixpath
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from pymdownx.slugs import slugify

# A hook is loaded by its path. It imports its neighbour, and the chart of the benchmarks.
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
sys.path.insert(0, str(Path(__file__).parent))
import notebooks
import reference
import speed_chart

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
# Files of the repository that are pages of the site, and what they are called there.
FROM_ELSEWHERE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "encoders/README.md": "encoder-cards.md",
    "fusion/README.md": "fusion-recipes.md",
    "regressions/README.md": "regression-files.md",
    "regressions/data/README.md": "trec-dl.md",
    "pyserini_tasb/formats/cacm/README.md": "cacm.md",
}
SITE_OF = FROM_ELSEWHERE | reference.SHOWN | reference.KEYS_OF | notebooks.page_of_each()
REPOSITORY_OF = {site: repository for repository, site in FROM_ELSEWHERE.items()}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Fill in the navigation, and call headings what GitHub calls them."""
    config.mdx_configs["toc"]["slugify"] = slugify(case="lower")
    sections: list[dict[str, Any]] = config.nav or []
    for section in sections:
        section.update({title: reference.navigation() for title, pages in section.items() if pages == "generated"})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files from elsewhere, and the pages that are written here."""
    for repository, site in FROM_ELSEWHERE.items():
        files.append(File.generated(config, site, abs_src_path=str(ROOT / repository)))
    for site, content in [*reference.pages().items(), *notebooks.pages().items()]:
        files.append(File.generated(config, site, content=content))
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turn links between files into links between pages, and draw what is marked."""
    here = page.file.src_uri
    if here in reference.pages():
        return markdown
    parts = FENCED.split(markdown)
    for number, part in enumerate(parts):
        # GitHub lets a block of code or a list begin right below a line; Python-Markdown asks for an empty line.
        is_code = part.startswith("```")
        parts[number] = f"\n{part}\n" if is_code else BEFORE_LIST.sub(r"\g<0>\n", with_links_of_site(part, here))
    return PICTURE_OF_SPEED.sub(lambda _: "\n".join(speed_charts()), "".join(parts))


FENCED = re.compile(r"^(```.*?^```$)", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"(?<=\]\()(?:[^)\s#:]+\.py#\w+(?=\))|[^)\s#:]+(?=[)#]))")
PICTURE_OF_SPEED = re.compile(r"^!\[.*\]\(speed\.svg\)$", re.MULTILINE)
BEFORE_LIST = re.compile(r"^(?![*-] |\s|\d+\. ).*\S.*\n(?=([*-]|\d+\.) )", re.MULTILINE)


def with_links_of_site(text: str, here: str) -> str:
    """The text of the page `here`, whose links lead from file to file."""
    folder = posixpath.dirname(REPOSITORY_OF.get(here, f"docs/{here}"))

    def turned(path: re.Match[str]) -> str:
        return posixpath.relpath(site_of(posixpath.join(folder, path[0])), posixpath.dirname(here) or ".")

    return LINK.sub(turned, text)


def site_of(repository: str) -> str:
    """A file's page on the site. MkDocs says which there are not."""
    path = posixpath.normpath(repository)
    return SITE_OF.get(path, path.removeprefix("docs/"))


def on_page_content(content: str, page: Page, files: Files, **_: Any) -> str:
    """Keep options on one line, and link pages that help texts and docstrings mention by their files."""

    def linked(mention: re.Match[str]) -> str:
        target = files.get_file_from_path(site_of(mention[0]))
        if target is None:
            raise PluginError(f"{page.file.src_uri} mentions {mention[0]}, which is no page")
        return f'<a href="{target.url_relative_to(page.file)}">{mention[0]}</a>'

    content = INLINE_CODE.sub(lambda code: OPTION.sub(r'<span class="option">\g<0></span>', code[0]), content)
    return MENTION.sub(linked, content) if page.file.src_uri in reference.pages() else content


INLINE_CODE = re.compile(r"(?<!</span>)<code>[^<]*</code>")  # in a block, an empty <span> stands before it
OPTION = re.compile(r"(?<![\w-])--[a-z0-9][\w-]*")
MENTION = re.compile(r"(?<![\w/.])(docs/[\w-]+|(encoders|fusion|regressions)/README)\.md")


def speed_charts() -> Iterator[str]:
    """The bars of docs/speed.svg as HTML, which a phone can read: how many times as fast as Pyserini."""
    yield '<div class="speed" markdown="0">'
    for panel in speed_chart.panels():
        yield f"<figure><figcaption>{html.escape(panel.title)}</figcaption>"
        for title, bars in panel.groups.items():
            yield f'<table class="bars"><caption>{title}</caption>'
            for bar in bars:
                ours = ' class="ours"' if bar.ours else ""
                drawn = f'<span style="width: {bar.value / panel.longest:.1%}"></span>'
                yield f'<tr{ours}><th scope="row">{bar.label}</th><td>{drawn}</td><td>{bar.text}</td></tr>'
            yield "</table>"
        yield "</figure>"
    yield "</div>"
