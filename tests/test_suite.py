"""The suite's tasks exist in the installed harness, run on local files through our command, and needs are told.

pytest tests/test_suite.py
"""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import suite_files
from tiny_model import build
from trainings_by_hand import Heard, asked, pairs

from deltadata import evaluations, harness, suite
from deltadata.errors import OutsideError, UserError
from deltadata.evaluate import Told
from deltadata.student import open_student
from deltadata.suite import Bench
from deltadata.templates import folder

HARNESS = pytest.mark.skipif(importlib.util.find_spec("lm_eval") is None, reason="the extra `eval` is not installed")
BENCHMARKS = suite.known()["benchmarks"]


def index(one: dict[str, Any]) -> Any:
    """The tasks that the harness (or our own folder) knows for a benchmark, as the child process finds them."""
    from lm_eval.tasks._index import TaskIndex

    root = Path(str(importlib.util.find_spec("lm_eval").origin)).parent / "tasks"  # type: ignore[union-attr]
    return TaskIndex.build(
        [folder("recipes/suite")] if one.get("own") else [root / folder for folder in one["folders"]]
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tiny models with room for eight examples, pairs, and a data folder."""
    folder = tmp_path_factory.mktemp("suite")
    for name in ("tiny", "other"):
        config = build(folder / name) / "config.json"
        config.write_text(json.dumps(json.loads(config.read_text()) | {"max_position_embeddings": 8192}))
    config.write_text(json.dumps(json.loads(config.read_text()) | {"rms_norm_eps": 1e-3}))  # another model
    pairs(folder / "ds", 4, 4)
    suite_files.gsm8k(folder / "data")
    suite_files.ifeval(folder / "data")
    return folder


@HARNESS
@pytest.mark.parametrize("name", BENCHMARKS)
def test_tasks_exist_in_the_installed_harness(name: str) -> None:
    """With the metric, the dataset and the keys that the suite pins; the harness is no older than ours was."""
    from importlib.metadata import version

    one = BENCHMARKS[name]
    tasks = index(one)
    found = [leaf for task in one["tasks"] for leaf in harness.leaves(tasks, task)]
    assert len(found) == {"mmlu": 57, "bbh": 27, "math": 7}.get(name, 1) and len(set(found)) == len(found)
    metric = one["metric"].partition(",")[0]
    for leaf in found:
        config = tasks[leaf].cfg | one["settings"]
        assert one["data"] in (config["dataset_path"], "tatsu-lab/alpaca_eval")
        metrics = [each["metric"] for each in config["metric_list"]]
        assert metric in metrics or (one.get("k") and "pass_at_k" in str(metrics)), metrics
        filters = [each["name"] for each in config.get("filter_list", [{"name": "none"}])]
        assert one["metric"].partition(",")[2] in filters
        assert config.get("test_split") or config.get("validation_split")
    assert tuple(map(int, version("lm_eval").split("."))) >= tuple(map(int, suite.known()["harness"].split(".")))


def test_published_means_are_those_of_the_card() -> None:
    """57.43, 62.35 and 62.93 over the eleven, worked out by hand; each benchmark says what it asks for."""
    columns = suite.known()["published"]["card"]["columns"]
    means = [math.fsum(one["card"][key] for one in BENCHMARKS.values()) / 11 for key in columns]
    assert [round(mean, 2) for mean in means] == [57.43, 62.35, 62.93]
    assert len(BENCHMARKS) == 11 and all({"asks", "data", "told"} <= one.keys() for one in BENCHMARKS.values())


@HARNESS
@pytest.mark.slow
def test_two_benchmarks_run_on_local_files(place: Path) -> None:
    """GSM8K and IFEval in their own formats, student and reference, offline; found again the second time."""
    told = Told(str(place / "other"), str(place / "tiny"), limit=3, fresh=False)
    bench, heard = Bench("gsm8k,ifeval", place / "data"), Heard()
    facts = evaluations.run_evaluation(asked(place, place / "tiny", place / "ds"), told, bench, heard.screen)
    for model in ("student", "reference"):
        assert {name: one["n"] for name, one in facts["suite"][model].items()} == {"gsm8k": 3, "ifeval": 2}
        assert all(0 <= one["value"] <= 1 for one in facts["suite"][model].values())
    folder = place / "run" / "evaluate" / "other"
    assert json.loads((folder / "evaluate.json").read_text())["suite"]["student"] == facts["suite"]["student"]
    assert "76.2" in heard.text and "published" in heard.text and "(of 2 of 11)" in heard.text
    assert len(list((folder.parent / "suite").glob("*.json"))) == 4
    kept = {path: path.stat().st_mtime_ns for path in (folder.parent / "suite").glob("*.json")}
    evaluations.run_evaluation(asked(place, place / "tiny", place / "ds"), told, bench, Heard().screen)
    assert {path: path.stat().st_mtime_ns for path in (folder.parent / "suite").glob("*.json")} == kept


@HARNESS
@pytest.mark.slow
def test_all_eleven_run_on_local_files(place: Path, tmp_path: Path) -> None:
    """Items of our making in the layout of each dataset: every task has the metric and filter that we read."""
    subsets: dict[str, list[str]] = {}
    for one in BENCHMARKS.values():
        tasks = index(one)
        found = [tasks[leaf].cfg.get("dataset_name") for task in one["tasks"] for leaf in harness.leaves(tasks, task)]
        subsets[one["data"]] = [name for name in found if name]
    data = suite_files.build(tmp_path / "data", subsets)
    model, heard, figures = open_student(str(place / "tiny"), place, print), Heard(), {}
    for name, one in BENCHMARKS.items():
        short = one | {"settings": {k: v for k, v in one["settings"].items()}}
        if "generation_kwargs" in short["settings"]:
            short["settings"]["generation_kwargs"] = short["settings"]["generation_kwargs"] | {"max_gen_toks": 8}
        bench = Bench("all", data, allow_code=True)
        figures[name] = suite.run(model, name, short, bench, 1, None, tmp_path / "kept", heard.screen)
    assert {name: one["n"] for name, one in figures.items()} == dict.fromkeys(BENCHMARKS, 1) | {
        "mmlu": 57,
        "bbh": 27,
        "math": 7,
    }
    assert all(0 <= one["value"] <= 1 for name, one in figures.items() if name != "alpaca_eval")
    assert figures["alpaca_eval"]["outputs"][0]["instruction"] == "Tell of rain."


@HARNESS
def test_what_a_benchmark_lacks_is_told(place: Path) -> None:
    """By name refused with the cure; of all, left out and said why."""
    for names, bench, message in (
        ("humaneval", Bench("humaneval"), r"runs code that the model wrote.*\n.*--allow-code"),
        ("alpaca_eval", Bench("alpaca_eval"), r"a judge's.*\n.*--judged"),
        ("mmlu", Bench("mmlu", place / "data"), r"no .*cais/mmlu.*\n.*hf download cais/mmlu"),
        ("gsm8", Bench("gsm8k,gsm8"), r"no benchmark is called 'gsm8'.*\n.*did you mean 'gsm8k'"),
        ("data", Bench("all", place / "nowhere"), r"no such folder"),
    ):
        with pytest.raises(UserError, match=message):
            suite.chosen(bench)
        assert names
    found, left = suite.chosen(Bench("all", place / "data"))
    assert list(found) == ["gsm8k", "ifeval"] and len(left) == 9
    assert "--allow-code" in left["humaneval"] and "hf download" in left["mmlu"]


def test_without_the_extra_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises((UserError, ImportError)) as refused:
        suite.chosen(Bench("all"))
    assert "lm_eval" in str(refused.value)


def test_files_of_a_split_are_found_where_they_lie(tmp_path: Path) -> None:
    """The Hub's layouts and a lone file without a split; a missing split is named with its cure."""
    for name in ("a/x/sub/test-0.parquet", "a/x/sub/test-1.parquet", "a/y/data/test.jsonl", "a/y/data/train.jsonl"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}")
    (tmp_path / "a/z").mkdir()
    (tmp_path / "a/z/input.json").write_text("{}")
    told = harness.local(tmp_path, "a/x", "sub", "test", None)
    assert told["dataset_path"] == "parquet" and told["dataset_name"] is None
    files = told["dataset_kwargs"]["data_files"]
    assert [Path(path).name for path in files["test"]] == ["test-0.parquet", "test-1.parquet"]
    files = harness.local(tmp_path, "a/y", None, "test", "train")["dataset_kwargs"]["data_files"]
    assert {split: [Path(path).name for path in paths] for split, paths in files.items()} == {
        "test": ["test.jsonl"],
        "train": ["train.jsonl"],
    }
    lone = harness.local(tmp_path, "a/z", "sub", "test", None)["dataset_kwargs"]["data_files"]
    assert [Path(path).name for path in lone["test"]] == ["input.json"]
    with pytest.raises(UserError, match=r"no file of the split 'dev'.*\n.*hf download a/y"):
        harness.local(tmp_path, "a/y", None, "test", "dev")


def test_a_figure_weighs_items_or_tasks() -> None:
    """Tasks of 1 and 3 items at 1.0 and 0.0: a quarter by size, a half by task."""
    found = {
        "results": {"a": {"acc,none": 1.0}, "b": {"acc,none": 0.0}},
        "n-samples": {"a": {"effective": 1}, "b": {"effective": 3}},
        "versions": {"a": 1.0},
        "samples": {"a": [], "b": []},
    }
    job = {"metric": "acc,none", "combine": "by_size", "outputs": False}
    assert harness.gathered(found, job)["value"] == 0.25
    assert harness.gathered(found, job | {"combine": "mean"})["value"] == 0.5


def test_popqa_takes_any_of_the_answers() -> None:
    """Exact after SQuAD's cleaning, or contained as the authors count; only the first line is read."""
    spec = importlib.util.spec_from_file_location("own_tasks", folder("recipes/suite") / "own_tasks.py")
    assert spec and spec.loader
    own = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(own)
    doc = {"possible_answers": '["The Nile", "river"]'}
    assert own.popqa(doc, [" Nile.\nQ: next"]) == {"exact_match": 1.0, "contains": 1.0}
    assert own.popqa(doc, ["It is the river Nile"]) == {"exact_match": 0.0, "contains": 1.0}
    assert own.popqa(doc, ["a hill\nriver"]) == {"exact_match": 0.0, "contains": 0.0}


def test_a_judges_leaderboard_is_read(tmp_path: Path) -> None:
    """The model's row by its name, or the only one; in shares; anything else is refused."""
    board = tmp_path / "leaderboard.csv"
    board.write_text(",length_controlled_winrate,win_rate,n_total\ndpo,33.5,30,805\ngpt4,50,50,805\n")
    assert suite.judged(board, "runs/a/train/dpo") == {"value": 0.335, "n": 805, "tasks": {}}
    with pytest.raises(UserError, match="length_controlled_winrate of 'sft'"):
        suite.judged(board, "runs/a/train/sft")
    board.write_text(",win_rate\ndpo,3\n")
    with pytest.raises(UserError, match=r"leaderboard\.csv"):
        suite.judged(board, "dpo")


def test_a_mean_says_over_how_many() -> None:
    assert suite.mean_told({}) == "-"
    assert suite.mean_told({"gsm8k": {"value": 0.5}, "ifeval": {"value": 0.25}}) == "37.5 (of 2 of 11)"
    assert suite.mean_told({name: {"value": 0.5} for name in BENCHMARKS}) == "50.0"


@HARNESS
@pytest.mark.slow
def test_a_benchmark_that_fails_stops_no_other(place: Path, tmp_path: Path) -> None:
    """A row without its answer: the harness' last words and the log, exit 3; the other benchmark has its figure."""
    suite_files.gsm8k(tmp_path / "data")
    suite_files.ifeval(tmp_path / "data")
    suite_files.lines(tmp_path / "data/openai/gsm8k/test.jsonl", [{"nothing": 1}])
    told = Told(str(place / "other"), str(place / "other"), name="fails", limit=1, fresh=False)
    with pytest.raises(OutsideError, match=r"student: GSM8K: the harness ended with exit code 1"):
        evaluations.run_evaluation(
            asked(tmp_path, place / "tiny", place / "ds"),
            told,
            Bench("gsm8k,ifeval", tmp_path / "data"),
            Heard().screen,
        )
    kept = json.loads((tmp_path / "run" / "evaluate" / "fails" / "evaluate.json").read_text())["suite"]
    assert list(kept["student"]) == ["ifeval"]
