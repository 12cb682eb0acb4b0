"""E5 on a laptop: five rungs of real strength, all ten pairings, a student each; gain against delta and chosen quality.

    python studies/ladder.py [--quick] [--folder runs/study]

The rows are those of recipes/sweeps/laptop_ladder.csv. `deltadata sweep` makes, trains and evaluates them; trainings
are begun before it, two at a time. Its own gains are of a few held-out prompts; those here are of E3's test prompts.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deltadata import bins, store, sweep_figures, sweep_picture, sweep_rows
from deltadata.sweep_rows import Row, Sweep
from studies import answers, common, prompts
from studies import self_improvement as e3
from studies.answers import GREEDY, SAMPLED, Array, Asking
from studies.self_improvement import Size

NAME = "ladder"
CSV = Path("recipes") / "sweeps" / "laptop_ladder.csv"
DROPPED, WITHOUT = "smollm2-28-layers", (22, 23)  # of 30; without 25 and 26 it meets as many checks as the whole
QUICK_ROWS = ("self_over_hot", "self_over_warm", "gemma_over_hot")
REGRESSORS = (sweep_figures.DELTA, sweep_figures.KEPT_QUALITY)


def without_layers(source: Path, out: Path, layers: Sequence[int]) -> Path:
    """A copy of a Llama-like model that lacks these layers; made unless it is there."""
    if out.is_dir():
        return out
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(source, dtype=torch.bfloat16)
    kept = [layer for number, layer in enumerate(model.model.layers) if number not in layers]
    for number, layer in enumerate(kept):
        layer.self_attn.layer_idx = number
    model.model.layers = torch.nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    if getattr(model.config, "layer_types", None):
        model.config.layer_types = model.config.layer_types[: len(kept)]
    out.parent.mkdir(parents=True, exist_ok=True)
    with store.replacing(out) as folder:
        model.save_pretrained(folder)
        for path in source.iterdir():
            if path.name.startswith("tokenizer") or path.suffix == ".jinja":
                shutil.copy2(path, folder / path.name)
    return out


def rungs(folder: Path) -> list[str]:
    """What the study sets over the recipe beside the prompts: where the copy without layers lies."""
    return [f"generate.rungs.3.model={(folder / NAME / 'models' / DROPPED).resolve()}"]


def main(folder: Path, quick: bool) -> dict[str, Any]:
    """Everything that is not there yet; FOLDER/ladder/figures.json and .png. Raises common.Failed."""
    return study(folder, e3.QUICK if quick else e3.FULL, QUICK_ROWS if quick else None, quick)


def study(folder: Path, size: Size, only: Sequence[str] | None = None, quick: bool = False) -> dict[str, Any]:
    """As `main`, of any size and of these rows alone."""
    home, files = folder / NAME, prompts.write(folder)
    with common.timed(home, "copy"):
        without_layers(e3.STUDENT, home / "models" / DROPPED, WITHOUT)
    table = sweep_rows.load(CSV, sets=[*e3.sets(folder, size), *rungs(folder)])
    rows = [row for row in table.rows if only is None or row.name in only]
    asking = Asking(files["test"], size.samples, e3.SEED, size.test)
    common.side_by_side([partial(e3.datasets, CSV, home, rows, table.sets), partial(e3.reference, folder, asking)])
    if not (home / "figures.json").exists():  # `train` skips what is done, and takes seconds to see it
        common.side_by_side([partial(e3.trained, table, row, home) for row in rows])
    common.side_by_side([partial(evaluated, table, rows, home), *(partial(asked, row, home, asking) for row in rows)])
    found = figures(folder, rows, quick)
    store.write_json(home / "figures.json", found)
    sweep_picture.draw(pictured(found), home / f"{NAME}.png")
    return found


def evaluated(table: Sweep, rows: Sequence[Row], home: Path) -> None:
    """`deltadata sweep CSV --until evaluate`: finds what is trained, and trains what is not."""
    only = [word for row in rows for word in ("--only", row.name)]
    with common.timed(home, "sweep"):
        words = ("sweep", CSV, "--until", "evaluate", "--run", (home / e3.SWEEP).resolve())
        common.run(*words, *e3.options(table.sets), *only, log=home / "sweep.log")


def asked(row: Row, home: Path, asking: Asking) -> None:
    """The student's answers to the test prompts."""
    asking = asking._replace(model=e3.made_of(row))
    answers.ask(row.name, (home / e3.SWEEP / row.name / "train" / "dpo").resolve(), asking, home / "answers")


def figures(folder: Path, rows: Sequence[Row], quick: bool) -> dict[str, Any]:
    """A row for each pairing, fits of the gain against both regressors, and the heat map's cells."""
    home, before = folder / NAME, folder / "answers" / e3.REFERENCE
    swept = json.loads((home / e3.SWEEP / "sweep.json").read_text(encoding="utf-8"))
    told = [row for row in swept["rows"] if row["name"] in {one.name for one in rows}]
    found = [row_figures(row, home, before) for row in told]
    base = answers.by_prompt(before, SAMPLED)
    table = answers.aligned([*(answers.by_prompt(home / "answers" / row["name"], SAMPLED) for row in found), base])
    return {
        "quick": quick,
        "primary": SAMPLED,
        "training_seeds": sorted({row.recipe.seed for row in rows}),
        "test_seed": e3.SEED,
        "reference": {rung: e3.level(before, rung) for rung in (SAMPLED, GREEDY)},
        "rows": found,
        "fits": sweep_figures.fits(found, e3.SEED),
        "joint": joint(found, table[:-1] - table[-1], e3.SEED),
        "heat": sweep_figures.heat(found),
        "beyond": [row["name"] for row in found if row["kept_quality"] < float(table[-1].mean())],
        "seconds": e3.seconds(folder, home),
        "machine": common.machine(),
    }


def row_figures(row: dict[str, Any], home: Path, before: Path) -> dict[str, Any]:
    """A row of sweep.json whose gain is that of the test prompts; what the sweep itself saw stands beside it."""
    run = home / "answers" / row["name"]
    gain, greedy = (
        answers.gains([answers.by_prompt(run, rung)], answers.by_prompt(before, rung), e3.SEED)
        for rung in (SAMPLED, GREEDY)
    )
    own = {"sweep_gain": row["gain"], "sweep_gain_ci95": row["gain_ci95"]}
    told = {"gain": gain["gain"], "gain_ci95": gain["by_prompt"]["ci95"], "sign_flip": gain["sign_flip"]}
    told |= {"checks_before": gain["reference"], "checks_after": gain["student"]}
    told |= {"prompts": gain["by_prompt"]["prompts"], "shape": answers.shape(run, SAMPLED)}
    return row | own | told | {"greedy": {"gain": greedy["gain"], "ci95": greedy["by_prompt"]["ci95"]}}


def joint(rows: Sequence[dict[str, Any]], differences: Array, seed: int) -> dict[str, Any] | None:
    """Least squares of the gain on delta and chosen quality together; None below five rows.

    {slopes, by_rows (rows drawn), by_prompt (prompts drawn), r2, r2_alone, correlation}; `differences` is rows x
    prompts, and a slope is linear in them.
    """
    if len(rows) < 5:
        return None
    x = np.array([[row[name] for name in REGRESSORS] for row in rows], float)
    gains = differences.mean(axis=1)
    weights = np.linalg.pinv(np.column_stack([np.ones(len(rows)), x]))[1:]  # slopes are these times the gains
    by_prompt = bins.bootstrap(
        np.arange(differences.shape[1]), lambda w: w @ (weights @ differences).T / w.sum(axis=1, keepdims=True), seed
    )
    told = dict(zip(REGRESSORS, (weights @ gains).tolist(), strict=True))
    return {
        "slopes": told,
        "by_rows": dict(zip(REGRESSORS, _rows_drawn(x, gains, seed), strict=True)),
        "by_prompt": dict(zip(REGRESSORS, by_prompt, strict=True)),
        "r2": r2(x, gains),
        "r2_alone": {name: r2(x[:, [i]], gains) for i, name in enumerate(REGRESSORS)},
        "correlation": float(np.corrcoef(x.T)[0, 1]),
        "rows": len(rows),
    }


def _rows_drawn(x: Array, y: Array, seed: int, replicates: int = 2000) -> list[list[float]]:
    """The middle 95 % of each slope, rows drawn with replacement; draws that leave no plane are left out."""
    rng, found = np.random.default_rng(seed), []
    for _ in range(replicates):
        drawn = rng.integers(len(y), size=len(y))
        plane = np.column_stack([np.ones(len(y)), x[drawn]])
        if np.linalg.matrix_rank(plane) == plane.shape[1]:
            found.append(np.linalg.lstsq(plane, y[drawn], rcond=None)[0][1:])
    return np.quantile(found, [0.025, 0.975], axis=0).T.tolist()


def r2(x: Array, y: Array) -> float:
    """The share of the gains' variance over rows that the plane explains."""
    plane = np.column_stack([np.ones(len(y)), x])
    rest = y - plane @ np.linalg.lstsq(plane, y, rcond=None)[0]
    return float(1 - (rest @ rest) / ((y - y.mean()) @ (y - y.mean())))


def pictured(found: dict[str, Any]) -> dict[str, Any]:
    """The figures as the sweep's own picture takes them."""
    name = "ladder, QUICK RUN" if found["quick"] else "ladder"
    rows = [row | {"name": row["name"].replace("_over_", ">")} for row in found["rows"]]  # there is little room
    return {"sweep": name, "rows": rows, "fits": found["fits"], "heat": found["heat"]}


if __name__ == "__main__":
    common.command(main)
