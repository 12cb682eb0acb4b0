"""Near duplicates among 100,000 prompts: deltadata against a plain `datasets` + datasketch script, and brute force.

    make bench-dedup                    # needs datasketch (and scipy) beside the dev tools
    python benchmarks/dedup.py --prompts 1000000 --only ours --folder /tmp/bench

The prompts: AlpacaEval's instructions, the starter pool, and the sentences of real answers shuffled into prompts of
about 100 words. Every tenth is a copy of an earlier one with 0 to 12 % of its words replaced, reordered by sentence, or
changed in case and punctuation. Both sides read one parquet file in a fresh process, on two cores, in turn; medians.
The script is what people write: lower case, `\\W+` to a space, the set of 5-character windows, MinHash of 128 by
`Dataset.map` in two processes, then query and insert one by one; it verifies nothing. Peak MB is the resident memory of
the process tree. `brute force` takes Python sets of 5-byte windows of the same normalised text and every pair.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

ROOT = Path(__file__).parent.parent
PROMPTS, ROUNDS, SAMPLE, SEED, THRESHOLD, WORDS = 100_000, 3, 5_000, 0, 0.8, 100
BATCH = 10_000


# The data


def real(answers: Path) -> tuple[list[str], list[str]]:
    """Prompts as they are, and sentences; made up where there are no such files."""
    starter = (ROOT / "recipes/data/starter.jsonl").read_text(encoding="utf-8").splitlines()
    prompts = [json.loads(line)["prompt"] for line in starter]
    sentences: list[str] = []
    for path in sorted(answers.glob("*.json")):
        rows = json.loads(path.read_text(encoding="utf-8"))
        prompts += [row["instruction"] for row in rows]
        sentences += [s for row in rows for s in re.split(r"(?<=[.!?])\s+", row["output"]) if 20 < len(s) < 400]
    if not sentences:
        chance, letters = random.Random(SEED), "etaoinshrdlucmfwypvbgkqjxz"
        words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(20_000)]
        sentences = [" ".join(chance.choices(words, k=chance.randint(5, 25))) + "." for _ in range(40_000)]
    return list(dict.fromkeys(prompts)), list(dict.fromkeys(sentences))


def prompts(count: int, answers: Path) -> Iterator[str]:
    """The prompts in order, a tenth of them copies of an earlier one."""
    chance = random.Random(SEED)
    first, sentences = real(answers)
    words = [word for sentence in sentences[:5_000] for word in sentence.split()]
    recent: list[str] = []
    for number in range(count):
        if number < len(first):
            text = first[number]
        elif recent and chance.random() < 0.1:
            text = copied(chance.choice(recent), words, chance)
        else:
            chosen, length = [], 0
            wanted = chance.randint(WORDS // 3, 2 * WORDS - WORDS // 3)
            while length < wanted:
                chosen.append(chance.choice(sentences))
                length += chosen[-1].count(" ") + 1
            text = " ".join(chosen)
        recent.append(text) if len(recent) < 50_000 else recent.__setitem__(chance.randrange(50_000), text)
        yield text


def copied(text: str, words: list[str], chance: random.Random) -> str:
    """A copy: other sentence order, other case and punctuation, or some words replaced."""
    kind = chance.random()
    if kind < 0.1:
        parts = re.split(r"(?<=[.!?])\s+", text)
        chance.shuffle(parts)
        return " ".join(parts)
    if kind < 0.2:
        return "  ".join(text.upper().split()) + "!"
    share, parts = chance.random() * 0.12, text.split()
    return " ".join(chance.choice(words) if chance.random() < share else part for part in parts)


# The contenders, each in a process of its own


def ours(source: Path, folder: Path) -> list[tuple[int, int]]:
    """deltadata: batches of the file, as collect reads its spool."""
    import pyarrow.parquet as pq

    from deltadata import dedup

    with pq.ParquetFile(source, pre_buffer=False, buffer_size=1 << 20) as file:
        batches = (pl.from_arrow(batch)["text"] for batch in file.iter_batches(BATCH, use_threads=False))
        found = dedup.near(batches, THRESHOLD, SEED, scratch=folder)
    return found.select("row", "twin_row").rows()


def script(source: Path, folder: Path) -> list[tuple[int, int]]:
    """`datasets` + datasketch, as a blog post has it."""
    import datasets
    from datasketch import MinHash, MinHashLSH

    def minhash(row: dict[str, str]) -> dict[str, object]:
        text = re.sub(r"\W+", " ", row["text"].lower()).strip()
        sketch = MinHash(num_perm=128)
        sketch.update_batch(list({text[i : i + 5].encode() for i in range(max(1, len(text) - 4))}))
        return {"sketch": sketch.hashvalues}

    datasets.disable_progress_bars()
    pool = datasets.Dataset.from_parquet(str(source), cache_dir=str(folder / "cache"))
    pool = pool.map(minhash, num_proc=2, remove_columns=["text"]).with_format("numpy")
    index, found = MinHashLSH(threshold=THRESHOLD, num_perm=128), []
    for row, value in enumerate(pool):
        sketch = MinHash(num_perm=128, hashvalues=value["sketch"], scheme="affine32")
        if twins := index.query(sketch):
            found.append((row, min(twins)))
        else:
            index.insert(row, sketch)
    return found


CONTENDERS = {"ours": ours, "datasketch": script}


def measured(name: str, source: Path, folder: Path) -> tuple[float, float, float]:
    """Seconds, processor seconds and peak MB of a fresh process tree; what it found is in `folder`/NAME.json."""
    import psutil

    command = [sys.executable, __file__, "--contender", name, "--source", str(source), "--folder", str(folder)]
    start, peak = time.monotonic(), 0
    used: dict[int, float] = {}
    child = subprocess.Popen(command)
    tree = psutil.Process(child.pid)
    while child.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            alive = [tree, *tree.children(recursive=True)]
            peak = max(peak, sum(process.memory_info().rss for process in alive))
            used |= {process.pid: sum(process.cpu_times()[:2]) for process in alive}
        time.sleep(0.02)
    if child.returncode:
        raise SystemExit(f"{name} failed")
    return time.monotonic() - start, sum(used.values()), peak / 1e6


# Against brute force


def brute_force(texts: list[str]) -> tuple[list[tuple[int, int]], np.ndarray]:
    """(row, twin) of the greedy rule with nothing left out, and the similarities of all pairs."""
    from scipy.sparse import csr_array

    from deltadata import dedup

    folded = pl.select(dedup.normal(pl.lit(pl.Series(texts)))).to_series().to_list()
    sets = [{data[i : i + 5] for i in range(len(data))} for data in (text.encode() for text in folded)]
    names: dict[bytes, int] = {}
    columns = [names.setdefault(window, len(names)) for windows in sets for window in windows]
    sizes = np.array([len(windows) for windows in sets])
    starts = np.concatenate(([0], np.cumsum(sizes)))
    matrix = csr_array((np.ones(len(columns), np.float32), columns, starts), shape=(len(sets), len(names)))
    common = np.vstack([(matrix[i : i + 250] @ matrix.T).toarray() for i in range(0, len(sets), 250)])
    jaccard = common.astype(np.float64) / (sizes[:, None] + sizes[None, :] - common)
    kept: list[int] = []
    found = []
    for row in range(len(sets)):
        twins = [twin for twin in kept if jaccard[row, twin] >= THRESHOLD]
        if twins:
            found.append((row, twins[0]))
        else:
            kept.append(row)
    return found, jaccard


def compare(texts: list[str], folder: Path) -> None:
    """Print what each finds of the brute force's pairs on the same texts."""
    source = folder / "sample.parquet"
    pl.DataFrame({"text": texts}).write_parquet(source)
    truth, jaccard = brute_force(texts)
    above = jaccard[np.triu_indices(len(texts), 1)]
    similar, close = (above >= THRESHOLD).sum(), ((above >= THRESHOLD - 0.1) & (above < THRESHOLD)).sum()
    print(
        f"\n{len(texts):,} prompts, every pair: {len(truth):,} dropped; {similar:,} pairs are similar, {close:,} nearly"
    )
    print("| | dropped | of brute force's drops | same twin | dropped without need |\n|---|---|---|---|---|")
    rows = dict(truth)
    for name, run in CONTENDERS.items():
        found = dict(run(source, folder))
        hit, same = len(found.keys() & rows.keys()), len(found.items() & rows.items())
        print(f"| {name} | {len(found)} | {hit / len(rows):.2%} | {same / len(rows):.2%} | {len(found) - hit} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--prompts", type=int, default=PROMPTS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--only", choices=CONTENDERS)
    parser.add_argument(
        "--answers", type=Path, default=ROOT.parent / "shared/data/alpaca_eval", help="AlpacaEval's answers"
    )
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--source", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.contender:
        found = CONTENDERS[asked.contender](asked.source, asked.folder)
        (asked.folder / f"{asked.contender}.json").write_text(json.dumps(found))
        return
    with tempfile.TemporaryDirectory(dir=asked.folder) as made:
        bench(asked, Path(made))


def bench(asked: argparse.Namespace, folder: Path) -> None:
    """Build, time, compare, print."""
    texts = list(prompts(asked.prompts, asked.answers))
    source = folder / "prompts.parquet"
    pl.DataFrame({"text": texts}).write_parquet(source, row_group_size=BATCH)
    print(f"{len(texts):,} prompts, {sum(t.count(' ') + 1 for t in texts) / len(texts):.0f} words each on average")
    chance, half = random.Random(SEED), texts[-SAMPLE // 2 :]
    sample = half + [copied(text, half[0].split(), chance) for text in half]
    del texts
    names = [asked.only] if asked.only else list(CONTENDERS)
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in names}
    for _ in range(asked.rounds):
        for name in names:
            figures[name].append(measured(name, source, folder))
    print("| | seconds | processor seconds | peak MB | dropped |\n|---|---|---|---|---|")
    for name in names:
        seconds, used, peak = (statistics.median(column) for column in zip(*figures[name], strict=True))
        dropped = len(json.loads((folder / f"{name}.json").read_text()))
        print(f"| {name} | {seconds:.1f} | {used:.1f} | {peak:.0f} | {dropped:,} |", flush=True)
    if not asked.only:
        wall, used = ([statistics.median(row[i] for row in figures[name]) for name in names] for i in (0, 1))
        print(f"\n{wall[1] / wall[0]:.1f} times as fast, {used[1] / used[0]:.1f} times by processor time")
        compare(sample, folder)


if __name__ == "__main__":
    main()
