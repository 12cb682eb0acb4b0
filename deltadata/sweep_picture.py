"""sweep.png: gain against delta and against chosen quality with their fits, and chosen by rejected as a heat map."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deltadata import sheet
from deltadata.sheet import GREY, INK, LINE, MUTED, NEGATIVE, POSITIVE
from deltadata.sweep_figures import DELTA, GAIN, KEPT_QUALITY, SHARED, said

Facts = Mapping[str, Any]
NAMED = 12  # points that have their names beside them
AXES = {DELTA: "mean delta of the kept pairs, {measure}", KEPT_QUALITY: "mean score of their chosen side, {measure}"}
HEAT = {GAIN: "gain in checks", DELTA: "mean delta, kept pairs"}
ROW = 2.5  # inches of a panel


def draw(told: Facts, path: Path) -> bool:
    """Write the picture of a sweep (see `sweep.told`); False without matplotlib or while nothing is to be seen."""
    rows = [row for row in told["rows"] if row.get(GAIN) is not None]
    panels = [name for name in (DELTA, KEPT_QUALITY) if sum(row.get(name) is not None for row in rows) > 1]
    heat = told["heat"]
    if not (panels or heat) or not sheet.available():
        return False
    names = [sheet.short(name, 24) for name in _sides(heat, "chosen")] if heat else [""]
    shape = (len(panels) + bool(heat), 1)
    with sheet.style():
        left = max(0.75, sheet.room(names))
        figure, axes = sheet.blank(_title(told), _note(told), shape, ROW, left=left, gap=0.85, above=0.2)
        for axis, name in zip(axes[:, 0], panels, strict=False):
            _points(axis, [row for row in rows if row.get(name) is not None], name, told["fits"][name])
        if heat:
            _heat(axes[-1, 0], heat)
        sheet.save(figure, path.stem, path)
    return True


def _title(told: Facts) -> str:
    found = told["fits"][DELTA]
    if found is not None:
        return f"{told['sweep']}: gain against delta {said(found)}"
    done = sum(row.get("kept") is not None for row in told["rows"])
    return f"{told['sweep']}: {done} of {len(told['rows'])} rows, no fit of a gain yet"


def _note(told: Facts) -> str:
    note = "A point is a row of the sweep, its bar the 95 % interval by prompt. " if told["fits"][DELTA] else ""
    if any(found and found["ci95"] for found in told["fits"].values()):
        note += f"Shaded: the line's 95 % band, rows drawn; {SHARED}. "
    if told["heat"] and any(cell["rows"] > 1 for cell in told["heat"]["cells"]):
        note += "A cell of several rows is their mean."
    return note


def _points(axes: Any, rows: Sequence[Facts], name: str, found: Facts | None) -> None:
    """The rows' gains by a figure of theirs, with the fitted line."""
    axes.set_title("gain by " + ("delta" if name == DELTA else "quality of chosen"))
    axes.axhline(0, color=LINE, linewidth=0.8, zorder=0)
    if found is not None:
        axes.plot(found["x"], found["line"], color=INK, linewidth=1.2)
        if found["band"]:
            low, high = ([ends[side] for ends in found["band"]] for side in (0, 1))
            axes.fill_between(found["x"], low, high, color=GREY, alpha=0.2, linewidth=0)
    for row in rows:
        at, ends = (row[name], row[GAIN]), row[f"{GAIN}_ci95"]
        colour = GREY if ends is None or ends[0] <= 0 <= ends[1] else POSITIVE if ends[0] > 0 else NEGATIVE
        if ends is not None:
            axes.plot([at[0], at[0]], ends, color=colour, linewidth=1.4, alpha=0.55)
        axes.plot(*([value] for value in at), "o", color=colour, markersize=4.5)
        if len(rows) <= NAMED:
            sheet.write(axes, sheet.short(row["name"], 24), at, (4, 3), fontsize=7, color=MUTED)
    axes.set(xlabel=AXES[name].format(measure=rows[0]["measure"]), ylabel="gain in checks")
    sheet.stretch(axes, 0.06, 0.2)
    sheet.numbers(axes.xaxis, 6)
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:+.0f} %".replace("-", "−"))


def _heat(axes: Any, heat: Facts) -> None:
    """A square for each pairing, its colour the sign and its shade the size of the figure."""
    from matplotlib.patches import Rectangle

    down, across = ({name: n for n, name in enumerate(_sides(heat, side))} for side in ("chosen", "rejected"))
    most = max(abs(cell["value"]) for cell in heat["cells"]) or 1.0
    for cell in heat["cells"]:
        row, column, value = down[cell["chosen"]], across[cell["rejected"]], cell["value"]
        shade = 0.08 + 0.62 * abs(value) / most
        colour = POSITIVE if value > 0 else NEGATIVE if value < 0 else GREY
        axes.add_patch(Rectangle((column - 0.5, row - 0.5), 1, 1, facecolor=colour, alpha=shade, linewidth=0))
        text = f"{100 * value:+.1f} %" if heat["of"] == GAIN else f"{value:+.2g}"
        axes.text(column, row, text.replace("-", "−"), ha="center", va="center", fontsize=7.5)
    sheet.rows(axes, [sheet.short(name, 24) for name in down])
    names = [sheet.short(name, 13) for name in across]  # turned, a longer one would reach the note
    turned = 30 if max(map(len, names)) > 6 else 0
    axes.set_title(f"{HEAT[heat['of']]}: chosen ↓, rejected →")
    axes.set(xlim=(-0.6, len(names) - 0.4), xticks=range(len(names)))
    axes.set_xticklabels(names, rotation=turned, ha="right" if turned else "center", color=INK)


def _sides(heat: Facts, side: str) -> list[str]:
    """The rungs that are on this side of some pairing, strongest first."""
    return [name for name in heat["rungs"] if any(cell[side] == name for cell in heat["cells"])]
