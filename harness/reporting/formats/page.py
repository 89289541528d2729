"""The page: one self-contained HTML file. Everything that a model or a file says is escaped."""

from __future__ import annotations

import re

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.reporting.formats.content import Content
from harness.reporting.formatting import title


def render(content: Content) -> str:
    """The whole document. Only our own SVG, whose text matplotlib escapes, goes in as it is."""
    pictures = {name: (p, Markup(p.svg)) for name, p in content.pictures.items()}
    page = environment().get_template("page.html.j2")
    return page.render(
        c=content,
        r=content.recommendation,
        sweep=content.run.sweep,
        field=content.field,
        pictures=pictures,
        quality_title=title(content.field.quality),
    )


def environment() -> Environment:
    """Return the template environment: every value is escaped, and a missing one is an error."""
    made = Environment(
        loader=PackageLoader("harness.reporting.formats", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["unbroken"] = unbroken
    return made


def unbroken(text: str) -> str:
    """No line break inside '[46.1, 51.2]' or '3e-4', nor between 'p' and its value."""
    text = re.sub(r"\[([−\d.,]+), ([−\d.,]+)\]", "[\\1,\u00a0\\2]", text)
    text = re.sub(r"(?<=\de-)(?=\d)", "\u2060", text)  # 3e-4 stays on one line
    return re.sub(r"\bp (=|<) ([\d.]+)", "p\u00a0\\1\u00a0\\2", text)
