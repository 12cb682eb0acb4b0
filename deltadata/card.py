"""The dataset card: a template (cards/dataset.md.jinja) and facts of the run. An undefined name is an error.

`deltadata run` writes it to dataset/README.md.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl
import yaml
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from deltadata import __version__, measure, tables
from deltadata.pair import measures
from deltadata.recipe import Recipe
from deltadata.sections import ByScore, Rung, Score
from deltadata.tables import CHOSEN, DROPPED_BY, MODEL, REJECTED, fingerprint, measured, of

SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))
TAGS = ["dpo", "preference", "synthetic", "trl", "deltadata", "delta-learning"]


def folder() -> Path:
    """Where the templates lie: in the package when installed, beside it in a checkout."""
    here = Path(__file__).parent
    return next(place for place in (here / "cards", here.parent / "cards") if place.is_dir())


def facts(recipe: Recipe, record: Mapping[str, Any], splits: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything the card says, from the recipe, the run's record (table name to entry) and what was written."""
    return closing(recipe, record) | {
        "version": __version__,
        "repo": recipe.push.repo or "path/to/dataset",
        "splits": splits,
        "test_share": recipe.holdout,
        "rungs": [_rung(recipe, rung, record[tables.ladder_name(rung.name)]) for rung in recipe.generate.rungs],
        "control": recipe.pair.control,
        "by": asked if isinstance(asked := recipe.pair.pairings, ByScore) else None,
        "scorers": [_scorer(score, record[tables.scores_name(score.name)]) for score in recipe.score],
        "pools": record[tables.PROMPTS.name].facts["pools"],
        "contamination": record[tables.PROMPTS.name].facts["contamination"],
        "ngram": recipe.collect.overlap.ngram,
    }


def closing(recipe: Recipe, record: Mapping[str, Any]) -> dict[str, Any]:
    """What the closing table on the screen shows: pairs in and kept, drops by rule, mean deltas by pairing."""
    filtered = record[tables.FILTER_NAME]
    return {
        "name": recipe.name,
        "kept": filtered.rows,
        "pairs": record[tables.PAIRS_NAME].rows,
        "measures": measures(recipe),
        "lead": lead_measures(recipe, filtered.facts["pairings"]),
        "pairings": filtered.facts["pairings"],
        "funnel": filtered.facts["funnel"],
        "without_pair": record[tables.PAIRS_NAME].facts["prompts_without_pair"],
        "without_pair_since": "their candidates' scores are not far enough apart"
        if isinstance(recipe.pair.pairings, ByScore)
        else "a rung has no answer to them",
    }


def lead_measures(recipe: Recipe, found: list[dict[str, Any]]) -> list[str]:
    """What a small table shows: the scorers, and the length that is known."""
    names = [name for name in measures(recipe) if any(pairing["delta"][name] is not None for pairing in found)]
    lengths = [measure.tokens.__name__, measure.characters.__name__, measure.response_ratio.__name__]
    return [*(score.name for score in recipe.score if score.name in names), *(n for n in lengths if n in names)]


def pairings(numbers: pl.DataFrame, names: list[str]) -> list[dict[str, Any]]:
    """Per pairing (in order): pairs, kept, and the mean of all that is measured, over all pairs and over the kept."""
    kept = pl.col(DROPPED_BY).is_null()
    columns = {name: pl.col(measured(name)) for name in names}
    found = numbers.group_by(of(CHOSEN, MODEL), of(REJECTED, MODEL), maintain_order=True).agg(
        pairs=pl.len(),
        kept=kept.sum(),
        delta=pl.struct([column.mean().alias(name) for name, column in columns.items()]),
        delta_kept=pl.struct([column.filter(kept).mean().alias(name) for name, column in columns.items()]),
    )
    return found.rename({of(CHOSEN, MODEL): CHOSEN, of(REJECTED, MODEL): REJECTED}).to_dicts()


def _rung(recipe: Recipe, rung: Rung, entry: Any) -> dict[str, Any]:
    sampling = recipe.generate.sampling_of(rung).model_dump()
    return {
        "name": rung.name,
        "model": rung.model or f"responses from {Path(str(rung.responses)).name}",
        "engine": " ".join(str(entry.facts[key]) for key in ("engine", "engine_version") if key in entry.facts),
        "sampling": "as imported" if rung.responses else ", ".join(f"{k} {v}" for k, v in sampling.items()),
        "rows": entry.rows,
        "errors": entry.facts["errors"],
        "cut_off": "unknown" if rung.responses else entry.facts["cut_off"],
        "license": rung.license or entry.facts.get("license") or "not stated",
    }


def _scorer(score: Score, entry: Any) -> dict[str, Any]:
    source = f"scores from {Path(score.scores).name}" if score.scores else "verifiable checks that the prompts carry"
    means = {rung["model"]: rung["mean"] for rung in entry.facts["rungs"]}
    return {"name": score.name, "source": source, "graded": entry.rows, "of": entry.facts["responses"], "means": means}


def render(facts: dict[str, Any]) -> str:
    """Markdown with its YAML header; text from outside (names, paths, ids) is made inert."""
    environment = Environment(
        loader=FileSystemLoader(folder()), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"md": inert, "number": number}
    return environment.get_template("dataset.md.jinja").render(facts, header=header(facts))


def header(facts: dict[str, Any]) -> str:
    """The card's YAML: what the Hub and `load_dataset` read."""
    configs: dict[str, list[dict[str, Any]]] = {}
    for split in facts["splits"]:
        configs.setdefault(split["config"], []).append(split)
    rows = sum(split["rows"] for split in facts["splits"])
    tree = {
        "pretty_name": facts["name"],
        "task_categories": ["text-generation"],
        "tags": TAGS,
        "size_categories": [next((name for limit, name in SIZES if rows < limit), "n>10M")],
        "configs": [
            {
                "config_name": name,
                "data_files": [
                    {"split": split["split"], "path": f"data/{name}/{split['split']}-*.parquet"} for split in splits
                ],
            }
            | ({"default": True} if name == "default" else {})
            for name, splits in configs.items()
        ],
        "dataset_info": [_info(name, splits) for name, splits in configs.items()],
    }
    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
    return text


def _info(config: str, splits: list[dict[str, Any]]) -> dict[str, Any]:
    """Sizes as `datasets` states them, and the content's digest.

    `datasets` caches a local folder under a hash of this header, not of its files: without the digest two runs with
    equal counts, or one run before and after a new filter, would be served each other's rows.
    """
    return {
        "config_name": config,
        "description": f"content {fingerprint([split['digest'] for split in splits])}",
        "splits": [
            {"name": split["split"], "num_bytes": split["bytes"], "num_examples": split["rows"]} for split in splits
        ],
        "download_size": sum(split["file_bytes"] for split in splits),
        "dataset_size": sum(split["bytes"] for split in splits),
    }


def inert(text: Any) -> str:
    """Text that cannot become Markdown or HTML, nor leave its table cell."""
    flat = " ".join(str(text).split())
    return re.sub(r"([\\`*_{}\[\]<>|#!~])", r"\\\1", flat)


def number(value: float | None) -> str:
    return "-" if value is None else f"{value:+.4g}"
