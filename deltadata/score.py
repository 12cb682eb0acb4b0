"""RESPONSES to SCORES: what each response is worth to every scorer of the recipe.

    deltadata score RECIPE

A score belongs to a response, never to a pair: any pairing then gets its delta by a join and a subtraction. Scores come
from a file, from a scorer that looks at each response (`grade`), from a judge (`judgements`), or from other scores
(`combine`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from deltadata import combine, judgements, models, parts, scorer_notes, tables
from deltadata.engines import HOSTED
from deltadata.errors import UserError
from deltadata.generate import Progress, fetch, runtime_for
from deltadata.grade import Prompts, grade
from deltadata.imported_scores import imported_scores, refuse_columns
from deltadata.layouts import messages
from deltadata.parquet import read_columns, write_table
from deltadata.recipe import Recipe
from deltadata.rows import BadRow, digest, read_rows
from deltadata.scorer_sections import ByModel, Checks, Combined, Imported, Judge, LogProb, RewardModel, Score
from deltadata.scorers import BadCheck, open_scorer
from deltadata.scorers.judging import ENGINE
from deltadata.store import Entry, Run
from deltadata.tables import MODEL, PROMPT_ID, SCORE, SCORER, SCORES

_SHOWN_COUNTS = ("matched", "unmatched", "left_out")
# Neither says what a number is, or is told elsewhere in a fingerprint.
_UNSHAPING = {"license", "price", "batch_tokens"}


class Scored(NamedTuple):
    """How many responses have a score now, and what the record keeps."""

    rows: int
    facts: dict[str, Any]


def folder(run: Path, scorer: str) -> Path:
    return run / SCORES.name / scorer


def spec_of(asked: Score) -> dict[str, Any]:
    """The fields that shape a scorer's numbers."""
    return asked.model_dump(exclude=_UNSHAPING)


def inputs_of(asked: Score, recipe: Recipe, recipe_dir: Path, record: Any) -> dict[str, Any]:
    """What a scorer reads beside prompts and responses. Raises UserError when the file is not there."""
    match asked:
        case Imported():
            return {"file": digest(asked.scores, recipe_dir)}
        case Combined():
            above = [*asked.of, *([asked.labels] if asked.labels else [])]
            return {"scores": {name: record[tables.scores_name(name)].fingerprint for name in above}}
        case ByModel():
            meets = judgements.meets(asked, recipe) if isinstance(asked, Judge) else []
            files = parts.model_files(asked.model)
            price = (
                asked.price.model_dump() if isinstance(asked, Judge) and asked.price else None
            )  # of the cost that is kept
            return {"engine": recipe.engine_of(asked), "model_files": files, "meets": meets, "price": price}
    return {}


def read(run: Path, scorer: str) -> pl.DataFrame:
    """All scores of a scorer: the response's key, and a column with the scorer's name."""
    files = sorted(folder(run, scorer).glob("part-*.parquet"))
    frames = [tables.empty(SCORES), *(read_columns(path, SCORES.schema.names) for path in files)]
    return pl.concat(frames).drop(SCORER).rename({SCORE: scorer})


def score(
    run: Run,
    recipe: Recipe,
    recipe_dir: Path,
    asked: Score,
    ladder: dict[str, parts.Parts],
    progress: Progress,
    retry: bool = False,
) -> Scored:
    """Complete one scorer's parts. With `retry` a judge is asked again where it failed.

    Raises UserError for a file of scores, or a check of a prompt, that cannot be used; OutsideError when a model fails.
    """
    here = folder(run.path, asked.name)
    match asked:
        case Imported():
            facts = _import(run, recipe, recipe_dir, asked, ladder, progress)
        case Judge():
            found = judgements.judge(run, recipe, asked, ladder, progress, retry)
            _write(here, asked, found.scores)
            facts = found.facts
        case Combined():
            above = [read(run.path, name) for name in asked.of]
            labels = read(run.path, asked.labels) if asked.labels else None
            combined = combine.combine(asked, above, labels, recipe.seed)
            _write(here, asked, combined.scores)
            facts = combined.facts
        case _:
            facts = _grade(run, recipe, asked, ladder, progress)
    scores = read(run.path, asked.name)
    tables.check_keys(SCORES, scores.with_columns(pl.lit(asked.name).alias(SCORER)), str(here))
    known = pl.col(asked.name).is_not_null()
    by_rung = (
        scores.group_by(MODEL).agg(known.sum().alias("graded"), pl.col(asked.name).mean().alias("mean")).sort(MODEL)
    )
    graded = scores.select(known.sum()).item()
    total = sum(of_rung.rows for of_rung in ladder.values())
    why = _why_null(facts) or ("" if graded else _why_none(asked))
    progress.note(f"{asked.name}: {graded} of {total} responses have a score{why}")
    return Scored(graded, facts | {"rungs": by_rung.to_dicts(), "responses": total})


def failed(entry: Entry | None) -> bool:
    """Whether a judge was not heard for some response, so that it may be asked again."""
    nulls = entry.facts.get("nulls", {}) if entry else {}
    return any(kind.startswith(ENGINE.strip()) for kind in nulls)


def _why_null(facts: dict[str, Any]) -> str:
    """The reasons that a scorer has counted; a judge's are of judgements, and told as they come."""
    if facts.get("scorer") == "judge":
        return ""
    counted = facts.get("nulls") or {why: n for why, n in facts.get("notes", {}).items() if why != scorer_notes.CUT}
    return f"; the others: {scorer_notes.reasons(counted)}" if counted else ""


def _why_none(asked: Score) -> str:
    match asked:
        case Imported():
            return f"; {asked.score!r} of {asked.scores} is empty in every row that matches"
        case Checks():
            return (
                f"; no prompt carries what it grades: is {asked.column!r} among the columns that a pool's `keep` names?"
            )
    return ""


def _write(here: Path, asked: Score, scores: pl.DataFrame) -> None:
    """One part with all of a scorer's scores: the response's key and SCORE."""
    path = here / parts.NAME.format(0)
    named = scores.with_columns(pl.lit(asked.name).alias(SCORER)).select(SCORES.schema.names)
    tables.check_rows(SCORES, named, str(path))
    write_table(path, named.to_arrow().cast(SCORES.schema))


def _import(
    run: Run, recipe: Recipe, recipe_dir: Path, asked: Imported, ladder: dict[str, parts.Parts], progress: Progress
) -> dict[str, Any]:
    """One part with all that the file has."""
    found = imported_scores(asked, recipe, recipe_dir, pl.concat(of_rung.keys for of_rung in ladder.values()))
    _write(folder(run.path, asked.name), asked, pl.DataFrame(found.scores))
    said = ", ".join(f"{found.counts[what]} {what.replace('_', ' ')}" for what in _SHOWN_COUNTS)
    first = f" (the first at {found.stranger})" if found.stranger else ""
    progress.note(f"{asked.name}: {found.counts['read']} scores read, {said}{first}")
    return found.counts


def _grade(
    run: Run,
    recipe: Recipe,
    asked: Checks | RewardModel | LogProb,
    ladder: dict[str, parts.Parts],
    progress: Progress,
) -> dict[str, Any]:
    """By a scorer that looks at one response at a time."""
    spec: list[Any] = [spec_of(asked)]
    rows, runtime, licence = None, dict[str, Any](), dict[str, Any]()
    if isinstance(asked, ByModel):
        licence = models.facts(Path(asked.model))
        spec += [parts.model_files(asked.model)]
        rows, runtime = recipe.generate.part_rows, runtime_for(recipe, asked.name, recipe.engine_of(asked))
    with open_scorer(asked, run.path / "logs" / f"{asked.name}.log", runtime) as scorer:
        home, prompts = folder(run.path, asked.name), run.path / tables.PROMPTS_FILE
        found = grade(home, asked.name, spec, scorer, prompts, ladder, rows, progress)
        facts = {**scorer.facts, **(found.made_by[-1] if found.made_by else {}), **licence}
        if len(found.made_by) > 1:
            facts["made_by"] = found.made_by  # parts of several sessions, with another engine version, say
        return facts | ({"notes": found.notes} if found.notes else {})


def refuse_early(run: Path, recipe: Recipe, recipe_dir: Path, progress: Progress) -> None:
    """What can be known to be wrong before any response exists.

    Raises UserError for a file of scores that is not there or lacks a column, and, with file and line, for the first
    prompt that a scorer cannot use.
    """
    for asked in recipe.score:
        match asked:
            case Imported():
                refuse_columns(asked, recipe_dir)
            case Checks():
                _refuse_checks(run, recipe, recipe_dir, asked)
            case Judge():
                if recipe.engine_of(asked) in HOSTED:
                    fetch(asked.model, progress)
                judgements.refuse_early(recipe, asked)
            case RewardModel() | LogProb():
                fetch(asked.model, progress)
                open_scorer(asked)


def _refuse_checks(run: Path, recipe: Recipe, recipe_dir: Path, asked: Checks) -> None:
    ids = read_columns(run / tables.PROMPTS_FILE, [PROMPT_ID])[PROMPT_ID]
    with open_scorer(asked) as scorer:
        for prompt_id, prompt in zip(ids, Prompts(run / tables.PROMPTS_FILE).asked(ids), strict=True):
            try:
                scorer.refuse(prompt)
            except BadCheck as why:
                where = _place(prompt_id, recipe, recipe_dir)
                raise UserError(f"scorer {asked.name!r}: {why}", where=where, cure="mend the prompt's check") from None


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
