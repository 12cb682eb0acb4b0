"""An evaluation in words, tables and a picture; several of them side by side.

deltadata evaluate RUN --model DIR; deltadata compare RUN...
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deltadata import sheet
from deltadata.sheet import GREY, LINE, NEGATIVE, POSITIVE

Facts = Mapping[str, Any]
SHOWN = {  # quantities of held-out pairs: what they are called
    "margin": "margin",
    "margin_accuracy": "pairs with a margin above 0",
    "student_accuracy": "student prefers chosen",
    "reference_accuracy": "reference prefers chosen",
    "student_gap": "student's gap",
    "reference_gap": "reference's gap",
}
FEW = 30  # pairs below which no verdict is given: a bootstrap of so few is too sure of itself
SHARES = ("margin_accuracy", "student_accuracy", "reference_accuracy", "checks", "repetition", "refusal", "cut_off")


def number(value: float | None, share: bool = False, sign: bool = False) -> str:
    """A figure for a cell, - for none; shares in per cent."""
    if value is None:
        return "-"
    plus = "+" if sign else ""
    return f"{100 * value:{plus}.1f} %" if share else f"{value:{plus}.4g}"


def spread(told: Facts, share: bool = False, sign: bool = True, key: str = "mean") -> str:
    """A mean and its interval: +0.12 (+0.05 to +0.20)."""
    here = number(told[key], share, sign)
    ends = told["ci95"]
    return here if ends is None else f"{here} ({number(ends[0], share, sign)} to {number(ends[1], share, sign)})"


def overall(facts: Facts) -> list[dict[str, str]]:
    """A row per quantity over all held-out pairs."""
    told = facts["held_out"]["overall"]
    return [
        {"over all held-out pairs": SHOWN[name], "mean (95 %)": spread(told[name], name in SHARES, name not in SHARES)}
        for name in SHOWN
    ]


def by_bin(facts: Facts) -> list[dict[str, str]]:
    """A row per bin of the delta, from the smallest up."""
    return [
        {
            f"delta of {facts['measure']}": span(row),
            "pairs": str(row["pairs"]),
            "margin (95 %)": spread(row["margin"]),
            "above 0": number(row["margin_accuracy"]["mean"], True),
            "student prefers chosen": number(row["student_accuracy"]["mean"], True),
            "reference": number(row["reference_accuracy"]["mean"], True),
        }
        for row in facts["held_out"]["bins"]
    ]


def span(row: Facts) -> str:
    low, high = number(row["low"]), number(row["high"])
    return low if low == high else f"{low} to {high}"


def fresh(facts: Facts) -> list[dict[str, str]]:
    """A row per quantity of fresh answers."""
    return [
        {
            "fresh answers": name,
            "prompts": str(told["n"]),
            "reference": number(told["reference"], name in SHARES),
            "student": number(told["student"], name in SHARES),
            "difference (95 %)": spread(told, name in SHARES, key="difference"),
        }
        for name, told in facts.get("fresh", {}).get("shifts", {}).items()
    ]


def sentences(facts: Facts) -> list[str]:
    """What the figures say, and whether a bigger delta trained a bigger margin."""
    held, measure = facts["held_out"], facts["measure"]
    told = held["overall"]
    lines = [
        f"margin per token {spread(told['margin'])} over {held['pairs'] - held['unfit']} held-out pairs, above 0 in "
        f"{number(told['margin_accuracy']['mean'], True)}"
    ]
    if held["unfit"]:
        lines.append(f"{held['unfit']} pair(s) have no figure: the prompt fills the window of {facts['window']} tokens")
    if measure is None:
        return [*lines, "no deltas are published with these pairs, so there are no bins"]
    relation = held["relation"]
    if relation["ci95"] is None:
        return [*lines, f"delta of {measure} and margin: too few pairs, or one of them never varies"]
    low, high = relation["ci95"]
    verdict = "a bigger delta went with a bigger margin" if low > 0 else "no clear relation"
    verdict = "a bigger delta went with a SMALLER margin" if high < 0 else verdict
    verdict = verdict if relation["pairs"] >= FEW else f"{relation['pairs']} pairs are too few to say"
    lines.append(
        f"delta of {measure} and margin: rank correlation {relation['spearman']:+.2f} ({low:+.2f} to {high:+.2f}): "
        f"{verdict}"
    )
    return lines


def draw(facts: Facts, path: Path) -> bool:
    """Margin by bin of the delta, and what fresh answers changed; False where matplotlib is missing."""
    if not sheet.available():
        return False
    whole = {"all pairs": facts["held_out"]["overall"]}
    rows = whole | {f"{span(row)} ({row['pairs']})": row for row in facts["held_out"]["bins"]}
    title = f"{facts['name']}: margin per token {number(facts['held_out']['overall']['margin']['mean'], sign=True)}"
    note = f"Held-out pairs by delta of {facts['measure']} (pairs); means with 95 % intervals, prompts drawn. "
    note += "Right: share of pairs with a margin above 0."
    intervals(rows, ("margin", "margin_accuracy"), title, note, path)
    return True


def intervals(rows: Mapping[str, Facts], names: Sequence[str], title: str, note: str, path: Path) -> None:
    """A picture of means with intervals: a row for each of `rows`, a column for each quantity."""
    labels = [sheet.short(name, 30) for name in rows]
    with sheet.style():
        shape, height = (1, len(names)), 0.3 * len(rows) + 0.1
        figure, axes = sheet.blank(title, note, shape, height, left=sheet.room(labels), right=0.3)
        for column, name in enumerate(names):
            place, level = axes[0][column], 0.5 if name.endswith("accuracy") else 0.0
            place.axvline(level, color=LINE, linewidth=0.8, zorder=0)
            for row, told in enumerate(rows.values()):
                figure_of = told.get(name) or {"mean": None, "ci95": None}
                if figure_of["mean"] is not None:
                    sheet.interval(place, row, figure_of["mean"], figure_of["ci95"], _colour(figure_of, level))
            place.set_title(SHOWN.get(name, name))
            sheet.rows(place, labels if column == 0 else [""] * len(labels))
            sheet.numbers(place.xaxis, 4)
        sheet.save(figure, path.stem, path)


def _colour(told: Facts, level: float) -> str:
    low, high = told["ci95"] or (level, level)
    return POSITIVE if low > level else NEGATIVE if high < level else GREY
