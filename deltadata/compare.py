"""Several evaluations side by side: one table, one picture.

    deltadata compare runs/a runs/b/evaluate/dpo

Figures are told as they were measured, each against its own reference; what makes two of them unlike (other held-out
pairs, another reference) is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deltadata import eval_tables, evaluate, sheet, suite
from deltadata.errors import UserError

DRAWN = ("margin", "margin_accuracy")
TABLES = {
    "held-out pairs": ("pairs", "margin (95 %)", "above 0", "delta ~ margin"),
    "fresh answers, student - reference (95 %)": ("checks", "tokens"),
    "benchmarks, plain mean in per cent": ("suite",),
}


def found(places: Sequence[Path]) -> dict[str, dict[str, Any]]:
    """The evaluations of run folders (all of them) or of evaluation folders, by a name that tells them apart.

    Raises UserError when a folder has none.
    """
    folders: list[Path] = []
    for place in places:
        if (place / evaluate.FILE).is_file():
            folders.append(place)
            continue
        inside = sorted(path.parent for path in (place / evaluate.FOLDER).glob(f"*/{evaluate.FILE}"))
        if not inside:
            cure = "deltadata evaluate RUN --model DIR makes one"
            raise UserError("no evaluation here", where=str(place), cure=cure)
        folders += inside
    folders = list(dict.fromkeys(folders))
    told = {folder: evaluate.read(folder) for folder in folders}
    names = [f"{facts['run']}/{facts['name']}" for facts in told.values()]
    return {
        name if names.count(name) == 1 else str(folder): facts
        for name, (folder, facts) in zip(names, told.items(), strict=True)
    }


def rows(told: dict[str, dict[str, Any]]) -> list[dict[str, str]]:
    """A row per student: margin, accuracies, relation to the delta, what fresh answers changed, the suite's mean."""
    return [
        {
            "student": name,
            "pairs": str(facts["held_out"]["pairs"]),
            "margin (95 %)": eval_tables.spread(facts["held_out"]["overall"]["margin"]),
            "above 0": eval_tables.number(facts["held_out"]["overall"]["margin_accuracy"]["mean"], True),
            "prefers chosen": eval_tables.number(facts["held_out"]["overall"]["student_accuracy"]["mean"], True),
            "delta ~ margin": eval_tables.number(facts["held_out"]["relation"]["spearman"], sign=True),
            "checks": _shift(facts, "checks"),
            "tokens": _shift(facts, "tokens"),
            "suite": suite.mean_told(facts["suite"].get("student", {})),
        }
        for name, facts in told.items()
    ]


def tables(told: dict[str, dict[str, Any]]) -> dict[str, list[dict[str, str]]]:
    """The rows as tables by title, narrow enough for a terminal; one without any figure is left out."""
    whole, found = rows(told), {}
    for title, columns in TABLES.items():
        part = [{name: row[name] for name in ("student", *columns)} for row in whole]
        if any(row[name] != "-" for row in part for name in columns):
            found[title] = part
    return found


def _shift(facts: dict[str, Any], name: str) -> str:
    told = facts.get("fresh", {}).get("shifts", {}).get(name)
    if told is None:
        return "-"
    return eval_tables.spread(told, name in eval_tables.SHARES, key="difference")


def unlike(told: dict[str, dict[str, Any]]) -> list[str]:
    """What keeps these figures from being compared as they stand."""
    lines = []
    for what, key in (("held-out pairs", "dataset"), ("reference", "reference")):
        if len({facts[key]["digest"] for facts in told.values()}) > 1:
            lines.append(f"not of the same {what}: figures of other {what} are no comparison of students")
    if len({facts["limit"] for facts in told.values()}) > 1:
        lines.append("not of as many held-out pairs (--limit)")
    return lines


def draw(told: dict[str, dict[str, Any]], path: Path) -> bool:
    """Margin and accuracy of each student with intervals; False where matplotlib is missing."""
    if not sheet.available():
        return False
    shown = {name: facts["held_out"]["overall"] for name, facts in told.items()}
    title = f"{len(shown)} students on held-out pairs"
    note = "Margin per token against each student's own reference; 95 % intervals, prompts drawn."
    path.parent.mkdir(parents=True, exist_ok=True)
    eval_tables.intervals(shown, DRAWN, title, note, path)
    return True
