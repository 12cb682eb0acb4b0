"""Time and memory of `deltadata collect` at 1,000,000 prompts of about 100 words, whole processes.

    python benchmarks/collect.py [--prompts 1000000] [--folder DIR]

Prompts are words drawn from the starter pool's answers, one in a hundred standing twice, in JSONL files of 250,000.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
FILE_ROWS = 250_000
CASES = {
    "plain": [],
    "limit 300,000": ["--set", "collect.limit=300000"],
    "normalised": ["--set", "collect.dedup=normalised"],
    "near": ["--set", "collect.dedup=near"],
    "rules": ["--set", "collect.rules=[no_special_tokens, {max_words: 2000}, no_pii]"],
}


def build(folder: Path, prompts: int) -> None:
    """The pool's files and the recipe."""
    lines = (ROOT / "recipes" / "data" / "starter.jsonl").read_text(encoding="utf-8").splitlines()
    told = " ".join(json.loads(line)["prompt"] for line in lines)
    words = sorted({*re.findall(r"\w+", told)})
    draw = random.Random(0)
    before = ""
    for start in range(0, prompts, FILE_ROWS):
        with (folder / f"pool-{start:08d}.jsonl").open("w", encoding="utf-8") as file:
            for row in range(start, min(start + FILE_ROWS, prompts)):
                text = before if row % 100 == 99 else " ".join(draw.choices(words, k=draw.randint(60, 140)))
                file.write(json.dumps({"prompt": text, "source": row % 7}) + "\n")
                before = text
    rungs = "[{name: strong, model: a}, {name: weak, model: b}]"
    (folder / "recipe.yaml").write_text(
        f"name: bench\ncollect: {{pools: [{{name: own, path: 'pool-*.jsonl', keep: [source]}}]}}\n"
        f"generate: {{engine: scripted, rungs: {rungs}}}\n"
    )


def measured(command: list[str], folder: Path) -> tuple[float, float, float]:
    """Seconds, CPU seconds and peak MB of the process and its children."""
    began = time.perf_counter()
    process = psutil.Popen(command, cwd=folder, stderr=subprocess.DEVNULL)
    peak, cpu, over = [0.0], [0.0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            try:
                tree = [process, *process.children(recursive=True)]
                peak[0] = max(peak[0], sum(one.memory_info().rss for one in tree) / 2**20)
                times = process.cpu_times()
                cpu[0] = times.user + times.system
            except psutil.NoSuchProcess:
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    over.set()
    watcher.join()
    if code:
        raise SystemExit(f"{command} ended with {code}")
    return time.perf_counter() - began, cpu[0], peak[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prompts", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.folder or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "recipe.yaml").exists():
            build(folder, given.prompts)
        print(f"{given.prompts} prompts of about 100 words\n{'':16}{'wall s':>9}{'CPU s':>9}{'peak MB':>9}")
        for name, extra in CASES.items():
            run = folder / f"run-{name.partition(' ')[0]}"
            subprocess.run(["rm", "-rf", str(run)], check=True)
            command = [sys.executable, "-m", "deltadata", "collect", "recipe.yaml", "--run", str(run), *extra]
            wall, cpu, peak = measured(command, folder)
            print(f"{name:16}{wall:9.1f}{cpu:9.1f}{peak:9.0f}", flush=True)


if __name__ == "__main__":
    main()
