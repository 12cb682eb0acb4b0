"""Responses to scores by a scorer that looks at one response at a time, in parts that are written as they finish.

    deltadata score RECIPE

A part of scores is made of one part of responses (of a slice of it, where a model scores) and carries what it was made
of in its footer: only new or changed ones are scored, and a kill loses one at most.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from deltadata import parts, tables
from deltadata.generate import Progress
from deltadata.parquet import TextColumn, groups, open_parquet, read_columns, write_table
from deltadata.scorers import Asked, Scorer
from deltadata.tables import META, PROMPT, PROMPT_ID, RESPONSE, SCORE, SCORER, SCORES, fingerprint

MADE_OF, NOTES = parts.DIGEST, b"deltadata.notes"


class Unit(NamedTuple):
    """Responses that are scored together: rows `start` to `start + rows` of a part."""

    path: Path
    start: int
    rows: int
    made_of: str


def grade(
    home: Path,
    name: str,
    spec: Any,
    scorer: Scorer,
    prompts_file: Path,
    ladder: dict[str, parts.Parts],
    rows: int | None,
    progress: Progress,
) -> dict[str, int]:
    """Score what has no part in `home` yet, `rows` responses a part (None: as they lie), and remove what is gone.

    Returns what the scorer noted of all parts, in sum.
    """
    made = {footer(path)[0]: path for path in sorted(home.glob("part-*.parquet"))}
    free = (part for part in map(parts.NAME.format, count()) if not (home / part).exists())
    prompts = Prompts(prompts_file)
    wanted: set[str] = set()
    for rung, of_rung in ladder.items():
        units = list(_units(of_rung, rung, spec, scorer, prompts, rows))
        wanted |= {unit.made_of for unit in units}
        todo = [unit for unit in units if unit.made_of not in made]
        if not todo:
            continue
        progress.rung(
            f"{name} of {rung}", sum(unit.rows for unit in units), sum(u.rows for u in units if u not in todo)
        )
        for unit in todo:
            scorer.notes.clear()
            table = pa.concat_tables(_scored(group, name, scorer, prompts, progress) for group in _rows(unit))
            place = home / next(free)
            tables.check_rows(SCORES, pl.DataFrame(table), str(place))
            write_table(place, table, {MADE_OF: unit.made_of, NOTES: json.dumps(scorer.notes)})
        progress.rung_done()
    for gone in made.keys() - wanted:
        made[gone].unlink()
    notes: Counter[str] = Counter()
    for path in home.glob("part-*.parquet"):
        notes.update(footer(path)[1])
    return dict(sorted(notes.items()))


def footer(path: Path) -> tuple[str, dict[str, int]]:
    """What a part of scores was made of, and what its scorer noted."""
    with open_parquet(path) as file:
        told = file.schema_arrow.metadata or {}
    return told.get(MADE_OF, b"").decode(), json.loads(told.get(NOTES, b"{}"))


def _units(
    of_rung: parts.Parts, rung: str, spec: Any, scorer: Scorer, prompts: Prompts, rows: int | None
) -> Iterator[Unit]:
    for path, digest in zip(of_rung.files, of_rung.digests, strict=True):
        height = _height(path)
        carried = prompts.carried(read_columns(path, [PROMPT_ID])[PROMPT_ID]) if scorer.reads_meta else None
        step = rows or max(height, 1)
        for start in range(0, max(height, 1), step):
            taken = min(step, height - start)
            whole = taken == height
            told = [spec, scorer.facts, rung, digest, carried if whole else [carried, start, taken]]
            yield Unit(path, start, taken, fingerprint(told))


def _rows(unit: Unit) -> Iterator[pa.Table]:
    """The unit's responses, a row group of their part at a time."""
    before, end = 0, unit.start + unit.rows
    for group in groups(unit.path):
        begin = max(unit.start - before, 0)
        mine = group.slice(begin, max(0, end - before - begin))
        if len(mine) or not before:
            yield mine
        before += len(group)
        if before >= end:
            return


def _height(path: Path) -> int:
    with open_parquet(path) as file:
        rows: int = file.metadata.num_rows
    return rows


def _scored(group: pa.Table, name: str, scorer: Scorer, prompts: Prompts, progress: Progress) -> pa.Table:
    """The scores of some responses; one that failed has none."""
    answered = group.filter(group[RESPONSE].is_valid())
    asked = prompts.asked(pl.Series(answered[PROMPT_ID]))
    found = []
    for number in scorer.score(asked, (text.as_py() for text in answered[RESPONSE])):
        found.append(number)
        progress.advance(0, False)
    keys = {column: answered[column].to_pylist() for column in tables.RESPONSES.key}
    return tables.as_rows(SCORES, keys | {SCORER: [name] * len(found), SCORE: found})


class Prompts:
    """The prompts table by id, its text read as it is needed."""

    def __init__(self, path: Path) -> None:
        self._texts = {column: TextColumn([path], column) for column in (PROMPT, META)}
        self._rows = read_columns(path, [PROMPT_ID]).with_row_index("row")

    def _of(self, ids: pl.Series) -> pl.Series:
        return ids.to_frame(PROMPT_ID).join(self._rows, on=PROMPT_ID, how="left", maintain_order="left")["row"]

    def carried(self, ids: pl.Series) -> str:
        """A digest of what the pools kept of these prompts."""
        rows = self._of(ids)
        kept = self._texts[META].take(rows.drop_nulls()).to_pylist()
        return fingerprint([rows.is_null().arg_true().to_list(), kept])

    def asked(self, ids: pl.Series) -> Iterator[Asked]:
        """Each prompt as a scorer sees it; one that the pools no longer have is empty."""
        for rows in self._of(ids).to_frame().iter_slices(1024):
            known = rows["row"].drop_nulls()
            found = zip(*(self._texts[column].take(known).to_pylist() for column in (PROMPT, META)), strict=True)
            for row in rows["row"]:
                messages, meta = ([], None) if row is None else next(found)
                yield Asked(messages, json.loads(meta) if meta else {})
