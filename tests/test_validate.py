"""`deltadata validate`: a sample that resumes, looks that were planned, refusals, a run that does not notice.

pytest tests/test_validate.py
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml
from ladder import Quiet
from polars.testing import assert_frame_equal
from project import Project

from deltadata import recipe, tables
from deltadata.errors import UserError
from deltadata.job import Job
from deltadata.run import STAGES, run_all
from deltadata.store import open_run
from deltadata.validate import Asked, validate

ROOT = Path(__file__).parents[1]
DATA = ROOT.parent / "shared" / "data"
ASK = ("validate", "recipe.yaml")
TWO = ("--sample", "40", "--looks", "2")


def project(folder: Path, prompts: int = 90, **scripted: Any) -> Project:
    """A ladder of two scripted rungs whose answers are graded by a file: the strong one wins two prompts of three."""
    folder.mkdir(exist_ok=True)
    found = Project(folder, prompts, **scripted)
    lines = []
    for number in range(prompts):
        prompt = f"Tell me about number {number}."
        lines.append({"prompt": prompt, "model": "strong", "score": 2.0 if number % 3 else 0.0})
        lines.append({"prompt": prompt, "model": "weak", "score": 1.0})
    (folder / "scores.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found.recipe["score"] = [{"name": "judge", "scores": "scores.jsonl"}]
    return found


def look(project: Project, *sets: str, overwrite: bool = False, **asked: Any) -> tuple[dict[str, Any], str]:
    """What the command does, in this process: its result and what was said."""
    path = project.folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(project.recipe))
    quiet = Quiet()
    with open_run(project.path, "tiny") as opened:
        job = Job(opened, recipe.load(path, sets), path, quiet, overwrite)
        return validate(job, Asked(**asked)), "\n".join(quiet.notes)


def refused(project: Project, *sets: str, **asked: Any) -> str:
    """The words of its refusal."""
    with pytest.raises(UserError) as refusal:
        look(project, *sets, **asked)
    return str(refusal.value)


def do(project: Project, *stages: str) -> bool:
    """Stages of the run, or all of it, in this process; whether anything was done."""
    path = project.folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(project.recipe))
    with open_run(project.path, "tiny") as opened:
        job = Job(opened, recipe.load(path), path, Quiet())
        return any([STAGES[stage](job) for stage in stages]) if stages else run_all(job)


def kept(project: Project, scorer: str = "judge") -> dict[str, Any]:
    """The plan and its results."""
    found: dict[str, Any] = json.loads((project.path / "validate" / "looks" / f"{scorer}.json").read_text())
    return found


def sample_of(project: Project) -> list[str]:
    return pl.read_parquet(project.path / "validate" / "prompts.parquet")["prompt_id"].to_list()


def answers(folder: Path) -> pl.DataFrame:
    return pl.read_parquet(folder / "responses" / "*" / "part-*.parquet").sort(tables.RESPONSES.key)


def test_the_result_is_that_of_the_prompts_with_the_smallest_ranks(tmp_path: Path) -> None:
    """60 of 90 prompts by seed, in the order of the run, asked once; the agreement is counted from the file."""
    tiny = project(tmp_path)
    said = tiny.run(*ASK, "--sample", "60", "--json")
    told = json.loads(tiny.stdout)

    pool = pl.read_parquet(tiny.path / "prompts.parquet")
    ids = pool["prompt_id"].to_list()
    smallest = {*sorted(ids, key=lambda name: tables.rank(0, "validate", name))[:60]}
    assert sample_of(tiny) == [name for name in ids if name in smallest]
    assert tiny.requests() == {"a": 60, "b": 60}
    assert not (tiny.path / "responses").exists()

    won = sum(name in smallest for number, name in enumerate(ids) if number % 3)
    assert (told["scorer"], told["sample"], told["prompts"], told["looks"], told["level"]) == ("judge", 60, 60, 1, 0.95)
    (pairing,) = told["pairings"]
    assert (pairing["chosen"], pairing["rejected"], pairing["pairs"]) == ("strong", "weak", 60)
    assert pairing["agreement"] == pytest.approx(won / 60)
    assert pairing["mean_delta"] == pytest.approx((won - (60 - won)) / 60)
    assert pairing["verdict"] == "worth it"
    assert pairing["by_pool"]["own"]["agreement_ci95"] == pairing["agreement_ci95"]
    assert pairing["minimum_prompts"] > 200
    assert "strong: 60/60 responses" in said


def test_a_second_call_asks_for_nothing_and_prints_the_same(tmp_path: Path) -> None:
    """The stored result, with the least prompts for another width; sentence and tables where no JSON is asked for."""
    tiny = project(tmp_path)
    tiny.run(*ASK, "--sample", "60", "--json")
    first, asked = json.loads(tiny.stdout), tiny.requests()

    said = tiny.run(*ASK, "--json", "--width", "0.2")
    again = json.loads(tiny.stdout)
    assert "look 1 of 1 as it was found; nothing was asked" in said
    assert tiny.requests() == asked
    fewer = again["pairings"][0].pop("minimum_prompts")
    assert fewer < first["pairings"][0].pop("minimum_prompts") / 3
    assert again | {"width": 0.1} == first

    said = tiny.run(*ASK)
    assert "strong over weak: worth it; agreement with judge is" in said
    assert "strong > weak" in said
    assert "what is left for all 90 prompts, an extrapolation of a sample, measured on this machine" in said
    assert tiny.stdout == ""


def test_a_killed_validation_goes_on_where_it_was(tmp_path: Path) -> None:
    """kill -9 in the middle of generation, three times: the same result, and each time at most a part is repeated."""
    whole, killed = (project(tmp_path / name, delay=0.02) for name in ("whole", "killed"))
    expected, _ = look(whole, sample=60)

    for wanted in (20, 50, 90):
        process = killed.start(*ASK, "--sample", "60")
        while process.poll() is None and sum(killed.requests().values()) < wanted:
            time.sleep(0.005)
        assert process.poll() is None
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    killed.run(*ASK, "--json")  # 60 were planned

    told = json.loads(killed.stdout)
    assert told["pairings"] == expected["pairings"]
    assert_frame_equal(answers(whole.path / "validate"), answers(killed.path / "validate"))
    assert 0 < (killed.requests() - whole.requests()).total() <= 3 * 16


def test_ctrl_c_keeps_the_part_and_says_how_to_go_on(tmp_path: Path) -> None:
    """Exit 3; the same command asks only for the rest."""
    tiny = project(tmp_path, delay=0.02)
    process = tiny.start(*ASK, "--sample", "60")
    while not tiny.requests():
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)

    assert process.returncode == 3
    assert "the same command goes on from there" in said
    tiny.run(*ASK, "--sample", "60")
    assert tiny.requests() == {"a": 60, "b": 60}


def test_what_the_run_has_answered_is_taken_over(tmp_path: Path) -> None:
    """Nothing is asked after a whole run; and nothing is left to pay."""
    tiny = project(tmp_path)
    do(tiny, "collect", "generate")
    asked = tiny.requests()
    told, said = look(tiny, sample=60)

    assert tiny.requests() == asked == {"a": 90, "b": 90}
    assert "strong: 60 response(s) of the sample are in the run already" in said
    both = [answers(tiny.path), answers(tiny.path / "validate")]
    assert_frame_equal(both[0].filter(pl.col("prompt_id").is_in(sample_of(tiny))), both[1])
    assert [(row["responses"], row["there"], row["seconds"], row["tokens"]) for row in told["cost"]["rungs"]] == [
        (90, 90, 0.0, 0),
        (90, 90, 0.0, 0),
    ]


def test_an_unfinished_runs_answers_are_taken_over_but_for_failed_ones(tmp_path: Path) -> None:
    """Only the rung that is lacking is asked, and what failed there before."""
    tiny = project(tmp_path, 40, fail_on="number 7.")
    rungs, scorers = tiny.recipe["generate"]["rungs"], tiny.recipe["score"]
    tiny.recipe["generate"]["rungs"], tiny.recipe["score"] = rungs[:1], []
    do(tiny, "collect", "generate")
    tiny.recipe["generate"]["rungs"], tiny.recipe["score"] = rungs, scorers

    told, _ = look(tiny, sample=40)

    assert tiny.requests() == {"a": 40 + 1, "b": 40}
    assert told["pairings"][0]["pairs"] == 39
    files = sorted((tiny.path / "validate" / "responses" / "strong").iterdir())
    assert [pl.read_parquet(path).height for path in files] == [39, 1]
    assert [row["there"] for row in told["cost"]["rungs"]] == [40, 40]


def test_answers_of_other_settings_are_not_taken_over(tmp_path: Path) -> None:
    """The same rung at another temperature has other answers: those of the recipe as it is are asked for."""
    tiny = project(tmp_path, 40)
    do(tiny, "collect", "generate")
    tiny.recipe["generate"]["rungs"][1]["sampling"]["temperature"] = 0.5

    told, _ = look(tiny, sample=40)

    assert tiny.requests() == {"a": 40, "b": 80}
    weak = told["cost"]["rungs"][1]
    assert (weak["responses"], weak["there"]) == (40, 40)  # the sample's


def test_a_run_afterwards_takes_the_sample_over(tmp_path: Path) -> None:
    """Its tables are those of a run without a validation, row for row, and it asks for the other prompts alone."""
    plain, tested = (project(tmp_path / name) for name in ("plain", "tested"))
    do(plain)
    look(tested, sample=60)
    said = tested.run()

    assert "strong: 60 response(s) are taken over from runs/tiny/validate" in said
    assert tested.requests() == {"a": 90, "b": 90}
    assert_frame_equal(plain.responses(), tested.responses())
    assert_frame_equal(plain.pairs(), tested.pairs())
    assert not do(tested)
    assert "nothing was asked" in look(tested)[1]


def test_a_run_overwritten_takes_over_what_was_validated_anew(tmp_path: Path) -> None:
    """The former answers go aside, those of the sample under the new settings come in, and the rest is asked for."""
    tiny = project(tmp_path, 40)
    do(tiny, "collect", "generate")
    tiny.recipe["generate"]["rungs"][1]["sampling"]["temperature"] = 0.5
    look(tiny, sample=30)
    assert tiny.requests() == {"a": 40, "b": 70}

    tiny.run("run", "recipe.yaml", "--overwrite")

    assert tiny.requests() == {"a": 40, "b": 80}
    assert tiny.responses().filter(pl.col("model") == "weak").height == 40


def test_a_planned_second_look_has_twice_the_prompts_and_asks_for_the_new_ones_alone(tmp_path: Path) -> None:
    """Both looks at 97.5 %, the first one's prompts among the second's; a third was not planned."""
    tiny = project(tmp_path)
    first, _ = look(tiny, sample=40, looks=2)
    members = {*sample_of(tiny)}
    assert (first["level"], first["look"], first["prompts"]) == (0.975, 1, 40)
    assert "--next looks at 80 prompts, as planned" in tiny.run(*ASK)
    assert "--next looks at all 70 prompts of the run" in project(tmp_path / "few", 70).run(*ASK, *TWO)

    tiny.run(*ASK, "--next", "--json")
    second = json.loads(tiny.stdout)
    assert (second["level"], second["look"], second["prompts"], second["sample"]) == (0.975, 2, 80, 40)
    assert second["pairings"][0]["pairs"] == 80
    assert members < {*sample_of(tiny)}
    assert tiny.requests() == {"a": 80, "b": 80}
    assert [result["prompts"] for result in kept(tiny)["results"]] == [40, 80]

    said = refused(tiny, next=True)
    assert "2 look(s) were planned and are taken" in said
    assert "cure: take the result as it stands" in said
    assert look(tiny)[0] == second


def test_the_plan_cannot_be_changed_after_the_first_look(tmp_path: Path) -> None:
    """Another sample, threshold or number of looks is refused with both values; the same ones are not."""
    tiny = project(tmp_path)
    look(tiny, sample=40)
    for option, change in (
        ({"sample": 50}, "sample: 40 -> 50"),
        ({"at_least": 0.6}, "at_least: 0.5 -> 0.6"),
        ({"looks": 3}, "looks: 1 -> 3"),
    ):
        said = refused(tiny, **option)
        assert "the plan is fixed by its first look" in said
        assert change in said
        assert "cure: leave the option out" in said
    assert "nothing was asked" in look(tiny, sample=40, at_least=0.5, looks=1)[1]
    assert tiny.requests() == {"a": 40, "b": 40}
    assert "the plan is fixed" in tiny.run(*ASK, "--sample", "50", code=2)


def test_a_look_with_nothing_new_to_see_is_refused(tmp_path: Path) -> None:
    """All prompts of the run have been looked at; a sample above them takes all and says so."""
    tiny = project(tmp_path, 40)
    told, said = look(tiny, looks=2)
    assert (told["sample"], told["prompts"]) == (200, 40)
    assert "the run has 40 prompts: all of them are taken" in said
    assert "all 40 prompts of the run have been looked at" in refused(tiny, next=True)


def test_a_changed_recipe_is_refused_and_overwriting_begins_another_plan(tmp_path: Path) -> None:
    """A rung, the scores or the prompts: the stored result is of something else."""
    tiny = project(tmp_path)
    look(tiny, sample=40)

    changed = "generate.sampling.max_tokens=20"
    said = refused(tiny, changed)
    assert "max_tokens: 256 -> 20" in said
    assert "MADE ANEW" in said
    told, _ = look(tiny, changed, sample=30, overwrite=True)
    assert told["prompts"] == 30  # those of the former 40 are asked, too: a sample keeps its members
    took = json.loads((tiny.path / "validate" / "took.json").read_text())
    assert {table: made["rows"] for table, made in took.items() if "responses" in table} == {
        "responses/strong": 40,
        "responses/weak": 40,
    }
    assert (tiny.path / "validate" / "replaced").exists()
    assert len(kept(tiny)["results"]) == 1

    scores = tmp_path / "scores.jsonl"
    scores.write_text(scores.read_text().replace("2.0", "3.0"))
    said = refused(tiny, changed)
    assert "validate/judge" in said
    assert "the looks taken are forgotten" in said
    told, _ = look(tiny, changed, overwrite=True)
    assert told["prompts"] == 90  # another plan: the default of 200, of which the run has 90
    assert told["pairings"][0]["mean_delta"] == pytest.approx((60 * 2 - 30) / 90)

    before = (tiny.path / "record.json").read_text()
    tiny.write_pool(range(91))
    assert "prompts: " in refused(tiny, changed)
    tiny.write_pool(range(90))
    assert "prompts: " in refused(tiny, changed, "seed=1", next=True)
    assert (tiny.path / "record.json").read_text() == before  # what is refused makes nothing anew


def test_pairs_by_score_have_no_order_to_test(tmp_path: Path) -> None:
    """Refused before anything is collected, with what would test an order."""
    tiny = project(tmp_path)
    tiny.recipe["pair"] = {"pairings": {"by": "judge"}}

    said = tiny.run(*ASK, code=2)

    assert "pair.pairings: pairs go by the scores of judge" in said
    assert "--set pair.pairings=adjacent" in said
    assert not (tiny.path / "prompts.parquet").exists()


def test_which_scorer_must_be_clear(tmp_path: Path) -> None:
    """One that is not there, several of which none is named, and none at all."""
    tiny = project(tmp_path)
    said = refused(tiny, scorer="jugde")
    assert "no scorer is called 'jugde'" in said
    assert "did you mean 'judge'?" in said

    tiny.recipe["score"].append({"name": "checks"})
    assert "which scorer? judge, checks" in refused(tiny)
    tiny.recipe["score"] = []
    assert "no scorer says which answer is better" in refused(tiny)
    assert not tiny.requests()


def test_only_the_scorer_that_is_asked_for_scores(tmp_path: Path) -> None:
    """The other one's file need not even exist; a control is ignored, and said to be."""
    tiny = project(tmp_path, 40)
    tiny.recipe["score"].append({"name": "later", "scores": "later.jsonl"})
    tiny.recipe["pair"] = {"control": "reversed"}

    told, said = look(tiny, scorer="judge")

    assert "pair.control (reversed) is ignored" in said
    assert told["pairings"][0]["chosen"] == "strong"
    assert [path.name for path in (tiny.path / "validate" / "scores").iterdir()] == ["judge"]


def test_a_combined_scorer_brings_those_it_is_made_of(tmp_path: Path) -> None:
    """The mean rank of two scorers, one of them with the better side turned round: no order is left."""
    tiny = project(tmp_path, 60)
    rows = [json.loads(line) for line in (tmp_path / "scores.jsonl").read_text().splitlines()]
    turned = "".join(json.dumps(row | {"score": -row["score"]}) + "\n" for row in rows)
    (tmp_path / "turned.jsonl").write_text(turned)
    tiny.recipe["score"] += [
        {"name": "turned", "scores": "turned.jsonl"},
        {"name": "idle", "scores": "idle.jsonl"},
        {"name": "both", "scorer": "combined", "of": ["judge", "turned"]},
    ]

    told, _ = look(tiny, scorer="both", sample=40)

    assert {path.name for path in (tiny.path / "validate" / "scores").iterdir()} == {"judge", "turned", "both"}
    assert told["pairings"][0]["agreement"] == pytest.approx(0.5)
    assert told["pairings"][0]["share_tied"] == pytest.approx(1.0)


def test_two_scorers_share_the_answers(tmp_path: Path) -> None:
    """Each has its own plan; the second asks no model, and its smaller sample is read off the larger one."""
    tiny = project(tmp_path)
    tiny.recipe["score"].append({"name": "other", "scores": "scores.jsonl"})
    look(tiny, scorer="judge", sample=60)
    asked = tiny.requests()

    told, said = look(tiny, scorer="other", sample=40)

    assert "the sample has 60 prompts from before" in said
    assert (told["prompts"], told["pairings"][0]["pairs"]) == (40, 40)
    assert tiny.requests() == asked
    assert kept(tiny, "judge")["plan"]["sample"] == 60
    assert "nothing was asked" in look(tiny, scorer="judge")[1]


def test_the_cost_of_the_whole_is_that_of_the_sample_times_the_rest(tmp_path: Path) -> None:
    """Seconds by the engine's own time an answer, tokens and bytes as they were; what is imported takes nothing."""
    tiny = project(tmp_path, 120, delay=0.01)
    pool = [json.loads(line)["prompt"] for line in (tmp_path / "pool.jsonl").read_text().splitlines()]
    old = "".join(json.dumps({"prompt": prompt, "response": "It is a number."}) + "\n" for prompt in pool)
    (tmp_path / "old.jsonl").write_text(old)
    tiny.recipe["generate"]["rungs"][1] = {"name": "weak", "responses": "old.jsonl"}

    told, _ = look(tiny, sample=40)

    cost = told["cost"]
    strong, weak = cost["rungs"]
    assert (cost["prompts"], cost["sample"]) == (120, 40)
    assert (strong["responses"], strong["there"]) == (120, 40)
    took = json.loads((tiny.path / "validate" / "took.json").read_text())["responses/strong"]
    assert took["rows"] == 40 and took["seconds"] >= 0.4
    assert strong["seconds"] == pytest.approx(2 * took["seconds"], abs=1e-3)
    part = answers(tiny.path / "validate").filter(pl.col("model") == "strong")
    tokens = part["prompt_tokens"].sum() + part["response_tokens"].sum()
    assert strong["tokens"] == pytest.approx(2 * tokens, abs=1)
    files = (tiny.path / "validate" / "responses" / "strong").iterdir()
    assert strong["bytes"] == pytest.approx(2 * sum(path.stat().st_size for path in files), abs=1)
    assert (weak["imported"], weak["there"], weak["seconds"], weak["tokens"]) == (True, 120, 0.0, 0)
    assert cost["scorers"] == [{"scorer": "judge", "imported": True, "responses": 240, "there": 240, "seconds": 0.0}]


def test_a_judges_cost_is_told_in_requests_tokens_and_dollars(tmp_path: Path) -> None:
    """Of what is left of three times the sample's prompts; what an unreadable reply took is paid for, too."""
    tiny = project(tmp_path, 90)
    price = {"prompt": 1000.0, "response": 2000.0}
    tiny.recipe["score"] = [{"name": "helpful", "scorer": "judge", "model": "j", "price": price}]

    told, _ = look(tiny, sample=30)

    (row,) = told["cost"]["scorers"]
    facts = json.loads((tiny.path / "validate" / "record.json").read_text())["tables"]["scores/helpful"]["facts"]
    took = json.loads((tiny.path / "validate" / "took.json").read_text())["scores/helpful"]
    assert tiny.requests() == {"a": 30, "b": 30, "j": 60}
    assert (row["requests"], row["responses"], row["there"]) == (120, 180, 60)
    assert row["prompt_tokens"] == 2 * facts["prompt_tokens"] > 0
    assert row["dollars"] == pytest.approx(row["prompt_tokens"] / 1000 + row["response_tokens"] / 500, abs=0.01)
    assert took["rows"] == 60
    assert row["seconds"] == pytest.approx(2 * took["seconds"], abs=1e-3) and row["seconds"] > 0
    assert told["pairings"][0]["verdict"] == "no scores"  # the scripted engine's words are no judgement


def test_what_is_left_is_what_a_run_then_asks_for(tmp_path: Path) -> None:
    """Whichever looked, its judgements are both's: the outlook is the run's bill; then nothing is left."""
    tiny = project(tmp_path, 90)
    judge = {"scorer": "judge", "model": "j", "price": {"prompt": 1.0, "response": 1.0}}
    pairwise = {"name": "second", "form": "pairwise"} | judge | {"model": "k"}
    tiny.recipe["score"] = [{"name": "first"} | judge, pairwise]

    rows = {row["scorer"]: row for row in look(tiny, scorer="first", sample=30)[0]["cost"]["scorers"]}
    assert (rows["second"]["requests"], rows["second"]["there"], rows["second"]["dollars"]) == (180, 0, None)
    before = tiny.requests()
    do(tiny)

    asked = tiny.requests() - before
    assert (asked["j"], asked["k"]) == (rows["first"]["requests"], rows["second"]["requests"]) == (120, 180)
    after = look(tiny, scorer="first")[0]["cost"]["scorers"]
    left = ("there", "requests", "prompt_tokens", "dollars", "seconds")
    assert [[row[key] for key in left] for row in after] == [[180, 0, 0, 0.0, 0.0]] * 2


def test_both_folders_are_locked(tmp_path: Path) -> None:
    """Neither a run nor a second validation may write beside one that is under way."""
    tiny = project(tmp_path, delay=1.0)
    process = tiny.start(*ASK, "--sample", "60")
    while not tiny.requests():
        time.sleep(0.01)
    assert "is writing this run" in refused(tiny)
    with pytest.raises(UserError, match="is writing this run"), open_run(tiny.path / "validate", "tiny"):
        pass
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@pytest.mark.skipif(not (DATA / "alpaca_eval").is_dir(), reason="needs the eight models' answers beside the checkout")
@pytest.mark.parametrize("seed", [0, 11])
def test_the_command_covers_the_agreement_of_all_real_scores(tmp_path: Path, seed: int) -> None:
    """Two samples of AlpacaEval's prompts by GPT-4 Turbo's scores; the pairing without a score says so."""
    recipe = ROOT / "recipes" / "alpaca_eval.yaml"
    command = [sys.executable, "-m", "deltadata", "validate", str(recipe), "--run", str(tmp_path / "run"), "--json"]
    ended = subprocess.run([*command, "--set", f"seed={seed}"], cwd=DATA, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    with (DATA / "alpaca_eval" / "preferences.csv").open(newline="", encoding="utf-8") as file:
        scores = {(row["prompt"], row["model"]): float(row["score"]) for row in csv.DictReader(file)}

    scored, (unscored,) = told["pairings"][:3], told["pairings"][3:]
    for pairing in scored:
        sides = pairing["chosen"], pairing["rejected"]
        prompts = [prompt for prompt, model in scores if model == sides[0]]
        signs = [np.sign(scores[prompt, sides[0]] - scores[prompt, sides[1]]) for prompt in prompts]
        low, high = pairing["agreement_ci95"]
        assert (pairing["prompts"], len(signs)) == (200, 805)
        assert low < (1 + np.mean(signs)) / 2 < high < low + 0.14
    assert (unscored["unknown"], unscored["agreement_ci95"], unscored["verdict"]) == (200, None, "no scores")
