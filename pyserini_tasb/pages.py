"""Self-contained HTML pages, without network or other files. Text from files stays text in them."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import TYPE_CHECKING

from pyserini_tasb.plots import COLOURS

if TYPE_CHECKING:
    from jinja2 import Environment


TEMPLATES = "templates"  # of this package, which every page has, and of the room whose page it is


def page_environment(package: str) -> Environment:
    """The templates of a room, and `page.html`, which they extend. Whatever is put into them is escaped.

    Args:
        package: the room, in whose folder `templates` they are.
    """
    from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=ChoiceLoader([PackageLoader(package, TEMPLATES), PackageLoader(__package__, TEMPLATES)]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )


def rendered_page(environment: Environment, name: str, data: object, **content: object) -> str:
    """The page of the templates `NAME.html`, `NAME.css` and `NAME.js`.

    Args:
        environment: one of `page_environment`.
        name: the name of the templates.
        data: what the script shows, as JSON.
        content: what the template puts into the page.
    """
    style, script = (
        "\n".join(_source(environment, f"{each}.{kind}") for each in ("page", name)) for kind in ("css", "js")
    )
    return environment.get_template(f"{name}.html").render(
        style=style,
        script=script,
        # The browser runs this script alone, even if something else should find its way into the page.
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        colours=COLOURS,
        data=_embedded(data),
        **content,
    )


def _source(environment: Environment, name: str) -> str:
    assert environment.loader is not None  # noqa: S101 - for mypy: it was given one
    return environment.loader.get_source(environment, name)[0]


def _embedded(data: object) -> str:
    """JSON for a script element, which ends at `</script` wherever that stands."""
    written = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return written.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair becomes JSON's escape of it
