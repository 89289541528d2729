"""Report as one self-contained HTML page. All text from models and files is escaped."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.language import language, say
from harness.reporting.figures.style import THEMED, variable
from harness.reporting.formats import page_libraries
from harness.reporting.formats.content import Content
from harness.reporting.formatting import title

# Those of readers' systems. None is embedded: one with all characters has several megabytes.
JAPANESE_FONTS = (
    'system-ui, "Hiragino Sans", "Yu Gothic", "Noto Sans JP", "Noto Sans CJK JP", sans-serif'
)


OWN_SCRIPTS = ("page.js", "settings.js")  # the second draws the chart of settings


@dataclass(frozen=True)
class Script:
    """A script inside the page. The content security policy allows only scripts with these digests."""

    text: str

    @cached_property
    def digest(self) -> str:
        return page_libraries.digest(self.text)


def render(content: Content) -> str:
    """Return the whole document.

    Only this project's scripts, the two libraries and the figures, whose text matplotlib escapes, are
    inserted without escaping.
    """
    pictures = {name: (p, Markup(p.svg)) for name, p in content.pictures.items()}
    page = environment().get_template("page.html.j2")
    return page.render(
        c=content,
        r=content.recommendation,
        sweep=content.run.sweep,
        candidates=content.candidates,
        pictures=pictures,
        quality_title=title(content.candidates.quality),
        themed=[(variable(colour), dark) for colour, dark in THEMED.items()],
        split=say(content.candidates.quality.split(".")[0]),
        sentences=_sentences(),
        scripts=_scripts(content),
    )


def _sentences() -> dict[str, str]:
    """Return the translations of what the page's own script writes; none for English."""
    if language() == "en":
        return {}
    own = "".join(map(_own_script, OWN_SCRIPTS))
    return {text: say(text) for text in re.findall(r'\bsay\("([^"]+)"', own)}


def _own_script(name: str) -> str:
    return files("harness.reporting.formats").joinpath(name).read_text("utf-8")


def _scripts(content: Content) -> list[Script]:
    """Return what the page needs: the chart library only where there is a chart."""
    charts = page_libraries.charts() if content.explorer or content.settings else ""
    own = [_own_script(name) for name in OWN_SCRIPTS[: 2 if content.settings else 1]]
    scripts = (charts, page_libraries.tables(), *own)
    return [Script(text) for text in scripts if text]


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
    made.filters["order"] = order
    made.globals["language"] = language()
    made.globals["fonts"] = JAPANESE_FONTS
    made.globals["say"] = _say
    return made


def _say(template: str, **values: object) -> Markup:
    """Return a sentence of a template, whose markup is its own, with its values escaped."""
    text = Markup(say(template))
    return text.format(**values) if values else text


def unbroken(text: str) -> str:
    """Prevent line breaks inside '[46.1, 51.2]', '3e-4' and '× 2', and between 'p' and its value."""
    text = text.replace("× ", "×\u00a0")
    text = re.sub(r"\[([−\d.,]+), ([−\d.,]+)\]", "[\\1,\u00a0\\2]", text)
    text = re.sub(r"(?<=\de-)(?=\d)", "\u2060", text)  # 3e-4 stays on one line
    return re.sub(r"\bp (=|<) ([\d.]+)", "p\u00a0\\1\u00a0\\2", text)


MULTIPLES = {"k": 1e3, "M": 1e6, "B": 1e9, "min": 60.0, "h": 3600.0, "MB": 1e-3, "kB": 1e-6}


def order(text: str) -> float | None:
    """Return the number that a cell is sorted by; None for a cell of words.

    '0.98 M' is 980,000, and '2.1 min' is 126: counts, seconds and gigabytes compare as such.
    """
    found = re.match(r"([−-]?[\d,]*\.?\d+(?:e-?\d+)?)(?: (k|M|B|min|h|MB|kB)\b)?", text)
    if found is None:
        return None
    value = float(found[1].replace("−", "-").replace(",", ""))
    return value * MULTIPLES.get(found[2] or "", 1.0)
