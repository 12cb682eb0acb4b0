"""`deltadata generate` over a server against a bare asyncio loop: 2,000 prompts x 2 rungs.

    make bench-server

100 ms a request, 64 in flight; interleaved, whole processes. Two figures: requests/s from the first request to the last
answer (deltadata: the seconds of its record, parts written; the loop: its own clock), and of the whole process with
Python's start. The bare loop posts the same requests with aiohttp and keeps the answers in memory.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from openai_server import serve

PROMPTS, RUNGS, CONCURRENCY, LATENCY, ROUNDS = 2000, 2, 64, 0.1, 3


def prompt(number: int) -> str:
    return f"Tell me about thing number {number}. " + "Say it in simple words. " * 12


async def bare(url: str) -> None:
    import aiohttp

    answers = []
    began = time.perf_counter()
    todo = iter([(rung, number) for rung in range(RUNGS) for number in range(PROMPTS)])
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONCURRENCY)) as session:

        async def worker() -> None:
            for rung, number in todo:
                messages = [{"role": "user", "content": prompt(number)}]
                body = {
                    "model": f"m{rung}",
                    "messages": messages,
                    "seed": number,
                    "temperature": 0.0,
                    "max_tokens": 256,
                }
                async with session.post(f"{url}/chat/completions", json=body) as reply:
                    answers.append((await reply.json())["choices"][0]["message"]["content"])

        await asyncio.gather(*(worker() for _ in range(CONCURRENCY)))
    assert len(answers) == PROMPTS * RUNGS
    print(time.perf_counter() - began)


def measured(command: list[str], folder: Path) -> tuple[list[float], str]:
    """Wall seconds, CPU seconds and peak MB of one process, and what it printed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.perf_counter()
    watched = [sys.executable, "-c", WATCH, *command]
    ended = subprocess.run(watched, cwd=folder, check=True, capture_output=True, text=True)
    wall = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    *said, peak = ended.stdout.splitlines()
    return [wall, cpu, float(peak)], "".join(said)


WATCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch, serve(own_process=True, latency=LATENCY) as server:
        folder = Path(scratch)
        (folder / "pool.jsonl").write_text("\n".join(json.dumps({"prompt": prompt(i)}) for i in range(PROMPTS)))
        recipe = {
            "name": "bench",
            "collect": {"pools": [{"name": "own", "path": "pool.jsonl"}]},
            "generate": {
                "engine": "server",
                "rungs": [{"name": f"r{i}", "model": f"m{i}"} for i in range(RUNGS)],
            },
            "runtime": {"base_url": server.base_url, "concurrency": CONCURRENCY},
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        tool = [sys.executable, "-m", "deltadata"]
        figures: dict[str, list[list[float]]] = {"deltadata": [], "bare loop": []}
        for number in range(ROUNDS):
            run = ["recipe.yaml", "--run", f"run{number}"]
            subprocess.run([*tool, "collect", *run], cwd=folder, check=True, capture_output=True)
            process, _ = measured([*tool, "generate", *run], folder)
            tables = json.loads((folder / f"run{number}" / "record.json").read_text())["tables"]
            inside = sum(entry["seconds"] for name, entry in tables.items() if name.startswith("responses/"))
            figures["deltadata"].append([inside, *process])
            process, said = measured([sys.executable, __file__, server.base_url], folder)
            figures["bare loop"].append([float(said), *process])
    total = PROMPTS * RUNGS
    ideal = total / CONCURRENCY * LATENCY
    print(f"{total} requests, {LATENCY * 1000:.0f} ms each, {CONCURRENCY} in flight, ideal {ideal:.2f} s")
    heads = ("requests/s", "process", "wall s", "CPU s", "peak MB")
    print(" " * 12 + "".join(f"{head:>11}" for head in heads))
    medians = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in figures.items()
    }
    for name, (inside, wall, cpu, peak) in medians.items():
        print(f"{name:12}{total / inside:12.0f}{total / wall:10.0f}{wall:10.2f}{cpu:10.2f}{peak:10.0f}")
    ratios = [loop / ours for loop, ours in zip(medians["bare loop"], medians["deltadata"], strict=True)]
    print(f"ratio of requests/s: {ratios[0]:.3f} while generating, {ratios[1]:.3f} with Python's start")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        asyncio.run(bare(sys.argv[1]))
    else:
        main()
