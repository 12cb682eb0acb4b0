"""`deltadata report` on 1,000,000 pairs against a bare polars scan that computes the same quantiles.

    make bench-report
    python benchmarks/report.py --prompts 20000 --rounds 1 --folder /tmp/bench

500,000 prompts of four pools, three rungs, two pairings; every measure and one imported score; short texts. The bare
scan reads the pairs without their texts and takes five quantiles of every measure per pairing, its kept pairs, its
pools, its splits and each step of the funnel: nothing else, no interval, no ladder, no picture. That both say the same
is checked. Page cache warm, each in a fresh process, interleaved; medians; peak MB as in pairs.py.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

from pairs import measured

PROMPTS, ROUNDS, SEED = 500_000, 3, 0
POOLS, RUNGS = ("chat", "code", "math", "safety"), ("large", "middle", "small")
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
CHUNK = 20_000
RECIPE = {
    "name": "bench",
    "seed": SEED,
    "collect": {"pools": [{"name": name, "path": f"{name}.parquet"} for name in POOLS]},
    "generate": {"rungs": [{"name": rung, "responses": f"{rung}.parquet"} for rung in RUNGS]},
    "score": [{"name": "judge", "scores": "scores.parquet", "prompt": "prompt_id"}],
    "filter": {"rules": ["finished", {"max_length_delta": 100}, {"min_delta": {"measure": "judge", "at_least": 0.0}}]},
    "holdout": 0.1,
}


def build(folder: Path, prompts: int) -> None:
    """The sources' files, and a run folder where everything up to dataset/ is done."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from deltadata import tables

    chance = random.Random(SEED)
    words = ["".join(chance.choices("etaoinshrdlu", k=chance.randint(2, 8))) for _ in range(5_000)]
    files: dict[str, pq.ParquetWriter] = {}

    def add(name: str, columns: dict[str, list[Any]]) -> None:
        rows = pa.table(columns)
        if name not in files:
            files[name] = pq.ParquetWriter(folder / f"{name}.parquet", rows.schema)
        files[name].write_table(rows)

    for start in range(0, prompts, CHUNK):
        pool = POOLS[start * len(POOLS) // prompts]
        asked = [f"{' '.join(chance.choices(words, k=5))} ({n})" for n in range(start, min(start + CHUNK, prompts))]
        ids = [tables.prompt_id([{"role": "user", "content": text}]) for text in asked]
        add(pool, {"prompt": asked})
        for place, rung in enumerate(RUNGS):
            texts = [". ".join(" ".join(chance.choices(words, k=6)) for _ in range(chance.randint(1, 4))) for _ in ids]
            told = {
                "response": texts,
                "finish_reason": ["length" if chance.random() < 0.03 else "stop" for _ in ids],
                "response_tokens": [chance.randint(20, 250) - 10 * place for _ in ids],
            }
            add(rung, {"prompt": asked} | told)
            scores = [round(chance.gauss(-place, 1), 4) for _ in ids]
            add("scores", {"prompt_id": ids, "model": [rung] * len(ids), "score": scores})
    for writer in files.values():
        writer.close()
    (folder / "recipe.yaml").write_text(json.dumps(RECIPE))  # JSON is YAML
    command = [sys.executable, "-m", "deltadata", "run", "recipe.yaml", "--run", "run"]
    subprocess.run(command, cwd=folder, check=True, stderr=subprocess.DEVNULL)


def bare(folder: Path) -> None:
    """What a script would do with polars alone."""
    import polars as pl

    rules = list(json.loads((folder / "run" / "record.json").read_text())["tables"]["filter"]["facts"]["funnel"])
    scan = pl.scan_parquet(folder / "run" / "pairs.parquet")
    names = [name for name in scan.collect_schema() if name.startswith("delta_")]
    pairing = ["chosen_model", "rejected_model"]
    held_out = pl.col("prompt_id").str.slice(0, 8).str.to_integer(base=16, dtype=pl.Int64) < int(0.1 * 2**32)
    split = pl.when(held_out).then(pl.lit("test")).otherwise(pl.lit("train")).alias("split")
    pairs = scan.select(*pairing, "pool", "dropped_by", split, *names).collect()
    taken = [pl.col(name).quantile(q, "linear").alias(f"{name} {q}") for name in names for q in QUANTILES]
    kept = pl.col("dropped_by").is_null()
    told = {
        "measures": pairs.group_by(pairing).agg(taken).to_dicts(),
        "measures_kept": pairs.filter(kept).group_by(pairing).agg(taken).to_dicts(),
        "by_pool": pairs.group_by(*pairing, "pool").agg(taken).to_dicts(),
        "by_split": pairs.group_by(*pairing, "split").agg(taken).to_dicts(),
        "funnel": [pairs.select(taken).to_dicts()[0]],
    }
    for step in range(1, len(rules) + 1):
        left = pairs.filter(kept | pl.col("dropped_by").is_in(rules[step:]))
        told["funnel"] += left.select(taken).to_dicts()
    print(json.dumps(told))


def check(told: dict[str, Any], scanned: dict[str, Any]) -> int:
    """How many quantiles were compared; all must be equal but for rounding."""
    compared = 0

    def same(measures: dict[str, Any], row: dict[str, Any]) -> None:
        nonlocal compared
        for name, spread in measures.items():
            for q in QUANTILES:
                ours, theirs = (spread["quantiles"] or {}).get(str(q)), row[f"delta_{name} {q}"]
                equal = ours == theirs or math.isclose(ours, theirs, rel_tol=1e-6, abs_tol=1e-6)
                assert equal, f"{name} {q}: {ours} and {theirs}"
                compared += 1

    for pairing in told["pairings"]:
        own = {
            key: [row for row in scanned[key] if (row["chosen_model"], row["rejected_model"]) == sides]
            for sides in [(pairing["chosen"], pairing["rejected"])]
            for key in ("measures", "measures_kept", "by_pool", "by_split")
        }
        for key in ("measures", "measures_kept"):
            same(pairing[key], own[key][0])
        for key, by in (("by_pool", "pool"), ("by_split", "split")):
            for row in own[key]:
                same(pairing[key][row[by]]["measures"], row)
    for step, (before, after) in zip(told["funnel"], pairwise(scanned["funnel"]), strict=True):
        same(step["delta_before"], before)
        same(step["delta_after"], after)
    return compared


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--folder", type=Path, help="scratch; what was built there before is used again")
    asked.add_argument("--prompts", type=int, default=PROMPTS, help="two pairs each")
    asked.add_argument("--rounds", type=int, default=ROUNDS)
    asked.add_argument("--bare", type=Path, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.bare:
        bare(given.bare)
        return
    with tempfile.TemporaryDirectory() as scratch:
        bench((given.folder or Path(scratch)).absolute() / f"report-{given.prompts}", given.prompts, given.rounds)


def bench(folder: Path, prompts: int, rounds: int) -> None:
    if not (folder / "built").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = time.perf_counter()
        build(folder, prompts)
        (folder / "built").touch()
        print(f"built in {time.perf_counter() - began:.0f} s: {folder}", flush=True)
    tool = [sys.executable, "-m", "deltadata", "report", "run"]
    cases = {
        "bare scan": [sys.executable, __file__, "--bare", str(folder)],
        "report --json": [*tool, "--json"],
        "numbers only": [*tool, "--json", "--numbers-only"],
        "report": tool,
    }
    figures: dict[str, list[list[float]]] = {name: [] for name in cases}
    reads = [folder / "run" / "pairs.parquet", *(folder / "run").glob("*/*/part-*.parquet")]
    for number in range(rounds):
        for name, command in cases.items():
            figures[name].append(measured(command, folder, reads, folder / f"{name}.out"))
            wall, _, peak = figures[name][-1]
            print(f"round {number + 1}, {name}: {wall:.1f} s, {peak:.0f} MB", file=sys.stderr, flush=True)
    told, scanned = (json.loads((folder / f"{name}.out").read_text()) for name in ("report --json", "bare scan"))
    print(f"{told['pairs']} pairs, {len(told['measures'])} measures; {check(told, scanned)} quantiles are the same")
    print(f"{'':16}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'of the scan':>13}")
    for name, rows in figures.items():
        wall, cpu, peak = (statistics.median(column) for column in zip(*rows, strict=True))
        # A ratio a round, since the machine's speed drifts more between rounds than within one.
        ratio = statistics.median(a[0] / b[0] for a, b in zip(rows, figures["bare scan"], strict=True))
        print(f"{name:16}{wall:9.1f}{cpu:9.1f}{peak:9.0f}{ratio:12.2f}x")


if __name__ == "__main__":
    main()
