"""RESPONSES to SCORES: what each response is worth to every scorer of the recipe.

    deltadata score RECIPE

A score belongs to a response, never to a pair: any pairing then gets its delta by a join and a subtraction. A part of
scores is made of one part of responses and knows what it was made of, so that only new or changed parts are scored.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa

from deltadata import parts, tables
from deltadata.errors import UserError
from deltadata.generate import Progress
from deltadata.imported_scores import imported_scores, refuse_columns
from deltadata.layouts import messages
from deltadata.parquet import TextColumn, groups, open_parquet, read_columns, write_table
from deltadata.recipe import Recipe
from deltadata.rows import BadRow, digest, read_rows
from deltadata.scorers import Asked, BadCheck, Scorer, open_scorer
from deltadata.sections import Score
from deltadata.store import Run
from deltadata.tables import META, MODEL, PROMPT, PROMPT_ID, RESPONSE, SCORE, SCORER, SCORES, fingerprint

_SHOWN_COUNTS = ("matched", "unmatched", "left_out")


class Scored(NamedTuple):
    """How many responses have a score now, and what the record keeps."""

    rows: int
    facts: dict[str, Any]


def folder(run: Path, scorer: str) -> Path:
    return run / SCORES.name / scorer


def spec_of(asked: Score) -> dict[str, Any]:
    """The fields that shape a scorer's numbers."""
    idle = {"form", "column"} if asked.scores else {"scores", "prompt", "model", "score", "models"}
    return asked.model_dump(exclude=idle | {"license"})


def inputs_of(asked: Score, recipe_dir: Path) -> dict[str, Any]:
    """What a scorer reads beside prompts and responses. Raises UserError when the file is not there."""
    return {"file": digest(asked.scores, recipe_dir)} if asked.scores else {}


def read(run: Path, scorer: str) -> pl.DataFrame:
    """All scores of a scorer: the response's key, and a column with the scorer's name."""
    files = sorted(folder(run, scorer).glob("part-*.parquet"))
    frames = [tables.empty(SCORES), *(read_columns(path, SCORES.schema.names) for path in files)]
    return pl.concat(frames).drop(SCORER).rename({SCORE: scorer})


def score(
    run: Run, recipe: Recipe, recipe_dir: Path, asked: Score, ladder: dict[str, parts.Parts], progress: Progress
) -> Scored:
    """Complete one scorer's parts.

    Raises UserError for a file of scores, or a check of a prompt, that cannot be used.
    """
    if asked.scores:
        facts = _import(run, recipe, recipe_dir, asked, ladder, progress)
    else:
        scorer = open_scorer(asked.name, **_settings(asked))
        _grade(run, asked, scorer, ladder, progress)
        facts = scorer.facts
    scores = read(run.path, asked.name)
    tables.check_keys(SCORES, scores.with_columns(pl.lit(asked.name).alias(SCORER)), str(folder(run.path, asked.name)))
    known = pl.col(asked.name).is_not_null()
    by_rung = (
        scores.group_by(MODEL).agg(known.sum().alias("graded"), pl.col(asked.name).mean().alias("mean")).sort(MODEL)
    )
    graded = scores.select(known.sum()).item()
    total = sum(of_rung.rows for of_rung in ladder.values())
    progress.note(f"{asked.name}: {graded} of {total} responses have a score{'' if graded else _why_none(asked)}")
    return Scored(graded, facts | {"rungs": by_rung.sort(MODEL).to_dicts(), "responses": total})


def _why_none(asked: Score) -> str:
    if asked.scores:
        return f"; {asked.score!r} of {asked.scores} is empty in every row that matches"
    return f"; no prompt carries what it grades: is {asked.column!r} among the columns that a pool's `keep` names?"


def _import(
    run: Run, recipe: Recipe, recipe_dir: Path, asked: Score, ladder: dict[str, parts.Parts], progress: Progress
) -> dict[str, Any]:
    """One part with all that the file has."""
    found = imported_scores(asked, recipe, recipe_dir, pl.concat(of_rung.keys for of_rung in ladder.values()))
    path = folder(run.path, asked.name) / parts.NAME.format(0)
    tables.check_rows(SCORES, pl.DataFrame(found.scores), str(path))
    write_table(path, found.scores)
    said = ", ".join(f"{found.counts[what]} {what.replace('_', ' ')}" for what in _SHOWN_COUNTS)
    first = f" (the first at {found.stranger})" if found.stranger else ""
    progress.note(f"{asked.name}: {found.counts['read']} scores read, {said}{first}")
    return found.counts


def _grade(run: Run, asked: Score, scorer: Scorer, ladder: dict[str, parts.Parts], progress: Progress) -> None:
    """Score the parts of responses that have no part of scores yet; remove those of responses that are gone."""
    here = folder(run.path, asked.name)
    made = {_made_of(path): path for path in sorted(here.glob("part-*.parquet"))}
    free = (name for name in map(parts.NAME.format, count()) if not (here / name).exists())
    prompts = _Prompts(run.path / tables.PROMPTS_FILE)
    wanted: set[str] = set()
    for rung, of_rung in ladder.items():
        todo = []
        for path, part_digest in zip(of_rung.files, of_rung.digests, strict=True):
            carried = prompts.carried(read_columns(path, [PROMPT_ID])[PROMPT_ID])
            wanted.add(made_of := fingerprint([spec_of(asked), scorer.facts, rung, part_digest, carried]))
            todo += [(path, made_of)] if made_of not in made else []
        if not todo:
            continue
        progress.rung(f"{asked.name} of {rung}", sum(_height(path) for path, _ in todo), 0)
        for path, made_of in todo:
            rows = pa.concat_tables(_scored(group, asked.name, scorer, prompts, progress) for group in groups(path))
            place = here / next(free)
            tables.check_rows(SCORES, pl.DataFrame(rows), str(place))
            write_table(place, rows, {parts.DIGEST: made_of})
        progress.rung_done()
    for gone in made.keys() - wanted:
        made[gone].unlink()


def _made_of(path: Path) -> str:
    with open_parquet(path) as file:
        told: bytes = (file.schema_arrow.metadata or {}).get(parts.DIGEST, b"")
    return told.decode()


def _height(path: Path) -> int:
    with open_parquet(path) as file:
        rows: int = file.metadata.num_rows
    return rows


def _scored(group: pa.Table, name: str, scorer: Scorer, prompts: _Prompts, progress: Progress) -> pa.Table:
    """The scores of some responses; one that failed has none."""
    answered = group.filter(group[RESPONSE].is_valid())
    asked = prompts.asked(pl.Series(answered[PROMPT_ID]))
    found = []
    for number in scorer.score(asked, (text.as_py() for text in answered[RESPONSE])):
        found.append(number)
        progress.advance(0, False)
    keys = {column: answered[column].to_pylist() for column in tables.RESPONSES.key}
    return tables.as_rows(SCORES, keys | {SCORER: [name] * len(found), SCORE: found})


class _Prompts:
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


def refuse_early(run: Path, recipe: Recipe, recipe_dir: Path) -> None:
    """What can be known to be wrong before any response exists.

    Raises UserError for a file of scores that is not there or lacks a column, and, with file and line, for the first
    prompt that a scorer cannot use.
    """
    for asked in recipe.score:
        if asked.scores:
            refuse_columns(asked, recipe_dir)
            continue
        scorer = open_scorer(asked.name, **_settings(asked))
        ids = read_columns(run / tables.PROMPTS_FILE, [PROMPT_ID])[PROMPT_ID]
        for prompt_id, prompt in zip(ids, _Prompts(run / tables.PROMPTS_FILE).asked(ids), strict=True):
            try:
                scorer.refuse(prompt)
            except BadCheck as why:
                where = _place(prompt_id, recipe, recipe_dir)
                raise UserError(f"scorer {asked.name!r}: {why}", where=where, cure="mend the prompt's check") from None


def _settings(asked: Score) -> dict[str, Any]:
    return {key: value for key, value in spec_of(asked).items() if key != "name"}


def _place(prompt_id: str, recipe: Recipe, recipe_dir: Path) -> str:
    """File and line of a prompt in its pool."""
    for pool in recipe.collect.pools:
        for row in read_rows(pool.path, recipe_dir, [pool.prompt]):
            try:
                prompt = messages((row.value or {}).get(pool.prompt), pool.prompt, pool.take)
            except BadRow:
                continue
            if tables.prompt_id(prompt) == prompt_id:
                return row.where
    return f"{PROMPT_ID} {prompt_id}"
