"""`deltadata pack`, and what a recipe that names a pack gets: the promises of the command.

pytest tests/test_pack_command.py
"""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest
from project import Project

from deltadata import packs
from deltadata.packs import Source, build_pack

ROOT = Path(__file__).parents[1]
QUESTIONS = ROOT.parent / "shared" / "data" / "mt_bench" / "question.jsonl"
FERRY = "How many passengers does the ferry to Zanzibar carry on a stormy Tuesday in November, counting all children?"
LAMP = "Explain to the lamplighter's apprentice why quicksilver rises in a barometer before the fair weather arrives."


@pytest.fixture
def made(tmp_path: Path) -> Project:
    """A project with two files of questions beside it."""
    items = [{"question": FERRY, "hint": "Think of lifeboats."}, {"question": LAMP, "hint": None}]
    (tmp_path / "eval.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (tmp_path / "more.csv").write_text(f'question\n"{FERRY.upper()}"\n')
    return Project(tmp_path)


def test_build_writes_the_pack_and_no_text(made: Project) -> None:
    """NAME.pack has the items of all files in order, as build_pack has them, and none of their words."""
    said = made.run("pack", "build", "own", "eval.jsonl", "more.csv", "--column", "question")
    assert said == "own.pack: 3 items; n-grams of 8 and 13 words\n"
    path = made.folder / "own.pack"
    assert [file.name for file in made.folder.glob("*.pack")] == ["own.pack"]
    got = packs.read(path)
    sources = [Source(str(made.folder / name), ("question",)) for name in ("eval.jsonl", "more.csv")]
    built = build_pack("own", sources)
    assert (got.name, got.sizes, got.words.tolist()) == ("own", (8, 13), [18, 17, 18])
    for length, grams in built.grams.items():
        assert got.grams[length].hashes.tolist() == grams.hashes.tolist()
        assert got.grams[length].at.tolist() == grams.at.tolist()
    content = path.read_bytes().lower()
    for word in f"{FERRY} {LAMP}".lower().replace("?", "").replace(".", "").replace(",", "").split():
        assert len(word) < 5 or word.encode() not in content, word


def test_columns_and_folders(made: Project) -> None:
    """Several columns are one item; --into makes its folder; the default column is `prompt`."""
    made.run("pack", "build", "own", "eval.jsonl", "--column", "question", "--column", "hint", "--into", "packs/mine")
    assert packs.read(made.folder / "packs" / "mine" / "own.pack").words.tolist() == [21, 17]
    (made.folder / "plain.jsonl").write_text(json.dumps({"prompt": "one two three"}) + "\n")
    made.run("pack", "build", "plain", "plain.jsonl")
    assert packs.read(made.folder / "plain.pack").words.tolist() == [3]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gsmk8"], ["no evaluation set is called 'gsmk8'", "did you mean 'gsm8k'"]),
        (["own", "not_there.jsonl"], ["not_there.jsonl"]),
        (["own", "eval.jsonl"], ["no row has a column 'prompt'", "question"]),
        (["own", "eval.jsonl", "--column", "questoin"], ["no row has a column 'questoin'", "'question'"]),
        (["own", "broken.jsonl", "--column", "question"], ["broken.jsonl:2", "an evaluation set is taken whole"]),
    ],
)
def test_mistakes_exit_with_2_and_write_nothing(made: Project, arguments: list[str], said: list[str]) -> None:
    """An unknown name has a near one; a missing file, column or row is named; no pack is left."""
    (made.folder / "broken.jsonl").write_text('{"question": "whole"}\n{"question": "cut\n')
    told = made.run("pack", "build", *arguments, code=2)
    for part in said:
        assert part in told
    assert [file.name for file in made.folder.iterdir() if "pack" in file.name] == []


def test_list(made: Project) -> None:
    """Every set that can be built by name is listed with where it is read from."""
    said = made.run("pack", "list")
    assert [line for line in said.splitlines() if line.startswith("pack: ")] == [f"pack: {n}" for n in packs.shipped()]
    assert {"gsm8k", "alpaca_eval", "mt_bench"} <= set(packs.shipped())
    assert "from: hf:openai/gsm8k:main:test" in said


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("mine", "`deltadata pack build mine FILES|hf:...` makes it"),
        ("gsm8k", "`deltadata pack build gsm8k` makes it"),
        ("gsmk8", "did you mean 'gsm8k'"),
    ],
)
def test_a_missing_pack_is_told_before_anything_is_read(made: Project, name: str, command: str) -> None:
    """Exit 2 with the command that builds it, though the pool is not there either; nothing is written."""
    made.recipe["collect"] |= {"decontaminate": [name]}
    (made.folder / "pool.jsonl").unlink()
    said = made.run("collect", "recipe.yaml", code=2)
    assert f"no such pack (no file {name}.pack)" in said
    assert command in said
    assert not (made.path / "prompts.parquet").exists()


def test_a_damaged_pack_is_refused(made: Project) -> None:
    """A pack of which a byte changed exits 2 with its name: it would find too little without a word."""
    made.run("pack", "build", "own", "eval.jsonl", "--column", "question")
    path = made.folder / "own.pack"
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f")
    made.recipe["collect"] |= {"decontaminate": ["own.pack"]}
    assert "own.pack: damaged" in made.run("collect", "recipe.yaml", code=2)


def test_a_built_pack_is_used_by_the_recipe(made: Project) -> None:
    """Built, named and found: the prompt with the question in it is left out with pack and item."""
    made.run("pack", "build", "own", "eval.jsonl", "--column", "question")
    made.recipe["collect"] |= {"decontaminate": ["own"]}
    prompts = [f"Please tell me: {LAMP}", "Who lit the lamps of London?"]
    (made.folder / "pool.jsonl").write_text("".join(json.dumps({"prompt": prompt}) + "\n" for prompt in prompts))
    made.run("collect", "recipe.yaml")
    left = pl.read_parquet(made.path / "left_out.parquet").select("dropped_by", "twin", "alike").rows()
    assert left == [("contaminated", "own#1", 1.0)]


@pytest.mark.skipif(not QUESTIONS.exists(), reason="the real data is not beside the project")
def test_turns_of_mt_bench(made: Project) -> None:
    """A column with a list of turns makes an item of each, numbered in order; a pool of the file is found whole."""
    made.run("pack", "build", "mt", str(QUESTIONS), "--column", "turns")
    turns = [turn for line in QUESTIONS.read_text().splitlines() for turn in json.loads(line)["turns"]]
    assert len(packs.read(made.folder / "mt.pack").words) == len(turns) == 160
    made.recipe["collect"] |= {"decontaminate": ["mt"]}
    made.recipe["collect"]["pools"].append({"name": "mt", "path": str(QUESTIONS), "prompt": "turns.0"})
    made.run("collect", "recipe.yaml")
    left = pl.read_parquet(made.path / "left_out.parquet")
    assert left["pool"].unique().to_list() == ["mt"]
    assert left["dropped_by"].to_list() == ["contaminated"] * 80
    assert left["alike"].to_list() == [1.0] * 80
    told = made.record()["tables"]["prompts"]["facts"]["contamination"]
    assert told["table"]["own"] == {"mt": {"prompts": 0, "items": 0}}
    assert told["packs"]["mt"]["items_hit"] >= 80


def test_a_pack_is_replaced_only_when_that_is_asked_for(made: Project) -> None:
    """Exit 2 and the same bytes, unless --overwrite; a known set's name for other files is told."""
    build = ("pack", "build", "gsm8k", "eval.jsonl", "--column", "question")
    assert "gsm8k is also the name of a known set (hf:openai/gsm8k:main:test); this pack is of the" in made.run(*build)
    before = (made.folder / "gsm8k.pack").read_bytes()
    said = made.run("pack", "build", "gsm8k", "more.csv", "--column", "question", code=2)
    assert said.startswith("error: gsm8k.pack: there is a pack already")
    assert "add --overwrite" in said
    assert (made.folder / "gsm8k.pack").read_bytes() == before
    made.run("pack", "build", "gsm8k", "more.csv", "--column", "question", "--overwrite")
    assert len(packs.read(made.folder / "gsm8k.pack").words) == 1
