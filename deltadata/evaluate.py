"""A trained student against the model it came from, on the pairs and prompts that were held out.

    deltadata evaluate RUN --model RUN/train/dpo

Writes <run>/evaluate/<student>/evaluate.json and evaluate.png. Log-probs and answers are kept beside it by what they
were made from: a second student finds those of the reference, and the same command goes on where it stopped.
"""

from __future__ import annotations

import json
import time
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from deltadata import (
    bins,
    eval_models,
    eval_tables,
    fresh,
    machine,
    margins,
    preflight,
    recipe,
    store,
    tables,
    training_data,
)
from deltadata.dataset import TEST
from deltadata.errors import UserError, did_you_mean
from deltadata.eval_models import Both
from deltadata.generate import keys_of
from deltadata.parquet import groups, open_parquet
from deltadata.scored import CHARACTERS
from deltadata.scorer_sections import Checks
from deltadata.scorers import Scorer
from deltadata.scorers.checks import Checks as ByChecks
from deltadata.screen import Screen
from deltadata.sections import Generate, Sampling
from deltadata.tables import DELTA, PROMPT, PROMPT_ID, SIDES, TOKENS, delta
from deltadata.trainings import Asked

FOLDER, FILE, PICTURE = "evaluate", "evaluate.json", "evaluate.png"
ENGINES = ("transformers", "vllm")


class Told(NamedTuple):
    """What is asked for on the command line."""

    model: str
    reference: str | None = None
    name: str | None = None
    limit: int | None = None
    engine: str | None = None
    measure: str | None = None
    bins: int = 4
    fresh: bool = True
    overwrite: bool = False


def evaluate(asked: Asked, told: Told, screen: Screen) -> dict[str, Any]:
    """Everything of one student but the suite; written as JSON and picture, and returned.

    Raises UserError when nothing was held out, a model is none or has no chat template, or the reference is unknown;
    OutsideError when an engine fails.
    """
    began = time.monotonic()
    if told.engine not in (None, *ENGINES):
        cure = did_you_mean(str(told.engine), ENGINES)
        raise UserError(f"no engine {told.engine!r} loads a model here", where="--engine", cure=cure)
    machine.quiet()
    both = eval_models.both(asked, told.model, told.reference, told.name, screen)
    home = asked.run / FOLDER
    folder = home / both.name
    before = _before(folder, both, told)
    pairs = training_data.open_pairs(str(asked.train.dataset), home / "data")
    rows, numbers = held_out(pairs, told.limit)
    lead = _measure(asked, told, numbers)
    seed = tables.rank(asked.seed, "evaluate")
    facts: dict[str, Any] = {
        "name": both.name,
        "run": asked.name,
        "student": both.student._asdict(),
        "reference": both.reference._asdict(),
        "dataset": {"told": pairs.told, "digest": pairs.digest, "test": pairs.rows[TEST]},
        "measure": lead,
        "limit": told.limit,
        "window": both.window,
        "seed": seed,
    }
    facts["held_out"] = _held_out(home, both, rows, numbers, lead, [pairs.digest, told.limit], told.bins, seed, screen)
    if told.fresh:
        facts["fresh"] = _fresh(asked, told, both, rows, seed, screen)
    facts["suite"] = before.get("suite", {})
    facts |= {"seconds": round(time.monotonic() - began, 1), "versions": store.versions()}
    write(folder, facts)
    return facts


def write(folder: Path, facts: dict[str, Any]) -> None:
    """evaluate.json, and evaluate.png where matplotlib is installed."""
    store.write_json(folder / FILE, facts)
    eval_tables.draw(facts, folder / PICTURE)


def _before(folder: Path, both: Both, told: Told) -> dict[str, Any]:
    """What an earlier evaluation of this student left. Raises UserError when the name is another model's."""
    found = read(folder) if (folder / FILE).is_file() else {}
    same = not found or found["student"]["digest"] == both.student.digest
    if not same and not told.overwrite:
        what = f"holds the evaluation of another model ({found['student']['told']}, or its former weights)"
        raise UserError(what, where=str(folder), cure="give --name NAME, or --overwrite")
    return found if same else {}


def read(folder: Path) -> dict[str, Any]:
    """An evaluation as it was written. Raises UserError when there is none, or it is damaged."""
    try:
        told: dict[str, Any] = json.loads((folder / FILE).read_text(encoding="utf-8"))
        if not isinstance(told["student"]["digest"], str) or "held_out" not in told:
            raise ValueError("not an evaluation")
        return told
    except (FileNotFoundError, NotADirectoryError):
        cure = "deltadata evaluate RUN --model DIR makes one"
        raise UserError(f"no evaluation here (there is no {FILE})", where=str(folder), cure=cure) from None
    except (ValueError, KeyError, TypeError) as problem:
        raise UserError(f"damaged: {problem}", where=str(folder / FILE), cure="remove it and evaluate again") from None


def held_out(pairs: training_data.Pairs, limit: int | None) -> tuple[list[dict[str, Any]], pl.DataFrame]:
    """The test split: rows of messages (with prompt_id), and its `delta_*` columns; the first `limit`.

    Raises UserError when nothing was held out.
    """
    if not pairs.rows.get(TEST):
        cure = "set `holdout: 0.1` in the recipe, run it again and train on what is left"
        raise UserError("no pairs were held out (there is no split `test`)", where=pairs.told, cure=cure)
    rows: list[dict[str, Any]] = []
    numbers: list[pl.DataFrame] = []
    for path in pairs.files[TEST]:
        with open_parquet(path) as file:
            names = file.schema_arrow.names
        deltas = [name for name in names if name.startswith(DELTA)]
        wanted = [name for name in names if name in (PROMPT, *SIDES, PROMPT_ID) or name in deltas]
        for group in groups(path, [name for name in names if name not in wanted]):
            rest = None if limit is None else max(limit - len(rows), 0)
            part = group.slice(0, rest)
            for row in chain.from_iterable(preflight.batches([part.select([n for n in wanted if n not in deltas])])):
                rows.append({PROMPT_ID: tables.prompt_id(row[PROMPT])} | row)
            numbers.append(pl.DataFrame(part.select(deltas)))
    return rows, pl.concat(numbers, how="diagonal_relaxed").select(pl.all().cast(pl.Float64))


def _measure(asked: Asked, told: Told, numbers: pl.DataFrame) -> str | None:
    """Whose delta the bins are of: the one asked for, the report's lead, the first scorer, a length or none."""
    known = [name.removeprefix(DELTA) for name in numbers.columns if numbers[name].null_count() < numbers.height]
    if told.measure is not None:
        if told.measure not in known:
            raise UserError(f"no delta of {told.measure!r}", where="--measure", cure=did_you_mean(told.measure, known))
        return told.measure
    report = asked.run / "report.json"
    lead = json.loads(report.read_text(encoding="utf-8")).get("lead") if report.is_file() else None
    found = _recipe(asked)
    scorers = [one.name for one in found.score] if found else []
    return next((name for name in (lead, *scorers, TOKENS, CHARACTERS, *known) if name in known), None)


def _recipe(asked: Asked) -> recipe.Recipe | None:
    """The recipe that made the data, where it lies here."""
    return recipe.load(asked.recipe, []) if asked.recipe.is_file() else None


def _held_out(
    home: Path,
    both: Both,
    rows: list[dict[str, Any]],
    numbers: pl.DataFrame,
    lead: str | None,
    key: Any,
    most: int,
    seed: int,
    screen: Screen,
) -> dict[str, Any]:
    """Margins and accuracies over all held-out pairs and by bin of the lead measure's delta."""
    told = {}
    for name, model in (("student", both.student), ("reference", both.reference)):
        screen.note(f"log-probs of {len(rows)} held-out pairs: {name} ({model.told})")
        told[name] = margins.cached(home / "log_probs", key, model, rows, both.window)
    margins.refuse_other_tokens(told["student"], told["reference"], both.reference.told)
    gaps = {name: margins.gap(frame).fill_null(float("nan")).to_numpy() for name, frame in told.items()}
    margin = gaps["student"] - gaps["reference"]
    quantities = {"margin": margin, "margin_accuracy": bins.wins(margin)}
    quantities |= {f"{name}_gap": gap for name, gap in gaps.items()}
    quantities |= {f"{name}_accuracy": bins.wins(gap) for name, gap in gaps.items()}
    prompts = pl.Series([row[PROMPT_ID] for row in rows]).to_numpy()
    known = told["student"][tables.of(tables.CHOSEN, margins.MEAN)].is_not_null()
    found: dict[str, Any] = {"pairs": len(rows), "unfit": int((~known).sum()), "prompts": len(set(prompts))}
    found["overall"] = {name: bins.mean(values, prompts, seed) for name, values in quantities.items()}
    found |= {"bins": [], "relation": {"spearman": None, "ci95": None, "pairs": 0}}
    if lead is not None:
        fits = numbers.select(pl.when(known).then(delta(lead)).fill_null(float("nan")).alias(lead))
        deltas = fits[lead].to_numpy()
        found["bins"] = bins.by_bin(quantities, deltas, prompts, most, seed)
        found["relation"] = bins.relation(deltas, margin, prompts, seed)
    return found


def _fresh(
    asked: Asked, told: Told, both: Both, rows: list[dict[str, Any]], seed: int, screen: Screen
) -> dict[str, Any]:
    """Answers of both models to the held-out prompts, scored and compared."""
    made = _recipe(asked)
    generate: Generate | None = made.generate if made else None
    engine = told.engine or (generate.engine if generate and generate.engine in ENGINES else ENGINES[0])
    sampling = (generate.sampling if generate else Sampling()).model_dump(exclude={"samples"})
    given = (made.runtime.model_extra or {}) if made else {}
    source = Path(str(asked.train.dataset))
    prompts = fresh.held_out(rows, source if (source / tables.PROMPTS_FILE).is_file() else asked.run)
    asking = fresh.Asking(engine, sampling, asked.seed, keys_of(engine, given))
    where = asked.run / FOLDER / "responses"
    answers = [
        fresh.answered(prompts, model, asking, where, name, screen)
        for name, model in (("student", both.student), ("reference", both.reference))
    ]
    found = fresh.shifts(prompts, answers[0], answers[1], _checks(made), seed)
    return found | {"engine": engine, "sampling": sampling}


def _checks(made: recipe.Recipe | None) -> Scorer | None:
    """The recipe's scorer of checks, if it has one."""
    for one in made.score if made else []:
        if isinstance(one, Checks):
            return ByChecks(one.form, one.column)
    return None
