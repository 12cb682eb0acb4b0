"""A judge's replies on disk: `judgements/<scorer>/part-00000.parquet ...`, each with the engine that gave them.

    deltadata score RECIPE

A part is written under a temporary name and renamed: what lies there is whole. Rows are found by their key alone, so
those of other recipes may lie beside them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow.compute as pc

from deltadata import parts, tables
from deltadata.engines import Completion
from deltadata.parquet import open_parquet, read_columns, write_table
from deltadata.scorer_sections import Judge
from deltadata.scorers import judging
from deltadata.store import RECORD
from deltadata.tables import JUDGEMENTS, KEY, REASON, VERDICT
from deltadata.verdicts import SAID

NESTED = "validate"  # a run inside a run, on a sample of its responses: what either was told, both know
FAILED = pl.col(REASON).str.starts_with(judging.ENGINE).fill_null(False)  # never heard, so it may be asked again
Row = dict[str, Any]
_PART = "part"
_SAYS = [KEY, VERDICT, REASON, tables.PROMPT_TOKENS, tables.RESPONSE_TOKENS]


def folder(run: Path, scorer: str) -> Path:
    return run / JUDGEMENTS.name / scorer


def known(run: Path, asked: Judge, wanted: pl.DataFrame) -> tuple[pl.DataFrame, list[dict[str, Any]]]:
    """What was said under the keys wanted, a verdict before a failure, and the engines (each once) that said it."""
    homes = [run, run / NESTED, *([run.parent] if run.name == NESTED and (run.parent / RECORD).is_file() else [])]
    files = [path for home in homes for path in sorted(folder(home, asked.name).glob("part-*.parquet"))]
    rows = [read_columns(path, _SAYS).with_columns(pl.lit(i).alias(_PART)) for i, path in enumerate(files)]
    empty = tables.empty(JUDGEMENTS).select(*_SAYS, pl.lit(0).alias(_PART))
    said = pl.concat([empty, *rows]).join(wanted, on=KEY, how="semi", maintain_order="left")
    said = said.sort(pl.col(VERDICT).is_null(), maintain_order=True).unique(KEY, keep="first", maintain_order=True)
    made_by: list[dict[str, Any]] = []
    for i in said[_PART].unique().sort():
        with open_parquet(files[i]) as file:
            facts = json.loads((file.schema_arrow.metadata or {}).get(parts.FACTS, b"{}"))
        made_by += [facts] if facts not in made_by else []
    numbers = {text: judging.number(json.loads(text), asked.form) for text in said[VERDICT].drop_nulls().unique()}
    number = said[VERDICT].replace_strict([*numbers], [*numbers.values()], default=None, return_dtype=pl.Float64)
    return said.drop(_PART).with_columns(number.alias(SAID)), made_by


def forget_failed(run: Path, scorer: str) -> None:
    """Take the judgements that were never heard out of the run's own parts."""
    for path in sorted(folder(run, scorer).glob("part-*.parquet")):
        with open_parquet(path, JUDGEMENTS.schema) as file:
            rows, told = file.read(use_threads=False), file.schema_arrow.metadata or {}
        kept = rows.filter(pc.invert(pc.fill_null(pc.starts_with(rows[REASON], judging.ENGINE), False)))
        if not kept.num_rows:
            path.unlink()
        elif kept.num_rows < rows.num_rows:
            write_table(path, kept, told)


class Writer:
    """Collects judgements and writes them as the next free part, checked, in the order they were asked for."""

    def __init__(self, run: Path, asked: Judge, facts: dict[str, Any]) -> None:
        self.rows, self._here = list[tuple[int, Row]](), folder(run, asked.name)
        self._values, self._made_by = judging.values(asked), {parts.FACTS: json.dumps(facts, sort_keys=True)}
        taken = {path.name for path in self._here.glob("part-*.parquet")}
        self._free = (name for name in map(parts.NAME.format, range(10**9)) if name not in taken)

    def add(self, row: Row, completion: Completion) -> None:
        """`row` holds who was judged: the columns of JUDGEMENTS up to the draw."""
        verdict, reason = judging.judged(completion, self._values)
        said = {
            tables.REPLY: completion.text,
            VERDICT: json.dumps(verdict) if verdict else None,
            REASON: reason,
            tables.PROMPT_TOKENS: completion.prompt_tokens,
            tables.RESPONSE_TOKENS: completion.response_tokens,
        }
        self.rows.append((completion.index, row | said))

    def flush(self) -> None:
        """Raises OutsideError when the disk is full; the part is then not there."""
        if not self.rows:
            return
        rows = [row for _, row in sorted(self.rows, key=lambda found: found[0])]
        path = self._here / next(self._free)
        part = tables.as_rows(JUDGEMENTS, {name: [row[name] for row in rows] for name in JUDGEMENTS.schema.names})
        tables.check_rows(JUDGEMENTS, pl.DataFrame(part), str(path))
        write_table(path, part, self._made_by)
        self.rows = []
