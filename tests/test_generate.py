"""No generated token is lost, nothing that exists is generated again, and drift is refused."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from openai_server import serve
from polars.testing import assert_frame_equal
from project import Project

from deltadata import tables
from deltadata.generate import keys_of


def same_tables(one: Project, other: Project) -> None:
    assert_frame_equal(one.responses(), other.responses())
    assert_frame_equal(one.pairs(), other.pairs())
    for name in ("train-00000-of-00001.parquet", "test-00000-of-00001.parquet"):
        for config in ("default", "ladder"):
            file = Path("dataset") / "data" / config / name
            assert (one.path / file).exists() == (other.path / file).exists()
            if (one.path / file).exists():
                assert_frame_equal(pl.read_parquet(one.path / file), pl.read_parquet(other.path / file))


@pytest.mark.parametrize("overlap", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_five_kills_change_nothing_and_cost_at_most_one_part_each(tmp_path: Path, overlap: bool):
    """kill -9 of the whole process group at random moments of generation, then the same command: equal tables."""
    draw = random.Random(7)
    folders = [tmp_path / name for name in ("whole", "killed")]
    for folder in folders:
        folder.mkdir()
    whole, killed = (Project(folder, prompts=90, delay=0.02) for folder in folders)
    for project in (whole, killed):
        project.recipe["runtime"]["overlap"] = overlap
    whole.run()

    kills = 0
    for _ in range(5):
        before = sum(killed.requests().values())
        process = killed.start("run", "recipe.yaml")
        wanted = before + draw.randrange(1, 30)
        while process.poll() is None and sum(killed.requests().values()) < wanted:
            time.sleep(0.005)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
        process.communicate()
    killed.run()

    assert kills == 5
    same_tables(whole, killed)
    repeated = killed.requests() - whole.requests()
    assert 0 < repeated.total() <= kills * 16


def test_a_second_run_asks_for_nothing_and_says_so(tmp_path: Path):
    """Everything is up to date: no request, no file touched."""
    project = Project(tmp_path)
    project.run()
    asked = project.requests()
    times = {path: path.stat().st_mtime_ns for path in project.path.rglob("*.parquet")}

    said = project.run()

    assert "nothing to do" in said
    assert project.requests() == asked == {"a": 40, "b": 40}
    assert times == {path: path.stat().st_mtime_ns for path in project.path.rglob("*.parquet")}


def test_an_added_rung_generates_only_itself(tmp_path: Path):
    """The other rungs' responses are not asked for again, and the new pairing is there without --overwrite."""
    project = Project(tmp_path)
    project.run()
    project.recipe["generate"]["rungs"].append({"name": "weakest", "model": "c"})

    project.run()

    assert project.requests() == {"a": 40, "b": 40, "c": 40}
    found = set(project.pairs().select("chosen_model", "rejected_model").iter_rows())
    assert found == {("strong", "weak"), ("weak", "weakest")}


@pytest.mark.parametrize("how", ["more rows in the pool", pytest.param("a higher limit", marks=pytest.mark.slow)])
def test_twenty_added_prompts_generate_only_themselves(tmp_path: Path, how: str):
    """A grown pool or limit is no drift: what is there stays, the rest is asked for."""
    project = Project(tmp_path, prompts=40 if how == "more rows in the pool" else 90)
    if how == "a higher limit":
        project.recipe["collect"]["limit"] = 40
    project.run()
    before = project.responses()
    if how == "more rows in the pool":
        project.write_pool(range(60))
    else:
        project.recipe["collect"]["limit"] = 60

    project.run()

    assert project.requests() == {"a": 60, "b": 60}
    assert before.join(project.responses(), on=before.columns, how="anti", nulls_equal=True).is_empty()
    assert project.pairs().height == 60


def test_more_samples_generate_only_the_new_ones(tmp_path: Path):
    """`samples` is an extent: 1 to 3 asks twice more for every prompt."""
    project = Project(tmp_path, prompts=10)
    project.recipe["generate"]["sampling"] = {"temperature": 0.5}
    project.run()
    project.recipe["generate"]["sampling"] = {"samples": 3, "temperature": 0.5}

    project.run()

    assert project.requests() == {"a": 30, "b": 30}
    assert project.pairs().height == 30


@pytest.mark.parametrize(
    ("section", "value", "address"),
    [
        pytest.param("pair", {"control": "reversed"}, "pair.control", marks=pytest.mark.slow),
        ("filter", {"rules": []}, "filter.rules"),
    ],
)
def test_another_pair_or_filter_section_is_refused_then_rebuilt_without_a_request(
    tmp_path: Path, section: str, value: dict[str, object], address: str
):
    """Drift names the field; --overwrite makes pairs anew and asks no model anything."""
    project = Project(tmp_path)
    project.run()
    asked = project.requests()
    project.recipe[section] = value

    refused = project.run(code=2)
    assert f"{address}: " in refused
    assert "--overwrite" in refused
    project.run("run", "recipe.yaml", "--overwrite")

    assert project.requests() == asked


def test_another_temperature_is_refused_naming_it_and_overwrite_regenerates_that_rung_alone(tmp_path: Path):
    """Changing what shapes one rung's text never mixes old and new answers."""
    project = Project(tmp_path)
    project.run()
    project.recipe["generate"]["rungs"][1]["sampling"]["temperature"] = 0.7

    refused = project.run(code=2)
    assert "sampling.temperature: 1.0 -> 0.7" in refused
    assert project.requests() == {"a": 40, "b": 40}
    before = pl.read_parquet(project.path / "responses" / "weak" / "*.parquet")
    said = project.run("run", "recipe.yaml", "--overwrite")

    assert project.requests() == {"a": 40, "b": 80}
    assert "responses/weak: 40 responses of weak are moved aside and MADE ANEW" in said
    assert_frame_equal(before, pl.read_parquet(project.path / "replaced" / "weak-*" / "*.parquet"))


def test_all_drift_is_refused_at_once_with_what_each_would_cost(tmp_path: Path):
    """Nobody who means a filter overwrites responses unawares."""
    project = Project(tmp_path)
    project.run()
    project.recipe["generate"]["rungs"][1]["sampling"]["temperature"] = 0.7
    project.recipe["filter"] = {"rules": []}

    refused = project.run(code=2)

    assert "sampling.temperature: 1.0 -> 0.7" in refused
    assert "filter.rules: " in refused
    assert "40 responses of weak are moved aside and MADE ANEW" in refused


def test_pairs_dropped_for_want_of_a_number_are_said_to_be(tmp_path: Path):
    """A rule with null input drops, and says so: imported responses have no token counts."""
    project = Project(tmp_path, prompts=5)
    lines = [f'{{"prompt": "Tell me about number {i}.", "response": "It is {i}."}}' for i in range(4)]
    (tmp_path / "old.jsonl").write_text("\n".join(lines))
    project.recipe["generate"]["rungs"][1] = {"name": "old", "responses": "old.jsonl"}
    project.recipe["filter"] = {"rules": [{"max_length_delta": 100}]}

    said = project.run(code=2)

    assert "max_length_delta: 4 pair(s) dropped since what it asks for is unknown" in said


def test_drift_is_refused_even_when_the_rung_was_killed_before_its_record(tmp_path: Path):
    """The parts themselves know what made them."""
    project = Project(tmp_path, delay=0.05)
    process = project.start("run", "recipe.yaml")
    while not list(project.path.glob("responses/strong/part-*")):
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    project.recipe["seed"] = 5

    assert "seed: 0 -> 5" in project.run("generate", "recipe.yaml", code=2)


def test_a_changed_part_size_is_refused_since_it_changes_the_batches(tmp_path: Path):
    """A resumed run equals an uninterrupted one only with the same parts."""
    project = Project(tmp_path)
    project.run()
    project.recipe["generate"]["part_rows"] = 8

    assert "part_rows: 16 -> 8" in project.run(code=2)


def test_runtime_settings_are_no_drift(tmp_path: Path):
    """Machine-dependent settings never enter a fingerprint."""
    project = Project(tmp_path)
    project.run()
    project.recipe["runtime"]["scripted"]["delay"] = 0.001

    assert "nothing to do" in project.run()


def test_a_failed_generation_is_a_row_with_its_reason_and_makes_no_pair(tmp_path: Path):
    """One bad prompt does not stop the run; it is named, counted and unpaired."""
    project = Project(tmp_path, fail_on="number 7.")
    said = project.run()

    failed = project.responses().filter(pl.col(tables.ERROR).is_not_null())
    assert failed[tables.ERROR].to_list() == ["scripted failure on 'number 7.'"] * 2
    assert failed[tables.RESPONSE].to_list() == [None, None]
    assert project.pairs().height == 39
    assert "1 failed" in said


def test_ctrl_c_finishes_the_current_part_says_how_to_resume_and_loses_nothing(tmp_path: Path):
    """The first Ctrl-C ends within two seconds of the part; the same command then asks only for the rest."""
    project = Project(tmp_path, delay=0.05)
    process = project.start("run", "recipe.yaml")
    while sum(project.requests().values()) < 20:
        time.sleep(0.01)
    asked_at = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)

    assert process.returncode == 3
    assert "Traceback" not in said
    assert "the same command goes on from there" in said
    assert time.monotonic() - asked_at < 16 * 0.05 + 2
    assert project.requests().total() == project.responses().height == 32
    project.run()
    assert project.requests() == {"a": 40, "b": 40}


def test_a_second_ctrl_c_ends_at_once(tmp_path: Path):
    """Two seconds are not to be waited for by somebody in a hurry: that part is lost, nothing else."""
    project = Project(tmp_path, delay=0.3)
    process = project.start("run", "recipe.yaml")
    while sum(project.requests().values()) < 2:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)
    time.sleep(0.4)
    asked_at = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=30)

    assert process.returncode == 3
    assert time.monotonic() - asked_at < 2
    assert not list(project.path.glob("responses/*/*"))


def test_two_writers_of_one_run_are_refused_and_a_dead_ones_lock_is_taken_over(tmp_path: Path):
    """One writer per run; kill -9 frees it."""
    project = Project(tmp_path, delay=0.1)
    process = project.start("run", "recipe.yaml")
    while not project.requests():
        time.sleep(0.01)

    refused = project.run(code=2)
    assert f"process {process.pid}" in refused
    assert "is writing this run" in refused
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    project.recipe["runtime"]["scripted"]["delay"] = 0

    project.run()


def test_a_truncated_part_is_refused_by_name_and_removing_it_costs_only_its_rows(tmp_path: Path):
    """The message names the file and the cure, and the cure works."""
    project = Project(tmp_path)
    project.run()
    part = project.path / "responses" / "weak" / "part-00001.parquet"
    before = project.responses()
    part.write_bytes(part.read_bytes()[:200])

    refused = project.run(code=2)
    assert str(part.relative_to(tmp_path)) in refused
    assert "remove that file" in refused
    part.unlink()
    project.run()

    assert project.requests() == {"a": 40, "b": 40 + 16}
    assert_frame_equal(before, project.responses())


def test_the_folder_of_another_recipe_is_refused(tmp_path: Path):
    """Two recipes never share a run folder."""
    project = Project(tmp_path)
    project.run()
    project.recipe["name"] = "other"

    refused = project.run("run", "recipe.yaml", "--run", "runs/tiny", code=2)

    assert "belongs to the recipe 'tiny'" in refused


def test_a_folder_of_other_things_is_refused(tmp_path: Path):
    """--run on somebody's documents writes nothing there."""
    project = Project(tmp_path)
    (tmp_path / "papers").mkdir()
    (tmp_path / "papers" / "thesis.txt").write_text("mine")

    project.run("run", "recipe.yaml", "--run", "papers", code=2)

    assert [path.name for path in (tmp_path / "papers").iterdir()] == ["thesis.txt"]


def test_a_full_disk_ends_with_exit_3_and_nothing_corrupt(tmp_path: Path):
    """What was finished is kept; with room again the same command completes."""
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=250k tmpfs {small} 2>/dev/null") != 0:
        pytest.skip("needs the right to mount a small tmpfs")
    project = Project(tmp_path, prompts=400, characters=4000)
    project.recipe["generate"]["sampling"] = {"max_tokens": 10_000}
    try:
        said = project.run("run", "recipe.yaml", "--run", "small/run", code=3)
        assert "No space left on device" in said
        assert "run the same command again" in said
        parts = sorted((small / "run").glob("responses/*/*"))
        assert parts
        assert all(pl.read_parquet(part).height == 16 for part in parts)
        shutil.copytree(small / "run", tmp_path / "runs" / "tiny")
    finally:
        os.system(f"umount {small}")
    asked = project.requests()
    kept = sum(16 for _ in parts)

    project.run()

    assert project.requests().total() - asked.total() == 800 - kept
    assert project.pairs().height == 400


def test_seeds_are_fixed_by_prompt_and_sample_alone(tmp_path: Path):
    """Both rungs get the same seed for the same prompt; samples differ; another recipe seed changes all."""
    project = Project(tmp_path, prompts=3)
    project.recipe["generate"]["sampling"] = {"samples": 2, "temperature": 1.0}
    project.run()
    seeds = [line.split() for line in project.log.read_text().splitlines()]
    of = {model: [seed for name, seed in seeds if name == model] for model in ("a", "b")}

    assert of["a"] == of["b"]
    assert len(set(of["a"])) == 6


def test_a_part_made_anew_with_other_text_makes_everything_after_it_anew(tmp_path: Path):
    """default and ladder of one dataset never hold two versions of a response."""
    project = Project(tmp_path)
    project.run()
    (project.path / "responses" / "strong" / "part-00000.parquet").unlink()
    project.recipe["runtime"]["scripted"]["characters"] = 100

    project.run()

    default = pl.read_parquet(project.path / "dataset" / "data" / "default" / "*.parquet")
    ladder = pl.read_parquet(project.path / "dataset" / "data" / "ladder" / "*.parquet")
    chosen = default.select(tables.PROMPT_ID, response=tables.last_text("chosen"))
    assert chosen.join(ladder, on=[tables.PROMPT_ID, "response"], how="anti").is_empty()


@pytest.mark.parametrize(
    "damage", ["removed", *(pytest.param(how, marks=pytest.mark.slow) for how in ("emptied", "cut"))]
)
@pytest.mark.parametrize(
    "file",
    [
        "dataset/data/default/train-00000-of-00001.parquet",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("dataset/README.md", "prompts.parquet")),
    ],
)
def test_a_damaged_file_of_a_finished_table_is_made_anew(tmp_path: Path, file: str, damage: str):
    """The record knows the size of what it speaks of; nothing is generated for it."""
    project = Project(tmp_path, prompts=12)
    project.run()
    path = project.path / file
    whole = path.read_bytes()
    if damage == "removed":
        path.unlink()
    else:
        path.write_bytes(whole[: len(whole) // 2 if damage == "cut" else 0])

    project.run()

    assert path.stat().st_size == len(whole)
    assert project.requests() == {"a": 12, "b": 12}


@pytest.mark.parametrize("loss", ["removed", pytest.param("emptied", marks=pytest.mark.slow)])
def test_a_lost_record_costs_no_response(tmp_path: Path, loss: str):
    """The parts know what made them: with a new record the run goes on, and asks for nothing."""
    project = Project(tmp_path, prompts=12)
    project.run()
    record = project.path / "record.json"
    if loss == "emptied":
        record.write_text("")
        assert "remove record.json" in project.run(code=2)
    record.unlink()

    project.run()

    assert project.requests() == {"a": 12, "b": 12}


def test_pair_alone_refuses_responses_that_were_lost_since(tmp_path: Path):
    """Too few pairs are never made in silence."""
    project = Project(tmp_path)
    project.run()
    (project.path / "responses" / "weak" / "part-00001.parquet").unlink()

    assert "deltadata generate recipe.yaml" in project.run("pair", "recipe.yaml", code=2)
    shutil.rmtree(project.path / "responses" / "weak")
    assert "deltadata generate recipe.yaml" in project.run("pair", "recipe.yaml", code=2)


@pytest.mark.slow
def test_overlap_may_come_and_go(tmp_path: Path):
    """A runtime setting is no drift, even where it decides what a part is."""
    project = Project(tmp_path)
    project.run()
    project.recipe["runtime"]["overlap"] = True
    assert "nothing to do" in project.run()
    project.write_pool(range(50))
    project.run()
    project.recipe["runtime"]["overlap"] = False

    assert "nothing to do" in project.run()


def test_an_imported_rungs_mistake_is_told_before_a_model_is_asked(tmp_path: Path):
    """A wrong column must not wait for hours of generation."""
    project = Project(tmp_path)
    (tmp_path / "old.jsonl").write_text('{"q": "Tell me about number 1.", "a": "One."}\n')
    project.recipe["generate"]["rungs"].append({"name": "old", "responses": "old.jsonl"})

    project.run(code=2)

    assert not project.requests()


def test_failed_responses_are_asked_for_again_when_told_so(tmp_path: Path):
    """--retry-failed asks for the failed rows alone; without it a failure stays a row."""
    project = Project(tmp_path, fail_on="number 7.")
    project.run()
    del project.recipe["runtime"]["scripted"]["fail_on"]
    assert "nothing to do" in project.run()

    said = project.run("run", "recipe.yaml", "--retry-failed")

    assert "strong: 1 failed response(s) are asked for again" in said
    assert project.requests() == {"a": 41, "b": 41}
    assert project.responses()[tables.ERROR].null_count() == 80
    assert project.pairs().height == 40


def test_a_part_copied_under_another_number_is_refused_by_its_name(tmp_path: Path):
    """The message names the copy, and removing it cures."""
    project = Project(tmp_path)
    project.run()
    folder = project.path / "responses" / "weak"
    shutil.copy(folder / "part-00000.parquet", folder / "part-00007.parquet")

    refused = project.run(code=2)
    assert "part-00007.parquet" in refused
    assert "is unique" in refused
    (folder / "part-00007.parquet").unlink()

    assert "nothing to do" in project.run()


@pytest.mark.parametrize(("column", "value"), [("finish_reason", None), ("error", "edited"), ("model", "strong")])
def test_an_edited_part_is_refused_when_pairs_are_made_of_it(tmp_path: Path, column: str, value: str | None):
    """Rules are checked on what is read, too: rule or reason and the part are named."""
    project = Project(tmp_path, prompts=5)
    project.run("collect", "recipe.yaml")
    project.run("generate", "recipe.yaml")
    part = project.path / "responses" / "weak" / "part-00000.parquet"
    table = pq.read_table(part)
    edited = table.set_column(
        table.schema.get_field_index(column), column, pa.array([value] * 5, pa.string())
    ).replace_schema_metadata(table.schema.metadata)
    pq.write_table(edited, part)

    assert "part-00000.parquet" in project.run("pair", "recipe.yaml", code=2)


def test_a_part_with_other_columns_is_refused(tmp_path: Path):
    """What another tool wrote over a part is damage, not a bug."""
    project = Project(tmp_path, prompts=5)
    project.run()
    part = project.path / "responses" / "weak" / "part-00000.parquet"
    pl.read_parquet(part).with_columns(pl.col("sample").cast(pl.Int64)).write_parquet(part)

    assert "its columns are not those" in project.run(code=2)


def test_a_server_that_dies_costs_no_answer_it_gave(tmp_path: Path):
    """Exit 3 with everything answered so far on disk; with a server again only the rest is asked for."""
    project = Project(tmp_path, prompts=60)
    project.recipe["generate"] |= {"engine": "server", "part_rows": 1000, "rungs": [{"name": "strong", "model": "a"}]}
    project.recipe["generate"]["rungs"].append({"name": "weak", "model": "b"})
    project.run("collect", "recipe.yaml")
    with serve(own_process=True, latency=0.2) as server:
        project.recipe["runtime"] = {"base_url": server.base_url, "concurrency": 4, "retries": 0}
        process = project.start("generate", "recipe.yaml")
        while len(server.requests()) < 16:
            time.sleep(0.02)
        server.process.kill()
        _, said = process.communicate(timeout=60)
    assert process.returncode == 3, said
    kept = project.responses().height
    assert kept >= 8

    with serve(own_process=True) as server:
        project.recipe["runtime"] = {"base_url": server.base_url, "concurrency": 4}
        project.run("generate", "recipe.yaml")
        assert len(server.requests()) == 120 - kept
    assert project.responses().height == 120


def test_an_engine_is_given_its_own_keys_of_runtime():
    """vLLM takes what no other engine owns, and the window, which transformers has too."""
    given = {"batch_size": 2, "max_model_len": 64, "base_url": "http://x", "enforce_eager": True}
    assert keys_of("vllm", given) == {"max_model_len": 64, "enforce_eager": True}
    assert keys_of("transformers", given) == {"batch_size": 2, "max_model_len": 64}


def test_failed_samples_of_some_prompts_are_asked_for_by_their_own_prompts(tmp_path: Path) -> None:
    """Two samples of two prompts that lie apart are missing: those two are asked, each twice."""
    project = Project(tmp_path, 6, fail_on="red")
    lines = [{"prompt": f"Tell me about {'red' if i in (0, 3) else 'blue'} number {i}."} for i in range(6)]
    (tmp_path / "pool.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    project.recipe["generate"]["sampling"] = {"samples": 2, "temperature": 1.0}
    project.recipe["generate"]["part_rows"] = 100
    project.run()
    before = project.responses()
    assert before.filter(pl.col("error").is_not_null()).height == 8
    project.run("generate", "recipe.yaml", "--retry-failed")
    assert project.responses().equals(before)


def test_pairs_carry_the_prompts_of_their_ids(tmp_path: Path) -> None:
    """Several samples of prompts that lie apart: no pair and no row of the dataset has another prompt's text."""
    project = Project(tmp_path, 6)
    for name in ("a", "b"):
        lines = [
            {"prompt": f"Tell me about number {i}.", "response": f"{name} of number {i}, {sample}"}
            for i in (0, 3)
            for sample in range(2)
        ]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    project.recipe["generate"] = {"rungs": [{"name": name, "responses": f"{name}.jsonl"} for name in ("a", "b")]}
    project.recipe |= {"filter": {"rules": []}, "holdout": 0.0}
    project.run()
    rows = pl.read_parquet(project.path / "dataset" / "data" / "default" / "*.parquet")
    assert rows.height == 4
    for prompt, chosen, rejected in rows.select("prompt", "chosen", "rejected").iter_rows():
        number = prompt[0]["content"].removeprefix("Tell me about ").removesuffix(".")
        assert chosen[0]["content"].startswith(f"a of {number}, ")
        assert rejected[0]["content"].startswith(f"b of {number}, ")
