"""`deltadata theory`: the logistic-regression study as a table, theory.json and theory.png.

deltadata theory --quick --out theory
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.table import Table

JSON_FILE, PICTURE_FILE = "theory.json", "theory.png"


def theory(
    out: Annotated[Path, typer.Option(help="the folder that theory.json and theory.png go to")] = Path("theory"),
    as_json: Annotated[bool, typer.Option("--json", help="theory.json on stdout")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="fewer dimensions and steps: seconds, not a minute")] = False,
    seed: Annotated[int, typer.Option(help="of everything drawn", min=0)] = 0,
) -> None:
    """Delta learning in logistic regression, predicted and simulated: two weak teachers, one better student."""
    from deltadata import theory_picture, theory_study
    from deltadata.screen import Screen
    from deltadata.store import atomic, disk

    screen, began = Screen(), time.monotonic()
    with disk(out):
        out.mkdir(parents=True, exist_ok=True)
    told = theory_study.study(theory_study.QUICK if quick else theory_study.Plan(), seed, screen.note)
    text = json.dumps(told, ensure_ascii=False, indent=1)
    with atomic(out / JSON_FILE) as path:
        path.write_text(text + "\n", encoding="utf-8")
    drawn = theory_picture.draw(told, out / PICTURE_FILE)
    if as_json:
        print(text)
        return
    screen.console.print(table(told))
    for line in lines(told):
        screen.note(line)
    picture = f"open {out / PICTURE_FILE}" if drawn else "no picture: pip install 'deltadata-toolkit[report]'"
    screen.note(f"{picture}; numbers: {out / JSON_FILE}; {time.monotonic() - began:.0f} s")


def table(told: dict[str, Any]) -> Table:
    """One row a setting, the upper line predicted, the lower one simulated. Fits 80 columns."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    rows = [cells(row, told["plan"]) for row in told["settings"]]
    title = "cosine of the student with the truth; upper line predicted, lower line simulated"
    made = Table(title=title, title_justify="left", box=SIMPLE_HEAD, padding=(0, 1, 0, 0), show_edge=False)
    for number, column in enumerate(rows[0]):
        made.add_column(column, justify="right" if number else "left", no_wrap=True)
    for row in rows:
        made.add_row(*row.values(), end_section=True)
    return made


def cells(row: dict[str, Any], plan: dict[str, Any]) -> dict[str, str]:
    """What the table says of one setting, by heading."""
    given, dpo, sft = row["setting"], row["dpo"], row["sft"]
    shared = f", {given['shared']:g}" if given["shared"] else ""
    teachers = f"{given['student']:g}: {given['chosen']:g} > {given['rejected']:g}{shared}"
    return {
        "setting": f"{row['name']}\n{teachers.replace('0.', '.')}",
        "DPO\nbest": _two(dpo, "best"),
        "at\nstep": f"{dpo['predicted']['step']}\n{dpo['simulated']['step']}",
        f"at\n{plan['late']}": _two(dpo, "late"),
        "accuracy\nto, %": "\n".join(_shares(dpo[kind]["accuracy"]) for kind in ("predicted", "simulated")),
        f"SFT\nat {plan['early']}": _two(sft, "early"),
        "SFT\nbest": _two(sft, "best"),
        f"at\n{plan['sft_steps']}": _two(sft, "end"),
        "ok": "yes" if all(check["holds"] for check in row["checks"]) else "NO",
    }


def _two(arm: dict[str, Any], figure: str) -> str:
    return f"{arm['predicted'][figure]:.4f}\n{arm['simulated'][figure]:.4f}"


def _shares(accuracies: list[float]) -> str:
    return " ".join(f"{100 * share:.1f}" for share in accuracies)


def lines(told: dict[str, Any]) -> list[str]:
    """What the table has no place for: whole vectors, first steps, checks, and whose formulas these are."""
    plan, whole = told["plan"], told["whole"]
    arms = [row[arm] for row in told["settings"] for arm in ("dpo", "sft")]
    farthest = max(arm["farthest"] for arm in arms)
    return [
        "setting: student: chosen > rejected, and how far their errors are the student's own (all cosines)",
        f"{plan['dimension']} dimensions, {plan['batch']} x a step, rate {plan['rate']:g}, seed {told['seed']}; means "
        f"of {plan['dpo_draws']} draws (SFT {plan['sft_draws']}); best: the highest point of a curve",
        f"all {len(arms)} curves: at no step farther than {farthest:.4f} from the predicted one",
        f"{whole['name']} with every number of x drawn: DPO's best {whole['best']:.4f} at step {whole['step']}, "
        f"{whole['draws']} draw(s)",
        f"the first step helps, random teachers: formula (with the noise of {plan['share_batch']} x), simulated (95 %)",
        *map(_first, told["first_step"]),
        f"{told['checks'] - len(told['failed'])} of {told['checks']} checks hold",
        *(f"  ! {what}" for what in told["failed"]),
        "where no errors are shared, SFT that stops early gains too, and more than DPO; shared errors make it lose",
        told["source"],
    ]


def _first(point: dict[str, Any]) -> str:
    formula, noisy, found = (_percent(point[key]) for key in ("predicted", "predicted_of_batch", "simulated"))
    low, high = map(_percent, point["ci95"])
    return f"  {point['dimension']:5d} dimensions: {formula} ({noisy}), {found} of {point['draws']} ({low} - {high})"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
