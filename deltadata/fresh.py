"""Fresh answers of student and reference to held-out prompts, and what changed between them.

    deltadata evaluate RUN --model DIR --engine transformers

Both answer the same prompts with the same sampling and seeds through an engine of this package. Where prompts carry
checks they are scored by the recipe's scorer; length, cut answers, repetition and refusals are told beside them,
because a higher score that comes with longer or repeated answers is another finding.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from deltadata import bins, measure, tables
from deltadata.engines import Conversation, Model, open_engine
from deltadata.errors import UserError
from deltadata.generate import Progress, seed_of
from deltadata.parquet import read_columns, write_table
from deltadata.scorers import Asked, Scorer
from deltadata.student import Student
from deltadata.tables import ERROR, FINISH, META, PROMPT, PROMPT_ID, PROMPTS_FILE, RESPONSE, RESPONSE_TOKENS, TOKENS

CHECKS, CUT_OFF = "checks", "cut_off"
SHIFTS = ("characters", "repetition", "refusal")  # measures of text


class Held(NamedTuple):
    """A held-out prompt and the columns its pool kept."""

    prompt_id: str
    messages: list[dict[str, str]]
    meta: dict[str, Any]


class Asking(NamedTuple):
    """How both models are asked; `seed` is the recipe's."""

    engine: str
    sampling: dict[str, Any]
    seed: int
    runtime: dict[str, Any]


def held_out(rows: Iterable[dict[str, Any]], run: Path) -> list[Held]:
    """The distinct prompts of `rows` (prompt_id may be missing), with what the run's pools kept of them."""
    found: dict[str, list[dict[str, str]]] = {}
    for row in rows:
        found.setdefault(row.get(PROMPT_ID) or tables.prompt_id(row[PROMPT]), row[PROMPT])
    ids = list(found)
    kept: dict[str, str | None] = {}
    if (run / PROMPTS_FILE).exists():
        known = read_columns(run / PROMPTS_FILE, [PROMPT_ID, META]).filter(pl.col(PROMPT_ID).is_in(ids))
        kept = dict(known.iter_rows())
    return [Held(one, found[one], json.loads(kept.get(one) or "{}")) for one in ids]


def answered(
    prompts: list[Held], model: Student, asking: Asking, folder: Path, name: str, progress: Progress
) -> pl.DataFrame:
    """One row per prompt: prompt_id, response, finish_reason, error, response_tokens; kept in `folder`.

    Raises what the engine raises; UserError when it answered nothing at all.
    """
    ids = [prompt.prompt_id for prompt in prompts]
    key = tables.fingerprint([ids, model.digest, asking.engine, asking.sampling, asking.seed])
    path = folder / f"{key}.parquet"
    if path.exists():
        return pl.read_parquet(path)
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any] | None] = [None] * len(prompts)
    asked = [Conversation(p.messages, seed_of(asking.seed, p.prompt_id, 0)) for p in prompts]
    with open_engine(
        asking.engine, Model(model.path, model.revision), asking.runtime, folder / f"{asking.engine}.log"
    ) as engine:
        progress.rung(f"{name} answers", len(prompts), 0)
        for done in engine.generate(asked, asking.sampling):
            told = {RESPONSE: done.text, FINISH: done.finish_reason, ERROR: done.error}
            rows[done.index] = {PROMPT_ID: ids[done.index], **told, RESPONSE_TOKENS: done.response_tokens}
            progress.advance(done.response_tokens or 0, done.error is not None)
        progress.rung_done()
    found = pl.DataFrame(rows, schema={PROMPT_ID: pl.String, RESPONSE: pl.String, **_REST})
    if found[RESPONSE].null_count() == found.height:
        why = str(found[ERROR][0])
        raise UserError(f"{name}: no prompt was answered: {why}", where="evaluate", cure="see --engine and sampling")
    write_table(path, found.to_arrow())
    return found


_REST = {FINISH: pl.String, ERROR: pl.String, RESPONSE_TOKENS: pl.UInt32}


def quantities(prompts: list[Held], answers: pl.DataFrame, scorer: Scorer | None) -> dict[str, Any]:
    """Per prompt, NaN where unknown: the check's score, tokens, what SHIFTS measure, whether it was cut off."""
    told: dict[str, pl.Series] = {TOKENS: answers[RESPONSE_TOKENS]}
    told |= {name: answers.select(measure.of_text(name, pl.col(RESPONSE)).alias(name))[name] for name in SHIFTS}
    told[CUT_OFF] = answers.select(pl.when(pl.col(RESPONSE).is_not_null()).then(pl.col(FINISH) == "length"))[FINISH]
    scores = score(prompts, answers[RESPONSE], scorer) if scorer else []
    if any(number is not None for number in scores):
        told = {CHECKS: pl.Series(scores, dtype=pl.Float64), **told}
    return {name: column.cast(pl.Float64).fill_null(float("nan")).to_numpy() for name, column in told.items()}


def score(prompts: list[Held], texts: Iterable[str | None], scorer: Scorer) -> list[float | None]:
    """The scorer's number for each answer; None where there is no answer or nothing to check."""
    both = [(Asked(prompt.messages, prompt.meta), text) for prompt, text in zip(prompts, texts, strict=True)]
    known = [(asked, text) for asked, text in both if text is not None]
    numbers = iter(list(scorer.score([asked for asked, _ in known], [text for _, text in known])))
    return [None if text is None else next(numbers) for _, text in both]


def shifts(
    prompts: list[Held], student: pl.DataFrame, reference: pl.DataFrame, scorer: Scorer | None, seed: int
) -> dict[str, Any]:
    """Each quantity of both models, their difference by prompt and its interval; how many prompts failed."""
    ours, theirs = (quantities(prompts, answers, scorer) for answers in (student, reference))
    ids = pl.Series([prompt.prompt_id for prompt in prompts]).to_numpy()
    told = {name: bins.paired(ours[name], theirs[name], ids, seed) for name in ours if name in theirs}
    failed = {
        name: answers[RESPONSE].null_count() for name, answers in (("student", student), ("reference", reference))
    }
    same = int((student[RESPONSE] == reference[RESPONSE]).sum())
    return {"prompts": len(prompts), "failed": failed, "same_text": same, "shifts": told}
