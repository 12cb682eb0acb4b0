"""What a run folder holds: its record, or some rows of a table.

deltadata show runs/quickstart
deltadata show runs/quickstart pairs --rows 2 --json
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

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
    files = {name: [run / f"{name}.parquet"] for name in (tables.PROMPTS.name, tables.PAIRS_NAME)}
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
