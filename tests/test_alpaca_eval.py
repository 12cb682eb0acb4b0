"""The AlpacaEval recipe over real answers of eight models: imported rungs, four size pairings, drops named."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"


@pytest.mark.skipif(not (DATA / "alpaca_eval").is_dir(), reason="needs the eight models' answers beside the checkout")
def test_each_size_pairing_has_805_pairs_and_every_drop_a_name(tmp_path: Path):
    """Real data has empty and identical answers and very long ones: each is a row with its reason."""
    command = [sys.executable, "-m", "deltadata", "run", str(ROOT / "recipes" / "alpaca_eval.yaml")]
    ended = subprocess.run([*command, "--run", str(tmp_path / "run")], cwd=DATA, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr

    pairs = pl.read_parquet(tmp_path / "run" / "pairs.parquet")
    rungs = ["chosen_model", "rejected_model"]
    counted = pairs.group_by(rungs, maintain_order=True).agg(
        pl.len(), *((pl.col("dropped_by") == rule).sum().alias(rule) for rule in ("not_empty", "texts_differ"))
    )
    assert counted.rows() == [
        ("gemma-7b", "gemma-2b", 805, 22, 0),
        ("falcon-40b", "falcon-7b", 805, 0, 5),
        ("vicuna-13b", "vicuna-7b", 805, 0, 3),
        ("qwen1.5-7b", "qwen1.5-1.8b", 805, 0, 3),
    ]
    assert set(pairs["dropped_by"].drop_nulls()) == {"not_empty", "texts_differ", "max_length_delta"}
    ladder = pl.read_parquet(tmp_path / "run" / "dataset" / "data" / "ladder" / "*.parquet")
    assert ladder.height == 8 * 805
    assert not os.access(DATA / "runs", os.F_OK)
