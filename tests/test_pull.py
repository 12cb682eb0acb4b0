"""A pushed run comes back whole: the same pairs without asking a model, and other pairs when the recipe is edited.

pytest tests/test_pull.py
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml
from hub_server import Hub, client_env, serving
from project import Project

from deltadata import pull
from deltadata.recipe import Recipe
from deltadata.store import Entry


def entry(**facts: Any) -> Entry:
    return Entry(1, 0.0, {}, {}, facts, {}, "2026-01-01T00:00:00Z", {})


REPO, TOKEN = "me/delta-pairs", "hf_Secret"


def ask(hub: Hub, folder: Path, *arguments: str, code: int = 0) -> str:
    """`deltadata ARGUMENTS` of a user with a token; what it printed."""
    environment = client_env(hub.url, folder / "home", TOKEN) | {"COLUMNS": "100"}
    command = [sys.executable, "-m", "deltadata", *arguments]
    ended = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120)
    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Hub, Project]]:
    """A run of two pools, a failing rung, an imported one and two scorers, pushed."""
    project = Project(tmp_path_factory.mktemp("owner"), 30, fail_on="number 7")
    folder = project.folder
    (folder / "more.jsonl").write_text(
        "".join(f'{{"question": "What is {n} + 1?", "check": "{n + 1}"}}\n' for n in range(9))
    )
    prompts = [f"Tell me about number {n}." for n in range(30)] + [f"What is {n} + 1?" for n in range(9)]
    own = [
        {"prompt": prompt, "response": f"It is {n - 29}." if n > 29 else f"About {n}."}
        for n, prompt in enumerate(prompts)
    ]
    (folder / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in own))
    given = [{"prompt": prompt, "model": "own", "score": n % 5 / 4} for n, prompt in enumerate(prompts)]
    pl.DataFrame(given).write_csv(folder / "given.csv")
    recipe = project.recipe
    recipe["collect"]["pools"].append({"name": "sums", "path": "more.jsonl", "prompt": "question", "keep": ["check"]})
    recipe["generate"]["rungs"].insert(0, {"name": "own", "responses": "own.jsonl"})
    both = {"name": "both", "scorer": "combined", "of": ["checks", "given"]}
    recipe["score"] = [{"name": "checks"}, {"name": "given", "scores": "given.csv"}, both]
    recipe["pair"] = {"pairings": "all"}
    parts = ["prompts/own", "prompts/sums", "responses/own", "responses/strong", "responses/weak", "scores/given"]
    recipe["push"] = {"repo": REPO, "accept": dict.fromkeys(parts, "made for a test")}
    project.run()
    with serving() as hub:
        hub.user(TOKEN)
        ask(hub, folder, "push")
        yield hub, project


def responses(run: Path) -> pl.DataFrame:
    found = pl.read_parquet(run / "responses" / "*" / "part-*.parquet")
    return found.sort("prompt_id", "model", "sample")


def test_the_same_pairs_come_out(published: tuple[Hub, Project], tmp_path: Path):
    """Responses with their errors, scores and pairs equal the owner's, and no engine is asked."""
    hub, project = published
    said = ask(hub, tmp_path, "pull", REPO)

    assert "it gives the published rows" in said
    theirs, ours = project.path, tmp_path / "runs" / "tiny"
    assert responses(ours).equals(responses(theirs)) and responses(ours)["error"].null_count() < len(responses(ours))
    for name in ("dataset/data/default/*.parquet", "dataset/data/ladder/*.parquet"):
        assert pl.read_parquet(ours / name).equals(pl.read_parquet(theirs / name))
    assert not (ours / "logs").exists()


def test_computed_scores_stop_no_push_of_what_was_pulled(published: tuple[Hub, Project], tmp_path: Path):
    """Checks and combined scores come back as files, and nobody is asked for their licence; a file's is asked for."""
    hub, _ = published
    ask(hub, tmp_path, "pull", REPO)
    path = tmp_path / "runs" / "tiny" / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    licences = {asked["name"]: asked["license"] for asked in recipe["score"]}
    assert licences == {"checks": "computed", "given": None, "both": "computed"}
    ask(hub, tmp_path, "push", "runs/tiny", "--repo", "me/again", "--dry-run")
    card = (tmp_path / "runs" / "tiny" / "dataset" / "README.md").read_text()
    assert "| scores/both | both.parquet | computed | permissive | stated in the recipe | – |" in card
    del recipe["push"]["accept"]["scores/given"]
    path.write_text(yaml.safe_dump(recipe))
    ask(hub, tmp_path, "run", "runs/tiny/recipe.yaml")
    said = ask(hub, tmp_path, "push", "runs/tiny", "--repo", "me/again", "--dry-run", code=2)
    assert "1 part may not be published" in said and "scores/given (pulled/scores/given.parquet)" in said


def test_what_is_known_of_a_judge_comes_back_with_its_scores():
    """The licence of its model, as known, stated or found in its weights; unknown stays unknown."""
    models = {"a": {"model": "Qwen/Qwen2.5-3B-Instruct"}, "b": {"model": "me/b", "license": "mit"}}
    models |= {"c": {"model": "me/c"}, "d": {"model": "me/d"}}
    asked = [{"name": name, "scorer": "judge"} | told for name, told in models.items()]
    tree = {"name": "x", "collect": {"pools": [{"name": "own", "path": "p.jsonl"}]}, "score": asked}
    recipe = Recipe.model_validate(tree | {"generate": {"rungs": [{"name": "r", "responses": "r.jsonl"}]}})
    record = {"prompts": entry(pools=[{"name": "own"}]), "responses/r": entry(), "scores/c": entry(license="gemma")}
    found = pull._scores(recipe, {f"scores/{name}": entry() for name in models} | record)
    assert [one["license"] for one in found] == ["qwen-research", "mit", "gemma", None]


@pytest.mark.slow
def test_another_pairing_of_a_pulled_run(published: tuple[Hub, Project], tmp_path: Path):
    """By score and with other rules: the rows that the owner would get."""
    hub, project = published
    ask(hub, tmp_path, "pull", f"{REPO}@main", "--run", "here")
    path = tmp_path / "here" / "recipe.yaml"
    recipe = yaml.safe_load(path.read_text())
    assert path.read_text().startswith(f"# pulled from {REPO}, commit ")
    recipe["pair"] = {"pairings": {"by": "given", "min_delta": 0.0}}
    recipe["filter"] = {"rules": []}
    path.write_text(yaml.safe_dump(recipe))
    said = ask(hub, tmp_path, "run", "here/recipe.yaml", "--run", "here", "--overwrite", code=2)

    assert "given" in said  # one score a prompt makes no pair by score
    recipe["pair"] = {"pairings": [["weak", "own"]]}
    path.write_text(yaml.safe_dump(recipe))
    ask(hub, tmp_path, "run", "here/recipe.yaml", "--run", "here", "--overwrite")
    pairs = pl.read_parquet(tmp_path / "here" / "pairs.parquet")
    answered = responses(project.path).filter(pl.col("error").is_null(), pl.col("model") == "weak")
    assert sorted(pairs["prompt_id"]) == sorted(answered["prompt_id"])
    assert set(pairs["chosen_model"]) == {"weak"} and set(pairs["rejected_model"]) == {"own"}


def test_what_cannot_be_pulled(published: tuple[Hub, Project], tmp_path: Path):
    """A folder that is there, a repository without a record, a revision that is not."""
    hub, _ = published
    (tmp_path / "runs" / "tiny").mkdir(parents=True)
    assert "is there already" in ask(hub, tmp_path, "pull", REPO, code=2)
    hub.commit("me/other", {"a.csv": b"a\n"})
    assert "no record.json" in ask(hub, tmp_path, "pull", "me/other", code=2)
    assert "no revision 'v9'" in ask(hub, tmp_path, "pull", f"{REPO}@v9", code=2)


def test_a_ladder_that_was_changed_is_not_taken(published: tuple[Hub, Project], tmp_path: Path):
    """Its rows are compared with the record's before anything is built on them; nothing is left behind."""
    hub, _ = published
    files = hub.files(REPO)
    shard, card = "data/ladder/train-00000-of-00001.parquet", "data/default/train-00000-of-00001.parquet"
    path = tmp_path / "ladder.parquet"
    path.write_bytes(files[shard])
    pl.read_parquet(path).reverse().write_parquet(path)
    hub.commit("me/changed", files | {shard: path.read_bytes(), card: files[card]})

    assert "not the one its record speaks of" in ask(hub, tmp_path, "pull", "me/changed", code=3)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").iterdir())
