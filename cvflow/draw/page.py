"""The page: sections of blocks in one HTML file that needs no network, no script and no other file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from cvflow.draw.blocks import Block
from cvflow.draw.scale import number


@dataclass(frozen=True)
class Section:
    """Blocks under a heading. note: a sentence below the heading."""

    title: str
    blocks: Sequence[Block]
    note: str = ""


def page(title: str, sections: Sequence[Section], subtitle: str = "") -> str:
    """Return the page as HTML. All texts are escaped; the same input gives the same HTML."""
    return _template().render(
        title=title,
        subtitle=subtitle,
        sections=sections,
    )


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("cvflow.draw", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template("page.html")
