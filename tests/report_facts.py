"""A made run for the report's pictures and page: ladder and pairs from seeded numbers, a report by its contract.

`made(...)` gives (report, pairs, ladder); figures that a picture only passes on are simple, those it counts are true.
"""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import polars as pl

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
RULES = ("not_empty", "texts_differ", "max_length_delta", "min_delta")
JUDGE = {
    "kind": "judge",
    "what": "a judge's comparisons in both orders on honesty",
    "model": "org/judge-7b",
    "engine": "vllm",
    "dtype": None,
    "responses": 1200,
    "scored": 1188,
    "said": ["12 judgements have no verdict: refused 12.", "It read 1,234 tokens and wrote 56."],
}
Made = tuple[dict[str, Any], pl.DataFrame, pl.DataFrame]


def made(models: int = 3, prompts: int = 400, pools: int = 2, scorers: tuple[str, ...] = ("checks", "gpt4")) -> Made:
    """All pairings of `models` rungs, each of which answered every prompt once."""
    random = np.random.default_rng(0)
    names = [f"rung-{number}-it" for number in range(models)]
    ids = [f"{number:016x}" for number in range(prompts)]
    pool = np.array([f"pool-{number % pools}" for number in range(prompts)])
    ladder = pl.concat(_rung(name, place, ids, pool, scorers, random) for place, name in enumerate(names))
    parts = [_pairing(ladder, chosen, rejected, scorers) for chosen, rejected in combinations(names, 2)]
    pairs = pl.concat(parts).with_columns(split=pl.when(pl.col("prompt_id") < ids[prompts // 10]).then(pl.lit("test")))
    pairs = pairs.with_columns(pl.col("split").fill_null("train"), dropped_by=_dropped())
    return _report(pairs, ladder, names, scorers), pairs, ladder


def _rung(name: str, place: int, ids: list[str], pool: Any, scorers: tuple[str, ...], random: Any) -> pl.DataFrame:
    tokens = np.round(random.lognormal(5.6 - 0.15 * place, 0.6, len(ids)))
    scores = {"checks": np.round(np.clip(random.normal(0.8 - 0.12 * place, 0.3, len(ids)), 0, 1) * 4) / 4}
    scores["gpt4"] = random.normal(2.0 - 0.8 * place, 1.5, len(ids)) + tokens / 600
    columns = {"prompt_id": ids, "pool": pool, "tokens": tokens, "characters": tokens * 4.0}
    columns |= {scorer: scores[scorer] for scorer in scorers}
    return pl.DataFrame(columns).with_columns(model=pl.lit(name), sample=pl.lit(0, pl.UInt32))


def _pairing(ladder: pl.DataFrame, chosen: str, rejected: str, scorers: tuple[str, ...]) -> pl.DataFrame:
    sides = [
        ladder.filter(pl.col("model") == model).rename(
            lambda c, s=side: c if c in ("prompt_id", "pool") else f"{s}_{c}"
        )
        for side, model in (("chosen", chosen), ("rejected", rejected))
    ]
    both = sides[0].join(sides[1].drop("pool"), on="prompt_id", maintain_order="left")
    measures = ("tokens", "characters", *scorers)
    deltas = [(pl.col(f"chosen_{m}") - pl.col(f"rejected_{m}")).alias(f"delta_{m}") for m in measures]
    stop = [pl.lit("stop").alias(f"{side}_finish_reason") for side in ("chosen", "rejected")]
    return both.select(pl.exclude("^(chosen|rejected)_(characters|checks|gpt4)$"), *stop, *deltas, similarity=0.4)


def _dropped() -> pl.Expr:
    number = pl.col("prompt_id").str.to_integer(base=16)
    long = pl.col("delta_tokens").abs() > 400
    return pl.when(number % 50 == 7).then(pl.lit("texts_differ")).when(long).then(pl.lit("max_length_delta"))


def stats(deltas: pl.Series) -> dict[str, Any]:
    """STATS of the contract; the interval is the normal one, which is enough for a picture."""
    known = deltas.drop_nulls()
    if not known.len():
        keys = ("mean", "std", "quantiles", "share_positive", "share_tied", "agreement", "agreement_ci95")
        return {"n": 0} | dict.fromkeys(keys)
    positive, tied = float((known > 0).mean()), float((known == 0).mean())  # type: ignore[arg-type]
    agreement, half = positive + tied / 2, 0.98 / known.len() ** 0.5
    return {
        "n": known.len(),
        "mean": known.mean(),
        "std": known.std(),
        "quantiles": {str(q): known.quantile(q, "linear") for q in QUANTILES},
        "share_positive": positive,
        "share_tied": tied,
        "agreement": agreement,
        "agreement_ci95": [max(agreement - half, 0.0), min(agreement + half, 1.0)],
    }


def _all(pairs: pl.DataFrame, measures: list[str]) -> dict[str, Any]:
    return {measure: stats(pairs[f"delta_{measure}"]) for measure in measures}


def _part(pairs: pl.DataFrame, measures: list[str]) -> dict[str, Any]:
    kept = pairs.filter(pl.col("dropped_by").is_null()).height
    return {"pairs": pairs.height, "kept": kept, "measures": _all(pairs, measures)}


def _pairing_facts(pairs: pl.DataFrame, measures: list[str], scorers: tuple[str, ...]) -> dict[str, Any]:
    kept = pairs.filter(pl.col("dropped_by").is_null())
    length = {
        "measure": "tokens",
        "share_chosen_longer": float((pairs["delta_tokens"] > 0).mean()),  # type: ignore[arg-type]
        "matched": {"pairs": 61, "agreement": 0.58, "agreement_ci95": [0.51, 0.65], "within": 0.1},
        "controlled": {"agreement": 0.57, "coefficient": 0.0021},
    }
    by = {
        f"by_{key}": {
            str(part[0]): _part(frame, measures) for part, frame in pairs.group_by([key], maintain_order=True)
        }
        for key in ("pool", "split")
    }
    whole = {"chosen": pairs["chosen_model"][0], "rejected": pairs["rejected_model"][0], **_part(pairs, measures)}
    similarity = {"n": pairs.height, "mean": 0.4, "std": 0.0, "quantiles": {str(q): 0.4 for q in QUANTILES}}
    more = {"similarity": similarity, "length_bias": length if scorers else None}
    return whole | {"measures_kept": _all(kept, measures)} | by | more


def _funnel(pairs: pl.DataFrame, measures: list[str]) -> list[dict[str, Any]]:
    rows, left = [], pairs
    for rule in RULES:
        after = left.filter(pl.col("dropped_by").ne_missing(rule))
        dropped = left.height - after.height
        rows.append({"rule": rule, "dropped": dropped, "delta_before": _all(left, measures)})
        rows[-1]["delta_after"], left = _all(after, measures), after
    return rows


def _ladder_facts(ladder: pl.DataFrame, names: list[str], scorers: tuple[str, ...]) -> list[dict[str, Any]]:
    rows = []
    for place, name in enumerate(names):
        own = ladder.filter(pl.col("model") == name)
        strength = {s: 1.0 - 0.6 * place + (0.9 if s == "checks" and place == len(names) - 1 else 0) for s in scorers}
        row = {"model": name, "responses": own.height, "cut_off": 0.02 * place if place else None}
        row |= {"mean_tokens": own["tokens"].mean(), "mean_characters": own["characters"].mean()}
        row |= {"mean_score": {s: own[s].mean() for s in scorers}, "scored": {s: own.height for s in scorers}}
        row |= {"strength": strength, "strength_ci95": {s: [x - 0.15, x + 0.15] for s, x in strength.items()}}
        rows.append(row)
    return rows


def _report(pairs: pl.DataFrame, ladder: pl.DataFrame, names: list[str], scorers: tuple[str, ...]) -> dict[str, Any]:
    measures = ["tokens", "characters", *scorers]
    groups = [frame for _, frame in pairs.group_by(["chosen_model", "rejected_model"], maintain_order=True)]
    inverted = {"by": "pool", "slice": "pool-0", "pairs": 12, "agreement": 0.31, "agreement_ci95": [0.2, 0.44]}
    quarter = {"from": 0.0, "to": 0.5, "pairs": 104, "mean": -0.25, "std": 0.1, "agreement": 0.2}
    full = {"scorer": "checks", "n": 400, "max": 1.0, "at_max": 0.36, "both_at_max": 0.12, "quarters": [quarter]}
    return {
        "name": "made-up",
        "control": "none",
        "pairs": pairs.height,
        "kept": pairs.filter(pl.col("dropped_by").is_null()).height,
        "prompts": pairs["prompt_id"].n_unique(),
        "seed": 0,
        "measures": measures,
        "scorers": list(scorers),
        "lead": scorers[0] if scorers else "tokens",
        "length_measure": "tokens",
        "findings": [
            {"kind": "order", "text": "The order of the rungs holds in all pairings.", "level": "good"},
            {"kind": "length", "text": "Chosen is longer in 57 % of the pairs.", "level": "warn"},
            {"kind": "ties", "text": "31 % of the pairs tie on checks.", "level": "note"},
        ],
        "pairings": [_pairing_facts(group, measures, scorers) for group in groups],
        "funnel": _funnel(pairs, measures),
        "ladder": _ladder_facts(ladder, names, scorers),
        "correlations": {"measures": measures, "spearman": np.eye(len(measures)).tolist()},
        "slices": [{"chosen": names[0], "rejected": names[-1], **inverted}],
        "saturation": full if scorers else None,
        "scored_by": {"gpt4": JUDGE} if "gpt4" in scorers else {},
    }


def example(**changes: Any) -> dict[str, Any]:
    """One pair as the page shows it."""
    return {
        "which": "largest",
        "chosen_model": "rung-0-it",
        "rejected_model": "rung-1-it",
        "prompt_id": "00000000000000ab",
        "pool": "pool-0",
        "prompt": [{"role": "user", "content": "Name a colour."}],
        "chosen": [{"role": "assistant", "content": "Blue."}],
        "rejected": [{"role": "assistant", "content": "I would say:\n\n  a colour"}],
        "deltas": {"checks": 0.5, "tokens": -7.0, "gpt4": None},
        "dropped_by": None,
    } | changes
