"""Scores that already exist, by prompt, rung and sample.

score: [{name: gpt4_turbo, scores: preferences.csv}]      # columns prompt or prompt_id, model, [sample,] score

With `each: completions` they are items of a list in that column (see `nested`), beside the responses or not.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from deltadata import tables
from deltadata.errors import UserError, did_you_mean
from deltadata.nested import read_each
from deltadata.parquet import open_parquet
from deltadata.recipe import Recipe
from deltadata.rows import LOOK_AHEAD, BadRow, Row, conversation, no_such_column, resolve, text
from deltadata.scorer_sections import Imported
from deltadata.tables import MODEL, PROMPT_ID, SAMPLE, SCORE, SCORER, SCORES

_SCHEMA = {PROMPT_ID: pl.String, MODEL: pl.String, SAMPLE: pl.UInt32, SCORE: pl.Float64}
_PLACE, _NOT_GIVEN = "row", "N/A"


class ImportedScores(NamedTuple):
    """`scores` has the columns of tables.SCORES; `counts` how many rows were read = matched + unmatched (no such
    prompt, or no such response) + left_out; `stranger` is the place of the first that matched nothing."""

    scores: pa.Table
    counts: dict[str, int]
    stranger: str


def imported_scores(asked: Imported, recipe: Recipe, recipe_dir: Path, responses: pl.DataFrame) -> ImportedScores:
    """The file's scores of these responses (their keys), in its order; an empty score is null.

    Raises UserError for a column that is missing, a name that is no rung, a score that is no finite number, two scores
    of one response, or when nothing matches.
    """
    rows = _at_once(asked, recipe_dir)
    rows = (_one_by_one(asked, recipe, recipe_dir) if rows is None else rows).with_row_index(_PLACE)
    rungs: dict[str, str | None] = {rung.name: rung.name for rung in recipe.generate.rungs}
    rungs |= asked.models
    _refuse_names(asked, recipe_dir, rows, rungs)
    # Rung by rung: one join over all of them would hold several copies of all keys.
    matched, taken, strangers = [rows[:0]], 0, list[int]()
    for rung in dict.fromkeys(rungs.values()):
        names = [name for name, whose in rungs.items() if whose == rung]
        mine = rows.filter(pl.col(MODEL).is_in(names)).with_columns(pl.lit(rung).alias(MODEL))
        if rung is None or mine.is_empty():
            continue
        known = _known(mine, responses.filter(pl.col(MODEL) == rung))
        taken += mine.height
        strangers += mine.filter(~known)[_PLACE].head(1).to_list()
        matched.append(mine.filter(known))
        _refuse_twice(asked, recipe_dir, matched[-1])
    found = pl.concat(matched)
    counts = {"read": rows.height, "matched": found.height, "unmatched": taken - found.height}
    stranger = _place(asked, recipe_dir, min(strangers)) if strangers else ""
    if not counts["matched"]:
        raise _nothing(asked, counts, stranger, _other_samples(rows, responses, rungs))
    scores = found.sort(_PLACE).with_columns(pl.lit(asked.name).alias(SCORER)).select(SCORES.schema.names).to_arrow()
    return ImportedScores(scores.cast(SCORES.schema), counts | {"left_out": rows.height - taken}, stranger)


def _known(rows: pl.DataFrame, responses: pl.DataFrame) -> pl.Series:
    """Whether each row is of one of these responses, all of one rung."""
    key = [tables.id_number(), pl.col(SAMPLE)]
    there = responses.select(*key, pl.lit(True).alias("there"))
    return (
        rows.select(key)
        .join(there, on=[PROMPT_ID, SAMPLE], how="left", maintain_order="left")["there"]
        .fill_null(False)
    )


def _at_once(asked: Imported, recipe_dir: Path) -> pl.DataFrame | None:
    """The rows of a parquet file of ids, names and finite numbers; None for any other, which is read row by row."""
    if asked.each or asked.prompt != PROMPT_ID or not str(asked.scores).endswith(".parquet"):
        return None
    wanted = [PROMPT_ID, asked.model, asked.score]
    with open_parquet(resolve(str(asked.scores), recipe_dir), cure="fetch or write the file again") as file:
        names = file.schema_arrow.names
        if not {*wanted} <= {*names} or SAMPLE in names:
            return None
        rows = pl.DataFrame(file.read(columns=wanted, use_threads=False))
    rows = rows.select(PROMPT_ID, pl.col(asked.model).alias(MODEL), pl.col(asked.score).alias(SCORE))
    if rows.dtypes[:2] != [pl.String, pl.String] or not rows[SCORE].dtype.is_float() or rows[SCORE].is_infinite().any():
        return None
    if rows[PROMPT_ID].null_count() or rows[MODEL].null_count():
        return None
    score = pl.col(SCORE).cast(pl.Float64).fill_nan(None)
    return rows.select(PROMPT_ID, MODEL, pl.lit(0, pl.UInt32).alias(SAMPLE), score)


def _one_by_one(asked: Imported, recipe: Recipe, recipe_dir: Path) -> pl.DataFrame:
    """The rows of any file. Raises UserError with the place of the first that cannot be used."""
    columns: dict[str, list[Any]] = {name: [] for name in _SCHEMA}
    numbered, seen = _numbered(asked, recipe), Counter[tuple[str, str]]()
    for row in _rows(asked, recipe_dir):
        try:
            found = _score(row, asked)
        except BadRow as why:
            refuse_columns(asked, recipe_dir)
            raise UserError(f"scorer {asked.name!r}: {why}", where=row.where, cure="mend that row") from None
        prompt_id, model, sample, score = found
        if model in numbered and SAMPLE not in (row.value or {}):
            sample = seen[prompt_id, model]
            seen[prompt_id, model] += 1
        for name, value in zip(columns, (prompt_id, model, sample, score), strict=True):
            columns[name].append(value)
    refuse_columns(asked, recipe_dir)  # scores may all be null for want of the column
    return pl.DataFrame(columns, schema=_SCHEMA)


def _numbered(asked: Imported, recipe: Recipe) -> set[str]:
    """The names of which a rung takes every response of these very lists: its samples are numbered as they come there,
    and so are their scores. Anywhere else a second score of a prompt wants a column with the sample."""
    same = [rung for rung in recipe.generate.rungs if (rung.responses, rung.each) == (asked.scores, asked.each)]
    return {str(rung.select[asked.model]) for rung in same if asked.each and [*rung.select] == [asked.model]}


def _rows(asked: Imported, recipe_dir: Path, every: bool = False) -> Iterator[Row]:
    """The file's rows, with the columns that are asked for or with every one."""
    wanted = None if every else [asked.prompt, asked.model, asked.score, SAMPLE]
    return read_each(str(asked.scores), recipe_dir, wanted, asked.each, f"scorer {asked.name!r}")


def refuse_columns(asked: Imported, recipe_dir: Path) -> None:
    """Raises UserError when a column that is needed is in none of the first LOOK_AHEAD rows."""
    first = [row.value for row in islice(_rows(asked, recipe_dir), LOOK_AHEAD) if row.value is not None]
    known = {name for value in first for name in value}
    for column in (asked.prompt, asked.model, asked.score):
        if first and column not in known:
            ids = PROMPT_ID if column == asked.prompt else None
            found = _rows(asked, recipe_dir, every=True)
            raise no_such_column(column, str(asked.scores), recipe_dir, f"scorer {asked.name!r}", ids, found)


def _place(asked: Imported, recipe_dir: Path, number: int) -> str:
    """Where a row stands; only asked for to tell of it."""
    return next(islice(_rows(asked, recipe_dir), number, None)).where


def _score(row: Row, asked: Imported) -> tuple[str, str, int, float | None]:
    """A row's prompt_id, name, sample and score. Raises BadRow."""
    if row.value is None:
        raise BadRow(row.problem)
    values = row.value
    name, given = text(values.get(asked.model), asked.model), values.get(asked.prompt)
    by_id = asked.prompt == PROMPT_ID
    prompt_id = text(given, asked.prompt) if by_id else tables.prompt_id(conversation(given, asked.prompt))
    return prompt_id, name, _sample(values.get(SAMPLE)), _number(values.get(asked.score), asked.score)


def _sample(given: Any) -> int:
    """The index of a sample; none given is the first."""
    if given is None or given == "" or given != given:
        return 0
    number = _number(given, SAMPLE)
    if number is None or number < 0 or number != int(number):
        raise BadRow(f"{SAMPLE} is no index: {given!r:.40}")
    return min(int(number), 2**32 - 1)  # a sample that no table could hold is nobody's


def _number(given: Any, column: str) -> float | None:
    """A finite number, or null for nothing: an empty cell, NaN, or "N/A", as UltraFeedback writes a rating that was not
    given. CSV has numbers as text, and UltraFeedback its ratings."""
    if given is None or given in ("", _NOT_GIVEN) or given != given:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float | str) or "_" in str(given):
        raise BadRow(f"{column} is no number: {given!r:.40}")
    try:
        number = float(given)
    except (ValueError, OverflowError):
        raise BadRow(f"{column} is no number: {given!r:.40}") from None
    if math.isinf(number):
        raise BadRow(f"{column} is infinite")
    return None if math.isnan(number) else number


def _refuse_names(asked: Imported, recipe_dir: Path, rows: pl.DataFrame, rungs: dict[str, str | None]) -> None:
    """Raises UserError with the names that are no rung's, all at once."""
    names = rows.unique(MODEL, keep="first", maintain_order=True).select(MODEL, _PLACE).rows()
    nobody = [(name, place) for name, place in names if name not in rungs]
    if not nobody:
        return
    known = sorted({rung for rung in rungs.values() if rung})
    told = [
        f"{name!r} (first at {_place(asked, recipe_dir, place)}; {did_you_mean(name, known)})"
        for name, place in nobody[:5]
    ]
    more = f" and {len(nobody) - 5} more" if len(nobody) > 5 else ""
    mapping = ", ".join(f"{name}: null" for name, _ in nobody)
    raise UserError(
        f"scorer {asked.name!r}: no rung is called {', '.join(told)}{more}",
        where=asked.scores,
        cure=f"say whose rung each is, or null to leave it out: `models: {{{mapping}}}`",
    )


def _refuse_twice(asked: Imported, recipe_dir: Path, matched: pl.DataFrame) -> None:
    """Raises UserError with both places of the first response that has two scores."""
    twice = matched.filter(~pl.struct(tables.id_number(), SAMPLE).is_first_distinct())
    if twice.is_empty():
        return
    key = [PROMPT_ID, SAMPLE]
    first = matched.join(twice[:1].select(key), on=key, how="semi")[_PLACE].min()
    what = f"a second score for this response; the first is at {_place(asked, recipe_dir, int(str(first)))}"
    raise UserError(
        f"scorer {asked.name!r}: {what}",
        where=_place(asked, recipe_dir, twice[_PLACE][0]),
        cure="keep one score for each prompt, model and sample",
    )


def _other_samples(rows: pl.DataFrame, responses: pl.DataFrame, rungs: dict[str, str | None]) -> bool:
    """Whether some rows are of responses that the run has, but for the sample."""
    named = rows.select(PROMPT_ID, pl.col(MODEL).replace_strict(rungs, return_dtype=pl.String))
    key = [tables.id_number(), pl.col(MODEL)]
    there = responses.select(tables.id_number(), pl.col(MODEL).cast(pl.String))
    return not named.select(key).join(there, on=[PROMPT_ID, MODEL], how="semi").is_empty()


def _nothing(asked: Imported, counts: dict[str, int], stranger: str, other_samples: bool) -> UserError:
    """Why not one response has a score."""
    if counts["unmatched"]:
        what = f"scorer {asked.name!r}: none of its {counts['unmatched']} scores is of a response of this run"
        cure = f"point `prompt:` at the column with the pools' prompts, or with {PROMPT_ID}; texts must be equal"
        if other_samples:
            what += f": prompts and rungs are there, the column {SAMPLE!r} names others of their samples"
            cure = f"number the samples of each prompt from 0, or leave the column {SAMPLE!r} out where there is one"
        return UserError(what, where=stranger, cure=cure)
    what = f"scorer {asked.name!r}: the file has no scores of any rung"
    return UserError(what, where=asked.scores, cure="give a file with rows, or map its names in `models:`")
