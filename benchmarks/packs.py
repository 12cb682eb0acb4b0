"""1,000,000 prompts of 100 words against packs of 50,000 evaluation items: seconds, memory, and plain Python's.

    make bench-packs
    python benchmarks/packs.py --prompts 100000 --rounds 1 --folder /tmp/bench

Words are drawn from real answers (AlpacaEval; made up where there are none), so that their frequencies are real and
n-grams in common are chance. Of the prompts 1 % are an item with changes of case and punctuation, 5 % have a phrase of
12 words that one in 500 items has, 2 % are Chinese. Items have 12 to 180 words, 80 on average, in eleven packs.

`ours`: read the packs, then the prompts by row group, each round in a fresh process; the rows found must be the planted
ones. `plain` is the script that one would write: a dict from tuples of words to items, on the first 50,000 prompts; it
counts what covers an item as ours does. Peak MB is the process's resident memory, the reading of prompts included.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

ROOT = Path(__file__).parent.parent
PROMPTS, ITEMS, WORDS, PLAIN, ROUNDS, GROUP = 1_000_000, 50_000, 100, 50_000, 5, 10_000
PACKS, SIZE, COPIES, PHRASES, CHINESE = 11, 8, 0.01, 0.05, 0.02
PHRASE = "answer the following question as well as you can and explain why"


def vocabulary(answers: Path) -> np.ndarray:
    files = sorted(answers.glob("*.json")) if answers.is_dir() else []
    if not files:
        letters = random.Random(0)
        made = ["".join(letters.choices("etaoinshrdlu", k=letters.randint(2, 9))) for _ in range(30_000)]
        return np.array(made, object)[np.random.default_rng(0).zipf(1.2, 1_000_000) % len(made)]
    texts = [row["output"] or "" for file in files for row in json.loads(file.read_text())]
    words = [word for text in texts for word in text.split()]
    return np.array([word for word in words if word.strip("*.,:;!?()\"'").isalpha() and len(word) < 25], object)


def build(folder: Path, prompts: int, answers: Path) -> None:
    """prompts.parquet and the packs; items.parquet for the plain script, and how many prompts are copies."""
    from deltadata import ngrams, packs

    chance, words = np.random.default_rng(0), vocabulary(answers)
    lengths = np.clip(chance.gamma(3, 27, ITEMS).astype(int), 12, 180)
    drawn = chance.integers(len(words), size=lengths.sum())
    items = [" ".join(words[part]) for part in np.split(drawn, np.cumsum(lengths)[:-1])]
    items = [f"{PHRASE} {item}" if i % 500 == 0 and lengths[i] > 40 else item for i, item in enumerate(items)]
    began = time.perf_counter()
    for number, part in enumerate(np.array_split(np.arange(ITEMS), PACKS)):
        pack = ngrams.build(f"pack{number}", [items[i] for i in part])
        packs.write(folder / f"{pack.name}.pack", pack)
    size = sum(path.stat().st_size for path in folder.glob("*.pack"))
    print(f"{PACKS} packs of {ITEMS} items in {time.perf_counter() - began:.1f} s, {size / 2**20:.0f} MB", flush=True)
    pq.write_table(pa.table({"text": items}), folder / "items.parquet")
    copies = 0
    with pq.ParquetWriter(folder / "prompts.parquet", pa.schema([("text", pa.string())]), compression="zstd") as file:
        for start in range(0, prompts, GROUP):
            count = min(GROUP, prompts - start)
            texts = [" ".join(row) for row in words[chance.integers(len(words), size=(count, WORDS))]]
            kinds = chance.random(count)
            for i in np.flatnonzero(kinds < COPIES):
                texts[i] = f"Please: {items[chance.integers(ITEMS)].upper().replace(' ', ', ')}!"
                copies += 1
            for i in np.flatnonzero((kinds >= COPIES) & (kinds < COPIES + PHRASES)):
                texts[i] = f"{PHRASE}: {texts[i]}"
            for i in np.flatnonzero(kinds > 1 - CHINESE):
                texts[i] = "".join(map(chr, chance.integers(0x4E00, 0x5E00, 2 * WORDS)))
            file.write_table(pa.table({"text": texts}))
    (folder / "copies").write_text(str(copies))


def texts(path: Path, limit: int | None = None) -> Iterator[pa.Array]:
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as file:
        seen = 0
        for group in range(file.num_row_groups):
            if limit is not None and seen >= limit:
                return
            column = file.read_row_group(group, use_threads=False).column("text").combine_chunks()
            seen += len(column)
            yield column


def ours(folder: Path, limit: int | None) -> tuple[float, int]:
    """Seconds from the packs' files to the last prompt, and how many prompts are contaminated."""
    import polars as pl

    from deltadata import overlap, packs

    began = time.perf_counter()
    several = [packs.read(path) for path in sorted(folder.glob("*.pack"))]
    batches = (pl.Series(column) for column in texts(folder / "prompts.parquet", limit))
    found = [
        overlap.strongest(rows.drop(overlap.ITEMS))[overlap.ROW] for rows in overlap.overlap(batches, several, SIZE)
    ]
    return time.perf_counter() - began, sum(map(len, found))


def plain(folder: Path, limit: int | None) -> tuple[float, int]:
    began = time.perf_counter()
    word = re.compile(r"[^\W_]+")
    index: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    lengths = []
    for item, text in enumerate(next(texts(folder / "items.parquet")).to_pylist()):
        found = word.findall(text.lower())
        lengths.append(len(found))
        for at in range(len(found) - SIZE + 1):
            index.setdefault(tuple(found[at : at + SIZE]), []).append((item, at))
    contaminated = 0
    for column in texts(folder / "prompts.parquet", limit):
        for text in column.to_pylist():
            found = word.findall(text.lower())
            covered: dict[int, set[int]] = {}
            for at in range(len(found) - SIZE + 1):
                for item, place in index.get(tuple(found[at : at + SIZE]), ()):
                    covered.setdefault(item, set()).update(range(place, place + SIZE))
            contaminated += any(2 * len(places) >= lengths[item] for item, places in covered.items())
    return time.perf_counter() - began, contaminated


CASES = {"ours": ours, "plain": plain}


def measured(folder: Path, case: str, limit: int | None) -> tuple[float, float, float, int]:
    """Wall seconds, CPU seconds, peak MB, prompts found: in a fresh process."""
    command = [sys.executable, __file__, "--folder", str(folder), "--case", case]
    command += ["--prompts", str(limit)] if limit is not None else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    seconds, cpu, peak, found = json.loads(done.stdout)
    return seconds, cpu, peak, found


def one(folder: Path, case: str, limit: int | None) -> None:
    seconds, found = CASES[case](folder, limit)
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps([seconds, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, found]))


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--folder", type=Path, help="scratch; what was built there before is used again")
    asked.add_argument("--prompts", type=int)
    asked.add_argument("--rounds", type=int, default=ROUNDS)
    asked.add_argument("--answers", type=Path, default=ROOT.parent / "shared" / "data" / "alpaca_eval")
    asked.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.case:
        one(given.folder, given.case, given.prompts)
        return
    prompts = given.prompts or PROMPTS
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)).absolute() / f"packs-{prompts}"
        if not (folder / "copies").exists():
            folder.mkdir(parents=True, exist_ok=True)
            build(folder, prompts, given.answers)
        bench(folder, prompts, given.rounds)


def bench(folder: Path, prompts: int, rounds: int) -> None:
    cases = [("ours", None), ("ours", PLAIN), ("plain", PLAIN)]
    rows: dict[tuple[str, int | None], list[tuple[float, float, float, int]]] = {case: [] for case in cases}
    for number in range(rounds):
        for case, limit in cases:
            rows[case, limit].append(measured(folder, case, limit))
            load = os.getloadavg()[0]
            print(
                f"round {number + 1}, {case} {limit or prompts}: {rows[case, limit][-1]}, load {load:.1f}", flush=True
            )
    planted = int((folder / "copies").read_text())
    assert all(row[3] == planted for row in rows["ours", None]), f"{planted} prompts are copies"
    same = rows["plain", PLAIN][0][3] / rows["ours", PLAIN][0][3]  # not all: it knows no short items, marks or NFKC
    assert 0.98 < same <= 1, f"plain finds {same:.3f} of ours"
    print(f"{'':16}{'wall s':>9}{'least':>9}{'CPU s':>9}{'peak MB':>9}{'found':>9}")
    for (case, limit), figures in rows.items():
        wall, cpu, peak, found = (statistics.median(column) for column in zip(*figures, strict=True))
        least = min(row[0] for row in figures)
        print(f"{case:6}{limit or prompts:10}{wall:9.1f}{least:9.1f}{cpu:9.1f}{peak:9.0f}{found:9.0f}")
    pairs = zip(rows["plain", PLAIN], rows["ours", PLAIN], strict=True)
    print(f"plain / ours on {PLAIN} prompts: {statistics.median(a[0] / b[0] for a, b in pairs):.1f}x")


if __name__ == "__main__":
    main()
