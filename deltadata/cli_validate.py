"""The command `deltadata validate`: does a scorer agree with the order of the rungs?

deltadata validate recipes/quickstart.yaml --sample 200 --scorer checks
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deltadata.cli_types import RecipePath, RunFolder, Sets
from deltadata.ends import resumable

if TYPE_CHECKING:
    from deltadata.screen import Screen


def validate(
    recipe: RecipePath,
    scorer: Annotated[str | None, typer.Option(help="whose scores [default: the recipe's only scorer]")] = None,
    sample: Annotated[
        int | None, typer.Option(help="prompts of a look [default: 200]", min=1, max=10_000_000, show_default=False)
    ] = None,
    at_least: Annotated[
        float | None, typer.Option(help="the agreement that is worth it [default: 0.5]", min=0.5, max=0.999)
    ] = None,
    width: Annotated[float, typer.Option(help="of an interval, for the least prompts", min=0.001, max=0.9)] = 0.1,
    looks: Annotated[
        int | None, typer.Option(help="how often you may look, planned at the first [default: 1]", min=1, max=100)
    ] = None,
    next_: Annotated[bool, typer.Option("--next", help="take the next look that was planned")] = False,
    set_: Sets = [],
    run: RunFolder = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="begin anew what the recipe no longer describes")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="the result on stdout")] = False,
) -> None:
    """Does a scorer agree with the order of the rungs on a sample of prompts, and what will the rest cost?"""
    from deltadata import validate
    from deltadata.job import Job
    from deltadata.recipe import load
    from deltadata.screen import Screen
    from deltadata.store import open_run

    found, screen = load(recipe, set_), Screen()
    place = run or Path("runs") / found.name
    asked = validate.Asked(scorer, sample, at_least, looks, next_, width)
    try:
        with resumable(place, "finished parts are"), open_run(place, found.name) as opened:
            told = validate.validate(Job(opened, found, recipe, screen, overwrite), asked)
    finally:
        screen.close()
    if as_json:
        print(json.dumps(told, ensure_ascii=False, indent=1))
    else:
        show(screen, told)


def show(screen: Screen, told: dict[str, Any]) -> None:
    """The verdicts, then the table behind them, then the cost of the whole."""
    from deltadata import outlook, validity

    for pairing in told["pairings"]:
        screen.note(pairing["sentence"])
    of_looks = f", look {told['look']} of {told['looks']}" if told["looks"] > 1 else ""
    title = f"agreement with {told['scorer']} on {told['prompts']} prompts{of_looks}"
    screen.rows(title, validity.rows(told))
    for note in validity.notes(told):
        screen.note(note)
    cost = told["cost"]
    if told["look"] < told["looks"] and told["prompts"] < cost["prompts"]:
        planned, there = (told["look"] + 1) * told["sample"], cost["prompts"]
        seen = f"all {there} prompts of the run" if planned >= there else f"{planned} prompts, as planned"
        screen.note(f"next: --next looks at {seen}")
    if left := outlook.cost_rows(cost):
        screen.rows(f"what is left for all {cost['prompts']} prompts, {cost['note']}", left)
    else:
        screen.note("cost: none, all responses and scores are imported")
