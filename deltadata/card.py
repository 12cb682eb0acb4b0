"""The dataset card: a template (cards/dataset.md.jinja) and facts of the run. An undefined name is an error.

`deltadata run` writes it to dataset/README.md; `make card` renews the example in cards/example.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Undefined

from deltadata import __version__, columns, kinds, limits, measure, page, tables, unpaired
from deltadata.figures import magnitudes, main, seen
from deltadata.header import by_config, header
from deltadata.licences import GENERATOR, JUDGE, SOURCE, STOPPING, Found, Part, notices, proposed
from deltadata.licences import found as judged
from deltadata.licences import header as licence_keys
from deltadata.markdown import inert
from deltadata.pair import measures
from deltadata.pair_sections import ByScore, Pair
from deltadata.provenance import extras, pool_facts, rung_facts, scorer_facts, shown, sources
from deltadata.recipe import Recipe
from deltadata.scorer_sections import ByModel, Checks, Imported
from deltadata.tables import BY_BOTH, BY_ORDER, DROPPED_BY, MODEL, PREFERENCE_TYPE, SIDES, fingerprint, measured, of
from deltadata.templates import folder

Tree = dict[str, Any]


def facts(recipe: Recipe, record: Mapping[str, Any], written: Tree, told: Tree) -> Tree:
    """Everything the card says: from the recipe, the run's record (table name to entry), what was written, the report.

    `written` has `splits` (of `dataset.Split`), `languages` ({code: share of the kept chosen answers}, None where not
    measured) and `plots` (paths beside the card); `told` is the report as report.json has it.
    """
    prompts, asked, licence = record[tables.PROMPTS.name], recipe.pair.pairings, _licence(recipe, record)
    known = {
        "version": __version__,
        "repo": recipe.push.repo,
        "splits": written["splits"],
        "languages": written["languages"],
        "plots": [{"path": path, "seen": seen(Path(path).stem, told)} for path in written["plots"]],
        "columns": _columns(written["splits"], [score.name for score in recipe.score]),
        "test_share": recipe.holdout,
        "licence": licence,
        "rungs": [
            rung_facts(recipe, rung, record[where], told, licence["of"][where])
            for rung in recipe.generate.rungs
            for where in [tables.ladder_name(rung.name)]
        ],
        "control": recipe.pair.control,
        "by": asked if isinstance(asked, ByScore) else None,
        "also": _also(recipe.pair, record[tables.PAIRS_NAME].facts),
        "soft_label": recipe.pair.soft_label,
        "judged": any(not isinstance(score, Checks) for score in recipe.score),
        "scorers": [
            scorer_facts(score, record[where], told, licence["of"].get(where))
            for score in recipe.score
            for where in [tables.scores_name(score.name)]
        ],
        "pools": [
            pool_facts(pool, told, licence["of"][f"{tables.PROMPTS.name}/{pool['name']}"])
            for pool in prompts.facts["pools"]
        ],
        "sources": sources(recipe),
        "contamination": prompts.facts["contamination"],
        "ngram": recipe.collect.overlap.ngram,
        "told": told,
        "magnitudes": magnitudes(told),
        "others": [name for name in told["measures"] if name not in main(told)],
        "extras": extras(recipe),
        "digest": fingerprint([split["content"] for split in written["splits"]]),
        "year": record[tables.FILTER_NAME].finished[:4],
    }
    whole = closing(recipe, record) | known
    return whole | {"limits": limits.limits(whole)}


def closing(recipe: Recipe, record: Mapping[str, Any]) -> Tree:
    """What the closing table on the screen shows: pairs in and kept, drops by rule, mean deltas by pairing."""
    filtered = record[tables.FILTER_NAME]
    return {
        "name": recipe.name,
        "kept": filtered.rows,
        "pairs": record[tables.PAIRS_NAME].rows,
        "lead": lead_measures(recipe, filtered.facts["pairings"]),
        "pairings": filtered.facts["pairings"],
        "funnel": filtered.facts["funnel"],
        "without_pair": record[tables.PAIRS_NAME].facts[unpaired.COUNT],
        "without_pair_since": unpaired.said(record[tables.PAIRS_NAME].facts),
    }


def _also(asked: Pair, found: Tree) -> Tree | None:
    """Pairs by score beside those by order: as the recipe asks for them, and how many of each kind there are."""
    if asked.also is None:
        return None
    counts = {name: found[name] for name in ("preference_types", "contradictions")}
    return asked.also.model_dump() | {"drawn": asked.also.drawn} | counts


def lead_measures(recipe: Recipe, found: list[Tree]) -> list[str]:
    """What a small table shows: the scorers, and the length that is known."""
    names = [name for name in measures(recipe) if any(pairing["delta"][name] is not None for pairing in found)]
    lengths = [measure.tokens.__name__, measure.characters.__name__, measure.response_ratio.__name__]
    return [*(score.name for score in recipe.score if score.name in names), *(n for n in lengths if n in names)]


def pairings(numbers: pl.DataFrame, names: list[str]) -> list[Tree]:
    """Per pairing (in order): pairs, kept, and the mean of all that is measured, over all pairs and over the kept.

    Where pairs are of two kinds, a pairing is of one of them; what both ways found is by order.
    """
    kept = pl.col(DROPPED_BY).is_null()
    named = {name: pl.col(measured(name)) for name in names}
    keys = [pl.col(of(side, MODEL)).alias(side) for side in SIDES]
    if PREFERENCE_TYPE in numbers.columns:
        keys.append(pl.col(PREFERENCE_TYPE).replace(BY_BOTH, BY_ORDER))
    found = numbers.group_by(keys, maintain_order=True).agg(
        pairs=pl.len(),
        kept=kept.sum(),
        delta=pl.struct([column.mean().alias(name) for name, column in named.items()]),
        delta_kept=pl.struct([column.filter(kept).mean().alias(name) for name, column in named.items()]),
    )
    return found.to_dicts()


def licences(recipe: Recipe, record: Mapping[str, Any]) -> list[Found]:
    """The licence of every part of the dataset: pools, rungs, and the scorers that are models or files.

    Verifiable checks and combined scores are made here, of parts that have their licence: they are no parts.
    """
    pools = zip(recipe.collect.pools, record[tables.PROMPTS.name].facts["pools"], strict=True)
    parts = [
        Part(f"{tables.PROMPTS.name}/{pool.name}", SOURCE, pool.path, pool.license, told.get("license"))
        for pool, told in pools
    ]
    for rung in recipe.generate.rungs:
        where = tables.ladder_name(rung.name)
        name = str(rung.model or rung.responses)
        parts.append(Part(where, GENERATOR, name, rung.license, record[where].facts.get("license")))
    for score in recipe.score:
        if isinstance(score, ByModel):
            known = record[where := tables.scores_name(score.name)].facts.get("license")
            parts.append(Part(where, JUDGE, score.model, score.license, known))
        elif isinstance(score, Imported):
            parts.append(Part(tables.scores_name(score.name), JUDGE, score.scores, score.license))
    return judged(parts)


def _licence(recipe: Recipe, record: Mapping[str, Any]) -> Tree:
    """The parts' licences, and that of the whole: the recipe's, else the proposed one; None where one is unknown."""
    found = licences(recipe, record)
    parts = [
        one._asdict()
        | {"where": one.part.where, "role": one.part.role, "name": shown(one.part.name)}
        | {"stops": one.kind in STOPPING, "accepted": recipe.push.accept.get(one.part.where, "").strip()}
        for one in found
    ]
    whole = recipe.push.license or proposed(found)
    return {
        "parts": parts,
        "of": {part["where"]: part["licence"] or "not known" for part in parts},
        "stated": recipe.push.license,
        "proposed": proposed(found),
        "header": licence_keys(whole),
        "notices": notices(found),
    }


def _columns(splits: list[Tree], scorers: list[str]) -> dict[str, list[Tree]]:
    """Per config its columns with their types and meanings."""
    return {
        config: [
            {"name": one["name"], "kind": columns.kind(one), "meaning": columns.meaning(one["name"], scorers)}
            | {"delta": one["name"].startswith(tables.DELTA)}
            for one in found[0]["features"]
        ]
        for config, found in by_config(splits).items()
    }


def render(facts: Tree) -> str:
    """Markdown with its YAML header; text from outside (names, paths, ids, reasons) is made inert."""
    environment = Environment(
        loader=FileSystemLoader(folder()), undefined=StrictUndefined, trim_blocks=True, keep_trailing_newline=True
    )
    filters: dict[str, Callable[[Any], str]] = {"md": inert, "count": page.count, "plain": page.number}
    filters |= {"signed": page.signed, "interval": page.interval}
    filters["percent"] = lambda share: inert(page.percent(share))
    environment.filters |= {name: _asked(say) for name, say in filters.items()} | {"sides": kinds.sides}
    return environment.get_template("dataset.md.jinja").render(facts, header=header(facts))


def _asked(say: Callable[[Any], str]) -> Callable[[Any], str]:
    """The filter, for which a hole is an error that has its name."""
    return lambda value: say(str(value) if isinstance(value, Undefined) else value)
