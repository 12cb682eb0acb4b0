"""Tokens/s of our reward model and log-prob against a bare batched loop over the same responses of real models.

    make bench-score                    # needs models/smollm2-135m-instruct (`deltadata models smollm2-135m-instruct`)

Both tokenise, sort by length, batch at most 4096 tokens and run SmolLM2 in float32; ours in its child process, fed in
units of `part_rows` through `grade` as `deltadata score` does, writing its parts. The loop runs in this process.
Interleaved, loading excluded for both. The reward model is SmolLM2's trunk with a random head.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the child has it

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "models" / "smollm2-135m-instruct"
DATA = ROOT.parent / "shared" / "data" / "alpaca_eval" / "gemma-7b-it.json"
RESPONSES, ROUNDS, BUDGET = int(os.environ.get("RESPONSES", "200")), int(os.environ.get("ROUNDS", "5")), 4096
PART_ROWS = int(os.environ.get("PART_ROWS", "256"))
SECTIONS = {"reward_model": "RewardModel", "logprob": "LogProb"}


def rows() -> list[tuple[str, str]]:
    """Prompts and answers of Gemma 7B, or the starter pool's prompts twice over where the data is not there."""
    if DATA.is_file():
        return [(row["instruction"], row["output"]) for row in json.loads(DATA.read_text())][:RESPONSES]
    lines = (ROOT / "recipes" / "data" / "starter.jsonl").read_text().splitlines()[:RESPONSES]
    return [(text, f"{text} " * 4) for text in (json.loads(line)["prompt"] for line in lines)]


def reward_model(place: Path) -> None:
    """SmolLM2's weights behind a random head of one output."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    torch.manual_seed(0)
    AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=1).save_pretrained(place)
    AutoTokenizer.from_pretrained(MODEL).save_pretrained(place)


class Bare:
    """What a script would do: tokenise, sort, pad, run, read."""

    def __init__(self, kind: str, place: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

        which = AutoModelForSequenceClassification if kind == "reward_model" else AutoModelForCausalLM
        self._kind, self._tokenizer = kind, AutoTokenizer.from_pretrained(place)
        self._model = which.from_pretrained(place, dtype=torch.float32).eval()
        self._model.config.pad_token_id = self._tokenizer.pad_token_id = 0  # <|endoftext|>, which ends no row
        self.tokens = 0

    def __call__(self) -> list[float]:
        written: Any = self._tokenizer.apply_chat_template
        asks = [[{"role": "user", "content": prompt}] for prompt, _ in rows()]
        whole = [ask + [{"role": "assistant", "content": text}] for ask, (_, text) in zip(asks, rows(), strict=True)]
        starts = [len(ids) for ids in written(asks, add_generation_prompt=True)["input_ids"]]
        ids: list[list[int]] = written(whole)["input_ids"]
        self.tokens, found = sum(map(len, ids)), [0.0] * len(ids)
        for batch in self._batches([len(row) for row in ids]):
            told = self._pass([ids[i] for i in batch], [starts[i] for i in batch])
            for place, number in zip(batch, told, strict=True):
                found[place] = number
        return found

    def _batches(self, lengths: list[int]) -> Iterator[list[int]]:
        order = sorted(range(len(lengths)), key=lambda i: -lengths[i])
        while order:
            size = max(1, BUDGET // lengths[order[0]])
            yield order[:size]
            order = order[size:]

    def _pass(self, ids: list[list[int]], starts: list[int]) -> list[float]:
        import torch

        width = max(map(len, ids))
        padded = torch.tensor([row + [0] * (width - len(row)) for row in ids])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in ids])
        with torch.inference_mode():
            logits = self._model(input_ids=padded, attention_mask=mask).logits
            if self._kind == "reward_model":
                return [float(number) for number in logits[:, 0]]
            means = []
            for row, start in enumerate(starts):
                end = len(ids[row])
                chances = torch.log_softmax(logits[row, start - 1 : end - 1], dim=-1)
                means.append(float(chances.gather(-1, padded[row, start:end, None]).mean()))
            return means


class Silent:
    """A `Progress` that says nothing."""

    def note(self, text: str) -> None: ...
    def rung(self, name: str, total: int, done: int) -> None: ...
    def advance(self, tokens: int, failed: bool) -> None: ...
    def rung_done(self) -> None: ...


def ours(kind: str, folder: Path, scorer: Any) -> Callable[[], list[float]]:
    """Scores in parts, as `deltadata score` makes them of an imported rung, a fresh folder each time."""
    import polars as pl

    from deltadata import grade, parts, tables

    ladder = {"rung": parts.read(folder, "rung")}
    number = 0

    def once() -> list[float]:
        nonlocal number
        number += 1
        home = folder / f"{kind}-{number}"
        grade.grade(home, kind, [], scorer, folder / tables.PROMPTS_FILE, ladder, PART_ROWS, Silent())
        found = pl.read_parquet(home / "part-*.parquet").sort(tables.PROMPT_ID)[tables.SCORE]
        return found.to_list()

    return once


def run_folder(folder: Path) -> None:
    """A run with one imported rung."""
    import yaml

    lines = [json.dumps({"prompt": prompt, "response": text}) + "\n" for prompt, text in rows()]
    (folder / "pool.jsonl").write_text("".join(lines))
    recipe = {
        "name": "bench",
        "collect": {"pools": [{"name": "own", "path": "pool.jsonl"}]},
        "generate": {"rungs": [{"name": "rung", "responses": "pool.jsonl"}]},
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    for stage in ("collect", "generate"):
        command = [sys.executable, "-m", "deltadata", stage, "recipe.yaml", "--run", "run"]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)


def main() -> None:
    import deltadata.scorer_sections as sections
    from deltadata.scorers import open_scorer

    with tempfile.TemporaryDirectory() as scratch:
        folder, rm = Path(scratch), Path(scratch) / "rm"
        reward_model(rm)
        run_folder(folder)
        told = f"{len(rows())} responses in parts of {PART_ROWS}, {BUDGET} tokens a batch; {ROUNDS} rounds"
        print(f"SmolLM2-135M float32, {told}", flush=True)
        for kind, place in (("reward_model", rm), ("logprob", MODEL)):
            section = getattr(sections, SECTIONS[kind])(name=kind, model=str(place), batch_tokens=BUDGET)
            bare = Bare(kind, place)
            with open_scorer(section) as scorer:
                compare(kind, bare, ours(kind, folder / "run", scorer))


def processors(child: int | None) -> float:
    """Seconds that the processors spent on this process and the child: beside other load only that says much."""
    return time.process_time() + (sum(psutil.Process(child).cpu_times()[:2]) if child else 0.0)


def compare(kind: str, bare: Bare, tool: Callable[[], list[float]]) -> None:
    """Both in turn, the first round to warm up; medians and the ratio of each round."""
    seconds: dict[str, list[tuple[float, float]]] = {"bare": [], "ours": []}
    child = None
    for number in range(ROUNDS + 1):
        found = {}
        for name, run in sorted({"bare": bare, "ours": tool}.items(), reverse=bool(number % 2)):
            began, spent = time.perf_counter(), processors(child)
            found[name] = run()
            if number:
                seconds[name].append((time.perf_counter() - began, processors(child) - spent))
        child = psutil.Process().children()[0].pid
    apart = max(abs(a - b) for a, b in zip(sorted(found["bare"]), sorted(found["ours"]), strict=True))
    print(f"{kind}: {bare.tokens} tokens a round, largest difference of a score {apart:.1e}")
    for place, clock in enumerate(("wall", "processors")):
        ratios = [b[place] / o[place] for b, o in zip(seconds["bare"], seconds["ours"], strict=True)]
        speeds = {name: bare.tokens / statistics.median(t[place] for t in times) for name, times in seconds.items()}
        told = f"bare {speeds['bare']:6.0f} tokens/s, ours {speeds['ours']:6.0f}, ratio {statistics.median(ratios):.3f}"
        print(f"  {clock:11} {told} (rounds {[round(ratio, 3) for ratio in ratios]})", flush=True)


if __name__ == "__main__":
    main()
