"""The report's pictures: delta distributions, the ladder's strengths, quality, length, funnel and agreement.

Counted in numpy first, so that a million pairs make no larger a picture than a hundred. `deltadata report RUN` writes
plots/*.png; the same figures as SVG stand in the page, where their colours follow its theme.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from deltadata import headings, kinds, mixed, sheet
from deltadata.findings import FEW
from deltadata.page import count, percent, signed
from deltadata.sheet import GREY, INK, LINE, MUTED, NEGATIVE, POSITIVE, Array, Panel
from deltadata.tables import CHOSEN, MODEL, PROMPT_ID, REJECTED, SAMPLE, delta, of

ACROSS = "across"  # working column: what a map has along x
ROWS, PANELS, SCORERS, POINTS = 8, 6, 3, 36  # what one picture shows at most: histograms, maps, ladders, intervals
Report = Mapping[str, Any]


def draw(report: Report, pairs: pl.DataFrame, ladder: pl.DataFrame, folder: Path) -> dict[str, str]:
    """Write the pictures as PNG files into `folder` and return them as SVG texts by name.

    `report` by the contract of report.json, `pairs` and `ladder` the narrow frames it was made from (one row per pair
    with its deltas; one row per response with its lengths and scores). The colours of the SVG are the variables --ink
    --muted --line --grey --positive --negative of the page. The same data give the same bytes. `ladder` and `quality`
    need a scorer and are left out without one; what has no data is left out. Raises UserError without matplotlib.
    """
    folder.mkdir(parents=True, exist_ok=True)
    svgs: dict[str, str] = {}
    with sheet.style():
        for name, picture in PICTURES.items():
            figure, png = picture(report, pairs, ladder), folder / f"{name}.png"
            if figure is None:
                png.unlink(missing_ok=True)
            else:
                svgs[name] = sheet.save(figure, name, png)
    return svgs


def _deltas(report: Report, pairs: pl.DataFrame, ladder: pl.DataFrame) -> Any:
    """Histograms of the lead measure's and of the length's delta, a row for each pairing."""
    measures = list(dict.fromkeys([report["lead"], report["length_measure"]]))
    bins = {measure: sheet.edges(_known(pairs[delta(measure)]), 48) for measure in measures}
    drawn, lead = report["pairings"][:ROWS], report["lead"]
    if not drawn:
        return None
    ordered = kinds.ordered(report["pairings"])
    title = f"The delta of {lead} is positive in {headings.span(ordered or drawn, lead)}"
    note = "Delta: chosen − rejected. The axes end at the 1st and 99th percentile. "
    note += "The heading is of pairs by order. " if 0 < len(ordered) < len(report["pairings"]) else ""
    note += _more(report["pairings"], ROWS, "pairings")
    figure, axes = sheet.blank(title, note, (len(drawn), len(measures)), 0.55, gap=0.5, above=0.25)
    for line, pairing in zip(axes, drawn, strict=True):
        sheet.write(line[0], kinds.sides(pairing), (0, 1), (0, 18), "axes fraction", fontweight="bold")
        own = _of(pairs, pairing)
        for place, measure in zip(line, measures, strict=True):
            sheet.histogram(place, _known(own[delta(measure)]), bins[measure], pairing["measures"][measure])
    for place, measure in zip(axes[-1], measures, strict=True):
        place.set_xlabel(f"delta of {measure}")
        sheet.numbers(place.xaxis, 8 // len(measures))
        for above in axes[:-1, list(axes[-1]).index(place)]:
            above.set_xticklabels([])
    return figure


def _ladder(report: Report, pairs: pl.DataFrame, ladder: pl.DataFrame) -> Any:
    """Strengths with intervals, a column for each scorer; a step that runs against the recipe's order is marked."""
    rungs = report["ladder"][:POINTS]
    known = [name for name in report["scorers"] if any(rung["strength"][name] is not None for rung in rungs)]
    scorers = known[:SCORERS]
    if not scorers:
        return None
    title = f"{scorers[0]}: {headings.ladder(rungs, scorers[0])}"
    note = "Rungs in the recipe’s order, strongest first; bars are 95 % intervals, dashes a step against the order. "
    names = [sheet.short(rung[MODEL], 26) for rung in rungs]
    note += _more(known, SCORERS, "scorers") + _more(report["ladder"], POINTS, "rungs")
    figure, axes = sheet.blank(title, note, (1, len(scorers)), 0.34 * len(rungs) + 0.1, left=sheet.room(names))
    for number, (place, scorer) in enumerate(zip(axes[0], scorers, strict=True)):
        _strengths(place, rungs, scorer)
        place.set(title=sheet.short(scorer, 24), xlabel="strength (log-odds)")
        sheet.rows(place, names if number == 0 else [""] * len(names))
    return figure


def _strengths(axes: Any, rungs: Sequence[Report], scorer: str) -> None:
    values = [rung["strength"][scorer] for rung in rungs]
    for upper, lower in headings.steps(rungs, scorer):
        look = {"color": NEGATIVE, "linestyle": "--"} if values[upper] < values[lower] else {"color": LINE}
        axes.plot([values[upper], values[lower]], [upper, lower], linewidth=1.2, zorder=1, **look)
    for row, (rung, value) in enumerate(zip(rungs, values, strict=True)):
        if value is not None:
            limits = rung["strength_ci95"][scorer] or (value, value)
            sheet.interval(axes, row, value, limits, POSITIVE)
            edge = ("axes fraction", "data")
            sheet.write(axes, signed(value), (1, row), (-2, 0), edge, ha="right", va="center_baseline", fontsize=8)
    axes.axvline(0, color=LINE, linewidth=0.8, zorder=0)
    sheet.stretch(axes, 0.08, 0.42)
    sheet.numbers(axes.xaxis, 3)


def _quality(report: Report, pairs: pl.DataFrame, ladder: pl.DataFrame) -> Any:
    """How the delta of the lead scorer depends on how good chosen is."""
    lead, pairings = report["lead"], kinds.ordered(report["pairings"])
    if lead not in report["scorers"]:
        return None
    panels = [
        _panel(pairing, _joined(pairs, pairing, ladder, CHOSEN, lead), delta(lead)) for pairing in pairings[:PANELS]
    ]
    if not any(x.size for _, x, _ in panels):
        return None
    scores, deltas = (np.concatenate([panel[side] for panel in panels]) for side in (1, 2))
    title = headings.quality(lead, scores, deltas)
    note = _more(pairings, PANELS, "pairings") + _left_out(report)
    return sheet.maps(title, note, panels, f"{lead} of chosen", f"delta of {lead}")


def _length(report: Report, pairs: pl.DataFrame, ladder: pl.DataFrame) -> Any:
    """Delta of the lead measure against that of length; where length leads, against the length of rejected."""
    lead, length, pairings = report["lead"], report["length_measure"], kinds.ordered(report["pairings"])
    if lead == length and length not in ladder.columns:
        return None
    panels = []
    for pairing in pairings[:PANELS]:
        own = _of(pairs, pairing).with_columns(pl.col(delta(length)).alias(ACROSS))
        if lead == length:
            own = _joined(pairs, pairing, ladder, REJECTED, length)
        panels.append(_panel(pairing, own, delta(lead)))
    if not any(x.size for _, x, _ in panels):
        return None
    title = headings.length(pairings, lead, length)
    name = f"{length} of rejected" if lead == length else f"delta of {length}"
    note = _more(pairings, PANELS, "pairings") + _left_out(report)
    return sheet.maps(title, note, panels, name, f"delta of {lead}")


def _panel(pairing: Report, pairs: pl.DataFrame, measure: str) -> Panel:
    both = pairs.select(pl.col(ACROSS, measure).cast(pl.Float64)).drop_nulls()
    return kinds.sides(pairing), both[ACROSS].to_numpy(), both[measure].to_numpy()


def _joined(pairs: pl.DataFrame, pairing: Report, ladder: pl.DataFrame, side: str, column: str) -> pl.DataFrame:
    """The pairing's pairs with a figure of one side's responses, as the column ACROSS."""
    rung = ladder.filter(pl.col(MODEL) == pairing[side]).select(PROMPT_ID, SAMPLE, pl.col(column).alias(ACROSS))
    return _of(pairs, pairing).join(rung, left_on=[PROMPT_ID, of(side, SAMPLE)], right_on=[PROMPT_ID, SAMPLE])


def _funnel(report: Report, pairs: pl.DataFrame, ladder: pl.DataFrame) -> Any:
    """Pairs left after each rule, and the mean delta of the lead measure among them."""
    rules, lead, whole = report["funnel"], report["lead"], report["pairs"]
    if not rules or not whole:
        return None
    left = whole - np.cumsum([0, *(rule["dropped"] for rule in rules)])
    means = [rules[0]["delta_before"][lead]["mean"], *(rule["delta_after"][lead]["mean"] for rule in rules)]
    title = f"{count(report['kept'])} of {count(whole)} pairs are kept ({percent(report['kept'] / whole)})"
    if means[0] is not None and means[-1] is not None:
        title += f"; mean delta of {lead} {signed(means[0])}, then {signed(means[-1])}"
    names = ["all pairs", *(sheet.short(rule["rule"], 26) for rule in rules)]
    note = "Rules from top to bottom, each applied to what the one above left; in colour what it dropped."
    figure, axes = sheet.blank(title, note, (1, 2), 0.3 * len(left), left=sheet.room(names))
    bars, dots = axes[0]
    _bars(bars, left)
    sheet.rows(bars, names)
    known = [(mean, row) for row, mean in enumerate(means) if mean is not None]
    dots.axvline(0, color=INK, linewidth=0.8)
    dots.plot([mean for mean, _ in known], [row for _, row in known], "o-", color=POSITIVE, linewidth=0.8, markersize=5)
    for mean, row in known:
        sheet.write(dots, signed(mean), (mean, row), (7, 0), va="center_baseline")
    sheet.rows(dots, [""] * len(names))
    sheet.stretch(dots, 0.08, 0.5)
    dots.set_xlabel(f"mean delta of {lead}")
    sheet.numbers(dots.xaxis, 4)
    return figure


def _bars(axes: Any, left: Any) -> None:
    places, dropped = np.arange(len(left)), np.append(0, left[:-1] - left[1:])
    axes.barh(places, left, height=0.62, color=GREY, alpha=0.4, linewidth=0)
    axes.barh(places, dropped, left=left, height=0.62, color=NEGATIVE, linewidth=0)
    for row, (rest, lost) in enumerate(zip(left, dropped, strict=True)):
        sheet.write(axes, count(rest) + (f" (−{count(lost)})" if lost else ""), (0, row), (4, 0), va="center_baseline")
    axes.set(xlim=(0, left[0]), xticks=[], xlabel="pairs left")
    axes.spines["bottom"].set_visible(False)


def _agreement(report: Report, pairs: pl.DataFrame, ladder: pl.DataFrame) -> Any:
    """How often the lead measure agrees with the order, by pairing and by pool."""
    lead, pairings = report["lead"], kinds.ordered(report["pairings"])
    points, unseen = _points(pairings, lead)
    whole = [pairing["measures"][lead] for pairing in pairings if pairing["measures"][lead]["n"]]
    if not whole:
        return None
    title = headings.agreement(points[0][0], whole, lead)
    note = "Share of positive deltas, ties counted half, 95 % intervals. Hollow: 1 in 2 is possible, or fewer than "
    note += f"{FEW} pairs. {unseen}{_left_out(report)}"
    names = [sheet.two_lines(name, 30) for name, _, _ in points]
    figure, axes = sheet.blank(
        title,
        note,
        (1, 1),
        (0.3 if any("\n" in name for name in names) else 0.2) * len(points) + 0.1,
        left=sheet.room(names),
        right=0.6,
    )
    place = axes[0][0]
    for row, (_, stats, pool) in enumerate(points):
        colour = {"holds": POSITIVE, "inverts": NEGATIVE}.get(headings.said(stats), GREY)
        # A bootstrap of a handful that all agree is a point: it would look like certainty.
        limits = stats["agreement_ci95"] if stats["n"] >= FEW else None
        sheet.interval(place, row, stats["agreement"], limits or (0.0, 1.0), colour, 3.5 if pool else 5.5)
        told, shade = percent(stats["agreement"]), MUTED if pool else INK
        sheet.write(place, told, (1, row), (6, 0), ("axes fraction", "data"), va="center_baseline", color=shade)
    place.axvline(0.5, color=INK, linewidth=0.8, zorder=0)
    sheet.rows(place, names, [MUTED if pool else INK for _, _, pool in points])
    place.set_xlabel(f"agreement on {lead}")
    place.xaxis.set_major_formatter(lambda value, _: percent(value))
    return figure


def _points(pairings: Sequence[Report], lead: str) -> tuple[list[tuple[str, Report, bool]], str]:
    """Rows of the agreement picture (name, figures, whether a pool) and a line on those it has no space for."""
    most = max(POINTS // max(len(pairings), 1) - 1, 0)
    points: list[tuple[str, Report, bool]] = []
    unseen = 0
    for pairing in pairings[:POINTS]:
        pools = sorted(pairing["by_pool"].items(), key=lambda pool: -pool[1]["pairs"])
        pools = pools if len(pools) > 1 else []
        unseen += len(pools[most:])
        points.append((kinds.sides(pairing), pairing["measures"][lead], False))
        points += [(name, part["measures"][lead], True) for name, part in pools[:most]]
    told = f"{'Large pools only' if most else 'No pools'}: {count(unseen)} more in the tables. " if unseen else ""
    return [point for point in points if point[1]["n"]], told + _more(pairings, POINTS, "pairings")


def _known(values: pl.Series) -> Array:
    return values.drop_nulls().cast(pl.Float64).to_numpy()


def _of(pairs: pl.DataFrame, pairing: Report) -> pl.DataFrame:
    return pairs.filter(mixed.of_pairing(pairing))


def _left_out(report: Report) -> str:
    """Whose agreement would say nothing of the order."""
    return f"Pairs by score are left out: {kinds.picked(report['also'])}." if "also" in report else ""


def _more(items: Sequence[Any], shown: int, what: str) -> str:
    return f"The first {shown} of {len(items)} {what}; the tables have them all. " if len(items) > shown else ""


PICTURES: dict[str, Callable[[Report, pl.DataFrame, pl.DataFrame], Any]] = {
    picture.__name__[1:]: picture for picture in (_deltas, _ladder, _quality, _length, _funnel, _agreement)
}
