"""An evaluation tells a trained student from what it came from, by delta bin too; what is wrong is refused with a cure.

pytest tests/test_evaluate.py
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from tiny_model import build
from trainings_by_hand import Heard, asked, pair, pairs, recipe, student, write

from deltadata import compare, eval_tables, evaluate, trainings
from deltadata.errors import UserError
from deltadata.evaluate import Told


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained tiny student (run/train/dpo), 32 pairs of training and 12 held out, and the recipe."""
    folder = tmp_path_factory.mktemp("evaluate")
    student(folder / "tiny")
    pairs(folder / "ds", 32, 12)
    recipe(folder, folder / "tiny", folder / "ds", args={"learning_rate": 2e-3, "report_to": "none"})
    trainings.run_training(asked(folder, folder / "tiny", folder / "ds"), Heard().screen)
    return folder


def told(place: Path, **how: Any) -> Told:
    given: dict[str, Any] = {"model": str(place / "run" / "train" / "dpo"), "fresh": False} | how
    return Told(**given)


def job(place: Path, dataset: Path | None = None) -> trainings.Asked:
    return asked(place, place / "tiny", dataset or place / "ds")


@pytest.fixture(scope="module")
def facts(place: Path) -> dict[str, Any]:
    """With answers of 12 tokens to the held-out prompts."""
    (place / "recipe.yaml").write_text(
        (place / "recipe.yaml")
        .read_text()
        .replace("engine: scripted", "engine: scripted\n  sampling: {max_tokens: 12}")
    )
    return evaluate.evaluate(job(place), told(place, fresh=True), Heard().screen)


def test_a_trained_student_prefers_chosen_more_than_its_reference(facts: dict[str, Any]) -> None:
    """All margins are above 0, and margin = student's gap - reference's gap."""
    over = facts["held_out"]["overall"]
    assert facts["held_out"]["pairs"] == 12 and facts["held_out"]["unfit"] == 0 and facts["measure"] == "tokens"
    assert over["margin"]["mean"] == pytest.approx(over["student_gap"]["mean"] - over["reference_gap"]["mean"])
    assert over["margin"]["ci95"][0] > 0 and over["margin_accuracy"]["mean"] == 1.0
    assert over["student_accuracy"]["mean"] > over["reference_accuracy"]["mean"]
    assert facts["student"]["digest"] != facts["reference"]["digest"]
    assert facts["reference"]["path"].endswith("tiny")  # by the record of the training


def test_the_margin_is_what_training_logged(place: Path, facts: dict[str, Any]) -> None:
    """Beta times ours is the held-out margin of the training's last step, from TRL's own log-probs."""
    from deltadata.store import read_record

    entry = read_record(place / "run" / "train" / "dpo", trainings.RECORD)[1]["train"]
    logged = entry.facts["held_out"]
    assert 5 * facts["held_out"]["overall"]["margin"]["mean"] == pytest.approx(logged["eval_margin"], rel=2e-2)
    assert facts["held_out"]["overall"]["margin_accuracy"]["mean"] == logged["eval_accuracy"]


def test_bins_are_of_the_delta(facts: dict[str, Any]) -> None:
    """Deltas 0 to 4 of twelve pairs (number % 5, from 32): four bins that share no value and hold all pairs."""
    bins = facts["held_out"]["bins"]
    assert sum(row["pairs"] for row in bins) == 12
    assert (bins[0]["low"], bins[-1]["high"]) == (0.0, 4.0)
    assert all(one["high"] < other["low"] for one, other in pairwise(bins))
    weighted = sum(row["pairs"] * row["margin"]["mean"] for row in bins) / 12
    assert weighted == pytest.approx(facts["held_out"]["overall"]["margin"]["mean"])
    assert facts["held_out"]["relation"]["pairs"] == 12


def test_it_leaves_a_file_a_picture_and_what_it_was_made_from(place: Path, facts: dict[str, Any]) -> None:
    folder = place / "run" / "evaluate" / "dpo"
    assert json.loads((folder / "evaluate.json").read_text()) == json.loads(json.dumps(facts))
    assert (folder / "evaluate.png").stat().st_size > 10_000
    home = folder.parent
    assert len(list((home / "log_probs").iterdir())) == 2 and len(list((home / "responses").glob("*.parquet"))) == 2
    lines = "\n".join(eval_tables.sentences(facts))
    assert "12 held-out pairs" in lines and "rank correlation" in lines


def test_a_verdict_needs_an_interval_on_one_side_and_pairs(facts: dict[str, Any]) -> None:
    """Of thirty pairs: bigger, SMALLER, no clear relation; of 29 none, and without deltas no bins are told."""
    for low, high, pairs_, said in (
        (0.1, 0.5, 30, "bigger delta went with a bigger"),
        (-0.5, -0.1, 30, "SMALLER"),
        (-0.1, 0.5, 30, "no clear relation"),
        (0.1, 0.5, 29, "29 pairs are too few"),
    ):
        relation = {"spearman": 0.3, "ci95": [low, high], "pairs": pairs_}
        told = {**facts, "held_out": {**facts["held_out"], "relation": relation}}
        assert said in eval_tables.sentences(told)[-1]
    assert "no deltas are published" in eval_tables.sentences({**facts, "measure": None})[-1]


def test_fresh_answers_are_compared(facts: dict[str, Any]) -> None:
    """Twelve prompts, greedy, at most 12 tokens; no checks here, so none are told."""
    fresh = facts["fresh"]
    assert (fresh["prompts"], fresh["engine"], fresh["sampling"]["max_tokens"]) == (12, "transformers", 12)
    assert set(fresh["shifts"]) == {"tokens", "characters", "repetition", "refusal", "cut_off"}
    assert fresh["same_text"] < 12 and fresh["shifts"]["tokens"]["student"] <= 12


def test_again_it_computes_nothing(place: Path, facts: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """The same command finds its log-probs and answers; only the seconds differ."""
    from deltadata import margins

    monkeypatch.setattr(margins, "load", None)
    again = evaluate.evaluate(job(place), told(place, fresh=True), Heard().screen)
    assert again["held_out"] == facts["held_out"] and again["fresh"] == facts["fresh"]


def test_a_limit_takes_the_first_pairs(place: Path) -> None:
    few = evaluate.evaluate(job(place), told(place, limit=5, name="few"), Heard().screen)
    assert few["held_out"]["pairs"] == 5 and "fresh" not in few


def test_student_and_reference_alike_have_no_margin(place: Path) -> None:
    """And half of the pairs are won, as ties count."""
    heard = Heard()
    same = evaluate.evaluate(job(place), told(place, model=str(place / "tiny"), name="same"), heard.screen)
    assert same["held_out"]["overall"]["margin"]["mean"] == 0
    assert same["held_out"]["overall"]["margin_accuracy"]["mean"] == 0.5
    assert "the same model" in heard.text and same["held_out"]["relation"]["spearman"] is None


@pytest.mark.parametrize(
    ("how", "message", "cure"),
    [
        ({"model": "nowhere/at/all"}, "no such model", "the run has .*dpo"),
        ({"reference": "/nowhere"}, "neither a directory nor a Hub id", "owner/name"),
        ({"engine": "vlm"}, "no engine 'vlm'", "did you mean 'vllm'"),
        ({"measure": "token"}, "no delta of 'token'", "did you mean 'tokens'"),
        ({"model": "{place}/plain"}, "no chat template", "chat_template.jinja"),
        ({"model": "{place}/tiny", "name": "dpo"}, "holds the evaluation of another model", "--name"),
    ],
)
def test_what_is_wrong_is_refused(
    place: Path, facts: dict[str, Any], how: dict[str, Any], message: str, cure: str
) -> None:
    """Exit 2 with a cure, before anything is computed."""
    if not (place / "plain").exists():
        build(place / "plain", template=None)
    given = {name: value.format(place=place) for name, value in how.items()}
    with pytest.raises(UserError, match=message) as refused:
        evaluate.evaluate(job(place), told(place, **given), Heard().screen)
    assert re.search(cure, str(refused.value))


def test_an_adapter_is_merged_into_its_base(place: Path) -> None:
    """A LoRA training of the same pairs: its margin is what the training logged, and the merged model is made once."""
    pytest.importorskip("peft")
    from deltadata.store import read_record

    asks = asked(place, place / "tiny", place / "ds", name="lora", lora={"r": 8})
    folder = trainings.run_training(asks, Heard().screen)
    heard, again = Heard(), Heard()
    found = evaluate.evaluate(job(place), told(place, model=str(folder)), heard.screen)
    logged = read_record(folder, trainings.RECORD)[1]["train"].facts["held_out"]["eval_margin"]
    assert 5 * found["held_out"]["overall"]["margin"]["mean"] == pytest.approx(logged, rel=5e-2) and logged > 0.1
    assert found["name"] == "lora" and found["student"]["told"] == str(folder) and "LoRA adapter" in heard.text
    evaluate.evaluate(job(place), told(place, model=str(folder)), again.screen)
    assert "LoRA adapter" not in again.text


def test_without_a_held_out_split_nothing_can_be_said(place: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "ds", [pair(1), pair(2)])
    with pytest.raises(UserError, match=r"no pairs were held out.*\n.*holdout"):
        evaluate.evaluate(job(place, data), told(place, name="x"), Heard().screen)


def test_no_reference_is_known(place: Path) -> None:
    """A student that no record tells of, and a recipe that names none."""
    bare = job(place)._replace(train=job(place).train.model_copy(update={"student": None}))
    with pytest.raises(UserError, match=r"no reference is known.*\n.*--reference"):
        evaluate.evaluate(bare, told(place, model=str(place / "tiny"), name="y"), Heard().screen)


def test_several_are_compared(place: Path, facts: dict[str, Any], tmp_path: Path) -> None:
    """All evaluations of a run: a row each; another limit is told; a folder without any is refused."""
    evaluate.evaluate(job(place), told(place, limit=5, name="few"), Heard().screen)
    found = compare.found([place / "run"])
    rows = {row["student"]: row for row in compare.rows(found)}
    assert {"tiny/dpo", "tiny/few"} <= set(rows)
    assert (
        rows["tiny/dpo"]["pairs"] == "12"
        and rows["tiny/dpo"]["above 0"] == "100.0 %"
        and rows["tiny/few"]["tokens"] == "-"
    )
    assert list(compare.tables(found)) == [*compare.TABLES][:2]  # nobody ran a benchmark
    assert any("--limit" in line for line in compare.unlike(found))
    assert (
        compare.draw(found, tmp_path / "out" / "compare.png")
        and (tmp_path / "out" / "compare.png").stat().st_size > 9_000
    )
    (one,) = compare.found([place / "run" / "evaluate" / "dpo"])
    assert one == "tiny/dpo" and compare.unlike({one: found[one]}) == []
    with pytest.raises(UserError, match="no evaluation here"):
        compare.found([tmp_path])


def test_the_command_ends_with_2_and_a_cure(place: Path) -> None:
    """From the shell: an unknown model; then a compare of nothing."""
    for command in (
        ["evaluate", place / "recipe.yaml", "--run", place / "run", "--model", "no/model/here"],
        ["compare", place],
    ):
        done = subprocess.run([sys.executable, "-m", "deltadata", *map(str, command)], capture_output=True, text=True)
        assert done.returncode == 2 and "cure: " in done.stderr and "Traceback" not in done.stderr
        assert done.stdout == ""
