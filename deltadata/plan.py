"""What a recipe will take, before anything is run: what is there already, and the GPU memory of its training.

deltadata plan recipes/delta_8b.yaml
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from deltadata import memory, tables
from deltadata.errors import UserError
from deltadata.hub import asking
from deltadata.job import DATASET, FILTER, PAIRS, PROMPTS
from deltadata.recipe import Recipe
from deltadata.store import RECORD, read_record

WINDOW, PAIRS_AT_ONCE = "max_length", "per_device_train_batch_size"  # of trl.DPOConfig


def made(recipe: Recipe, run: Path) -> list[dict[str, Any]]:
    """Every table of the run, with its rows where it is finished."""
    record = read_record(run)[1] if (run / RECORD).exists() else {}
    names = [PROMPTS, *(tables.ladder_name(rung.name) for rung in recipe.generate.rungs)]
    names += [*(tables.scores_name(asked.name) for asked in recipe.score), PAIRS, FILTER, DATASET]
    return [{"table": name, "rows": record[name].rows if name in record else "to be made"} for name in names]


def training(recipe: Recipe, recipe_dir: Path) -> list[dict[str, str]]:
    """GB on each GPU by set-up, for the recipe's student, window and pairs at once (see `memory.states`).

    Raises UserError when the student's config.json is not there or tells no shape, OutsideError when the Hub fails.
    """
    student = str(recipe.train.student)
    config = _config(student, recipe_dir)
    try:
        shape = memory.shape_of(json.loads(config.read_text(encoding="utf-8")))
    except (ValueError, KeyError, TypeError) as problem:
        what = f"its config.json tells no shape of a Llama-like decoder ({problem})"
        raise UserError(what, where=student, cure="measure its memory by a run of a few steps") from None
    args = recipe.train.args
    found = memory.rows(shape, max_length=int(args.get(WINDOW, 2048)), pairs=int(args.get(PAIRS_AT_ONCE, 1)))
    return [{name: size for name, size in row.items() if name != "reference"} for row in found]  # computed beforehand


def _config(student: str, recipe_dir: Path) -> Path:
    """The config.json of a directory or of a model of the Hub; nothing else of it is fetched."""
    for place in (Path(student).expanduser(), recipe_dir / student):
        if (place / "config.json").is_file():
            return place / "config.json"
    if student.startswith(("models/", ".", "/")):
        raise UserError("no config.json", where=student, cure=f"deltadata models {Path(student).name} fetches it")
    from huggingface_hub import hf_hub_download

    repo, _, revision = student.partition("@")
    with asking(repo, revision=revision or None, kind="model"):
        return Path(hf_hub_download(repo, "config.json", revision=revision or None))
