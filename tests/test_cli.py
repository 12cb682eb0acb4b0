"""What a person meets at the command: mistakes with their cure, exit codes, quiet start."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from project import Project

HEAVY = ("torch", "vllm", "transformers", "datasets", "trl", "polars", "pyarrow", "aiohttp", "pydantic")
HEAVY += ("numpy", "matplotlib", "sklearn", "rapidfuzz")


def edit(recipe: dict[str, Any], address: str, value: Any) -> None:
    *parents, last = address.split(".")
    here: Any = recipe
    for key in parents:
        here = here[int(key)] if isinstance(here, list) else here.setdefault(key, {})
    here[int(last) if isinstance(here, list) else last] = value


MISTAKES: list[tuple[str, dict[str, Any], str, str]] = [
    ("unknown key", {"zzz": 1}, "zzz: unknown key", "known are"),
    ("misspelt key", {"generate.sampling": {"temprature": 1}}, "recipe.yaml:", "did you mean 'temperature'"),
    ("wrong type", {"seed": "zero"}, "seed: 'zero'", "cure"),
    ("missing pool file", {"collect.pools.0.path": "pol.jsonl"}, "pol.jsonl", "pool.jsonl"),
    ("column not there", {"collect.pools.0.prompt": "promt"}, "promt", "did you mean 'prompt'"),
    ("keep column not there", {"collect.pools.0.keep": ["chek"]}, "chek", "cure"),
    ("rung named twice", {"generate.rungs.1.name": "strong"}, "given 2 times", "unique"),
    ("rung name with a slash", {"generate.rungs.1.name": "a/b"}, "is not a name", "never a path"),
    ("rung name going up", {"generate.rungs.1.name": ".."}, "is a path", "cure"),
    ("pairing of an unknown rung", {"pair.pairings": [["strong", "weke"]]}, "no rung is called 'weke'", "'weak'"),
    ("no weaker rung", {"generate.rungs": [{"name": "one", "model": "a"}]}, "one rung makes no pair", "weaker rung"),
    ("pairs by an unknown scorer", {"pair.pairings": {"by": "judge"}}, "no scorer is called 'judge'", "add `score: ["),
    ("unknown scorer", {"score": [{"name": "cheks"}]}, "no scorer is called 'cheks'", "did you mean 'checks'"),
    ("unknown measure", {"pair.measures": ["token"]}, "no measure is called 'token'", "did you mean 'tokens'"),
    ("unknown rule", {"filter.rules": ["finnished"]}, "no rule is called", "did you mean 'finished'"),
    ("unknown column in where", {"filter.where": "delta_token > 1"}, "delta_token", "did you mean 'delta_tokens'"),
    ("SQL that is a query", {"filter.where": "select 1"}, "not an SQL expression", "cure"),
    ("tied with one sample", {"pair.control": "tied"}, "has one", "samples to 2"),
    ("a model directory that is none", {"generate.engine": "vllm", "generate.rungs.0.model": "./nothing"}, "", "cure"),
    ("runtime key of no engine", {"runtime.paralel": 2}, "runtime.paralel", "cure"),
    ("scripted option unknown", {"runtime.scripted": {"lenght": 2}}, "runtime.scripted.lenght", "cure"),
    ("responses file missing", {"generate.rungs.1": {"name": "old", "responses": "none.json"}}, "none.json", "cure"),
]


@pytest.mark.parametrize(("edits", "what", "cure"), [m[1:] for m in MISTAKES], ids=[m[0] for m in MISTAKES])
def test_a_users_mistake_ends_with_exit_2_what_where_and_the_cure(
    tmp_path: Path, edits: dict[str, Any], what: str, cure: str
):
    """One message, no traceback, and no model was asked anything."""
    project = Project(tmp_path, prompts=3)
    for address, value in edits.items():
        edit(project.recipe, address, value)

    said = project.run(code=2)

    assert said.count("error: ") == 1
    assert what in said
    assert cure in said
    assert not project.requests()


def test_an_empty_pool_and_a_missing_recipe_are_mistakes_too(tmp_path: Path):
    """Nothing is left half-made."""
    project = Project(tmp_path)
    (tmp_path / "pool.jsonl").write_text("")

    assert "pool" in project.run(code=2)
    assert "cannot read the recipe" in project.run("run", "nothing.yaml", code=2)
    assert not list(project.path.glob("*.parquet"))


def test_a_bad_row_is_counted_reported_with_file_and_line_and_written_aside(tmp_path: Path):
    """The other rows are collected; nothing is skipped in silence."""
    project = Project(tmp_path, prompts=5)
    pool = tmp_path / "pool.jsonl"
    pool.write_text(pool.read_text() + '{"prompt": "cut off\n{"prompt": "  "}\n')

    said = project.run("collect", "recipe.yaml")

    assert "7 read, 2 bad, 0 duplicate, 0 not sampled, 5 taken" in said
    aside = json.loads((project.path / "bad" / "prompts.json").read_text())
    assert [row["where"].endswith(place) for row, place in zip(aside, (":6", ":7"), strict=True)] == [True, True]
    assert "cut off" in aside[0]["row"]


def test_a_port_that_does_not_answer_is_exit_3_and_the_run_goes_on_later(tmp_path: Path):
    """An outside failure says how to resume, and what was there stays."""
    project = Project(tmp_path, prompts=3)
    project.recipe["generate"]["engine"] = "server"
    project.recipe["runtime"] = {"base_url": "http://127.0.0.1:9/v1"}

    said = project.run(code=3)

    assert "127.0.0.1:9" in said
    assert "cure: " in said
    assert (project.path / "prompts.parquet").exists()


def test_a_missing_extra_is_refused_with_its_install_line(tmp_path: Path):
    """vLLM, aiohttp and datasets are extras: without them a sentence, not a traceback."""
    project = Project(tmp_path, prompts=3)
    project.recipe["generate"]["engine"] = "server"
    project.recipe["runtime"] = {"base_url": "http://127.0.0.1:9/v1"}
    (tmp_path / "recipe.yaml").write_text(json.dumps(project.recipe))
    # A finder that denies the module is what an environment without it looks like to an import.
    code = (
        "import sys, importlib.abc\n"
        "class Absent(importlib.abc.MetaPathFinder):\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'aiohttp': raise ModuleNotFoundError(name, name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "sys.argv = ['deltadata', 'run', 'recipe.yaml']\n"
        "from deltadata.cli import main; main()"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)

    assert ended.returncode == 2
    assert "pip install 'deltadata-toolkit[server]'" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_stages_run_one_by_one_make_what_run_makes_at_once(tmp_path: Path):
    """collect, generate, score, pair and filter are the parts of run."""
    project = Project(tmp_path)
    for stage in ("collect", "generate", "score", "pair", "filter"):
        project.run(stage, "recipe.yaml")
    by_stage = project.pairs()
    project.run("run", "recipe.yaml", "--run", "runs/whole")

    assert by_stage.equals(__import__("polars").read_parquet(tmp_path / "runs" / "whole" / "pairs.parquet"))


def test_report_is_for_a_run_with_pairs(tmp_path: Path):
    """Without them it says what makes them; with them stdout has the numbers alone, and without pictures no page."""
    project = Project(tmp_path, prompts=6)
    assert "no run here" in project.run("report", "runs/none", code=2)
    project.run("collect", "recipe.yaml")
    assert "the pairs are not made yet" in project.run("report", "runs/tiny", code=2)
    project.run()

    assert project.run("report", "runs/tiny", "--json", "--numbers-only") == ""
    told = json.loads(project.stdout)
    assert told == json.loads((project.path / "report.json").read_text())
    pairing = {"chosen": "strong", "rejected": "weak", "pairs": 6, "kept": 6}
    assert [pairing] == [{key: found[key] for key in pairing} for found in told["pairings"]]
    assert not (project.path / "report.html").exists() and not (project.path / "plots").exists()


@pytest.mark.parametrize(
    ("stage", "first"), [("generate", "collect"), ("score", "collect"), ("pair", "generate"), ("filter", "pair")]
)
def test_a_stage_without_its_input_says_which_command_makes_it(tmp_path: Path, stage: str, first: str):
    """Out of order is a mistake with a cure."""
    said = Project(tmp_path).run(stage, "recipe.yaml", code=2)

    assert f"deltadata {first} recipe.yaml" in said


def test_show_prints_the_record_and_the_rows_of_a_table(tmp_path: Path):
    """JSON on stdout with --json; a near name for a wrong table."""
    project = Project(tmp_path, prompts=6)
    project.run()

    project.run("show", "runs/tiny", "--json")
    assert [row["table"] for row in json.loads(project.stdout)] == [
        "prompts",
        "responses/strong",
        "responses/weak",
        "pairs",
        "filter",
        "dataset",
    ]
    project.run("show", "runs/tiny", "pairs", "--rows", "2", "--json")
    assert len(json.loads(project.stdout)) == 2
    assert "did you mean 'pairs'" in project.run("show", "runs/tiny", "pair", code=2)
    assert "no run here" in project.run("show", "runs/none", code=2)


def test_recipe_and_schema_go_to_stdout(tmp_path: Path):
    """stdout carries only what was asked for."""
    project = Project(tmp_path)

    assert project.run("recipe", "recipe.yaml", "--set", "seed=9") == ""
    assert "\nseed: 9\n" in project.stdout
    assert project.run("schema") == ""
    assert json.loads(project.stdout)["title"] == "deltadata recipe"


def test_help_loads_nothing_heavy():
    """The first thing a newcomer types answers at once."""
    code = (
        "import sys; sys.argv = ['deltadata', '--help']\n"
        "from deltadata.cli import main\n"
        "try: main()\n"
        f"except SystemExit: print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert ended.stderr.strip() == "[]"


def test_every_command_has_help_and_readme_names_it():
    """A command nobody can find is no command."""
    from typer.main import get_group

    from deltadata.cli import app

    readme = (Path(__file__).parent.parent / "README.md").read_text()
    commands = get_group(app).commands
    assert all(command.help for command in commands.values())
    assert [name for name in commands if f"deltadata {name}" not in readme] == []


def test_output_fits_80_columns_without_a_terminal(tmp_path: Path):
    """A CI log is readable: no escape codes, no bar."""
    project = Project(tmp_path, prompts=4)
    os.environ["COLUMNS"] = "80"
    said = project.run()

    assert "\x1b" not in said
    assert "strong" in said
    assert "dropped by rule" in said
