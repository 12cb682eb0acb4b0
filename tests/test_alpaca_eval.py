"""The AlpacaEval recipe over real answers of eight models: imported rungs and scores, drops named, and its report.

pytest tests/test_alpaca_eval.py
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars as pl
import pytest

ROOT = Path(__file__).parent.parent
DATA = ROOT.parent / "shared" / "data"
PAIRINGS = [
    ("gemma-7b-it", "gemma-2b-it"),
    ("falcon-40b-instruct", "falcon-7b-instruct"),
    ("vicuna-13b", "vicuna-7b"),
    ("Qwen1.5-7B-Chat", "Qwen1.5-1.8B-Chat"),
]
RUNGS = [rung for pairing in PAIRINGS for rung in pairing]
UNSCORED = PAIRINGS[3]

pytestmark = pytest.mark.skipif(
    not (DATA / "alpaca_eval").is_dir(), reason="needs the eight models' answers beside the checkout"
)


def deltadata(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """The command as typed in the folder that holds the data."""
    command = [sys.executable, "-m", "deltadata", *map(str, arguments)]
    ended = subprocess.run(command, cwd=DATA, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    return ended


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run; a report is all that tests add to it."""
    folder = tmp_path_factory.mktemp("alpaca_eval") / "run"
    deltadata("run", ROOT / "recipes" / "alpaca_eval.yaml", "--run", folder)
    return folder


@pytest.fixture(scope="module")
def preferences() -> dict[tuple[str, str], float]:
    """The file of scores in plain Python: the score by prompt and model."""
    with (DATA / "alpaca_eval" / "preferences.csv").open(newline="", encoding="utf-8") as file:
        return {(row["prompt"], row["model"]): float(row["score"]) for row in csv.DictReader(file)}


@pytest.fixture(scope="module")
def told(run_folder: Path) -> dict[str, Any]:
    """What `report --json` prints."""
    before = digests(run_folder)
    ended = deltadata("report", run_folder, "--json")
    assert ended.stderr == ""
    after = digests(run_folder)
    assert {path: after.get(path) for path in before} == before  # a report changes nothing that was there
    found: dict[str, Any] = json.loads(ended.stdout)
    assert found == json.loads((run_folder / "report.json").read_text(encoding="utf-8"))
    return found


def digests(folder: Path) -> dict[str, str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_each_size_pairing_has_805_pairs_and_every_drop_a_name(run_folder: Path) -> None:
    """Real data has empty and identical answers and very long ones: each is a row with its reason."""
    pairs = pl.read_parquet(run_folder / "pairs.parquet")
    rungs = ["chosen_model", "rejected_model"]
    counted = pairs.group_by(rungs, maintain_order=True).agg(
        pl.len(), *((pl.col("dropped_by") == rule).sum().alias(rule) for rule in ("not_empty", "texts_differ"))
    )
    assert counted.rows() == [
        ("gemma-7b-it", "gemma-2b-it", 805, 22, 0),
        ("falcon-40b-instruct", "falcon-7b-instruct", 805, 0, 5),
        ("vicuna-13b", "vicuna-7b", 805, 0, 3),
        ("Qwen1.5-7B-Chat", "Qwen1.5-1.8B-Chat", 805, 0, 3),
    ]
    assert set(pairs["dropped_by"].drop_nulls()) == {"not_empty", "texts_differ", "max_length_delta"}
    ladder = pl.read_parquet(run_folder / "dataset" / "data" / "ladder" / "*.parquet")
    assert ladder.height == 8 * 805
    assert not os.access(DATA / "runs", os.F_OK)


def test_every_score_finds_its_response(run_folder: Path, preferences: dict[tuple[str, str], float]) -> None:
    """All 4,830 scores of six models belong to one of the 6,440 responses, and stand there as the file has them."""
    assert len(preferences) == 4830
    prompts = pl.read_parquet(run_folder / "prompts.parquet").select(
        "prompt_id", pl.col("prompt").list.last().struct.field("content")
    )
    scores = pl.read_parquet(run_folder / "scores" / "gpt4_turbo" / "*.parquet").join(prompts, on="prompt_id")
    assert dict(zip(scores.select("content", "model").iter_rows(), scores["score"], strict=True)) == preferences
    assert (set(scores["sample"]), set(scores["scorer"])) == ({0}, {"gpt4_turbo"})

    record = json.loads((run_folder / "record.json").read_text(encoding="utf-8"))["tables"]["scores/gpt4_turbo"]
    counts = {"read": 4830, "matched": 4830, "unmatched": 0, "left_out": 0, "responses": 6440}
    assert (record["rows"], record["facts"] | counts) == (4830, record["facts"])


def test_a_pairs_delta_is_the_difference_of_its_scores(
    run_folder: Path, preferences: dict[tuple[str, str], float]
) -> None:
    """Three pairings have a delta in each pair, in `dataset/` too; those of Qwen1.5, whom nobody scored, in none."""
    dataset = pl.read_parquet(run_folder / "dataset" / "data" / "default" / "*.parquet")
    for pairs, rows in ((pl.read_parquet(run_folder / "pairs.parquet"), 3220), (dataset, 3051)):
        assert pairs.height == rows
        text = pl.col("prompt").list.last().struct.field("content")
        columns = pairs.select(text, "chosen_model", "rejected_model", "delta_gpt4_turbo")
        for prompt, chosen, rejected, delta in columns.iter_rows():
            if (chosen, rejected) == UNSCORED:
                assert delta is None
            else:
                assert delta == preferences[prompt, chosen] - preferences[prompt, rejected]


STATS = {"n", "mean", "std", "quantiles", "share_positive", "share_tied", "agreement", "agreement_ci95"}
QUANTILES = {"0.05", "0.25", "0.5", "0.75", "0.95"}


def test_the_report_has_the_keys_that_others_read(told: dict[str, Any]) -> None:
    """Pairings, their measures and pools, the funnel and the ladder, each with all that is promised of it."""
    assert {"pairings", "funnel", "ladder"} <= set(told)
    assert [(found["chosen"], found["rejected"], found["pairs"]) for found in told["pairings"]] == [
        (*pairing, 805) for pairing in PAIRINGS
    ]
    for pairing in told["pairings"]:
        assert {"chosen", "rejected", "pairs", "kept", "measures", "by_pool"} <= set(pairing)
        assert list(pairing["measures"]) == told["measures"]
        assert list(pairing["by_pool"]) == ["alpaca_eval"]
        assert pairing["by_pool"]["alpaca_eval"]["measures"] == pairing["measures"]
        for stats in pairing["measures"].values():
            assert set(stats) == STATS
            assert stats["quantiles"] is None if not stats["n"] else set(stats["quantiles"]) == QUANTILES
    for step in told["funnel"]:
        assert set(step) == {"rule", "dropped", "delta_before", "delta_after"}
        assert list(step["delta_before"]) == list(step["delta_after"]) == told["measures"]
    for rung in told["ladder"]:
        assert {"model", "mean_score", "strength"} <= set(rung)
        assert list(rung["mean_score"]) == list(rung["strength"]) == ["gpt4_turbo"]
    assert [rung["model"] for rung in told["ladder"]] == RUNGS


def test_the_reports_figures_are_those_of_the_file(
    told: dict[str, Any], preferences: dict[tuple[str, str], float]
) -> None:
    """Each pairing's mean, shares and agreement, and each rung's mean score, computed from the file in plain Python."""
    for (chosen, rejected), found in zip(PAIRINGS, told["pairings"], strict=True):
        deltas = [
            score - preferences[prompt, rejected] for (prompt, model), score in preferences.items() if model == chosen
        ]
        stats = found["measures"]["gpt4_turbo"]
        assert stats["n"] == len(deltas)
        if not deltas:
            assert {value for key, value in stats.items() if key != "n"} == {None}
            continue
        positive, tied = sum(delta > 0 for delta in deltas), sum(delta == 0 for delta in deltas)
        assert stats["mean"] == pytest.approx(sum(deltas) / 805)
        assert stats["share_positive"] == pytest.approx(positive / 805)
        assert stats["share_tied"] == pytest.approx(tied / 805)
        assert stats["agreement"] == pytest.approx((positive + tied / 2) / 805)
        low, high = stats["agreement_ci95"]
        assert 0.5 < low < stats["agreement"] < high < low + 0.08  # 3.92 times sqrt(0.25 / 805) is 0.07
    for rung in told["ladder"]:
        scores = [score for (_, model), score in preferences.items() if model == rung["model"]]
        expected = pytest.approx(sum(scores) / 805) if scores else None
        assert rung["mean_score"] == {"gpt4_turbo": expected}
        assert (rung["strength"]["gpt4_turbo"] is None) == (not scores)


def test_the_reports_funnel_is_that_of_the_filter(run_folder: Path, told: dict[str, Any]) -> None:
    """Its rules and counts are the record's, and what they leave are the kept pairs."""
    funnel = {step["rule"]: step["dropped"] for step in told["funnel"]}
    assert funnel == {"not_empty": 22, "texts_differ": 11, "max_length_delta": 136}
    record = json.loads((run_folder / "record.json").read_text(encoding="utf-8"))["tables"]["filter"]
    assert list(funnel.items()) == list(record["facts"]["funnel"].items())
    assert told["pairs"] - sum(funnel.values()) == told["kept"] == record["rows"] == 3051
    assert sum(pairing["kept"] for pairing in told["pairings"]) == told["kept"]
    assert told["funnel"][-1]["delta_after"]["characters"]["n"] == told["kept"]


def test_the_report_is_a_page_and_six_pictures(run_folder: Path, told: dict[str, Any]) -> None:
    """report.html names every rung, and plots/ holds whole PNG files and nothing else."""
    page = (run_folder / "report.html").read_text(encoding="utf-8")
    assert page.rstrip().endswith("</html>")
    assert [rung for rung in RUNGS if rung not in page] == []
    pictures = sorted((run_folder / "plots").iterdir())
    assert [path.suffix for path in pictures] == [".png"] * 6
    for path in pictures:
        drawn = path.read_bytes()
        assert drawn.startswith(b"\x89PNG\r\n\x1a\n") and b"IEND" in drawn[-12:]
    assert told["name"] == "alpaca_eval"


def test_nothing_is_published_whose_licence_nobody_knows(run_folder: Path):
    """Prompts, eight rungs and scores are named, none left out, before anything is asked of the Hub."""
    command = [sys.executable, "-m", "deltadata", "push", str(run_folder), "--repo", "me/alpaca", "--public"]
    environment = os.environ | {"HF_ENDPOINT": "http://127.0.0.1:9"}  # nobody listens there
    ended = subprocess.run(command, capture_output=True, text=True, env=environment)

    parts = ["prompts/alpaca_eval", *(f"responses/{rung}" for rung in RUNGS), "scores/gpt4_turbo"]
    assert ended.returncode == 2 and "10 parts may not be published without a reason" in ended.stderr
    assert all(f"    {part} (" in ended.stderr and f'        {part}: "' in ended.stderr for part in parts)
