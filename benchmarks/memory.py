"""Peak memory of the parent while 100,000 scripted responses of 2 kB are generated, and of the stages after it.

make bench-memory
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

PROMPTS = 100_000
WATCH = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True, stderr=subprocess.DEVNULL)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with (folder / "pool.jsonl").open("w") as pool:
            for i in range(PROMPTS):
                pool.write(
                    json.dumps({"prompt": f"Question {i}: what is known about thing {i * 7919 % 104729}?"}) + "\n"
                )
        recipe = {
            "name": "bench",
            "collect": {"pools": [{"name": "own", "path": "pool.jsonl"}]},
            "generate": {
                "engine": "scripted",
                "rungs": [{"name": "strong", "model": "a"}, {"name": "weak", "model": "b"}],
                "sampling": {"max_tokens": 4096},
            },
            "runtime": {"scripted": {"characters": 2000}},
        }
        (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
        print(f"{PROMPTS} prompts x 2 rungs, 2 kB a response\n{'stage':12}{'seconds':>10}{'peak MB':>10}")
        for stage in ("collect", "generate", "pair", "filter", "run"):
            command = [sys.executable, "-m", "deltadata", stage, "recipe.yaml"]
            began = time.perf_counter()
            ended = subprocess.run(
                [sys.executable, "-c", WATCH, *command], cwd=folder, check=True, stdout=subprocess.PIPE, text=True
            )
            print(f"{stage:12}{time.perf_counter() - began:10.1f}{float(ended.stdout):10.0f}", flush=True)


if __name__ == "__main__":
    main()
