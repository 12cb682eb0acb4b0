"""271,000 prompts x 2 rungs to a dataset folder: `deltadata run` against `datasets`, DuckDB and a bare copy.

    make bench-pairs                    # needs duckdb beside the dev tools
    python benchmarks/pairs.py --prompts 20000 --rounds 1 --folder /tmp/bench

The job: pair + measure (tokens, characters, response_ratio, bold, bullets, headings, code, one imported score) + three
rules + dataset folder (train, test, ladder). All start from the same prompts.parquet, responses/ and scores.parquet,
page cache warm, each in a fresh process, interleaved; medians. The rungs are real answers of four size pairs
(AlpacaEval), sentences shuffled per row, so that text does not compress away.

`datasets` and DuckDB write what a push uploads and nothing else; deltadata also writes pairs.parquet (dropped pairs
with their reason), the record and the card; `duckdb with pairs` writes the pairs as well. `bare copy` reads the row
groups of the files that deltadata has just written (pairs.parquet and dataset/) and writes the same rows again, group
by group, with the same writer options, in one process: no join, no measure, no rule. Peak MB is the resident memory of
the whole process tree, sampled every 20 ms; memory-mapped files count (`datasets` maps its cache).
"""

from __future__ import annotations

import argparse
import json
import math
import os
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PROMPTS, ROUNDS, SEED, HOLDOUT, CLOSE, MAX_TOKENS = 271_000, 3, 0, 0.1, 100, 0.03
SIZES = {  # stronger: weaker, the size pairs of the answers
    "gemma-7b-it": "gemma-2b-it",
    "falcon-40b-instruct": "falcon-7b-instruct",
    "vicuna-13b": "vicuna-7b",
    "Qwen1.5-7B-Chat": "Qwen1.5-1.8B-Chat",
}
RUNGS = ("strong", "weak")
# The measures of these names, as RE2 has them; `code` counts the fences, the others what is outside of them.
FENCES = [rf"(?ms)^[ \t]*{f}[^{f[0]}\n]*(?:\n.*?(?:^[ \t]*{f}+[ \t]*\r?$|\z)|\z)" for f in ("```", "~~~")]
MARKDOWN = {
    "bold": r"\*\*[^\s*](?:[^*\n]*[^\s*])?\*\*|(?:^|\W)__[^\s_](?:[^_\n]*[^\s_])?__",
    "bullets": r"(?m)^[ \t]*(?:(?:[-*+]|\d{1,3}[.)])[ \t]+|•[ \t]*)\S",
    "headings": r"(?m)^ {0,3}#{1,6}[ \t]+\S",
}
NAMES = ["tokens", "characters", "response_ratio", *MARKDOWN, "code", "judge"]


# The data


def sources(answers: Path) -> list[tuple[str, str, str]]:
    """(prompt, stronger's answer, weaker's answer) of real models, made up where there are no such files."""
    if not answers.is_dir():
        chance, letters = random.Random(SEED), "etaoinshrdlucmfwypvbgkqjxz"
        words = ["".join(chance.choices(letters, k=chance.randint(2, 9))) for _ in range(20_000)]

        def sentences(count: int) -> str:
            return " ".join(" ".join(chance.choices(words, k=chance.randint(5, 20))) + "." for _ in range(count))

        return [tuple(sentences(chance.randint(*span)) for span in ((1, 4), (2, 30), (2, 30))) for _ in range(3220)]
    found = []
    for pair in SIZES.items():
        strong, weak = (json.loads((answers / f"{name}.json").read_text()) for name in pair)
        other = {row["instruction"]: row["output"] for row in weak}
        found += [(r["instruction"], r["output"], other[r["instruction"]]) for r in strong if r["instruction"] in other]
    random.Random(SEED).shuffle(found)
    return found


def build(folder: Path, prompts: int, answers: Path) -> None:
    """The sources' files, and a run folder where `collect` and `generate` are done."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from deltadata import tables

    chance, number = random.Random(SEED), 0
    sentence = re.compile(r".+?(?:[.!?](?=\s)\s*|\n+|$)", re.DOTALL)
    split = [(prompt.split(), *map(sentence.findall, two)) for prompt, *two in sources(answers)]
    writers: dict[str, pq.ParquetWriter] = {}
    endless = islice(cycle(split), prompts)
    while rows := list(islice(endless, 20_000)):
        asked, ids, scores = [], [], []
        for words, *_ in rows:
            asked.append(f"{' '.join(chance.sample(words, len(words)))} ({number})")
            ids.append(tables.prompt_id([{"role": "user", "content": asked[-1]}]))
            number += 1
        files = {"pool": {"prompt": asked}}
        for side, rung in enumerate(RUNGS, start=1):
            texts = ["".join(chance.sample(row[side], len(row[side]))) for row in rows]
            ended = ["length" if chance.random() < MAX_TOKENS else "stop" for _ in rows]
            counts = [len(text) // 4 for text in texts]
            files[rung] = {"prompt": asked, "response": texts, "finish_reason": ended, "response_tokens": counts}
            scores.append([round(chance.gauss(2 - side, 1), 4) for _ in rows])
        judged = {"model": [*RUNGS] * len(rows), "score": [x for two in zip(*scores, strict=True) for x in two]}
        files["scores"] = {"prompt_id": [i for i in ids for _ in RUNGS], **judged}
        for name, columns in files.items():
            table = pa.table(columns)
            if name not in writers:
                writers[name] = pq.ParquetWriter(folder / f"{name}.parquet", table.schema)
            writers[name].write_table(table)
    for writer in writers.values():
        writer.close()
    recipe(folder, similarity=False)
    for stage in ("collect", "generate"):
        subprocess.run(deltadata(stage), cwd=folder, check=True, stderr=subprocess.DEVNULL)


def recipe(folder: Path, similarity: bool) -> None:
    rungs = [{"name": rung, "responses": f"{rung}.parquet"} for rung in RUNGS]
    written = {
        "name": "bench",
        "seed": SEED,
        "collect": {"pools": [{"name": "own", "path": "pool.parquet"}]},
        "generate": {"rungs": rungs},
        "score": [{"name": "judge", "scores": "scores.parquet", "prompt": "prompt_id"}],
        "pair": {"measures": [name for name in NAMES if name != "judge"] + ["similarity"] * similarity},
        "filter": {
            "rules": ["finished", {"max_length_delta": CLOSE}, {"min_delta": {"measure": "judge", "at_least": 0.0}}]
        },
        "holdout": HOLDOUT,
    }
    (folder / "recipe.yaml").write_text(json.dumps(written))  # JSON is YAML


def deltadata(stage: str) -> list[str]:
    return [sys.executable, "-m", "deltadata", stage, "recipe.yaml", "--run", "run"]


def reset(run: Path) -> None:
    """Back to where the responses are there and nothing else."""
    (run / "pairs.parquet").unlink(missing_ok=True)
    for folder in ("dataset", "scores"):
        shutil.rmtree(run / folder, ignore_errors=True)
    record = json.loads((run / "record.json").read_text())
    tables = record["tables"]
    record["tables"] = {name: tables[name] for name in tables if name.partition("/")[0] in ("prompts", "responses")}
    (run / "record.json").write_text(json.dumps(record))


# The other ways


def inputs(folder: Path) -> tuple[str, str, str, str]:
    run = folder / "run"
    found = (run / "prompts.parquet", *(run / "responses" / rung / "part-00000.parquet" for rung in RUNGS))
    return (*map(str, found), str(folder / "scores.parquet"))


def with_datasets(folder: Path, out: Path) -> int:
    """Batched maps over rows that stand side by side, since all files are in the prompts' order."""
    from datasets import Dataset, concatenate_datasets, interleave_datasets

    prompts_file, *rung_files, scores_file = inputs(folder)
    prompts = Dataset.from_parquet(prompts_file).remove_columns("meta")
    rungs = [Dataset.from_parquet(path) for path in rung_files]
    assert all(rung["prompt_id"][:] == prompts["prompt_id"][:] for rung in rungs)
    scores = Dataset.from_parquet(scores_file)
    keys = zip(scores["prompt_id"][:], scores["model"][:], strict=True)
    judged = dict(zip(keys, scores["score"][:], strict=True))
    patterns = {name: re.compile(pattern) for name, pattern in MARKDOWN.items()}
    ticks, tildes = (re.compile(fence.replace("\\z", "\\Z")) for fence in FENCES)

    def measured(row_ids: list[str], rung: str, texts: list[str], tokens: list[int]) -> dict[str, list[Any]]:
        without = [ticks.subn("", text) for text in texts]
        prose = [tildes.subn("", text) for text, _ in without]
        counted = {name: [len(found.findall(text)) for text, _ in prose] for name, found in patterns.items()}
        counted["code"] = [one + other for (_, one), (_, other) in zip(without, prose, strict=True)]
        return counted | {
            "tokens": tokens,
            "characters": [len(text) for text in texts],
            "response_ratio": [math.log2(len(text)) if text else None for text in texts],
            "judge": [judged.get((row, rung)) for row in row_ids],
        }

    def compared(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        sides = [measured(rows["prompt_id"], r, rows[f"{r}_response"], rows[f"{r}_response_tokens"]) for r in RUNGS]
        turns = {
            side: [[{"role": "assistant", "content": text}] for text in rows[f"{rung}_response"]]
            for side, rung in zip(("chosen", "rejected"), RUNGS, strict=True)
        }
        return turns | {
            f"delta_{name}": [
                None if a is None or b is None else float(a - b)
                for a, b in zip(*(side[name] for side in sides), strict=True)
            ]
            for name in NAMES
        }

    def kept(rows: dict[str, list[Any]]) -> list[bool]:
        texts = zip(*(rows[f"{rung}_response"] for rung in RUNGS), strict=True)
        ended = zip(*(rows[f"{rung}_finish_reason"] for rung in RUNGS), strict=True)
        deltas = zip(rows["delta_tokens"], rows["delta_judge"], strict=True)
        return [
            bool(
                a != b and a.strip() and b.strip() and ends == ("stop", "stop") and abs(tokens) <= CLOSE and judge >= 0
            )
            for (a, b), ends, (tokens, judge) in zip(texts, ended, deltas, strict=True)
        ]

    def held_out(rows: dict[str, list[Any]]) -> list[bool]:
        return [int(row[:8], 16) < int(HOLDOUT * 2**32) for row in rows["prompt_id"]]

    sides = [
        rung.remove_columns("prompt_id").rename_columns(
            {name: f"{side}_{name}" for name in rung.column_names if name != "prompt_id"}
        )
        for rung, side in zip(rungs, RUNGS, strict=True)
    ]
    pairs = concatenate_datasets([prompts, *sides], axis=1).map(compared, batched=True).filter(kept, batched=True)
    left_out = ("response", "sample", "error", "prompt_tokens")
    pairs = pairs.remove_columns([f"{rung}_{name}" for rung in RUNGS for name in left_out])
    facts = {"model": "model", "response_tokens": "tokens", "finish_reason": "finish_reason"}
    two = list(zip(RUNGS, ("chosen", "rejected"), strict=True))
    pairs = pairs.rename_columns({f"{r}_{old}": f"{side}_{new}" for r, side in two for old, new in facts.items()})
    pairs.filter(lambda rows: [not test for test in held_out(rows)], batched=True).to_parquet(out / "train.parquet")
    pairs.filter(held_out, batched=True).to_parquet(out / "test.parquet")
    told = prompts.remove_columns("prompt_id")
    ladder = interleave_datasets([concatenate_datasets([told, rung], axis=1) for rung in rungs])
    ladder.to_parquet(out / "ladder.parquet")
    return len(pairs)


def with_duckdb(folder: Path, out: Path, pairs_too: bool) -> int:
    """One join; the kept pairs go to two files. Default memory settings, deltadata's compression level."""
    import duckdb

    prompts, strong, weak, scores = inputs(folder)
    with duckdb.connect() as db:
        db.execute("SET threads = 2")
        ticks, tildes = FENCES
        counted = ", ".join(f"len(regexp_extract_all(prose, '{p}')) AS {name}" for name, p in MARKDOWN.items())
        for side, path in zip(RUNGS, (strong, weak), strict=True):
            db.execute(f"""CREATE VIEW {side} AS
                WITH a AS (SELECT *, regexp_replace(response, '{ticks}', '', 'g') AS rest FROM '{path}'),
                b AS (SELECT *, regexp_replace(rest, '{tildes}', '', 'g') AS prose FROM a)
                SELECT b.* EXCLUDE (rest, prose), response_tokens AS tokens, length(response) AS characters,
                CASE WHEN response <> '' THEN log2(length(response)) END AS response_ratio, {counted},
                len(regexp_extract_all(response, '{ticks}')) + len(regexp_extract_all(rest, '{tildes}')) AS code,
                score AS judge
                FROM b LEFT JOIN '{scores}' s ON s.prompt_id = b.prompt_id AND s.model = b.model""")
        deltas = ", ".join(f"CAST(c.{name} AS DOUBLE) - r.{name} AS delta_{name}" for name in NAMES)
        kept = f"""chosen_finish_reason = 'stop' AND rejected_finish_reason = 'stop' AND abs(delta_tokens) <= {CLOSE}
            AND delta_judge >= 0 AND chosen <> rejected AND regexp_matches(chosen[1].content, '\\S')
            AND regexp_matches(rejected[1].content, '\\S')"""
        facts = ", ".join(
            f"{alias}.{column} AS {side}_{name}"
            for column, name in (("model", "model"), ("response_tokens", "tokens"), ("finish_reason", "finish_reason"))
            for alias, side in (("c", "chosen"), ("r", "rejected"))
        )
        texts = ", ".join(
            f"[{{'role': 'assistant', 'content': {alias}.response}}] AS {side}"
            for alias, side in (("c", "chosen"), ("r", "rejected"))
        )
        db.execute(f"""CREATE VIEW pairs AS SELECT p.prompt, {texts}, p.prompt_id, p.pool, {facts}, {deltas}
            FROM '{prompts}' p JOIN strong c USING (prompt_id) JOIN weak r USING (prompt_id)""")
        form = "(FORMAT parquet, COMPRESSION zstd, COMPRESSION_LEVEL 1)"
        source = "pairs"
        if pairs_too:  # then the kept ones are read back from there, which is cheaper than a second join
            source = f"'{out / 'pairs.parquet'}'"
            db.execute(f"COPY (SELECT *, NOT coalesce({kept}, false) AS dropped FROM pairs) TO {source} {form}")
        test = f"('0x' || prompt_id[:8])::BIGINT < {int(HOLDOUT * 2**32)}"
        db.execute(f"CREATE TEMP TABLE kept AS SELECT *, {test} AS test FROM {source} WHERE {kept}")
        for name, which in (("train", "NOT test"), ("test", "test")):
            columns = "* EXCLUDE (test, dropped)" if pairs_too else "* EXCLUDE (test)"
            db.execute(f"COPY (SELECT {columns} FROM kept WHERE {which}) TO '{out / name}.parquet' {form}")
        db.execute(f"""COPY (SELECT p.prompt_id, p.prompt, p.pool, r.* EXCLUDE (prompt_id)
            FROM '{prompts}' p JOIN read_parquet(['{strong}', '{weak}']) r USING (prompt_id))
            TO '{out / "ladder.parquet"}' {form}""")
        return int(db.execute("SELECT count(*) FROM kept").fetchone()[0])


def bare_copy(folder: Path, out: Path) -> int:
    """Row group by row group, as deltadata's writer would be given them."""
    import pyarrow.parquet as pq

    chunking = {"min_chunk_size": 256 << 10, "max_chunk_size": 1 << 20, "norm_level": 0}
    options = {"compression": "zstd", "write_page_index": True, "use_content_defined_chunking": chunking}
    for number, path in enumerate(written(folder)):
        with pq.ParquetFile(path) as file:
            with pq.ParquetWriter(out / f"{number}.parquet", file.schema_arrow, **options) as writer:
                for group in range(file.num_row_groups):
                    rows = file.read_row_group(group)
                    writer.write_table(rows, row_group_size=max(rows.num_rows, 1))
    return kept_by_deltadata(folder)


def written(folder: Path) -> list[Path]:
    return [folder / "run" / "pairs.parquet", *sorted((folder / "run" / "dataset" / "data").rglob("*.parquet"))]


def kept_by_deltadata(folder: Path) -> int:
    return int(json.loads((folder / "run" / "record.json").read_text())["tables"]["dataset"]["rows"])


# The clock


def measured(command: list[str], folder: Path, reads: Iterable[str | Path], out: Path | None = None) -> list[float]:
    """Wall seconds, CPU seconds and peak MB of a process and its children; `reads` is in the page cache before."""
    import psutil

    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache")}
    for path in reads:
        with Path(path).open("rb") as file:
            while file.read(1 << 20):
                pass
    os.sync()  # what the one before has written is not written at this one's cost
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    with (out or folder / "stdout").open("wb") as said, (folder / "stderr").open("wb") as errors:
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=said, stderr=errors)
    peak, tree, looked = 0, [psutil.Process(process.pid)], 0.0
    while process.poll() is None:
        if time.perf_counter() - looked > 0.2:
            looked, tree = time.perf_counter(), tree[:1] + family(tree[0])
        peak = max(peak, sum(map(resident, tree)))
        time.sleep(0.02)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise SystemExit(f"failed: {' '.join(command)}\n{(folder / 'stderr').read_text()[-2000:]}")
    return [wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, peak / 2**20]


def family(process: Any) -> list[Any]:
    import psutil

    try:
        return process.children(recursive=True)
    except psutil.Error:
        return []


def resident(process: Any) -> int:
    import psutil

    try:
        return process.memory_info().rss
    except psutil.Error:
        return 0


def timed(folder: Path, name: str) -> list[float]:
    """One case from a clean start; its kept rows go to the file `kept`."""
    out = folder / "out"
    for left_over in (out, folder / "cache"):
        shutil.rmtree(left_over, ignore_errors=True)
    out.mkdir()
    if name.startswith("deltadata"):
        recipe(folder, similarity="similarity" in name)
        reset(folder / "run")
        return [*measured(deltadata("run"), folder, inputs(folder)), kept_by_deltadata(folder)]
    command = [sys.executable, __file__, "--folder", str(folder), "--case", name]
    figures = measured(command, folder, inputs(folder))
    return [*figures, int((out / "kept").read_text())]


CASES = {
    "deltadata": None,
    "bare copy": bare_copy,  # behind deltadata, whose files it copies
    "duckdb": lambda folder, out: with_duckdb(folder, out, pairs_too=False),
    "duckdb with pairs": lambda folder, out: with_duckdb(folder, out, pairs_too=True),
    "datasets": with_datasets,
    "deltadata with similarity": None,
}


def table(figures: dict[str, list[list[float]]]) -> None:
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in figures.items()
    }
    ours = medians["deltadata"]
    print(f"{'':26}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}{'rows kept':>11}{'of ours':>9}{'its MB of ours':>16}")
    for name, (wall, cpu, peak, kept) in medians.items():
        # A ratio a round, since the machine's speed drifts more between rounds than within one.
        ratios = [a[0] / b[0] for a, b in zip(figures[name], figures["deltadata"], strict=True)]
        ratio = statistics.median(ratios)
        print(f"{name:26}{wall:9.1f}{cpu:9.1f}{peak:9.0f}{kept:11.0f}{ratio:8.2f}x{peak / ours[2]:15.2f}x")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--folder", type=Path, help="scratch; what was built there before is used again")
    asked.add_argument("--prompts", type=int, default=PROMPTS)
    asked.add_argument("--rounds", type=int, default=ROUNDS)
    asked.add_argument("--answers", type=Path, default=ROOT.parent / "shared" / "data" / "alpaca_eval")
    asked.add_argument("--cases", default=",".join(CASES), help="separated by commas")
    asked.add_argument("--case", choices=CASES, help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.case:
        kept = CASES[given.case](given.folder, given.folder / "out")
        (given.folder / "out" / "kept").write_text(str(kept))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = (given.folder or Path(scratch)).absolute() / f"pairs-{given.prompts}"
        bench(folder, given)


def bench(folder: Path, given: argparse.Namespace) -> None:
    if not (folder / "built").exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        began = time.perf_counter()
        build(folder, given.prompts, given.answers)
        (folder / "built").touch()
        print(f"built in {time.perf_counter() - began:.0f} s: {folder}", flush=True)
    figures: dict[str, list[list[float]]] = {name: [] for name in given.cases.split(",")}
    for number in range(given.rounds):
        for name, rows in figures.items():
            rows.append(timed(folder, name))
            print(f"round {number + 1}, {name}: {rows[-1][0]:.1f} s, {rows[-1][2]:.0f} MB", file=sys.stderr, flush=True)
            assert rows[-1][3] == kept_by_deltadata(folder), f"{name} kept {rows[-1][3]} rows"
    size = sum(Path(path).stat().st_size for path in inputs(folder))
    out = sum(path.stat().st_size for path in written(folder))
    print(
        f"{given.prompts} prompts x {len(RUNGS)} rungs; reads {size / 1e6:.0f} MB, deltadata writes {out / 1e6:.0f} MB"
    )
    table(figures)


if __name__ == "__main__":
    main()
