"""Scores that already exist, by prompt, rung and sample.

score: [{name: gpt4_turbo, scores: preferences.csv}]      # columns prompt or prompt_id, model, [sample,] score
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from deltadata import tables
from deltadata.errors import UserError, did_you_mean
from deltadata.recipe import Recipe, Score
from deltadata.rows import LOOK_AHEAD, BadRow, Row, conversation, no_such_column, read_rows, text
from deltadata.tables import PROMPT_ID, SAMPLE, SCORES

Key = tuple[str, str, int]


class ImportedScores(NamedTuple):
    """`scores` has the columns of tables.SCORES; `counts` how many rows were read = matched + unmatched (no such
    prompt, or no such response) + left_out; `stranger` is the first that matched nothing."""

    scores: pa.Table
    counts: dict[str, int]
    stranger: str


def imported_scores(asked: Score, recipe: Recipe, recipe_dir: Path, responses: set[Key]) -> ImportedScores:
    """The file's scores of these responses, in its order; an empty score is null.

    Raises UserError for a column that is missing, a name that is no rung, a score that is no finite number, two scores
    of one response, or when nothing matches.
    """
    assert asked.scores is not None, "a scorer with a file"
    rungs = {rung.name: rung.name for rung in recipe.generate.rungs} | asked.models
    counts: Counter[str] = Counter(read=0, matched=0, unmatched=0, left_out=0)
    seen: dict[Key, str] = {}
    columns: dict[str, list[Any]] = {name: [] for name in SCORES.schema.names}
    stranger = ""
    nobody: dict[str, str] = {}
    for row in _rows(asked, recipe_dir):
        counts["read"] += 1
        try:
            if (name := _name(row, asked)) not in rungs:
                nobody.setdefault(name, row.where)
                continue
            rung, key, score = _score(row, asked, rungs)
        except BadRow as why:
            raise UserError(f"scorer {asked.name!r}: {why}", where=row.where, cure="mend that row") from None
        if rung is None:
            counts["left_out"] += 1
            continue
        if key not in responses:
            counts["unmatched"] += 1
            stranger = stranger or row.where
            continue
        if key in seen:
            what = f"scorer {asked.name!r}: a second score for this response; the first is at {seen[key]}"
            raise UserError(what, where=row.where, cure="keep one score for each prompt, model and sample")
        seen[key] = row.where
        counts["matched"] += 1
        for name, value in zip(SCORES.schema.names, (*key, asked.name, score), strict=True):
            columns[name].append(value)
    if nobody:
        raise _nobody(asked, nobody, rungs)
    if not counts["matched"]:
        raise _nothing(asked, counts, stranger)
    return ImportedScores(tables.as_rows(SCORES, columns), dict(counts), stranger)


def _rows(asked: Score, recipe_dir: Path) -> Iterator[Row]:
    """The file's rows. Raises UserError when a column that is needed is in none of the first LOOK_AHEAD."""
    path, needed = asked.scores or "", {asked.prompt, asked.model, asked.score}
    readable = 0
    for row in read_rows(path, recipe_dir, [*needed, SAMPLE]):
        readable += row.value is not None
        needed -= {*(row.value or ())}
        yield row
        if readable == LOOK_AHEAD and needed:
            break
    for column in sorted(needed) if readable else []:
        raise no_such_column(column, path, recipe_dir, f"scorer {asked.name!r}")


def _name(row: Row, asked: Score) -> str:
    """What the file calls the rung. Raises BadRow."""
    if row.value is None:
        raise BadRow(row.problem)
    return text(row.value.get(asked.model), asked.model)


def _score(row: Row, asked: Score, rungs: dict[str, str | None]) -> tuple[str | None, Key, float | None]:
    """Whose score a row holds. Raises BadRow."""
    values = row.value or {}
    given = values.get(asked.prompt)
    by_id = asked.prompt == PROMPT_ID
    prompt_id = text(given, asked.prompt) if by_id else tables.prompt_id(conversation(given, asked.prompt))
    rung = rungs[str(values.get(asked.model))]
    return rung, (prompt_id, rung or "", _sample(values.get(SAMPLE))), _number(values.get(asked.score), asked.score)


def _sample(given: Any) -> int:
    """The index of a sample; none given is the first."""
    if given is None or given == "" or given != given:
        return 0
    number = _number(given, SAMPLE)
    if number is None or number < 0 or number != int(number):
        raise BadRow(f"{SAMPLE} is no index: {given!r:.40}")
    return int(number)


def _number(given: Any, column: str) -> float | None:
    """A finite number, or null for nothing. CSV has numbers as text."""
    if given is None or given == "" or given != given:
        return None
    if isinstance(given, bool) or not isinstance(given, int | float | str):
        raise BadRow(f"{column} is no number: {given!r:.40}")
    try:
        number = float(given)
    except ValueError:
        raise BadRow(f"{column} is no number: {given!r:.40}") from None
    if math.isinf(number):
        raise BadRow(f"{column} is infinite")
    return None if math.isnan(number) else number


def _nobody(asked: Score, nobody: dict[str, str], rungs: dict[str, str | None]) -> UserError:
    """The names of the file that are no rung's, all at once."""
    known = sorted({rung for rung in rungs.values() if rung})
    told = [f"{name!r} (first at {where}; {did_you_mean(name, known)})" for name, where in [*nobody.items()][:5]]
    more = f" and {len(nobody) - 5} more" if len(nobody) > 5 else ""
    mapping = ", ".join(f"{name}: null" for name in nobody)
    return UserError(
        f"scorer {asked.name!r}: no rung is called {', '.join(told)}{more}",
        where=asked.scores,
        cure=f"say whose rung each is, or null to leave it out: `models: {{{mapping}}}`",
    )


def _nothing(asked: Score, counts: Counter[str], stranger: str) -> UserError:
    """Why not one response has a score."""
    if counts["unmatched"]:
        what = f"scorer {asked.name!r}: none of its {counts['unmatched']} scores is of a response of this run"
        cure = f"point `prompt:` at the column with the pools' prompts, or with {PROMPT_ID}; texts must be equal"
        return UserError(what, where=stranger, cure=cure)
    what = f"scorer {asked.name!r}: the file has no scores of any rung"
    return UserError(what, where=asked.scores, cure="give a file with rows, or map its names in `models:`")
