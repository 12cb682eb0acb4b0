"""What the report's pictures are drawn on: one sheet, its colours, marks made of counts, PNG and themed SVG.

`pictures.draw` uses it; nothing here knows a report.
"""

from __future__ import annotations

import io
import math
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray

from deltadata.errors import need
from deltadata.page import percent

INK, MUTED, LINE, GREY, POSITIVE, NEGATIVE = "#1c2128", "#59636e", "#ccd2d8", "#8b95a0", "#1d66b3", "#b9480d"
THEME = {INK: "ink", MUTED: "muted", LINE: "line", GREY: "grey", POSITIVE: "positive", NEGATIVE: "negative"}
WIDTH, DPI = 5.0, 280  # inches, and the PNG's dots to the inch
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "deltadata",
    "text.parse_math": False,
    "text.color": INK,
    "font.size": 9.0,
    "axes.edgecolor": LINE,
    "axes.labelcolor": MUTED,
    "axes.titlecolor": INK,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.unicode_minus": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.formatter.useoffset": False,
    "xtick.color": LINE,
    "ytick.color": LINE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
}
LEVELS, FEWEST = 6, 10  # shades of a map, and the pairs of a column that has a mean

Array = NDArray[np.float64]
Panel = tuple[str, Array, Array]  # a map's title, x and y


def available() -> bool:
    """Whether matplotlib is installed."""
    return find_spec("matplotlib") is not None


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's own defaults and STYLE over them, whatever the user has set; undone at the end.

    Raises UserError when matplotlib is not installed.
    """
    matplotlib = need("matplotlib", "report")
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        yield


def save(figure: Any, name: str, png: Path) -> str:
    """Write the PNG and return the SVG."""
    figure.savefig(png, dpi=DPI, facecolor="white", metadata={"Software": None})
    return _svg(figure, name)


def _svg(figure: Any, name: str) -> str:
    """The figure as an SVG element that stands in a page beside others: its colours variables, its ids its own."""
    buffer = io.StringIO()
    figure.savefig(
        buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Date", "Creator", "Format", "Type"))
    )
    text = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", buffer.getvalue(), flags=re.DOTALL)
    used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', text))

    def tag(match: re.Match[str]) -> str:
        told = re.sub(r' id="([^"]+)"', lambda m: f' id="{name}-{m[1]}"' if m[1] in used else "", match[0])
        told = re.sub(r'(href="#|url\(#)', rf"\g<1>{name}-", told)
        told = re.sub(r" font-family: [^;\"]*;?", "", told)
        told = re.sub(r"\d+\.\d{2,}", lambda m: f"{float(m[0]):.1f}", told).replace("\n", "")
        return re.sub("#[0-9a-f]{6}", lambda m: f"var(--{THEME[m[0]]})" if m[0] in THEME else m[0], told)

    drawn = re.sub(r"<[^>]+>", tag, text[text.index("<g") : text.rindex("</svg>")])
    drawn = re.sub(r">\s+<", "><", drawn).strip()
    box = f"0 0 {72 * figure.get_figwidth():.0f} {72 * figure.get_figheight():.0f}"
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    label = escape(figure.get_label(), {'"': "&quot;"})
    return f'<svg {spaces} viewBox="{box}" role="img" aria-label="{label}">{drawn}</svg>'


def blank(
    title: str,
    note: str,
    shape: tuple[int, int],
    row: float,
    left: float = 0.1,
    gap: float = 0.0,
    right: float = 0.15,
    above: float = 0.0,
) -> Any:
    """A figure and its axes (an array of `shape`): title above, note below, `row` inches a row, `gap` between rows,
    `above` more over the first one."""
    from matplotlib.figure import Figure

    head, foot = textwrap.wrap(title, 55), textwrap.wrap(note, 84)
    top, bottom = 0.23 * len(head) + 0.36 + above, 0.62 + 0.15 * len(foot)
    height = top + shape[0] * row + (shape[0] - 1) * gap + bottom
    figure = Figure(figsize=(WIDTH, height), label=title)
    for number, line in enumerate(head):
        figure.text(0.1 / WIDTH, 1 - (0.23 + 0.23 * number) / height, line, fontsize=10.5, fontweight="bold")
    for number, line in enumerate(foot, 1):
        figure.text(0.1 / WIDTH, (0.1 + 0.15 * (len(foot) - number)) / height, line, fontsize=8, color=MUTED)
    sides = {"left": left / WIDTH, "right": 1 - right / WIDTH, "top": 1 - top / height, "bottom": bottom / height}
    axes = figure.subplots(*shape, squeeze=False, gridspec_kw=sides | {"hspace": gap / row, "wspace": 0.14})
    for each in axes.flat:
        each.tick_params(axis="y", length=0)
    return figure, axes


def histogram(axes: Any, values: Array, edges: Array, stats: Mapping[str, Any]) -> None:
    """Pairs by delta: below zero, at zero and above it."""
    parts = (("<", NEGATIVE, values < 0, 0.0), ("=", GREY, values == 0, 0.5), (">", POSITIVE, values > 0, 1.0))
    highest = 1.0
    for sign, colour, held, place in parts:
        if sign == "=":
            width = edges[1] - edges[0]
            axes.stairs([held.sum()], [-width / 2, width / 2], fill=True, color=colour, alpha=0.85)
        else:
            counts, _ = np.histogram(values[held], edges)
            highest = max(highest, float(counts.max(initial=0)))
            axes.stairs(counts, edges, fill=True, color=colour, alpha=0.85)
        if stats["n"] and held.any():
            ends = {0.0: "left", 0.5: "center", 1.0: "right"}
            told = f"{percent(float(held.mean()))} {sign} 0"
            shade = MUTED if colour == GREY else colour
            write(axes, told, (place, 1), (0, 4), "axes fraction", color=shade, ha=ends[place])
    if not values.size:
        write(axes, "no figures", (0.5, 1), (0, 4), "axes fraction", color=MUTED, ha="center")
    axes.axvline(0, color=INK, linewidth=0.8)
    low, high = _with_ties(edges, bool((values == 0).any()))
    axes.set(xlim=(low, high), ylim=(0, 1.05 * highest), yticks=[])


def _shade(axes: Any, x: Array, y: Array, x_edges: Array, y_edges: Array) -> None:
    """Cells coloured by the sign of y and shaded by the root of their count: one path for each colour and shade."""
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path as Outline

    zero, half = y == 0, (y_edges[1] - y_edges[0]) / 2
    counts, _, _ = np.histogram2d(x[~zero], y[~zero], [x_edges, y_edges])
    # Ties lie on the line itself: no bin above it may have them.
    counts = np.column_stack([counts, np.histogram(x[zero], x_edges)[0]])
    low, high = np.append(y_edges[:-1], -half), np.append(y_edges[1:], half)
    levels = np.ceil(LEVELS * np.sqrt(counts / max(counts.max(initial=0), 1.0))).astype(int)
    signs = np.append(np.sign(y_edges[1:] + y_edges[:-1]), 0).astype(int)
    for sign, colour in ((-1, NEGATIVE), (0, GREY), (1, POSITIVE)):
        for level in range(1, LEVELS + 1):
            held = ((levels == level) & (signs == sign)).T.astype(int)
            ends = np.diff(np.pad(held, ((0, 0), (1, 1))))  # along x, neighbours are one box
            runs = zip(np.argwhere(ends == 1), np.argwhere(ends == -1)[:, 1], strict=True)
            boxes = [_box(x_edges[[i, k]], np.array([low[j], high[j]])) for (j, i), k in runs]
            if boxes:
                corners, codes = np.concatenate(boxes), [1, 2, 2, 2, 79] * len(boxes)  # move, three lines, close
                alpha = 0.1 + 0.85 * level / LEVELS
                axes.add_patch(PathPatch(Outline(corners, codes), facecolor=colour, alpha=alpha, linewidth=0))
    axes.axhline(0, color=INK, linewidth=0.8)
    column = np.digitize(x, x_edges) - 1
    pairs = np.bincount(column[(column >= 0) & (column < len(counts))], minlength=len(counts))
    total = np.bincount(np.clip(column, 0, len(counts)), np.where(column < 0, 0.0, y), minlength=len(counts) + 1)
    known = pairs >= FEWEST
    means = np.divide(total[:-1], pairs, where=known, out=np.full(len(counts), np.nan))
    axes.plot((x_edges[1:] + x_edges[:-1]) / 2, means, "o-", color=INK, linewidth=1.2, markersize=2)
    axes.set(xlim=(x_edges[0], x_edges[-1]), ylim=_with_ties(y_edges, bool(zero.any())))


def _with_ties(edges: Array, tied: bool) -> tuple[float, float]:
    """The ends of an axis, with half a bin on both sides of zero where ties are drawn."""
    half = (edges[1] - edges[0]) / 2 if tied else 0.0
    return min(float(edges[0]), -half), max(float(edges[-1]), half)


def _box(x: Array, y: Array) -> Array:
    return np.array([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1]), (x[0], y[0])])


def maps(title: str, note: str, panels: list[Panel], x_name: str, y_name: str) -> Any:
    """Shaded counts of pairs, a panel for each name, x and y, with the mean of y along x."""
    columns = min(len(panels), 2)
    lines = -(-len(panels) // columns)
    bins = [edges(np.concatenate([panel[side] for panel in panels]), 48 // columns, side == 2) for side in (1, 2)]
    note = f"Fuller colour: more pairs. The line is the mean. The axes end at the 1st and 99th percentile. {note}"
    names = [two_lines(name, 26 * (3 - columns)) for name, _, _ in panels]
    above = 0.15 * max(name.count("\n") for name in names)
    height = 2.6 if columns == 1 else 1.5
    figure, axes = blank(title, note, (lines, columns), height, left=0.75, gap=0.37 + above, above=above)
    for number, place in enumerate(axes.flat):
        if number >= len(panels):
            place.set_axis_off()
            continue
        _, x, y = panels[number]
        _shade(place, x, y, *bins)
        place.set_title(names[number])
        if not x.size:
            write(place, "no figures", (0.5, 0.5), (0, 4), "axes fraction", color=MUTED, ha="center")
        numbers(place.xaxis, 5)
        numbers(place.yaxis, 5)
        last = number + columns >= len(panels)
        place.set_xlabel(x_name) if last else place.set_xticklabels([])
        place.set_ylabel(y_name) if number % columns == 0 else place.set_yticklabels([])
    return figure


def interval(axes: Any, row: int, value: float, ends: Sequence[float] | None, colour: str, size: float = 5.5) -> None:
    if ends is not None:
        axes.plot(ends, [row, row], color=colour, linewidth=1.6, alpha=0.55, solid_capstyle="butt", zorder=2)
    hollow = colour == GREY
    axes.plot(
        [value], [row], "o", markersize=size, color=colour, markerfacecolor="none" if hollow else colour, zorder=3
    )


def edges(values: Array, most: int, zero: bool = True) -> Array:
    """Bin edges from the 1st to the 99th percentile (and zero). Few distinct values: a bin centred on each step; one
    value: a bin around it and one on either side; else bins of a round width that meet at zero, so that no bin mixes
    signs."""
    if not values.size:
        return np.array([-1.0, 0.0, 1.0])
    low = float(np.quantile(values, 0.01, method="lower"))
    high = float(np.quantile(values, 0.99, method="higher"))
    distinct = np.unique(values[(values >= low) & (values <= high)])
    if zero:
        low, high, distinct = min(low, 0.0), max(high, 0.0), np.union1d(distinct, [0.0])
    if distinct.size == 1:
        return np.asarray(distinct[0] + np.array([-1.5, -0.5, 0.5, 1.5]), dtype=np.float64)
    step = float(np.diff(distinct).min()) if 1 < distinct.size <= most else 0.0
    if step and (high - low) / step <= most and np.allclose(distinct / step, np.round(distinct / step)):
        return np.asarray((np.arange(round(low / step), round(high / step) + 2) - 0.5) * step, dtype=np.float64)
    rough = (high - low) / most
    decade = 10.0 ** math.floor(math.log10(rough))
    width = next(w for w in (1, 2, 5, 10) if w * decade >= rough * 0.999) * decade
    first, last = np.floor(low / width), np.ceil(high / width)
    return np.asarray(np.arange(first, max(last, first + 1) + 1) * width, dtype=np.float64)


def write(axes: Any, text: str, at: Any, off: tuple[float, float], coords: Any = "data", **look: Any) -> None:
    """Text beside a point, `off` points away."""
    axes.annotate(text, at, off, coords, "offset points", annotation_clip=False, **look)


def rows(axes: Any, names: Sequence[str], colours: Sequence[str] = ()) -> None:
    """One name a row, the first at the top."""
    axes.set(ylim=(len(names) - 0.4, -0.6), yticks=range(len(names)))
    axes.set_yticklabels(names, color=INK)
    for label, colour in zip(axes.get_yticklabels(), colours, strict=False):
        label.set_color(colour)


def room(names: Sequence[str]) -> float:
    """Inches that row names need."""
    return 0.25 + 0.071 * max(len(line) for name in names for line in name.split("\n"))


def stretch(axes: Any, left: float, right: float) -> None:
    """Leave shares of the width empty on both sides of the data; on the right stand the labels."""
    low, high = axes.dataLim.intervalx
    width = (high - low) or 1.0
    axes.set_xlim(low - left * width, high + right * width)


def numbers(axis: Any, most: int) -> None:
    """Ticks at round numbers, written as people write them."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axis.set_major_locator(MaxNLocator(most, steps=[1, 2, 2.5, 5, 10]))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}".replace("-", "−")))


def short(name: str, most: int) -> str:
    return name if len(name) <= most else f"{name[: most // 2]}…{name[-(most // 2 - 1) :]}"


def two_lines(name: str, most: int) -> str:
    """A pairing's name, broken at its "over" where it is longer than `most`; each line is shortened to that."""
    if len(name) <= most:
        return name
    return "\n".join(short(side, most) for side in name.replace(" over ", "\nover ").split("\n"))
