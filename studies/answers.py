"""Answers of several models to the same prompts, graded by the package's checks, and their differences by prompt.

    answers.ask("reference", Path("models/smollm2-135m-instruct"), asking, folder)
    answers.gains([by_prompt], reference_by_prompt, seed)

A model is a run of recipes/study/self_improvement_answers.yaml with it on all rungs: collect, generate, score.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from deltadata import bins, parts, score, tables
from deltadata.store import write_json
from studies import common

RECIPE = Path("recipes") / "study" / "self_improvement_answers.yaml"
SAMPLED, GREEDY = "sampled", "greedy"  # primary and second, said before the first training
CHECKS, BEGUN, DONE = "checks", "asking", "asked"
Array = NDArray[np.float64]


class Asking(NamedTuple):
    """Which prompts, how many sampled answers of each, the seed that they are drawn by, what made the model."""

    prompts: Path
    samples: int = 1
    seed: int = 0
    limit: int | None = None
    model: str = ""


def _wanted(asking: Asking) -> dict[str, Any]:
    return asking._asdict() | {"prompts": asking.prompts.name}


def done(run: Path, asking: Asking) -> bool:
    """Whether these answers lie in `run`, of this model."""
    return _told(run, DONE) == _wanted(asking)


def _told(run: Path, state: str) -> Any:
    path = run.with_name(f"{run.name}.{state}.json")  # beside the run, which is the package's own folder
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def ask(name: str, model: Path, asking: Asking, folder: Path, temperatures: dict[str, float] | None = None) -> Path:
    """The model's graded answers in <folder>/<name>, made unless they are there: sampled at 1.0, and greedy.

    `temperatures` are further rungs by name, one answer each. Raises common.Failed.
    """
    run = folder / name
    if done(run, asking):
        return run
    if _told(run, BEGUN) != _wanted(asking) and run.exists():
        shutil.rmtree(run)  # half of another model's, whose path may be the same
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / f"{name}.{BEGUN}.json", _wanted(asking))
    ways = {SAMPLED: {"temperature": 1.0, "samples": asking.samples}, GREEDY: {"temperature": 0.0}}
    ways |= {rung: {"temperature": value} for rung, value in (temperatures or {}).items()}
    rungs = [{"name": rung, "model": str(model), "sampling": way} for rung, way in ways.items()]
    sets = [f"generate.rungs={json.dumps(rungs)}", f"collect.pools.0.path={asking.prompts.resolve()}"]
    sets += [f"seed={asking.seed}", f"collect.limit={json.dumps(asking.limit)}"]
    given = [word for each in sets for word in ("--set", each)]
    with common.timed(folder, "answers"):
        for stage in ("collect", "generate", "score"):
            common.run(stage, RECIPE, "--run", run.resolve(), *given, log=folder / f"{name}.log")
    write_json(folder / f"{name}.{DONE}.json", _wanted(asking))
    common.say(f"{name}: answered")
    return run


def by_prompt(run: Path, rung: str) -> dict[str, float]:
    """The mean score of a rung's answers to each prompt, by prompt_id."""
    found = score.read(run, CHECKS).filter(pl.col(tables.MODEL) == rung)
    means = found.group_by(tables.PROMPT_ID).agg(pl.col(CHECKS).mean()).sort(tables.PROMPT_ID)
    return dict(means.drop_nulls().iter_rows())


def shape(run: Path, rung: str) -> dict[str, float]:
    """Mean tokens of a rung's answers, and the share that was cut off: a gain by length would be another finding."""
    frames = [pl.read_parquet(path) for path in parts.read(run, rung).files]
    told = pl.concat(frames).select(
        tokens=pl.col(tables.RESPONSE_TOKENS).mean(), cut_off=(pl.col(tables.FINISH) == "length").mean()
    )
    return {name: round(float(value), 4) for name, value in told.to_dicts()[0].items()}


def aligned(found: Sequence[dict[str, float]]) -> Array:
    """Models x prompts, over the prompts that all of them answered, in the order of their ids."""
    ids = sorted(set.intersection(*(set(one) for one in found)))
    return np.array([[one[key] for key in ids] for one in found])


def gains(students: Sequence[dict[str, float]], reference: dict[str, float], seed: int) -> dict[str, Any]:
    """Students of several seeds against one reference, share of checks met: {reference, student, gain, ...}."""
    table = aligned([*students, reference])
    means = {"reference": float(table[-1].mean()), "student": float(table[:-1].mean())}
    return means | compared(table[:-1] - table[-1], seed)


def contrast(ours: Sequence[dict[str, float]], theirs: Sequence[dict[str, float]], seed: int) -> dict[str, Any]:
    """Students of one arm against those of another, seed by seed and prompt by prompt: ours - theirs."""
    table = aligned([*ours, *theirs])
    return compared(table[: len(ours)] - table[len(ours) :], seed)


def compared(differences: Array, seed: int) -> dict[str, Any]:
    """{gain, over_seeds (t, n - 1), by_prompt (bootstrap: prompts drawn), both (prompts and seeds drawn), sign_flip}.

    `differences` is seeds x prompts; sign_flip is the two-sided p of the prompts' means over seeds.
    """
    mean = differences.mean(axis=0)
    (ends,) = bins.bootstrap(np.arange(mean.size), lambda w: (w @ mean / w.sum(axis=1))[:, None], seed)
    return {
        "gain": float(mean.mean()),
        "over_seeds": common.interval([float(one.mean()) for one in differences]),
        "by_prompt": {"ci95": ends, "prompts": int(mean.size)},
        "both": {"ci95": two_levels(differences, seed)},
        "sign_flip": sign_flip(mean, seed),
    }


def two_levels(differences: Array, seed: int, replicates: int = 2000) -> list[float]:
    """The middle 95 % of the mean of seeds x prompts, both drawn with replacement."""
    rng = np.random.default_rng(seed)
    seeds, prompts = differences.shape
    drawn = [
        differences[rng.integers(seeds, size=seeds)][:, rng.integers(prompts, size=prompts)].mean()
        for _ in range(replicates)
    ]
    return [float(end) for end in np.quantile(drawn, [0.025, 0.975])]


def sign_flip(differences: Array, seed: int, replicates: int = 5000) -> float:
    """Two-sided p of a mean of zero: how often random signs of the differences reach the mean that was seen."""
    rng = np.random.default_rng(seed)
    signs = rng.choice([-1.0, 1.0], size=(replicates, differences.size))
    reached = np.abs(signs @ differences) >= abs(differences.sum()) - 1e-12
    return float((reached.sum() + 1) / (replicates + 1))
