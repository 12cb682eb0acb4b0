"""Real weights through real vLLM: a killed run equals a whole one, and the quickstart's dataset is what TRL wants."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from project import Project

from deltadata import tables

ROOT = Path(__file__).parent.parent
MODEL = ROOT / "models" / "smollm2-135m-instruct"
QUICKSTART = ROOT / "runs" / "quickstart" / "dataset"

pytestmark = pytest.mark.slow


def real(folder: Path) -> Project:
    """48 real prompts, greedy and hot, in parts of 16."""
    from deltadata.models import fetch

    fetch(MODEL.name, MODEL.parent)
    folder.mkdir()
    project = Project(folder)
    pool = {"name": "own", "path": str(ROOT / "recipes" / "data" / "starter.jsonl")}
    project.recipe["collect"] = {"pools": [pool], "limit": 48}
    project.recipe["generate"] |= {
        "engine": "vllm",
        "rungs": [
            {"name": "strong", "model": str(MODEL)},
            {"name": "weak", "model": str(MODEL), "sampling": {"temperature": 1.2}},
        ],
        "sampling": {"max_tokens": 48},
    }
    project.recipe["filter"] = {"rules": []}
    project.recipe["runtime"] = {"max_model_len": 2048}
    return project


def test_kills_of_a_real_vllm_run_change_no_text(tmp_path: Path):
    """kill -9 of the process group at random moments, then the same command: the tables of an uninterrupted run.

    Parts keep their composition, so greedy and seeded rungs alike repeat text for text.
    """
    draw = random.Random(3)
    whole, killed = real(tmp_path / "whole"), real(tmp_path / "killed")
    whole.run()
    kept: list[int] = []
    for _ in range(5):
        process = killed.start("run", "recipe.yaml")
        wanted = len(list(killed.path.glob("responses/*/part-*"))) + 1
        started = time.monotonic()
        while process.poll() is None and len(list(killed.path.glob("responses/*/part-*"))) < wanted:
            assert time.monotonic() - started < 120
            time.sleep(0.05)
        time.sleep(draw.uniform(0, 2))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        kept.append(killed.responses().height)
    before = killed.responses()
    killed.run()

    assert kept == sorted(kept)
    assert before.join(killed.responses(), on=before.columns, how="anti", nulls_equal=True).is_empty()
    assert_frame_equal(whole.responses(), killed.responses())
    assert_frame_equal(whole.pairs(), killed.pairs())
    assert whole.responses().select(tables.RESPONSES.key).is_unique().all()
    engines = {entry["facts"]["engine"] for name, entry in killed.record()["tables"].items() if "/" in name}
    assert engines == {"vllm"}


@pytest.mark.skipif(not QUICKSTART.exists(), reason="needs the dataset of `make dataset`")
def test_the_quickstart_dataset_is_an_explicit_prompt_conversational_preference_dataset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """load_dataset gives at least 50 pairs over two splits, and TRL's own checks and template step take every row."""
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    from datasets import load_dataset
    from transformers import AutoTokenizer
    from trl.data_utils import apply_chat_template, is_conversational, maybe_extract_prompt

    loaded = load_dataset(str(QUICKSTART), cache_dir=str(tmp_path))
    tokenizer = AutoTokenizer.from_pretrained(MODEL)

    assert set(loaded) == {"train", "test"}
    assert sum(split.num_rows for split in loaded.values()) >= 50
    for split in loaded.values():
        for row in split:
            assert is_conversational(row)
            assert maybe_extract_prompt(row)["prompt"] == row["prompt"]
            example = {key: row[key] for key in ("prompt", "chosen", "rejected")}
            text = apply_chat_template(example, tokenizer)
            assert text["chosen"] != text["rejected"]
            assert text["prompt"].endswith("<|im_start|>assistant\n")


@pytest.mark.skipif(not QUICKSTART.exists(), reason="needs the dataset of `make dataset`")
def test_the_quickstart_ladder_came_from_vllm():
    """No stand-in: the record names the engine and its version for every rung."""
    import json

    record = json.loads((QUICKSTART / "record.json").read_text())["tables"]
    rungs = {name: entry["facts"] for name, entry in record.items() if name.startswith("responses/")}

    assert {facts["engine"] for facts in rungs.values()} == {"vllm"}
    assert all(facts["engine_version"] for facts in rungs.values())
    ladder = pl.read_parquet(QUICKSTART / "data" / "ladder" / "*.parquet")
    assert set(ladder[tables.MODEL]) == {name.removeprefix("responses/") for name in rungs}
