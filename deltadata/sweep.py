"""A sweep: one run for each row of a CSV, ladders shared, resumed, told in one table and one picture.

    deltadata sweep recipes/sweeps/qwen_pairs.csv --until evaluate

Writes runs/<sweep>/: `ladder/` (prompts, responses, scores; `ladder-.../` where rows have others), `<row>/` (a run as
any other), sweep.csv, sweep.json and sweep.png. Its record.json has a row's entry when a stage of it is done; a row
that failed is told and tried again.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from deltadata import filter, pair, strict, sweep_figures, sweep_picture, sweep_rows, sweep_stages, tables, train_args
from deltadata.errors import DeltadataError, UserError, did_you_mean
from deltadata.screen import Screen
from deltadata.store import Entry, Run, atomic, open_run, write_json
from deltadata.student import Student
from deltadata.sweep_rows import Row, Sweep
from deltadata.sweep_stages import Making
from deltadata.tables import fingerprint

CSV_FILE, JSON_FILE, PICTURE = "sweep.csv", "sweep.json", "sweep.png"
DATASET, TRAIN, EVALUATE = "dataset", "train", "evaluate"
STAGES = {DATASET: sweep_stages.dataset, TRAIN: sweep_stages.train, EVALUATE: sweep_stages.evaluation}
UNTIL = "until"
Tree = dict[str, Any]


class Asked(NamedTuple):
    """What is asked for on the command line; `only` names rows, none: all."""

    folder: Path
    until: str = DATASET
    only: tuple[str, ...] = ()
    launch: str | None = None
    overwrite: bool = False

    @property
    def stages(self) -> list[str]:
        return [*STAGES][: [*STAGES].index(self.until) + 1]


def check(sweep: Sweep, asked: Asked) -> None:
    """Raises UserError for all that can be known to be wrong before anything runs: stage, names, every row's recipe."""
    if asked.until not in STAGES:
        raise UserError(f"no stage {asked.until!r}", where="--until", cure=did_you_mean(asked.until, STAGES))
    names = [row.name for row in sweep.rows]
    for name in asked.only:
        if name not in names:
            raise UserError(f"no row is called {name!r}", where="--only", cure=did_you_mean(name, names))
    wrong = []
    for row in sweep.rows:
        try:
            _check_row(row, asked.until)
        except UserError as problem:
            wrong.append(_at_row(problem, row))
    sweep_rows.refuse(wrong)


def _check_row(row: Row, until: str) -> None:
    filter.rules(row.recipe)
    pair.planned(row.recipe)
    if until == DATASET:
        return
    section = row.recipe.train
    if section.student is None:
        raise UserError("no student is named", where="train.student", cure="name it in the base recipe or a column")
    nobody = Student(section.student, "", None, "")
    plan = train_args.Plan(section.method, section, row.recipe.seed, nobody, {}, "", "", row.places, row.where)
    train_args.arguments(plan)
    train_args.lora_config(plan)
    if until == EVALUATE and not row.recipe.holdout:
        raise UserError("is 0: nothing is held out to evaluate on", where="holdout", cure="hold some out, 0.1 say")


def _at_row(problem: UserError, row: Row) -> UserError:
    """The mistake with the row's line, and the column where one of its cells made it."""
    place = strict.place(problem.where or "", "", row.places)
    if place.startswith(row.where):
        return UserError(f"{problem.where}: {problem.what}", where=place, cure=problem.cure)
    return sweep_rows.of_row(problem, row.where)


def sweep(table: Sweep, asked: Asked, screen: Screen) -> Tree:
    """Make what is missing of the rows; returns sweep.json, in which a failed row has its reason.

    `check` comes before it. An interrupt leaves the table of what is done.
    """
    failed: dict[str, DeltadataError] = {}
    with open_run(asked.folder, _owner(table)) as opened:
        try:
            _rows(table, asked, opened, failed, screen)
        finally:
            screen.close()
            told = _written(table, asked, opened, failed)
            drawn = sweep_picture.draw(told, asked.folder / PICTURE)
    return told | {"picture": drawn}


def _rows(table: Sweep, asked: Asked, opened: Run, failed: dict[str, DeltadataError], screen: Screen) -> None:
    """Every row that is asked for in turn; what one of them fails of does not stop the others."""
    making = Making(asked.folder, screen, asked.launch, asked.overwrite)
    ladders: dict[str, str | DeltadataError] = {}
    rows = [row for row in table.rows if not asked.only or row.name in asked.only]
    for number, row in enumerate(rows, 1):
        screen.note(f"{row.name} ({number} of {len(rows)})")
        try:
            sweep_stages.refuse_drift(table, row, making)
            _row(table, row, asked, making, opened, _ladder(table, row, making, ladders))
        except DeltadataError as problem:
            screen.close()
            screen.note(f"{row.name} failed: {problem}")
            failed[row.name] = problem
        _written(table, asked, opened, failed)


def _ladder(table: Sweep, row: Row, making: Making, known: dict[str, str | DeltadataError]) -> str:
    """The row's ladder, made once; one that failed fails all its rows."""
    if row.ladder not in known:
        try:
            known[row.ladder] = sweep_stages.ladder(table, row, making)
        except DeltadataError as problem:
            known[row.ladder] = problem
    found = known[row.ladder]
    if isinstance(found, DeltadataError):
        raise found
    return found


def _row(table: Sweep, row: Row, asked: Asked, making: Making, opened: Run, ladder: str) -> None:
    """The stages of a row that are not done yet, each recorded when it is."""
    spec, inputs = _spec(row), {"ladder": ladder}
    entry = opened.record.get(row.name)
    current = entry is not None and opened.state(row.name, spec, inputs, _reached(asked.folder, row, entry)) == "done"
    facts: Tree = dict(entry.facts) if entry and current else {}
    if facts and sweep_figures.KEPT_QUALITY not in facts:
        facts |= STAGES[DATASET](table, row, making)  # recorded before there was such a figure
        opened.finish(row.name, facts["kept"], 0.0, spec, inputs, facts)
    done = [*STAGES][: [*STAGES].index(facts[UNTIL]) + 1] if facts else []
    todo = [stage for stage in asked.stages if stage not in done]
    if not todo:
        making.screen.note(f"{row.name}: nothing to do, it is done up to {facts[UNTIL]}")
    for stage in todo:
        began = time.monotonic()
        facts |= STAGES[stage](table, row, making) | {UNTIL: stage}
        opened.finish(row.name, facts["kept"], time.monotonic() - began, spec, inputs, facts)


def _spec(row: Row) -> Tree:
    return {"recipe": fingerprint(row.recipe.model_dump(mode="json", exclude={"runtime", "push"}))}


def _reached(folder: Path, row: Row, entry: Entry) -> Path:
    return sweep_stages.reached(folder, row, entry.facts[UNTIL])


def _owner(table: Sweep) -> str:
    return f"sweep {table.name}"  # no recipe has a space in its name: a run of that name is another thing


def told(
    table: Sweep, asked: Asked, record: Mapping[str, Entry], failed: Mapping[str, DeltadataError] | None = None
) -> Tree:
    """sweep.json of what the record has: rows in the order of the CSV, fits, heat map."""
    rows = [_told_row(table, row, asked, record, (failed or {}).get(row.name)) for row in table.rows]
    seed = tables.rank(table.rows[0].recipe.seed, "sweep")
    columns = [column for column in table.columns if column != sweep_rows.COLUMN]
    found: Tree = {"sweep": table.name, "recipe": str(table.base), "sets": table.sets, "columns": columns}
    found |= {"rows": rows, "fits": sweep_figures.fits(rows, seed), "heat": sweep_figures.heat(rows)}
    return found | {"note": sweep_figures.SHARED}


def _told_row(
    table: Sweep, row: Row, asked: Asked, record: Mapping[str, Entry], problem: DeltadataError | None
) -> Tree:
    entry = record.get(row.name)
    facts: Tree = {}
    if entry and entry.spec == _spec(row) and _reached(asked.folder, row, entry).exists():
        facts = dict(entry.facts)
    done = facts.pop(UNTIL, None)
    state = "failed" if problem else f"done: {done}" if done else "to do"
    told = sweep_rows.listed(row) | {"ladder": table.ladder_of(row), "state": state}
    told |= {"why": None, "exit_code": None}
    if problem:
        told |= {"why": str(problem).partition("\n")[0], "exit_code": problem.exit_code}
    return told | facts


def _written(table: Sweep, asked: Asked, opened: Run, failed: Mapping[str, DeltadataError]) -> Tree:
    """sweep.json and sweep.csv as things stand."""
    found = told(table, asked, opened.record, failed)
    write_json(asked.folder / JSON_FILE, found)
    rows = sweep_figures.table(found)
    with atomic(asked.folder / CSV_FILE) as path, path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [*rows[0]], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return found
