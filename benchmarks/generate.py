"""Output tokens/s of `deltadata generate` against a bare `LLM.chat`: 200 prompts, same model and engine arguments.

    make bench-generate                 # needs models/smollm2-135m-instruct (`deltadata models smollm2-135m-instruct`)

Interleaved, each in a process of its own, model loading excluded. `parts of 50` shows what a fixed composition
costs when parts are smaller than the engine's appetite, `overlap` what letting the next part in early gives back.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "models" / "smollm2-135m-instruct"
PROMPTS, MAX_TOKENS, ROUNDS = 200, 64, int(os.environ.get("ROUNDS", "5"))
ENGINE = {"max_num_seqs": 64, "max_model_len": 2048}
SAMPLING = {"temperature": 0.7, "max_tokens": MAX_TOKENS}


def prompts() -> list[str]:
    lines = (ROOT / "recipes" / "data" / "starter.jsonl").read_text().splitlines()
    return [json.loads(line)["prompt"] for line in lines[:PROMPTS]]


def bare() -> None:
    """What a script would do with vLLM alone, under the same environment."""
    from deltadata.engines.child import WAITING
    from deltadata.engines.vllm import ENVIRONMENT

    for name, value in (ENVIRONMENT | WAITING).items():
        os.environ.setdefault(name, value)
    from vllm import LLM, SamplingParams

    llm = LLM(model=str(MODEL), dtype="bfloat16", enforce_eager=True, enable_chunked_prefill=False, **ENGINE)
    chats = [[{"role": "user", "content": text}] for text in prompts()]
    began = time.perf_counter()
    outputs = llm.chat(chats, [SamplingParams(seed=i, **SAMPLING) for i in range(len(chats))], use_tqdm=False)
    seconds = time.perf_counter() - began
    print(json.dumps({"tokens": sum(len(o.outputs[0].token_ids) for o in outputs), "seconds": seconds}))


def tool(folder: Path, name: str, part_rows: int, overlap: bool) -> dict[str, float]:
    """`deltadata generate` in a fresh run folder: tokens and seconds of its record, and when a part was there."""
    recipe = {
        "name": name,
        "collect": {"pools": [{"name": "own", "path": "pool.jsonl"}]},
        "generate": {
            "engine": "vllm",
            "rungs": [{"name": "rung", "model": str(MODEL)}],
            "sampling": SAMPLING,
            "part_rows": part_rows,
        },
        "runtime": {"overlap": overlap, **ENGINE},
    }
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "deltadata"]
    subprocess.run([*command, "collect", f"{name}.yaml"], cwd=folder, check=True, capture_output=True)
    began = time.perf_counter()
    process = subprocess.Popen(
        [*command, "generate", f"{name}.yaml"], cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    first = None
    while process.poll() is None:
        if first is None and list((folder / "runs" / name).glob("responses/*/part-*")):
            first = time.perf_counter() - began
        time.sleep(0.05)
    assert process.returncode == 0
    entry = json.loads((folder / "runs" / name / "record.json").read_text())["tables"]["responses/rung"]
    return {"tokens": entry["facts"]["tokens"], "seconds": entry["seconds"], "first part": first or 0.0}


def main() -> None:
    cases = {"one part": (256, False), "parts of 50": (50, False), "overlap": (50, True)}
    figures: dict[str, list[dict[str, float]]] = {"bare LLM.chat": [], **{name: [] for name in cases}}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "pool.jsonl").write_text("\n".join(json.dumps({"prompt": text}) for text in prompts()))
        for number in range(ROUNDS):
            ended = subprocess.run([sys.executable, __file__, "bare"], check=True, capture_output=True, text=True)
            figures["bare LLM.chat"].append(json.loads(ended.stdout.splitlines()[-1]))
            for name, (part_rows, overlap) in cases.items():
                figures[name].append(tool(folder, f"{name.replace(' ', '-')}-{number}", part_rows, overlap))
    print(f"SmolLM2-135M-Instruct, {PROMPTS} prompts, at most {MAX_TOKENS} tokens each; medians of {ROUNDS} rounds")
    print(f"{'':16}{'tokens/s':>10}{'ratio':>8}{'tokens':>8}{'seconds':>9}   start to first part on disk")
    speeds = {name: [row["tokens"] / row["seconds"] for row in rows] for name, rows in figures.items()}
    for name, rows in figures.items():
        seconds = statistics.median(row["seconds"] for row in rows)
        first = f"{statistics.median(row['first part'] for row in rows):.1f} s" if "first part" in rows[0] else "-"
        # A ratio a round, since the machine's speed drifts more between rounds than within one.
        ratio = statistics.median(a / b for a, b in zip(speeds[name], speeds["bare LLM.chat"], strict=True))
        speed, tokens = statistics.median(speeds[name]), rows[0]["tokens"]
        print(f"{name:16}{speed:10.0f}{ratio:8.3f}{tokens:8.0f}{seconds:9.1f}   {first}")


if __name__ == "__main__":
    bare() if sys.argv[1:] == ["bare"] else main()
