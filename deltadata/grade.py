"""Responses to scores by a scorer that looks at one response at a time, in parts that are written as they finish.

    deltadata score RECIPE

A part of scores is made of one part of responses (of a slice of it, where a model scores) and carries what it was made
of in its footer: only new or changed ones are scored, and a kill loses one at most.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import count, tee
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from deltadata import parts, tables
from deltadata.generate import Progress
from deltadata.parquet import TextColumn, groups, open_parquet, read_columns, write_table
from deltadata.scorers import Asked, Scorer
from deltadata.tables import META, PROMPT, PROMPT_ID, RESPONSE, SCORE, SCORER, SCORES, fingerprint

MADE_OF, NOTES, FACTS = parts.DIGEST, b"deltadata.notes", parts.FACTS


class Unit(NamedTuple):
    """Responses that are scored together: rows `start` to `start + rows` of a part."""

    path: Path
    start: int
    rows: int
    made_of: str


class Graded(NamedTuple):
    """Of all parts: what the scorer noted, in sum, and what its engines said of themselves, different facts once."""

    notes: dict[str, int]
    made_by: list[dict[str, Any]]


class Handed(NamedTuple):
    """A unit that the scorer was given, the keys of its rows and their numbers; neither is there before it is taken."""

    unit: Unit
    keys: dict[str, list[Any]]
    numbers: Iterator[float | None]


def grade(
    home: Path,
    name: str,
    spec: Any,
    scorer: Scorer,
    prompts_file: Path,
    ladder: dict[str, parts.Parts],
    rows: int | None,
    progress: Progress,
) -> Graded:
    """Score what has no part in `home` yet, `rows` responses a part (None: as they lie), and remove what is gone."""
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
        for handed in _one_ahead(_handed(unit, scorer, prompts) for unit in todo):
            _write(home / next(free), name, handed, scorer, progress)
        progress.rung_done()
    for gone in made.keys() - wanted:
        made[gone].unlink()
    return graded(home)


def graded(home: Path) -> Graded:
    """What the footers of all parts say."""
    notes: Counter[str] = Counter()
    made_by: list[dict[str, Any]] = []
    for path in sorted(home.glob("part-*.parquet")):
        _, noted, facts = footer(path)
        notes.update(noted)
        if facts and facts not in made_by:
            made_by.append(facts)
    return Graded(dict(sorted(notes.items())), made_by)


def footer(path: Path) -> tuple[str, dict[str, int], dict[str, Any]]:
    """What a part of scores was made of, what its scorer noted, and what its engine said of itself."""
    with open_parquet(path) as file:
        told = file.schema_arrow.metadata or {}
    return told.get(MADE_OF, b"").decode(), json.loads(told.get(NOTES, b"{}")), json.loads(told.get(FACTS, b"{}"))


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


def _handed(unit: Unit, scorer: Scorer, prompts: Prompts) -> Handed:
    keys: dict[str, list[Any]] = {column: [] for column in tables.RESPONSES.key}
    ours, theirs = tee(_answered(unit, prompts, keys))
    return Handed(unit, keys, scorer.score((asked for asked, _ in ours), (text for _, text in theirs)))


def _answered(unit: Unit, prompts: Prompts, keys: dict[str, list[Any]]) -> Iterator[tuple[Asked, str]]:
    """Prompt and text of the unit's responses, their keys added to `keys`; one that failed has no score."""
    for group in _rows(unit):
        answered = group.filter(group[RESPONSE].is_valid())
        for column, found in keys.items():
            found += answered[column].to_pylist()
        asked = prompts.asked(pl.Series(answered[PROMPT_ID]))
        yield from zip(asked, (text.as_py() for text in answered[RESPONSE]), strict=True)


def _one_ahead(all_handed: Iterable[Handed]) -> Iterator[Handed]:
    """Each of them when the next one is handed over too, so that who scores does not wait for who writes."""
    waiting = None
    for handed in all_handed:
        if waiting:
            yield waiting
        waiting = handed
    if waiting:
        yield waiting


def _write(place: Path, name: str, handed: Handed, scorer: Scorer, progress: Progress) -> None:
    """Take a unit's numbers and write its part."""
    scorer.notes.clear()
    found = []
    for number in handed.numbers:
        found.append(number)
        progress.advance(0, False)
    table = tables.as_rows(SCORES, handed.keys | {SCORER: [name] * len(found), SCORE: found})
    tables.check_rows(SCORES, pl.DataFrame(table), str(place))
    told = {NOTES: json.dumps(scorer.notes), FACTS: json.dumps(scorer.engine_facts)}
    write_table(place, table, {MADE_OF: handed.unit.made_of} | told)


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
