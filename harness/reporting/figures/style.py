"""Common style of all figures, and their conversion to reproducible inline SVG."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from harness.language import say
from harness.reporting import formatting as f

if TYPE_CHECKING:
    from matplotlib.typing import RcKeyType

Look = Mapping[str, tuple[str, str]]  # method -> (colour, marker)
INK, QUIET, GRID = "#1f2933", "#667380", "#e4e8ec"
# Okabe & Ito 2008, without its yellow (too pale for lines), then two of Tol's.
COLOURS = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#882255", "#44aa99",
)  # fmt: skip
ON_DARK = {
    "#0072b2": "#2f86d1",
    "#56b4e9": "#93d3f7",
    "#882255": "#d97aa8",
    INK: "#e3e8ed",
    QUIET: "#9aa7b4",
}
# Further colours that change with the theme: lines of axes and grids, and hollow markers.
THEMED = {**ON_DARK, "#b8c1ca": "#55616e", GRID: "#2e3944", "#ffffff": "#12181f"}
FEW = 12  # number of candidates that fit into a figure of normal height
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<")
# The same shapes as Vega names them, for the interactive front.
SHAPES = {
    "o": "circle", "s": "square", "^": "triangle-up", "D": "diamond", "v": "triangle-down",
    "P": "cross", "<": "triangle-left",
    "X": "M-.8,-.5L-.5,-.8L0,-.3L.5,-.8L.8,-.5L.3,0L.8,.5L.5,.8L0,.3L-.5,.8L-.8,.5L-.3,0Z",
}  # fmt: skip
# Methods in the order of their colours, so that a method looks the same in every report.
KNOWN_METHODS = (
    "full", "lora", "qlora", "adalora", "ulmfit", "prompt_tuning", "dora", "prefix_tuning",
    "pissa", "rslora", "lora_plus", "importance_mask", "random_mask", "bitfit", "p_tuning", "ia3",
    "loftq", "olora", "eva", "forest_importance", "ln_tuning", "p_tuning_v2", "vera", "oft",
    "shira", "lora_fa", "peft",
)  # fmt: skip

STYLE: dict[RcKeyType, Any] = {
    "svg.fonttype": "none",  # text stays text: it can be searched, and takes the page's font
    "svg.hashsalt": "harness",
    "text.parse_math": False,  # a method may be called $x$
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#b8c1ca",
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "grid.color": GRID,
    "grid.linewidth": 0.7,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.major.size": 3,
    "ytick.major.size": 3,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "lines.linewidth": 1.6,
    "path.simplify_threshold": 0.3,
}


@dataclass(frozen=True)
class Picture:
    """A figure as an SVG element, with title, alternative text and caption."""

    name: str
    title: str
    svg: str
    alt: str  # for those who cannot see it
    caption: str


def palette(methods: Sequence[str]) -> Look:
    """Return method → (colour, marker), the same in all figures, and for known methods in all reports.

    Other names, such as those of variants, get the remaining pairs in their order.
    """
    look = {m: _look(KNOWN_METHODS.index(m)) for m in methods if m in KNOWN_METHODS}
    taken = set(look.values())
    free = (pair for i in range(len(COLOURS) * len(MARKERS)) if (pair := _look(i)) not in taken)
    for i, method in enumerate(m for m in methods if m not in look):
        look[method] = next(free, _look(i))
    return {method: look[method] for method in methods}


def _look(i: int) -> tuple[str, str]:
    return COLOURS[i % len(COLOURS)], MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]


def on_dark(colour: str) -> str:
    """Return the shade of a colour that can be read on a dark page."""
    return ON_DARK.get(colour, colour)


def less_is_better(title: str, less: bool = True) -> str:
    """Return the title of an axis with its better direction."""
    if less:
        return say("{title}  (less is better)", title=title)
    return say("{title}  (more is better)", title=title)


def legend_beside(figure: Figure, handles: Mapping[str, Any] | None = None) -> None:
    """Add the legend right of the axes, in as many columns as its length needs."""
    if handles is None:
        found, labels = figure.axes[0].get_legend_handles_labels()
    else:
        found, labels = list(handles.values()), list(handles)
    columns = 1 + (len(labels) - 1) // 16
    figure.legend(found, labels, loc="outside right upper", ncols=columns)


def panels(columns: int, width: float = 10.9, height: float = 3.6) -> tuple[Figure, list[Axes]]:
    """Return a figure with one row of axes; sizes in inches. Call within `styled()`."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    return figure, list(axes)


def styled():
    return mpl.rc_context(STYLE)


def svg(figure: Figure, name: str, alt: str) -> str:
    """Return the figure as one <svg> element, without prolog or date, with ids unique on the page."""
    buffer = io.StringIO()
    keys = ("Date", "Creator", "Format", "Type")
    with warnings.catch_warnings():  # text stays text, which the page draws in a font of its own
        warnings.filterwarnings("ignore", message="Glyph .* missing")
        figure.savefig(buffer, format="svg", metadata=dict.fromkeys(keys))
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text, flags=re.DOTALL)
    text = re.sub(r"<style type=\"text/css\">.*?</style>", "", text, count=1, flags=re.DOTALL)
    used = set(re.findall(r"(?:url\(#|xlink:href=\"#)([^\")]+)", text))
    text = re.sub(r' id="([^"]*)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", text)
    text = re.sub(r"(url\(#|xlink:href=\"#)", rf"\g<1>{name}-", text)
    text = re.sub(r"<!--.*?-->\s*", "", text, flags=re.DOTALL)
    size = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', text)
    text = re.sub(r'(<svg[^>]*?) height="[^"]*"', r"\1", text, count=1)
    text = re.sub(r'(<svg[^>]*?) width="[^"]*"', r"\1", text, count=1)
    width = float(size[1]) * 4 / 3 if size else 800.0  # points to CSS pixels
    text = re.sub(r"#[0-9a-f]{6}\b", lambda m: _by_theme(m[0]), text)
    head = f'<svg role="img" aria-label="{escape(alt, quote=True)}" style="max-width:{width:.0f}px"'
    return text.replace("<svg", head, 1).strip()


def variable(colour: str) -> str:
    """Return the name of the CSS variable behind a colour, such as --c-1f2933."""
    return f"--c-{colour.lstrip('#')}"


def _by_theme(colour: str) -> str:
    """Return a colour as a variable that a dark page sets; without one it is the colour itself."""
    return f"var({variable(colour)}, {colour})" if colour in THEMED else colour


def log_axis(axis, base: float, values: Sequence[float]) -> None:
    """Make an axis logarithmic, with ticks such as 8, 16 or 3e-4."""
    axes = axis.axes
    (axes.set_xscale if axis.axis_name == "x" else axes.set_yscale)("log", base=base)
    if base == 2:
        axis.set_major_locator(FixedLocator(sorted(set(values))))
    else:
        spread = max(values) / min(values) if values and min(values) > 0 else 10.0
        subs = (1.0, 3.0) if spread > 20 else (1.0, 2.0, 5.0)
        axis.set_major_locator(LogLocator(base=base, subs=subs))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f.setting(float(f"{value:.6g}"))))


def whisker_lengths(value: float, low: float | None, high: float | None) -> list[list[float]]:
    """Return matplotlib's xerr, [[down], [up]]; zero if there is no interval."""
    down = 0.0 if low is None else max(0.0, value - low)
    up = 0.0 if high is None else max(0.0, high - value)
    return [[down], [up]]
