"""`deltadata sweep`: one run for each row of a CSV, all of them on ladders that are made once.

deltadata sweep recipes/sweeps/*.csv --until evaluate --dry-run
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deltadata.cli_types import Sets
from deltadata.ends import resumable
from deltadata.errors import OutsideError, UserError

if TYPE_CHECKING:
    from deltadata.screen import Screen
    from deltadata.sweep import Asked
    from deltadata.sweep_rows import Sweep


def sweep(
    csv: Annotated[list[Path], typer.Argument(metavar="CSV...", help="a row for each run: a name, and keys to set")],
    recipe: Annotated[
        Path | None, typer.Option(help="the base recipe [default: what `# Recipe:` in the CSV names]")
    ] = None,
    until: Annotated[str, typer.Option(help="dataset, train or evaluate")] = "dataset",
    only: Annotated[list[str], typer.Option(help="this row alone; may be given again")] = [],
    launch: Annotated[
        str | None, typer.Option(help="start each training by it: 'accelerate launch --config_file FILE'")
    ] = None,
    set_: Sets = [],
    run: Annotated[Path | None, typer.Option("--run", help="the sweep's folder [default: runs/<CSV's name>]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="rebuild what the recipes no longer describe")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would be done; change nothing")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="every sweep.json on stdout, by name")] = False,
) -> None:
    """One run for each row of a CSV over a base recipe; what rows share is generated once; resumes."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        cure = "start `deltadata sweep` alone, and give the launcher with --launch"
        raise UserError("a sweep is one process, its trainings may be several", where="WORLD_SIZE", cure=cure)
    if run is not None and len(csv) > 1:
        raise UserError("one folder for several sweeps", where="--run", cure="give one CSV, or leave --run out")
    from deltadata import sweep as sweeps
    from deltadata import sweep_plan, sweep_rows
    from deltadata.screen import Screen

    tables = [sweep_rows.load(path, recipe, set_) for path in csv]
    jobs = {}
    for table in tables:
        asked = sweeps.Asked(run or Path("runs") / table.name, until, tuple(only), launch, overwrite)
        sweeps.check(table, asked)
        if table.name in jobs:
            raise UserError(f"two sweeps are called {table.name!r}", where="CSV", cure="give them one by one")
        jobs[table.name] = table, asked
    screen, found = Screen(), {}
    for name, (table, asked) in jobs.items():
        if dry_run:
            found[name] = sweep_plan.planned(table, asked)
            _show_plan(screen, found[name], asked)
            continue
        with resumable(asked.folder, "finished rows, tables and parts are"):
            found[name] = sweeps.sweep(table, asked, screen)
        _show(screen, found[name], table, asked)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
    _end_badly(found, [asked.folder for _, asked in jobs.values()])


def _show(screen: Screen, told: dict[str, Any], table: Sweep, asked: Asked) -> None:
    """The rows, their data, their students, what the fits say, where it lies."""
    from deltadata import sweep, sweep_figures

    screen.rows(f"sweep {told['sweep']} over {table.base}", sweep_figures.overview(told))
    if rows := sweep_figures.data(told["rows"]):
        measures = ", ".join(dict.fromkeys(row["measure"] for row in told["rows"] if row.get("measure")))
        screen.rows(f"delta of {measures}, chosen - rejected; agreement in %", rows)
    if rows := sweep_figures.students(told["rows"]):
        screen.rows("students on held-out pairs, and fresh answers' checks in %", rows)
    for line in sweep_figures.sentences(told):
        screen.note(line)
    picture = f"picture: {asked.folder / sweep.PICTURE}" if told["picture"] else "no picture yet"
    screen.note(f"table: {asked.folder / sweep.CSV_FILE}; numbers: {asked.folder / sweep.JSON_FILE}; {picture}")
    later = [*sweep.STAGES][[*sweep.STAGES].index(asked.until) + 1 :]
    if later and all(row.recipe.train.student for row in table.rows):
        screen.note(f"next: --until {later[-1]}")


def _show_plan(screen: Screen, told: dict[str, Any], asked: Asked) -> None:
    from deltadata import sweep_plan

    screen.rows(f"{asked.folder}, a dry run: nothing is changed", sweep_plan.overview(told))
    screen.rows("ladders, each made once", sweep_plan.ladders(told))
    if told["unused"]:
        screen.note(f"no row has {', '.join(told['unused'])} any more; what they hold is taken over where it fits")


def _end_badly(found: dict[str, Any], folders: list[Path]) -> None:
    """Raises UserError when rows failed of what the user can mend alone, OutsideError when one failed of more."""
    rows = [row for told in found.values() for row in told["rows"]]
    failed = [row for row in rows if row["state"] == "failed"]
    if not failed:
        return
    what = f"{len(failed)} of {len(rows)} rows failed: {', '.join(row['name'] for row in failed)}"
    where, after = ", ".join(map(str, folders)), "finished rows are skipped"
    if all(row["exit_code"] == UserError.exit_code for row in failed):
        raise UserError(what, where=where, cure=f"mend what was said of them; {after}")
    raise OutsideError(what, where=where, cure=f"run the same command again; {after}")
