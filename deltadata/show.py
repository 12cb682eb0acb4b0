"""What a run folder holds: its record, or some rows of a table.

deltadata show runs/quickstart
deltadata show runs/quickstart pairs --rows 2 --json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl

from deltadata import tables
from deltadata.errors import UserError, did_you_mean
from deltadata.parquet import groups
from deltadata.store import read_record


def record_rows(run: Path) -> list[dict[str, Any]]:
    """One row per finished table: name, rows, seconds, when, fingerprint. Raises UserError when there is no run."""
    return [
        {
            "table": name,
            "rows": entry.rows,
            "seconds": entry.seconds,
            "finished": entry.finished,
            "fingerprint": entry.fingerprint,
        }
        for name, entry in read_record(run)[1].items()
    ]


def table_rows(run: Path, table: str, rows: int) -> list[dict[str, Any]]:
    """The first rows of a table, as JSON values. Raises UserError for a table that is not there."""
    read_record(run)
    files = {name: [run / f"{name}.parquet"] for name in (tables.PROMPTS.name, tables.LEFT_OUT_NAME, tables.PAIRS_NAME)}
    for kind in (tables.RESPONSES.name, tables.SCORES.name):
        for folder in sorted((run / kind).glob("*")):
            files[f"{kind}/{folder.name}"] = sorted(folder.glob("part-*.parquet"))
    there = {name: paths for name, paths in files.items() if paths and paths[0].exists()}
    if table not in there:
        raise UserError(f"no table {table!r} here", where=str(run), cure=did_you_mean(table, there))
    found: list[dict[str, Any]] = []
    for path in there[table]:
        for group in groups(path):
            found += group.slice(0, rows - len(found)).to_pylist()
            if len(found) >= rows:
                return found
    return found


def explain(run: Path, prompt_id: str) -> list[dict[str, Any]]:
    """One prompt's life: where it is from or why it was left out, its responses, scores and pairs.

    Raises UserError for an id (or the beginning of one) that the run has not seen, or that several prompts share.
    """
    read_record(run)
    found = [{"collect": "taken"} | row for row in _rows_of(run / tables.PROMPTS_FILE, prompt_id)]
    left_out = [{"collect": "left out"} | row for row in _rows_of(run / tables.LEFT_OUT_FILE, prompt_id)]
    ids = {row[tables.PROMPT_ID] for row in [*found, *left_out]}
    if len(ids) != 1:
        what = "no prompt has this id" if not ids else f"{len(ids)} prompts have ids that begin so"
        raise UserError(what, where=f"{run}: {prompt_id}", cure=f"see ids with: deltadata show {run} prompts")
    for kind in (tables.RESPONSES.name, tables.SCORES.name):
        for path in sorted((run / kind).glob("*/part-*.parquet")):
            found += [{kind: path.parent.name} | row for row in _rows_of(path, prompt_id)]
    pairs = [{"pair": "dropped" if row[tables.DROPPED_BY] else "kept"} | row for row in _pairs_of(run, prompt_id)]
    return [*left_out, *found, *pairs]


def _rows_of(path: Path, prompt_id: str) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    mine = pl.scan_parquet(path).filter(pl.col(tables.PROMPT_ID).str.starts_with(prompt_id))
    return mine.collect(engine="streaming").to_dicts()


def _pairs_of(run: Path, prompt_id: str) -> list[dict[str, Any]]:
    text = {tables.PROMPT, *tables.SIDES}
    return [
        {name: value for name, value in row.items() if name not in text}
        for row in _rows_of(run / tables.PAIRS_FILE, prompt_id)
    ]
