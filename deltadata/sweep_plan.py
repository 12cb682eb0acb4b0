"""What a sweep would do, for --dry-run: nothing is written, nobody is asked.

    deltadata sweep CSV --dry-run

A ladder's plan names the rungs that are still to be answered and by how many responses, those whose responses another
recipe made, and what comes of these: they are refused, or MADE ANEW with --overwrite.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from deltadata import parts, run, sweep, sweep_figures, sweep_shared, sweep_stages, tables
from deltadata.job import PROMPTS, Job
from deltadata.parquet import read_columns
from deltadata.screen import Screen
from deltadata.sections import Rung
from deltadata.store import RECORD, Drift, Entry, Run, changes, read_record
from deltadata.sweep import STAGES, Asked
from deltadata.sweep_rows import LADDER, Row, Sweep
from deltadata.sweep_stages import Making
from deltadata.tables import PROMPT_ID, SAMPLE, fingerprint

Tree = dict[str, Any]
Record = dict[str, Entry]
REFUSED, ANEW, TO_DO, LADDER_REFUSED = "refused", "made anew", "to do", "ladder refused"


def planned(table: Sweep, asked: Asked) -> Tree:
    """sweep.json as things stand; each row with the stages it `would` go through, and the plans of ladders."""
    record = read_record(asked.folder)[1] if (asked.folder / RECORD).exists() else {}
    found, making = sweep.told(table, asked, record), Making(asked.folder, Screen(), None, asked.overwrite)
    wanted = [row for row in table.rows if not asked.only or row.name in asked.only]
    ladders: dict[str, Tree] = {}
    for row in wanted:
        name = table.ladder_of(row)
        ladders.setdefault(name, _ladder(table, row, making) | {"rows": 0})["rows"] += 1
    for row, told in zip(table.rows, found["rows"], strict=True):
        told |= _row(table, row, asked, making, told, ladders[told["ladder"]]) if row in wanted else {"would": []}
    return found | {"ladders": [*ladders.values()], "unused": unused(table, asked)}


def unused(table: Sweep, asked: Asked) -> list[str]:
    """Ladders that lie in the sweep's folder and that no row has."""
    used = {table.ladder_of(row) for row in table.rows}
    return sorted(path.parent.name for path in asked.folder.glob(f"{LADDER}*/{RECORD}") if path.parent.name not in used)


def _row(table: Sweep, row: Row, asked: Asked, making: Making, told: Tree, ladder: Tree) -> Tree:
    """A row of a ladder with something to do begins anew, since what it was made from changes."""
    done, drifts = told["state"].removeprefix("done: "), sweep_stages.drifted(table, row, making)
    begin = 0 if done not in STAGES or drifts or ladder[TO_DO] else [*STAGES].index(done) + 1
    refused = bool(ladder[REFUSED])
    would = [] if refused or (drifts and not making.overwrite) else asked.stages[begin:]
    return {"would": would, LADDER_REFUSED: refused} | _told(drifts, making)


def _told(drifts: Sequence[Drift], making: Making) -> Tree:
    """What drifted, by table with its changed fields, under what would come of it."""
    here, there = (ANEW, REFUSED) if making.overwrite else (REFUSED, ANEW)
    return {here: {drift.table: changes(drift.old, drift.new) for drift in drifts}, there: {}}


def _ladder(table: Sweep, row: Row, making: Making) -> Tree:
    """What making the row's ladder would take; a count is null where the prompts are not collected yet."""
    name = table.ladder_of(row)
    job = Job(Run(making.folder / name, name), sweep_shared.common(row.recipe, name), table.base, making.screen)
    spec, inputs = run.prompts_of(job)
    others = sweep_shared.beside(making.folder, name, fingerprint([spec, inputs]))
    known = [job.run.path] if job.run.state(PROMPTS, spec, inputs, job.prompts_file) == "done" else [*others]
    ids = read_columns(known[0] / tables.PROMPTS_FILE, [PROMPT_ID]) if known else None
    counts = {rung.name: _lacks(job, rung, [*others.values()], ids) for rung in job.recipe.generate.rungs}
    asked = {rung: count for rung, count in counts.items() if count != 0}
    records = [job.run.record, *others.values()]
    unscored = [one.name for one in job.recipe.score if not any(tables.scores_name(one.name) in had for had in records)]
    drifts = run.drifted_tables(job)
    found = {"ladder": name, "rungs": len(counts), "to be answered": asked, "to be scored by": unscored}
    return found | {TO_DO: bool(asked or unscored or drifts or not known)} | _told(drifts, making)


def _lacks(job: Job, rung: Rung, others: Sequence[Record], ids: pl.DataFrame | None) -> int | None:
    """How many responses would be asked for; those of an imported rung are read, and never asked for."""
    if rung.responses:
        return 0
    samples, spec = job.recipe.generate.sampling_of(rung).samples, parts.spec_of(job.recipe, rung, job.recipe_dir)
    if ids is None:
        return None
    have = parts.read(job.run.path, rung.name)
    if not have.files:
        there = [had[tables.ladder_name(rung.name)].rows for had in others if sweep_shared.has_rung(had, job, rung)]
        return max(ids.height * samples - max(there, default=0), 0)
    if not all(parts.same(old, spec) for old in have.specs):
        return ids.height * samples
    return ids.height * samples - have.keys.filter(pl.col(SAMPLE) < samples).join(ids, on=PROMPT_ID, how="semi").height


def overview(told: Tree) -> list[dict[str, str]]:
    """The rows of a plan, for the screen."""
    return [
        line | {"ladder": row["ladder"], "would be done": _would(row)}
        for line, row in zip(sweep_figures.overview(told), told["rows"], strict=True)
    ]


def _would(row: Tree) -> str:
    if row.get(REFUSED):
        return f"{REFUSED} without --overwrite: {_kinds(row[REFUSED])}"
    anew = f"; {ANEW}: {_kinds(row[ANEW])}" if row.get(ANEW) else ""
    return (", ".join(row["would"]) or ("refused with its ladder" if row.get(LADDER_REFUSED) else "nothing")) + anew


def _kinds(drifts: Tree) -> str:
    """Responses, scores, pairs: of which rungs or scorers the JSON says."""
    return ", ".join(dict.fromkeys(table.partition("/")[0] for table in drifts))


def ladders(told: Tree) -> list[dict[str, Any]]:
    """The ladders of a plan, for the screen."""
    found = []
    for one in told["ladders"]:
        line = {"ladder": one["ladder"], "rows": one["rows"], "rungs": one["rungs"]}
        line["to be answered"] = ", ".join(_count(*rung) for rung in one["to be answered"].items()) or "none"
        if one[REFUSED]:
            line["to be answered"] += f"; {REFUSED} without --overwrite: {_kinds(one[REFUSED])}"
        if one[ANEW]:
            line["to be answered"] += f"; {ANEW}: {_kinds(one[ANEW])}"
        found.append(line)
    return found


def _count(rung: str, count: int | None) -> str:
    return rung if count is None else f"{rung} {count:,}"
