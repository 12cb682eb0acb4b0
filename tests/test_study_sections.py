"""The study of sections: which answers make pairs, what is counted, what is concluded.

pytest tests/test_study_sections.py
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tiny_model import build

from deltadata import recipe, tables
from studies import sections, sections_figures
from studies.common import Failed

IDS = [tables.prompt_id(sections.conversation(topic)) for topic in ("owls", "salt", "Mars")]


def text(*headings: str) -> str:
    """One line a section, each with words of its own."""
    return "\n\n".join(f"**{heading}:** {heading} alone has these {heading} words." for heading in headings)


def answered(folder: Path, rung: str, rows: list[tuple[str, str, str, int]]) -> None:
    """A rung's part on disk, of (prompt_id, text, finish_reason, tokens)."""
    place = folder / "responses" / rung
    place.mkdir(parents=True)
    told: dict[str, Any] = {"prompt_id": [row[0] for row in rows], "model": rung, "response": [row[1] for row in rows]}
    told |= {"finish_reason": [row[2] for row in rows], "response_tokens": [row[3] for row in rows]}
    told |= {"sample": range(len(rows)), "error": None, "prompt_tokens": 9}
    pl.DataFrame(told).with_columns(pl.col("sample").cast(pl.UInt32)).write_parquet(place / "part-00000.parquet")


def test_no_topic_is_in_two_splits() -> None:
    """160 topics to train on, 64 held out, 32 for the search; that of the example is none of them."""
    topics = sections.TOPICS.read_text().split("\n")[:-1]
    by_split = sections.split(topics)
    assert {name: len(found) for name, found in by_split.items()} == {"train": 160, "test": 64, "development": 32}
    assert len({topic.lower() for topic in topics}) == 256 and "coffee" not in topics
    assert sorted(topic for found in by_split.values() for topic in found) == sorted(topics)
    assert topics[0] in by_split["test"] and topics[2] in by_split["development"] and topics[3] in by_split["train"]


def test_every_prompt_has_the_same_example_and_ends_with_its_topic() -> None:
    """The example has two sections, as many as the rejected side."""
    one, other = sections.conversation("owls"), sections.conversation("salt")
    assert one[:2] == other[:2] and one[2] == {"role": "user", "content": "Tell me about owls."}
    assert pl.select(sections_figures.measure.of_text("bold", pl.lit(one[1]["content"]))).item() == 2


def test_pairs_are_of_one_topic_and_of_like_length(tmp_path: Path) -> None:
    """Three sections over two, nearest in tokens; cut, looping, repeated headings are out; tied: alternately longer."""
    two, three = text("a", "b"), text("a", "b", "c")
    rows = [
        (IDS[0], two, "stop", 20),
        (IDS[0], text("d", "e"), "stop", 33),
        (IDS[0], three, "stop", 50),
        (IDS[0], text("d", "e", "f"), "stop", 35),
        (IDS[0], text("g", "h", "i"), "length", 33),
        (IDS[0], text("j", "j", "k"), "stop", 33),
        (IDS[0], text("l", "m", "n") + " far and wide we go" * 30, "stop", 33),
        (IDS[1], two, "stop", 20),
        (IDS[1], three, "stop", 35),
        (IDS[1], text("d", "e", "f"), "stop", 60),
        (IDS[2], two, "stop", 20),
        (IDS[2], three, "stop", 36),
    ]
    answered(tmp_path, "student", rows)
    told = [{"prompt": sections.conversation(topic)} for topic in ("owls", "salt", "Mars")]
    (tmp_path / "prompts_train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in told))
    facts = sections.pairs(tmp_path, sections.counted(tmp_path, "student"))

    found = [(row["prompt"][2]["content"], row["sections"], row["response"]) for row in lines(tmp_path / "pairs.jsonl")]
    assert sorted(found) == [
        ("Tell me about owls.", 2, text("d", "e")),
        ("Tell me about owls.", 3, text("d", "e", "f")),
        ("Tell me about salt.", 2, two),
        ("Tell me about salt.", 3, three),
    ]
    tied = [row["response_tokens"] for row in lines(tmp_path / "tied.jsonl") if row["sections"] == 3]
    assert sorted(tied) == [35, 35, 50, 60] and [two[0] > two[1] for two in (tied[:2], tied[2:])] in ([0, 1], [1, 0])
    assert facts["answers"] == 12 and facts["sections_of_answers"] == {"2": 4, "3": 8}
    assert facts["pairs"] == {
        "pairs": 2,
        "chosen_tokens": 35.0,
        "rejected_tokens": 26.5,
        "delta_mean": 8.5,
        "delta_sd": pytest.approx(9.1924, abs=1e-4),
        "longer": 1.0,
    }
    assert (facts["tied"]["pairs"], facts["tied"]["longer"]) == (2, 0.5)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_what_is_counted_in_answers_by_hand(tmp_path: Path) -> None:
    """Four answers: 2 and 4 sections, one that loops, one that was cut."""
    loop = "**a:** " + "so it goes on " * 20
    rows = [(IDS[0], text("a", "b"), "stop", 10), (IDS[0], text("a", "b", "c", "d"), "stop", 20)]
    rows += [(IDS[1], loop, "stop", 70), (IDS[1], text("a", "A"), "length", 20)]
    answered(tmp_path, "base", rows)
    told = sections_figures.of_answers(sections.counted(tmp_path, "base"))
    assert (told["sections"], told["distinct"], told["sound"]) == ((2 + 4 + 1 + 2) / 4, (2 + 4 + 1 + 1) / 4, 3.0)
    assert (told["above"], told["loops"], told["cut"], told["tokens"]) == (0.25, 0.25, 0.25, 30.0)
    assert told["median"] == 2.0
    words = 2 * 7 + 4 * 7 + 81 + 2 * 7
    assert told["per_100_words"] == pytest.approx(100 * 9 / words)


def test_figures_by_arm_step_and_seed(tmp_path: Path) -> None:
    """Two seeds: a mean and interval over both at every step, and the shift from the untrained student seed by seed."""
    size = sections.Size(seeds=(1, 2), steps=2, every=2)
    counts = {("base", 1): "a", ("base", 2): "ab"}
    counts |= {(arm, seed): "abcdef"[: 3 * seed] for arm in sections.ARMS for seed in (1, 2)}
    for (arm, seed), letters in counts.items():
        rows = [(IDS[0], text(*letters), "stop", 10), (IDS[1], text(*letters), "stop", 10)]
        answered(tmp_path / "fresh" / f"{arm}-{seed}", "base" if arm == "base" else "step-002", rows)
        facts = {"first": {"loss": 0.7}, "last": {"loss": 0.5}, "steps": 2, "rows": {"train": 4}, "more": 1}
        (tmp_path / "arms").mkdir(exist_ok=True)
        (tmp_path / "arms" / f"{arm}-{seed}.json").write_text(json.dumps({"facts": facts}))
    found = sections_figures.figures(tmp_path, size, {"pairs": 4}, ["base", *sections.ARMS])
    (row,) = found["arms"]["up"]
    assert (row["step"], row["answers"], row["topics"]) == (2, 4, 2)
    assert (row["sections"]["mean"], row["sections"]["values"], row["shift"]["values"]) == (4.5, [3.0, 6.0], [2.0, 4.0])
    assert row["shift"]["ci95"] == pytest.approx([3 - 12.7062, 3 + 12.7062], abs=1e-3)
    assert row["sections"]["ci95_topics"] == [4.5, 4.5]
    assert found["histograms"]["up"][3] == found["histograms"]["up"][6] == 0.5
    assert found["trainings"]["up-2"] == {key: facts[key] for key in ("first", "last", "steps", "rows")}


def test_a_figure_that_no_seed_has_is_none() -> None:
    """Where no answer is sound there is no mean, and no NaN in the JSON."""
    assert sections_figures.over_seeds([float("nan"), 2.0])["values"] == [2.0]
    assert sections_figures.over_seeds([float("nan")]) == {"mean": None, "ci95": None, "n": 0, "values": []}


def ends(**means: tuple[float, float] | None) -> dict[str, Any]:
    """Arms with one step each, of these intervals of the count."""
    return {arm: [{"sections": {"ci95": None if two is None else [*two]}}] for arm, two in means.items()}


def test_the_verdict_is_about_intervals_that_do_not_overlap() -> None:
    """Touching is overlapping; beyond means that the whole interval is above three."""
    rows = ends(base=(1.4, 1.8), up=(3.01, 5.0), reversed=(0.2, 1.4), tied=(1.0, 2.0), sft=(2.0, 3.1))
    assert sections_figures.verdict(rows) == {
        "up_over_base": True,
        "base_over_reversed": False,
        "up_over_reversed": True,
        "up_over_sft": False,
        "up_over_tied": True,
        "tied_over_reversed": False,
        "up_beyond_chosen": True,
        "sft_beyond_chosen": False,
    }
    one_seed = ends(base=None, up=None, reversed=None, tied=None, sft=None)
    assert set(sections_figures.verdict(one_seed).values()) == {None}


def test_a_histogram_has_shares_and_a_last_bin_for_the_rest(tmp_path: Path) -> None:
    """Counts 0, 2 and 12 of two seeds."""
    frames = [pl.DataFrame({"sections": [0, 2]}), pl.DataFrame({"sections": [2, 12]})]
    assert sections_figures.histogram(frames, 3) == [0.25, 0, 0.5, 0.25]


@pytest.mark.parametrize("name", ["sections", "sections_answers", "sections_fresh"])
def test_every_recipe_loads_and_says_what_it_is_for(name: str) -> None:
    """Question, data, command, cost and figure, in that order; the student is the same in all."""
    path = sections.RECIPES / f"{name}.yaml"
    told = [line.split(":")[0][2:] for line in path.read_text().splitlines() if re.match(r"# [A-Z]\w+: ", line)]
    assert told == ["Question", "Data", "Command", "Cost", "Figure"]
    found = recipe.load(path)
    assert {found.train.student, *(rung.model for rung in found.generate.rungs)} <= {None, sections.FULL.student}


def test_an_arm_is_the_recipe_but_for_what_it_is_about(tmp_path: Path) -> None:
    """Control, files, seed and steps; SFT has the pairs of `up`."""
    path = sections.RECIPES / "sections.yaml"
    found = {arm: recipe.load(path, sections.sets(tmp_path, sections.FULL, arm, 3)) for arm in sections.ARMS}
    controls = {"up": "none", "reversed": "reversed", "tied": "tied", "sft": "none"}
    assert {arm: one.pair.control for arm, one in found.items()} == controls
    files = {arm: Path(one.collect.pools[0].path).name for arm, one in found.items()}
    assert files == {"up": "pairs.jsonl", "reversed": "pairs.jsonl", "tied": "tied.jsonl", "sft": "pairs.jsonl"}
    assert all(one.generate.rungs[1].responses == one.collect.pools[0].path for one in found.values())
    for one in found.values():
        assert (one.seed, one.collect.limit, one.train.args["max_steps"], one.train.args["save_steps"]) == (
            3,
            64,
            18,
            6,
        )
    assert found["up"].train == found["reversed"].train == found["tied"].train


def test_another_study_in_the_folder_is_refused(tmp_path: Path) -> None:
    """Quick and full figures never mix; the same size goes on."""
    sections.refuse_other(tmp_path, sections.QUICK)
    sections.refuse_other(tmp_path, sections.QUICK)
    with pytest.raises(Failed, match="another study"):
        sections.study(tmp_path, sections.FULL, quick=False)


def figure_of(arms: list[str], quick: bool) -> dict[str, Any]:
    number = {"mean": 2.0, "ci95": None if quick else [1.0, 3.0], "n": 1, "values": [2.0]}
    names = ("sections", "per_100_words", "unsound")
    rows = {arm: [{"step": s, "topics": 64, **dict.fromkeys(names, number)} for s in (8, 16)] for arm in arms}
    rows["base"] = [rows["base"][0] | {"step": 0}]
    shares = {arm: [0.1, 0.2, 0.7] for arm in arms}
    return {"arms": rows, "histograms": shares, "seeds": [1], "quick": quick}


@pytest.mark.parametrize("quick", [True, False])
def test_the_picture_is_drawn_with_and_without_intervals(tmp_path: Path, quick: bool) -> None:
    """A PNG of some size."""
    assert sections_figures.draw(figure_of(["base", *sections.ARMS], quick), tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 20_000


@pytest.mark.slow
def test_the_whole_study_runs_and_runs_again_for_nothing(tmp_path: Path) -> None:
    """Answers by hand, a tiny student: data, four trainings, fresh answers, figures; then the same figures at once."""
    student = build(tmp_path / "student")
    size = sections.Size(seeds=(1,), topics=6, drawn=4, steps=2, every=1, fresh=1, split="development")
    size = size._replace(student=str(student), engine="transformers")
    home = tmp_path / "home"
    sections.prompts(home, size)
    ids = [tables.prompt_id(row["prompt"]) for row in lines(home / "prompts_train.jsonl")]
    texts = (text("a", "b"), text("a", "b", "c"), text("d", "e", "f"))
    answered(home / "answers", "student", [(one, each, "stop", 20) for one in ids for each in texts])
    (home / "answers" / "done.json").write_text("{}")
    found = sections.study(home, size, quick=True)
    assert [row["step"] for row in found["arms"]["reversed"]] == [1, 2] and found["arms"]["up"][0]["answers"] == 32
    assert found["trainings"].keys() == {"up-1", "reversed-1", "tied-1", "sft-1"}
    assert found["trainings"]["up-1"]["rows"] == {"train": 4} and found["trainings"]["sft-1"]["steps"] == 2
    assert not list(home.glob("data/*/train/*/checkpoints")) and not list(home.glob("data/*/train/*/*.safetensors"))
    before = found.pop("seconds")
    again = sections.study(home, size, quick=True)
    assert again.pop("seconds") == before and again == found
