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

from deltadata.ends import resumable
from deltadata.errors import OutsideError, first_line
from deltadata.screen import _spread

HEAVY = ("torch", "vllm", "transformers", "datasets", "trl", "polars", "pyarrow", "aiohttp", "pydantic")
HEAVY += ("numpy", "matplotlib", "rapidfuzz")


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


USAGE = [
    (["show", "runs/tiny", "--jsn"], "deltadata show: no such option: --jsn", "deltadata show --help"),
    (["show"], "deltadata show: missing argument", "deltadata show --help"),
    (["shwo"], "deltadata: no such command 'shwo'", "deltadata --help"),
    (["show", "runs/tiny", "--rows", "0"], "deltadata show: invalid value for '--rows'", "deltadata show --help"),
]


@pytest.mark.parametrize(("arguments", "what", "cure"), USAGE, ids=[" ".join(usage[0]) for usage in USAGE])
def test_a_mistyped_command_is_told_like_any_mistake(tmp_path: Path, arguments: list[str], what: str, cure: str):
    """`error: where: what` and the cure, exit 2; no frame, no usage line."""
    said = Project(tmp_path).run(*arguments, code=2)

    assert said.startswith(f"error: {what}")
    assert said.splitlines()[1] == f"  cure: {cure} lists what it takes"
    assert len(said.splitlines()) == 2


def test_a_command_alone_says_what_there_is(tmp_path: Path):
    """`deltadata` and `deltadata pack` without more: their help."""
    assert Project(tmp_path).run("pack", code=2).startswith("Usage: deltadata pack")
    Project(tmp_path).run("--version")


ROWS = ["show", "runs/tiny", "prompts", "--rows", "400"]
PIPED = [(["schema"], "stdout"), ([*ROWS, "--json"], "stdout"), (["-h"], "stdout"), (ROWS, "stderr")]


@pytest.mark.parametrize(("arguments", "stream"), PIPED)
def test_a_reader_that_leaves_ends_it_quietly(tmp_path: Path, arguments: list[str], stream: str):
    """As `deltadata ... | head -1`: nothing is said of it, and the exit code is that of a closed pipe, if not 0."""
    project = Project(tmp_path, prompts=400)
    project.run("collect", "recipe.yaml")
    process = project.start(*arguments)
    assert process.stdout and process.stderr
    closed, other = (process.stdout, process.stderr) if stream == "stdout" else (process.stderr, process.stdout)
    closed.close()

    assert other.read() == ""
    assert process.wait(60) in (0, 141)
    other.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no /dev/full")
def test_a_full_disk_under_the_output_is_exit_3(tmp_path: Path):
    """One message; where that cannot be written either, the exit code alone."""
    project = Project(tmp_path, prompts=3)
    project.run("collect", "recipe.yaml")
    for command in (["schema"], ["--version"], ["show", "runs/tiny", "prompts", "--json"]):
        typed = [sys.executable, "-m", "deltadata", *command]
        with Path("/dev/full").open("w") as full:
            ended = subprocess.run(typed, cwd=tmp_path, stdout=full, stderr=subprocess.PIPE)
        assert ended.returncode == 3
        assert ended.stderr.decode().splitlines() == [
            "error: cannot write the output: No space left on device",
            "  cure: make room, then run the same command again",
        ]
        with Path("/dev/full").open("w") as full:
            assert subprocess.run(typed, cwd=tmp_path, stdout=full, stderr=full).returncode == 3


def test_damaged_pairs_name_the_command_that_makes_them_anew(tmp_path: Path):
    """`report` cannot make them: `run` can, and does once the file is gone."""
    project = Project(tmp_path, prompts=6)
    project.run()
    pairs = project.path / "pairs.parquet"
    pairs.write_bytes(pairs.read_bytes()[:500])

    said = project.run("report", "runs/tiny", code=2)

    assert "pairs.parquet: damaged" in said
    assert "cure: remove that file, then `deltadata run RECIPE`" in said
    pairs.unlink()
    project.run()
    assert project.pairs().height == 6


def test_a_log_is_named_only_where_one_is_written(tmp_path: Path):
    """The scripted engine answers in this process: no log."""
    project = Project(tmp_path, prompts=3)
    said = project.run()

    assert "loading a with scripted\n" in said
    assert not list(project.path.glob("logs/*"))


def test_a_name_has_letters_of_one_alphabet(tmp_path: Path):
    """An umlaut is a letter, too: the message says which ones."""
    project = Project(tmp_path, prompts=3)
    project.recipe["collect"]["pools"][0]["name"] = "schön"
    said = project.run(code=2)

    assert "'schön' is not a name" in said
    assert "letters a to z" in said


def test_a_path_into_a_turn_is_told_where_its_text_is(tmp_path: Path):
    """`value` is ShareGPT's, `content` that of messages; the other one is meant."""
    project = Project(tmp_path)
    for turn, given, meant in (
        ({"role": "user", "content": "So?"}, "value", "content"),
        ({"from": "human", "value": "So?"}, "content", "value"),
    ):
        (tmp_path / "pool.jsonl").write_text(json.dumps({"turns": [turn]}) + "\n")
        project.recipe["collect"]["pools"][0]["prompt"] = f"turns.0.{given}"
        assert f"did you mean 'turns.0.{meant}'?" in project.run("collect", "recipe.yaml", code=2)


def test_a_pool_of_bad_rows_alone_is_to_be_mended(tmp_path: Path):
    """Its column is there: the cure is in the rows, or in another column."""
    project = Project(tmp_path)
    (tmp_path / "pool.jsonl").write_text('{"prompt": "  "}\n')
    assert "cure: mend its rows, or name another column" in project.run("collect", "recipe.yaml", code=2)
    (tmp_path / "pool.csv").write_text("prompt\n")
    project.recipe["collect"]["pools"][0]["path"] = "pool.csv"
    assert "cure: give a file with rows, or drop the pool" in project.run("collect", "recipe.yaml", code=2)


def test_a_handful_of_pairs_has_no_interval_in_the_tables():
    """Five pairs that all agree are no certainty."""
    stats: dict[str, Any] = {"mean": 1.0, "std": 0.0, "quantiles": {"0.5": 1.0}, "agreement": 1.0}
    stats["agreement_ci95"] = [1.0, 1.0]
    assert _spread(stats | {"n": 29})[-1] == "too few"
    assert _spread(stats | {"n": 30})[-1] == "100 (100 - 100)"


def test_what_a_library_says_is_cut_to_its_first_line():
    """An error without words is told by its name."""
    assert first_line(ValueError("\n no such key\nlong advice")) == "no such key"
    assert first_line(KeyError()) == "KeyError"


def test_a_stopped_command_says_what_is_kept(tmp_path: Path):
    """Ctrl-C inside is an error from outside, exit 3; nothing else is touched."""
    with (
        pytest.raises(OutsideError, match="stopped; the last checkpoint is kept") as met,
        resumable(tmp_path, "the last checkpoint is"),
    ):
        raise KeyboardInterrupt
    assert (met.value.where, met.value.exit_code) == (str(tmp_path), 3)
