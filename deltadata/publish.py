"""The last stage: `dataset/`, exactly what a push uploads: data, card, plots, recipe and record.

deltadata run RECIPE
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl

from deltadata import card, dataset, languages, pair, recipe, reports, score, sheet, tables
from deltadata.errors import UserError
from deltadata.job import DATASET, FILTER, PAIRS, PUSH, Job, settled
from deltadata.nothing import no_pair
from deltadata.parquet import groups
from deltadata.recipe import Recipe
from deltadata.store import RECORD, Entry, Run, made, replacing, write_json
from deltadata.tables import CHOSEN, fingerprint

CARD, RECIPE = "README.md", "recipe.yaml"
SAMPLED = 2000  # chosen responses whose language is looked at


def spec_of(job: Job) -> dict[str, Any]:
    return {"holdout": job.recipe.holdout}


def publish(job: Job) -> bool:
    """Pairs, responses and what is known of them to dataset/; the report beside it. Returns whether anything was done.

    Raises UserError when no pair is kept.
    """
    ladder = job.ladder()
    spec = spec_of(job)
    inputs = {
        "filter": job.run.record[FILTER].fingerprint,
        "ladder": [of_rung.inputs for of_rung in ladder.values()],
        # The card and recipe.yaml say things no row depends on (a licence, say): they follow the recipe, too.
        "recipe": fingerprint(job.recipe.model_dump(mode="json", exclude={"runtime", "train"})),
    }
    folder = job.made(DATASET)
    if settled(job, DATASET, spec, inputs):
        return False
    began = time.monotonic()
    job.run.forget(DATASET)
    files = {name: of_rung.files for name, of_rung in ladder.items()}
    with replacing(folder) as new:
        splits = dataset.write_default(new, job.pairs_file, job.recipe.holdout)
        if not splits:
            raise _nothing_kept(job)
        scores = {asked.name: score.read(job.run.path, asked.name) for asked in job.recipe.score}
        places = dataset.places(job.prompts_file, files, pair.samples(job.recipe), scores)
        splits.append(dataset.write_ladder(new, job.prompts_file, places, files))
        told = _reported(job, new)
        facts = {
            "splits": [split._asdict() for split in splits],
            "languages": _languages(new, splits[0]),
            "plots": sorted(str(path.relative_to(new)) for path in (new / reports.PLOTS).glob("*.png")),
        }
        write_card(new, job.recipe, job.run.record, facts, told)
        (new / RECIPE).write_text(recipe.dump(job.recipe, published=True), encoding="utf-8")
        rows = sum(split.rows for split in splits if split.config == dataset.DEFAULT)
        sizes = {f"{folder.name}/{path.relative_to(new)}": path.stat().st_size for path in new.rglob("*.*")}
        job.run.record[DATASET] = made(rows, time.monotonic() - began, spec, inputs, facts, sizes)
        write_json(new / RECORD, published(job.run))
    job.run.save()
    return True


def published(run: Run) -> dict[str, Any]:
    """The record as it lies beside the data: without addresses of this place, and what was done with it later."""
    told = run.told()
    told["tables"].pop(PUSH, None)
    for entry in told["tables"].values():
        entry["facts"] = {key: value for key, value in entry["facts"].items() if key != "base_url"}
    return told


def write_card(
    folder: Path, recipe: Recipe, record: Mapping[str, Entry], facts: dict[str, Any], told: dict[str, Any]
) -> None:
    page = card.render(card.facts(recipe, record, facts, told))
    (folder / CARD).write_text(page, encoding="utf-8")


def _reported(job: Job, new: Path) -> dict[str, Any]:
    """The run's report, whose pictures go into the dataset as well."""
    drawn = sheet.available()
    if not drawn:
        job.progress.note("no pictures: pip install 'deltadata-toolkit[report]', then add --overwrite")
    told = reports.make(job.run.path, drawn, job.recipe.holdout)
    if drawn:
        shutil.copytree(job.run.path / reports.PLOTS, new / reports.PLOTS)
    return told


def _languages(folder: Path, split: dataset.Split) -> dict[str, float] | None:
    """The languages of chosen responses, evenly spaced; None where py3langid is not installed."""
    if find_spec("py3langid") is None:
        return None
    others = [column["name"] for column in split.features if column["name"] != CHOSEN]
    step, at = max(1, split.rows // SAMPLED), 0
    found = [pl.Series([], dtype=pl.String)]
    for name in split.files:
        for group in groups(folder / name, without=others):
            texts = pl.DataFrame(group).select(tables.last_text(CHOSEN)).to_series()
            found.append(texts.gather_every(step, -at % step).rename(""))
            at += len(texts)
    return languages.shares(pl.concat(found).head(SAMPLED))


def _nothing_kept(job: Job) -> UserError:
    if not job.run.record[PAIRS].rows:
        return no_pair(job)
    dropped = ", ".join(f"{rule} {count}" for rule, count in job.run.record[FILTER].facts["funnel"].items() if count)
    return UserError(
        f"every pair was dropped ({dropped})",
        where="filter.rules",
        cure="loosen the filter and add --overwrite; nothing is generated again"
        + ("; dataset/ still holds the former rows" if job.made(DATASET).exists() else ""),
    )
