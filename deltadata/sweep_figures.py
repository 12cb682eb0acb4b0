"""What a sweep's rows came to: figures of each, gain against delta and against chosen quality, the table's cells.

    deltadata sweep CSV --json

Plain trees in, plain trees out. A gain is what the checks of fresh answers rose by, student - reference. Fits are least
squares; their intervals draw rows with replacement and know nothing of the prompts that rows share.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from deltadata import bins, eval_tables
from deltadata.agreement import Array

Tree = dict[str, Any]
Facts = Mapping[str, Any]
GAIN, DELTA, QUALITY, KEPT_QUALITY = "gain", "kept_delta", "quality", "kept_quality"
FEWEST, FEWEST_CI = 3, 5  # rows of a fit, and of its interval
LINE = 41  # points of a fitted line
SHARED = (
    "rows share prompts, responses and the student they start from: the intervals are too narrow by what they share"
)
ENDS = ("agreement", "margin_accuracy", GAIN)  # figures that have an interval, as <name>_ci95
FIGURES = {  # of a row, None where it is not known: what it is
    "measure": "the measure that the report leads with",
    "pairs": "pairs before the filter",
    "kept": "pairs after it",
    "delta": "mean delta of all pairs",
    DELTA: "mean delta of the kept pairs",
    "agreement": "how often the measure agrees with the order, all pairs that go by it",
    QUALITY: "mean score of the chosen responses, all pairs",
    KEPT_QUALITY: "the same of the kept pairs",
    "loss": "of the last step",
    "margin_accuracy": "share of held-out pairs with a margin above 0",
    "checks_before": "mean check score of fresh answers, reference",
    "checks_after": "student",
    GAIN: "their difference by prompt",
}


def of_data(report: Facts) -> Tree:
    """A row's figures from its report; what chose the sides of all pairs has no agreement with their order."""
    lead, pairings = report["lead"], report["pairings"]
    before, after = report["funnel"][0]["delta_before"][lead], report["funnel"][-1]["delta_after"][lead]
    one = pairings[0] if len(pairings) == 1 else None
    picked = report.get("by") == lead
    return {
        "measure": lead,
        "picked": picked,
        "pairs": report["pairs"],
        "kept": report["kept"],
        "delta": before["mean"],
        DELTA: after["mean"],
        "agreement": None if picked else before["agreement"],
        "agreement_ci95": one["measures"][lead]["agreement_ci95"] if one and not picked else None,
        "pairing": [one["chosen"], one["rejected"]] if one else None,
        "rungs": [rung["model"] for rung in report["ladder"]],
    }


def of_training(facts: Facts) -> Tree:
    """A row's figures from the record of its training."""
    return {"loss": facts["last"].get("loss")}


def of_evaluation(facts: Facts) -> Tree:
    """A row's figures from its evaluation; without checks there is no gain."""
    accuracy = facts["held_out"]["overall"]["margin_accuracy"]
    told = facts.get("fresh", {}).get("shifts", {}).get("checks", {})
    return {
        "margin_accuracy": accuracy["mean"],
        "margin_accuracy_ci95": accuracy["ci95"],
        "checks_before": told.get("reference"),
        "checks_after": told.get("student"),
        GAIN: told.get("difference"),
        f"{GAIN}_ci95": told.get("ci95"),
    }


def fits(rows: Sequence[Facts], seed: int) -> Tree:
    """The gain's fit against delta and chosen quality of what was trained on; None where there is none."""
    return {name: fit(*_both(rows, name), seed) for name in (DELTA, KEPT_QUALITY)}


def _both(rows: Sequence[Facts], name: str) -> tuple[Array, Array]:
    """What rows of the first one's measure have of a figure and of the gain."""
    known = [row for row in rows if row.get(name) is not None and row.get(GAIN) is not None]
    known = [row for row in known if row["measure"] == known[0]["measure"]]
    return np.array([row[name] for row in known], float), np.array([row[GAIN] for row in known], float)


def fit(x: Array, y: Array, seed: int) -> Tree | None:
    """Least squares of y on x: {"slope", "ci95", "n", "x", "line", "band"}; the line at `x` with its 95 % band.

    None below FEWEST rows or where all x are one; no interval below FEWEST_CI rows.
    """
    if x.size < FEWEST or np.ptp(x) == 0:
        return None
    grid = np.linspace(x.min(), x.max(), LINE)

    def drawn(weights: Array) -> Array:
        total = weights.sum(axis=1, keepdims=True)
        middle, level = (weights @ x)[:, None] / total, (weights @ y)[:, None] / total
        off = weights * (x - middle)
        spread = (off * (x - middle)).sum(axis=1, keepdims=True)
        spread[spread < 1e-9 * np.ptp(x) ** 2] = np.nan  # one x drawn again and again has no slope
        slope = (off * (y - level)).sum(axis=1, keepdims=True) / spread
        return np.concatenate([slope, level + slope * (grid - middle)], axis=1)

    slope, *line = drawn(np.ones((1, x.size)))[0].tolist()
    told: Tree = {"slope": slope, "ci95": None, "n": x.size, "x": grid.tolist(), "line": line, "band": None}
    if x.size >= FEWEST_CI:
        told["ci95"], *told["band"] = bins.bootstrap(np.arange(x.size), drawn, seed)
    return told


def heat(rows: Sequence[Facts]) -> Tree | None:
    """Chosen by rejected: {"of", "rungs", "cells"}, of the gain, or of the delta until there is one.

    None unless at least two pairings of one ladder are there and every row is one; rows of one pairing are averaged.
    """
    known = [row for row in rows if row.get("kept") is not None]
    if not known or any(row["pairing"] is None for row in known) or len({row["ladder"] for row in known}) > 1:
        return None
    of = GAIN if any(row.get(GAIN) is not None for row in known) else DELTA
    found: dict[tuple[str, str], list[float]] = {}
    for row in known:
        if row.get(of) is not None:
            found.setdefault(tuple(row["pairing"]), []).append(row[of])
    if len(found) < 2:
        return None
    cells = [
        {"chosen": chosen, "rejected": rejected, "value": sum(values) / len(values), "rows": len(values)}
        for (chosen, rejected), values in found.items()
    ]
    used = {name for pairing in found for name in pairing}
    return {"of": of, "rungs": [name for name in known[0]["rungs"] if name in used], "cells": cells}


def table(told: Facts) -> list[dict[str, Any]]:
    """The rows of sweep.csv: name, overrides by column, state, figures, each interval's ends beside its figure."""
    found = []
    for row in told["rows"]:
        line = {"name": row["name"]} | {column: row["overrides"].get(column) for column in told["columns"]}
        line |= {"state": row["state"], "why": row["why"]}
        for name in FIGURES:
            line[name] = row.get(name)
            if name in ENDS:
                low, high = row.get(f"{name}_ci95") or (None, None)
                line |= {f"{name}_low": low, f"{name}_high": high}
        found.append(line)
    return found


def overview(told: Facts) -> list[dict[str, str]]:
    """Row, overrides and state, for the screen."""
    last = {column: column.rpartition(".")[2] for column in told["columns"]}
    short = last if len(set(last.values())) == len(last) else {column: column for column in last}
    return [
        {
            "row": row["name"],
            "overrides": ", ".join(f"{short[key]} {value}" for key, value in row["overrides"].items()) or "-",
            "state": row["state"],
        }
        for row in told["rows"]
    ]


def data(rows: Sequence[Facts]) -> list[dict[str, str]]:
    """What the pairs are, a line for each row that has them."""
    return [
        {
            "row": row["name"],
            "pairs": str(row["pairs"]),
            "kept": str(row["kept"]),
            "delta": eval_tables.number(row["delta"], sign=True),
            "of kept": eval_tables.number(row[DELTA], sign=True),
            "agree (95 %)": "it picked" if row.get("picked") else _shares(row, "agreement"),
            "chosen": eval_tables.number(row[QUALITY]),
        }
        for row in rows
        if row.get("kept") is not None
    ]


def students(rows: Sequence[Facts]) -> list[dict[str, str]]:
    """What training made of them, a line for each row that was trained."""
    return [
        {
            "row": row["name"],
            "loss": eval_tables.number(row["loss"]),
            "margin > 0": eval_tables.number(row.get("margin_accuracy"), True),
            "checks": " → ".join(eval_tables.number(row.get(f"checks_{when}"), True) for when in ("before", "after")),
            "gain (95 %)": _shares(row, GAIN, sign=True),
        }
        for row in rows
        if "loss" in row
    ]


def _shares(row: Facts, name: str, sign: bool = False) -> str:
    """52.1 (48.0 to 56.2), in per cent."""
    told = {"mean": row.get(name), "ci95": row.get(f"{name}_ci95")}
    return eval_tables.spread(told, True, sign).replace(" %", "")


def sentences(told: Facts) -> list[str]:
    """What the fits say, and why there is nothing to fit."""
    lines, known = [], [row for row in told["rows"] if row.get("kept") is not None]
    if known and all(row[QUALITY] is None for row in known):
        lines.append(f"no scorer: these deltas are of {known[0]['measure']}, which says nothing of quality")
    if any("margin_accuracy" in row for row in known) and all(row.get(GAIN) is None for row in known):
        lines.append("no gain: no prompt that was held out carries a check")
    fitted = False
    for name, what in ((DELTA, "delta of the kept pairs"), (KEPT_QUALITY, "mean score of their chosen side")):
        if (found := told["fits"][name]) is not None:
            lines.append(f"gain against {what}: {said(found)}")
            fitted = True
    return [*lines, SHARED] if fitted else lines


def said(found: Facts) -> str:
    """A fit in words: slope, interval and what follows."""
    slope = f"{found['slope']:+.3g} for each 1, {found['n']} rows"
    if found["ci95"] is None:
        return f"{slope}: too few for an interval"
    low, high = found["ci95"]
    verdict = "rises" if low > 0 else "FALLS" if high < 0 else "no clear slope"
    return f"{slope} ({low:+.3g} to {high:+.3g}): {verdict}"
