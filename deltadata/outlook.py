"""What generating and scoring all prompts will take, by what a sample of them took.

    deltadata validate RECIPE

An extrapolation: seconds are this machine's, and an engine that is fed more may be faster.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from deltadata import judgements, parts, score, tables
from deltadata.job import PROMPTS, Job
from deltadata.parquet import read_columns
from deltadata.scorer_sections import Combined, Imported, Judge, Price, Score
from deltadata.sections import Rung
from deltadata.store import changes, write_json
from deltadata.tables import KEY, MODEL, PROMPT_ID, PROMPT_TOKENS, RESPONSE_TOKENS, RESPONSES, SAMPLE

Tree = dict[str, Any]
TOOK = "took.json"
NOTE = "an extrapolation of a sample, measured on this machine"
REQUESTS, DOLLARS = "requests", "dollars"


@contextmanager
def timed(job: Job) -> Iterator[None]:
    """Keep how many rows the block adds to each table of responses and scores (of a judge: how many requests it takes),
    and in how many seconds.

    Seconds of responses are without the engine's loading. What a killed process made is not in it.
    """
    rows, entries = _rows(job), dict(job.run.record)
    yield
    took = _took(job.run.path)
    for table, now in _rows(job).items():
        entry, added = job.run.record.get(table), now - rows[table]
        added = entry.facts.get("asked", added) if entry else 0  # a judge's requests: what it was asked before is free
        if entry is not None and entry != entries.get(table) and added > 0 and entry.seconds:
            former = took.get(table, {"rows": 0, "seconds": 0.0})
            took[table] = {"rows": former["rows"] + added, "seconds": former["seconds"] + entry.seconds}
    write_json(job.run.path / TOOK, took)


def _took(run: Path) -> dict[str, Tree]:
    file = run / TOOK
    found: dict[str, Tree] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found


def forget(run: Path) -> None:
    """What was kept is of another recipe."""
    (run / TOOK).unlink(missing_ok=True)


def _rows(job: Job) -> dict[str, int]:
    """Rows of each table that the recipe still describes."""
    found = {tables.ladder_name(rung.name): _described(job, rung).height for rung in job.recipe.generate.rungs}
    for asked in job.recipe.score:
        table = tables.scores_name(asked.name)
        entry = job.run.record.get(table)
        old = entry is not None and bool(changes(entry.spec, score.spec_of(asked)))
        found[table] = 0 if old else score.read(job.run.path, asked.name).height
    return found


def _described(job: Job, rung: Rung) -> pl.DataFrame:
    """Keys of the rung's responses, where the recipe as it is made them."""
    have, spec = parts.read(job.run.path, rung.name), parts.spec_of(job.recipe, rung, job.recipe_dir)
    return have.keys if all(parts.same(old, spec) for old in have.specs) else have.keys.clear()


def outlook(main: Job, sample: Job) -> Tree:
    """A row per rung and per scorer: how many responses in all, how many are there, what the rest takes; null: unknown.

    `main` has all prompts and `sample` some of them, answered, and scored by some of the scorers. Bytes are on disk,
    dollars by the judge's price; what is imported takes nothing, what either has is there.
    """
    prompts, size = (job.run.record[PROMPTS].rows for job in (main, sample))
    rungs = [_of_rung(main, sample, rung, prompts / size) for rung in main.recipe.generate.rungs]
    total = sum(row["responses"] for row in rungs)
    scorers = [_of_scorer(main, sample, asked, total) for asked in main.recipe.score]
    return {"prompts": prompts, "sample": size, "rungs": rungs, "scorers": scorers, "note": NOTE}


def _rate(sample: Job, table: str) -> float | None:
    """Seconds a row."""
    took = _took(sample.run.path).get(table)
    return took["seconds"] / took["rows"] if took else None


def _times(number: float | None, count: float, figures: int = 3) -> float | None:
    return None if number is None else round(number * count, figures)


def _of_rung(main: Job, sample: Job, rung: Rung, factor: float) -> Tree:
    have = parts.read(sample.run.path, rung.name)
    row: Tree = {MODEL: rung.name, "imported": bool(rung.responses)}
    if rung.responses:
        count = round(have.rows * factor)
        return row | {"responses": count, "there": count, "seconds": 0.0, "tokens": 0, "bytes": 0}
    samples = main.recipe.generate.sampling_of(rung).samples
    total = main.run.record[PROMPTS].rows * samples
    there = _there([main, sample], main, rung)
    told = pl.concat(read_columns(path, [PROMPT_TOKENS, RESPONSE_TOKENS]) for path in have.files)
    tokens = told.select(pl.sum_horizontal(PROMPT_TOKENS, RESPONSE_TOKENS, ignore_nulls=False).mean()).item()
    size = sum(path.stat().st_size for path in have.files) / have.rows
    left = total - there
    row |= {"responses": total, "there": there}
    row["seconds"] = _times(_rate(sample, tables.ladder_name(rung.name)) if left else 0.0, left)
    return row | {"tokens": _whole(_times(tokens, left)), "bytes": _whole(size * left)}


def _whole(number: float | None) -> int | None:
    return None if number is None else round(number)


def _there(jobs: list[Job], main: Job, rung: Rung) -> int:
    """Responses of the rung that these jobs have to the prompts of `main`, by the recipe as it is."""
    wanted, samples = read_columns(main.prompts_file, [PROMPT_ID]), main.recipe.generate.sampling_of(rung).samples
    keys = pl.concat(_described(job, rung) for job in jobs).unique()
    return keys.filter(pl.col(SAMPLE) < samples).join(wanted, on=PROMPT_ID, how="semi").height


def _of_scorer(main: Job, sample: Job, asked: Score, total: int) -> Tree:
    table = tables.scores_name(asked.name)
    row: Tree = {tables.SCORER: asked.name, "imported": isinstance(asked, Imported), "responses": total}
    if isinstance(asked, Imported | Combined):
        return row | {"there": total, "seconds": 0.0}
    if isinstance(asked, Judge):
        return row | _of_judge(main, sample, asked, total)
    done = main.run.record.get(table)
    there = done.facts["responses"] if done and not changes(done.spec, score.spec_of(asked)) else 0
    left = max(total - there, 0)
    return row | {"there": total - left, "seconds": _times(_rate(sample, table) if left else 0.0, left)}


def _of_judge(main: Job, sample: Job, asked: Judge, total: int) -> Tree:
    """What was said of either's responses is there; a judge that the sample did not ask has unknown tokens."""
    known, tried = [judgements.heard(job.run.path, main.recipe, asked, job.ladder()) for job in (main, sample)]
    both = pl.concat([known, tried]).unique()
    said = both.filter(judgements.HEARD)[KEY].n_unique()
    prompts, size = (job.run.record[PROMPTS].rows for job in (main, sample))
    whole = known[KEY].n_unique() if _answered(main) else round(tried[KEY].n_unique() * prompts / size)
    left = max(whole - said, 0)
    there = both.group_by(RESPONSES.key).agg(pl.col(judgements.HEARD).all())[judgements.HEARD].sum()
    row: Tree = {"there": min(there, total) if left else total, REQUESTS: left}
    table = tables.scores_name(asked.name)
    row["seconds"] = _times(_rate(sample, table) if left else 0.0, left)
    facts = sample.run.record[table].facts if table in sample.run.record else {}
    for key in (PROMPT_TOKENS, RESPONSE_TOKENS):
        row[key] = _whole(_times(facts.get(key), left / max(facts.get(REQUESTS) or 1, 1))) if left else 0
    return row | {DOLLARS: _dollars(row, asked.price)}


def _answered(main: Job) -> bool:
    """Whether the run has every rung's responses to its prompts as they are."""
    whole = main.run.record[PROMPTS]
    for rung in main.recipe.generate.rungs:
        entry = main.run.record.get(tables.ladder_name(rung.name))
        if rung.responses and (entry is None or entry.inputs["prompts"] != whole.fingerprint):
            return False
        samples = main.recipe.generate.sampling_of(rung).samples
        if not rung.responses and _there([main], main, rung) < whole.rows * samples:
            return False
    return True


def _dollars(row: Tree, price: Price | None) -> float | None:
    if price is None or None in (row[PROMPT_TOKENS], row[RESPONSE_TOKENS]):
        return None
    dollars = (row[PROMPT_TOKENS] * price.prompt + row[RESPONSE_TOKENS] * price.response) / 1e6
    return round(float(dollars), 2)


def cost_rows(cost: Tree) -> list[dict[str, str]]:
    """The table of an outlook, without what is imported and columns of which nothing is known."""
    shown = []
    for row in [row for row in (*cost["rungs"], *cost["scorers"]) if not row["imported"]]:
        name = row[MODEL] if MODEL in row else f"scores of {row[tables.SCORER]}"
        tokens = row.get("tokens")
        if REQUESTS in row and None not in (row[PROMPT_TOKENS], row[RESPONSE_TOKENS]):
            tokens = row[PROMPT_TOKENS] + row[RESPONSE_TOKENS]
        cells = {"for": name, "in all": f"{row['responses']:,}", "there": f"{row['there']:,}"}
        cells |= {"seconds": _cell(row["seconds"]), "tokens": _cell(tokens)}
        cells |= {"MB": _cell(row["bytes"] / 1e6, ".2f") if "bytes" in row else "-"}
        cells |= {REQUESTS: _cell(row.get(REQUESTS)), DOLLARS: _cell(row.get(DOLLARS), ".2f")}
        shown.append(cells)
    told = [name for name in (shown[0] if shown else ()) if any(cells[name] != "-" for cells in shown)]
    return [{name: cells[name] for name in told} for cells in shown]


def _cell(number: float | None, form: str = ",.0f") -> str:
    return "-" if number is None else format(number, form)
