"""E3 at laptop size: arms, answers and intervals on made-up answers; the figures and the picture that come of them.

pytest tests/test_study_self_improvement.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from deltadata import sweep_rows, tables
from deltadata.store import write_json
from studies import answers, common, prompts, self_improvement
from studies.answers import GREEDY, SAMPLED, Asking
from studies.self_improvement import ARMS, COOLER, CSV, QUICK, REFERENCE, Size

ROOT = Path(__file__).parents[1]


def answered(run: Path, scores: dict[str, list[float]], samples: int = 1) -> Path:
    """Answers of a run, by rung the score of each prompt's answers in order; ten tokens each, the first one cut."""
    for rung, told in scores.items():
        rows = [
            {"prompt_id": f"{n // samples:016x}", "model": rung, "sample": n % samples, "response": "text"}
            | {"finish_reason": "stop" if n else "length", "prompt_tokens": 9, "response_tokens": 10}
            | {"scorer": "checks", "score": score}
            for n, score in enumerate(told)
        ]
        for place, contract in (("scores/checks", tables.SCORES), (f"responses/{rung}", tables.RESPONSES)):
            (run / place).mkdir(parents=True, exist_ok=True)
            path = run / place / f"part-{len([*(run / place).iterdir()]):05}.parquet"
            pq.write_table(pa.Table.from_pylist(rows, schema=contract.schema), path)
    return run


def test_a_prompt_has_the_mean_of_its_samples(tmp_path: Path) -> None:
    """Two answers each: 1 and 0, then 0.5 twice; greedy is a rung of its own."""
    run = answered(tmp_path, {SAMPLED: [1.0, 0.0, 0.5, 0.5]}, samples=2)
    answered(run, {GREEDY: [1.0, 0.25]})
    assert answers.by_prompt(run, SAMPLED) == {f"{0:016x}": 0.5, f"{1:016x}": 0.5}
    assert answers.by_prompt(run, GREEDY) == {f"{0:016x}": 1.0, f"{1:016x}": 0.25}
    assert answers.shape(run, SAMPLED) == {"tokens": 10.0, "cut_off": 0.25}


def test_gains_are_student_minus_reference_by_prompt() -> None:
    """Seeds of +0.1 and +0.3: mean 0.2, the t-interval of two values 12.7 standard errors wide on each side."""
    reference = {str(n): 0.5 for n in range(40)}
    students = [{str(n): 0.6 for n in range(40)}, {str(n): 0.8 for n in range(40)} | {"unknown": 0.0}]
    told = answers.gains(students, reference, 0)
    assert told["gain"] == pytest.approx(0.2) and told["reference"] == 0.5 and told["student"] == pytest.approx(0.7)
    assert told["over_seeds"]["values"] == pytest.approx([0.1, 0.3])
    assert told["over_seeds"]["ci95"] == pytest.approx([0.2 - 12.7062 * 0.1, 0.2 + 12.7062 * 0.1])
    assert told["by_prompt"] == {"ci95": pytest.approx([0.2, 0.2]), "prompts": 40}
    assert told["both"]["ci95"] == pytest.approx([0.1, 0.3])
    assert told["sign_flip"] == pytest.approx(1 / 5001)


def test_an_interval_by_prompt_is_that_of_the_normal() -> None:
    """400 prompts of standard deviation 1: 1.96 / 20 on each side, and a p that is no more than it should be."""
    rng = np.random.default_rng(0)
    drawn = rng.standard_normal((1, 400))
    told = answers.compared(drawn - drawn.mean(), 0)
    assert told["by_prompt"]["ci95"] == pytest.approx([-0.098, 0.098], abs=0.012)
    assert told["both"]["ci95"] == pytest.approx([-0.098, 0.098], abs=0.012)
    assert told["sign_flip"] > 0.9
    shifted = answers.sign_flip(drawn[0] - drawn.mean() + 0.1, 0)
    assert shifted == pytest.approx(0.046, abs=0.02)  # two standard errors


def test_arms_are_compared_seed_by_seed() -> None:
    """The same prompts on both sides; what one of them lacks is left out."""
    ours = [{"a": 1.0, "b": 0.5}, {"a": 0.0, "b": 0.5, "c": 9.0}]
    theirs = [{"a": 0.0, "b": 0.5}, {"a": 0.0, "b": 0.0}]
    told = answers.contrast(ours, theirs, 0)
    assert told["gain"] == pytest.approx(0.375) and told["over_seeds"]["values"] == pytest.approx([0.5, 0.25])


def test_answers_are_asked_once_and_anew_when_other_ones_are_wanted(tmp_path: Path) -> None:
    """What was asked is written last, beside the run: the prompts' file, samples, seed, limit, what made the model."""
    asking, run = Asking(tmp_path / "test.jsonl", 2, 3, 60, "a1"), tmp_path / "dpo_1"
    assert not answers.done(run, asking)
    told = {"prompts": "test.jsonl", "samples": 2, "seed": 3, "limit": 60, "model": "a1"}
    write_json(tmp_path / "dpo_1.asked.json", told)
    assert answers.done(run, asking) and answers.done(run, asking._replace(prompts=Path("other/test.jsonl")))
    assert answers.ask("dpo_1", tmp_path, asking, tmp_path) == run  # nothing is run
    other = [asking._replace(model="b2"), asking._replace(samples=1), asking._replace(prompts=Path("validation.jsonl"))]
    assert not any(answers.done(run, one) for one in other)


def test_answers_of_another_model_at_the_same_path_are_not_gone_on_with(tmp_path: Path) -> None:
    """Half of what was begun stays for the same model, and goes for another; here both end at missing prompts."""
    asking, run = Asking(tmp_path / "none.jsonl", model="a1"), tmp_path / "dpo_1"
    for model, stays in (("a1", False), ("a1", True), ("b2", False)):
        with pytest.raises(common.Failed):
            answers.ask("dpo_1", tmp_path, asking._replace(model=model), tmp_path)
        assert (run / "half").exists() == stays
        run.mkdir(exist_ok=True)
        (run / "half").write_text("")


def test_the_rows_are_six_arms_of_three_seeds_and_controls_are_what_they_are_called() -> None:
    """Same prompts, rates and steps in all arms of a seed; a seed of its own for each, none that of the search."""
    table = sweep_rows.load(ROOT / CSV)
    rows = {row.name: row.recipe for row in table.rows}
    assert [*rows] == [f"{arm}_{seed}" for seed in (1, 2, 3) for arm in ARMS]
    assert {row.seed for row in rows.values()} == {1, 2, 3} and len(table.ladders) == 4  # and that of the base recipe
    for name, row in rows.items():
        arm, _, seed = name.rpartition("_")
        assert row.seed == int(seed) and row.pair.control == {"reversed": "reversed", "tied": "tied"}.get(arm, "none")
        assert row.train.method == ("sft" if "sft" in arm else "dpo") and "seed" not in row.train.args
        stronger = "warm" if arm in ("tied", "warm", "warm_sft") else "self"
        assert row.pair.pairings[0][0] == stronger and row.generate.sampling_of(row.rung("warm")).samples == 2
        finished = next(rule for rule in row.filter.rules if "finished" in rule)
        side = "rejected" if arm == "reversed" else "chosen"
        assert finished == {"finished": {"side": side}}  # the greedy answer is whole in every arm
    dpo = [row.train.args for name, row in rows.items() if "sft" not in name]
    assert all(args == dpo[0] for args in dpo)


def test_a_quick_run_has_the_first_seed_and_less_of_everything(tmp_path: Path) -> None:
    """And finds the prompts where they were written."""
    table = sweep_rows.load(ROOT / CSV, sets=self_improvement.sets(tmp_path, QUICK))
    recipe = table.rows[0].recipe
    assert recipe.collect.limit == 64 and recipe.train.args["max_steps"] == QUICK.steps
    assert recipe.collect.pools[0].path == str(prompts.path(tmp_path, "train"))


def study(folder: Path, gains: dict[str, float]) -> list[sweep_rows.Row]:
    """A folder as it is when all has run: 50 prompts, the untrained student at 0.4, arms above it by `gains`."""
    home, rng = folder / self_improvement.NAME, np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 50)
    level = {rung: (0.4 + noise).tolist() for rung in (SAMPLED, GREEDY, *COOLER)}
    answered(folder / "answers" / REFERENCE, level)
    rows = sweep_rows.load(ROOT / CSV).rows
    after = {rung: {name: {"mean": 0.25} for name in ("checks", "tokens")} for rung in ("delta_after",)}
    for row in rows:
        gain = gains.get(row.name.rpartition("_")[0], 0.0) + 0.01 * row.recipe.seed
        told = {SAMPLED: (0.4 + noise + gain).tolist(), GREEDY: (0.4 + noise).tolist()}
        answered(home / "answers" / row.name, told)
        place = home / "sweep" / row.name
        place.mkdir(parents=True)
        write_json(place / "report.json", {"kept": 120, "funnel": [after]})
    return rows


def test_figures_have_every_arm_with_its_intervals_and_a_picture(tmp_path: Path) -> None:
    """Gains by hand: 0.1 for dpo and the seeds' 0.01, 0.02, 0.03 beside; greedy gains nothing."""
    rows = study(tmp_path, {"dpo": 0.1, "reversed": -0.2, "tied": 0.0, "sft": 0.05})
    found: dict[str, Any] = self_improvement.figures(tmp_path, rows, self_improvement.FULL, False)
    assert json.loads(json.dumps(found)) == found
    dpo = found["arms"]["dpo"][SAMPLED]
    assert dpo["gain"] == pytest.approx(0.12) and dpo["over_seeds"]["values"] == pytest.approx([0.11, 0.12, 0.13])
    assert found["arms"]["dpo"][GREEDY]["gain"] == pytest.approx(0) and found["seeds"] == [1, 2, 3]
    assert found["contrasts"]["dpo - reversed"]["gain"] == pytest.approx(0.3)
    assert found["contrasts"]["warm - warm_sft"]["gain"] == pytest.approx(0)
    assert found["contrasts"]["dpo - sft"]["by_prompt"]["prompts"] == 50
    assert found["arms"]["tied"]["data"][0] == {"kept": 120, "delta_checks": 0.25, "delta_tokens": 0.25}
    assert found["reference"]["sampled_07"]["prompts"] == 50
    said = self_improvement.title(found)
    assert said.startswith("own greedy answers over hotter ones: +12.0 (") and said.endswith(") greedy")
    assert self_improvement.title(found | {"quick": True}).startswith("QUICK RUN, one seed: ")
    self_improvement.draw(found, tmp_path / "one.png")
    assert (tmp_path / "one.png").stat().st_size > 10_000


@pytest.mark.slow
def test_real_answers_make_pairs_a_student_and_figures_and_nothing_is_done_twice(tmp_path: Path) -> None:
    """16 prompts, one step, 14 test prompts; the second time nothing is generated or trained."""
    if not (self_improvement.STUDENT / "config.json").exists():
        pytest.skip("needs models/smollm2-135m-instruct")
    size = Size(("dpo",), (1,), limit=16, steps=1, test=14)
    found = self_improvement.study(tmp_path, size)
    assert found["arms"]["dpo"][SAMPLED]["by_prompt"]["prompts"] == 14 and found["seconds"]["training"] > 0
    assert found["arms"]["dpo"]["data"][0]["kept"] >= 8
    home = tmp_path / self_improvement.NAME
    assert (home / "self_improvement.png").exists() and not (home / "sweep" / "dpo_1" / "train" / "dpo").exists()
    logs = {path: path.stat().st_size for path in tmp_path.rglob("*.log")}
    again = self_improvement.study(tmp_path, size)
    assert again["arms"] == found["arms"]
    grown = {path.name for path, size in logs.items() if path.stat().st_size != size}
    assert grown == {"data.log"}  # the sweep says that there is nothing to do
