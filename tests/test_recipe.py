"""The recipe is strict, says where a mistake is, and reads numbers as people write them."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest

from deltadata import pair, recipe, sections
from deltadata.engines import Model
from deltadata.engines.scripted import open_engine
from deltadata.errors import UserError

ROOT = Path(__file__).parent.parent
SHIPPED = sorted(ROOT.glob("recipes/*.yaml"))
GOOD = """\
name: tiny
collect:
  pools:
    - {name: own, path: pool.jsonl}
generate:
  engine: scripted
  rungs:
    - {name: strong, model: a}
    - {name: weak, model: b, sampling: {temperature: 1.0}}
train: {student: x, args: {learning_rate: 5e-7, note: "no"}}
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_every_shipped_recipe_parses_and_says_its_question_command_and_cost(path: Path):
    """A recipe in recipes/ loads as it is, and its header tells what it answers, how to run it and what it costs."""
    recipe.load(path)

    header = [line for line in path.read_text().splitlines() if line.startswith("#")]
    assert all(
        any(line.startswith(f"# {word}:") for line in header) for word in ("Question", "Data", "Command", "Cost")
    )


def test_defaults_are_filled_in(tmp_path: Path):
    """What a recipe leaves out has DESIGN's default."""
    loaded = recipe.load(write(tmp_path, GOOD))

    assert loaded.seed == 0
    assert loaded.collect.dedup == "exact"
    assert loaded.generate.part_rows == 256
    assert loaded.pair.pairings == "adjacent"
    assert loaded.pair.control == "none"
    assert loaded.push.private is True
    assert loaded.runtime.overlap is False


def test_a_rungs_sampling_overrides_the_sections_key_by_key(tmp_path: Path):
    """Only what the rung states differs from generate.sampling."""
    loaded = recipe.load(write(tmp_path, GOOD), ["generate.sampling.max_tokens=99", "generate.sampling.top_p=0.5"])
    weak = loaded.generate.sampling_of(loaded.rung("weak")).model_dump()

    assert weak == {"temperature": 1.0, "max_tokens": 99, "samples": 1, "top_p": 0.5}


@pytest.mark.parametrize(
    ("text", "value"),
    [("5e-7", 5e-7), ("5.0e-7", 5e-7), ("1e3", 1e3), ("-2.", -2.0), ("12", 12), ("no", "no"), ("1:30", "1:30")]
    + [("yes", "yes"), ("010", 10), ("true", True), ("~", None), ("2024-01-01", "2024-01-01"), (".inf", float("inf"))],
)
def test_scalars_are_read_as_yaml_1_2(tmp_path: Path, text: str, value: object):
    """5e-7 is a number; no, 1:30 and a date are text."""
    loaded = recipe.load(write(tmp_path, GOOD), [f"train.args.x={text}"])

    assert loaded.train.args["x"] == value
    assert type(loaded.train.args["x"]) is type(value)


MISTAKES = [
    ("colect=1", "colect: unknown key", "did you mean 'collect'?"),
    ("generate.sampling.temprature=1", "generate.sampling.temprature: unknown key", "did you mean 'temperature'?"),
    ("generate.rungs.1.sampling.topp=1", "generate.rungs[1].sampling.topp: unknown key", "did you mean 'top_p'?"),
    ("collect.pools.0.pth=1", "collect.pools[0].pth: unknown key", "did you mean 'path'?"),
    ("generate.engine=vlm", "generate.engine: 'vlm' is not one of", "did you mean 'vllm'?"),
    ("seed=x", "seed: 'x'", "valid integer"),
    ("seed='3'", "seed: '3'", "valid integer"),
    ("collect.limit=0", "collect.limit: 0", "greater than 0"),
    ("collect.pools=[]", "collect.pools: []", "at least 1"),
    ("generate.rungs.1.name=strong", "'strong' is given 2 times", "unique"),
    ("generate.rungs.1.name=../up", "'../up' is not a name", "never a path"),
    ("generate.rungs.1.name=a/b", "'a/b' is not a name", "never a path"),
    ("generate.rungs.1.name=..", "'..' is a path", ""),
    ("collect.pools.0.name=a b", "'a b' is not a name", "never a path"),
    ("name=..", "'..' is a path", ""),
    ("generate.rungs.0.model=null", "either `model` or `responses`", ""),
    ("generate.rungs.0.responses=x.json", "either `model` or `responses`", ""),
    ("pair.pairings=[[strong, week]]", "no rung is called 'week'", "did you mean 'weak'?"),
    ("pair.pairings=[[weak, weak]]", "paired with itself", ""),
    ("pair.pairings=sideways", "'sideways' is no pairing", "adjacent, all, ends"),
    ("pair.control=reverse", "pair.control: 'reverse' is not one of", "did you mean 'reversed'?"),
    ("generate.sampling.n=2", "generate.sampling.n", "`samples`"),
    ("generate.sampling.seed=2", "generate.sampling.seed", "`seed`"),
    ("score=[{name: cheks}]", "score[0].name: no scorer is called 'cheks'", "did you mean 'checks'?"),
    ("holdout=1", "holdout: 1", "less than 1"),
    ("generate.rungs.9.model=x", "no item '9' in a list of 2", "count from 0"),
    ("seed.x=1", "", "section"),
    ("nonsense", "an override is key.key=value", "--set"),
    ("seed=[1", "not YAML", "mend"),
    ("seed=" + "9" * 5000, "a number of 5,000 digits", "at most 20"),
    (f"generate.rungs.{'9' * 5000}.model=x", "no item '9999", "count from 0"),
    ("generate.rungs[-1].model=x", "no item '-1' in a list of 2", "count from 0"),
    (".=x", "an override is key.key=value", "--set"),
    (".generate=1", "an override is key.key=value", "--set"),
    ("seed=\x07", "is a character that it cannot hold", "take"),
    ("part rows=7", "'part rows': unknown key", "known are"),
    ("größe=3", "größe: unknown key", "known are"),
    ("generate.größe=3", "generate.größe: unknown key", "known are"),
    ("collect=", "collect: is empty", "give its keys or leave it out"),
    ("collect.pools=", "collect.pools: is empty", "give its items or leave it out"),
    ("filter=[finished]", "filter: is a list, not a mapping", "`key: value`"),
    ("runtime=3", "runtime: is a number, not a mapping", "`key: value`"),
    ("collect.pools={name: own}", "collect.pools: is a mapping, not a list", "`- item`"),
    ("filter.rules=[{max_length_delta: .nan}]", ".nan is no number", "give a number"),
    ("generate.sampling.temperature=.inf", "temperature: inf", "finite"),
    ("generate.part_rows=1000001", "part_rows: 1000001", "less than or equal"),
    ("generate.sampling.samples=10001", "samples: 10001", "bounds"),
    ("generate.sampling.max_tokens=10000001", "max_tokens: 10000001", "bounds"),
    ("generate.rungs.0.name=.tmp-a", "'.tmp-a' is not a name", "no dot first"),
    ("name=" + "a" * 101, "at most 100 characters", "bounds"),
    ("pair.pairings=[]", "pair.pairings: is empty", "adjacent, all or ends"),
    ("pair.pairings=[[strong, weak], [strong, weak]]", "['strong', 'weak'] is there twice", "keep one"),
    ("pair={control: random, pairings: [[strong, weak], [weak, strong]]}", "is there twice", "keep one"),
    ("generate.rungs.0.select={a: 1}", "rungs[0].select: has no effect on a rung with `model`", "leave it out"),
    ("generate.rungs.0.prompt=x", "rungs[0].prompt: has no effect", "leave it out"),
    ("generate.rungs.0.response=x", "rungs[0].response: has no effect", "leave it out"),
    ("generate.rungs.0={name: x, responses: y, engine: vllm}", "engine: has no effect on a rung with `resp", "leave"),
    ("generate.rungs.0={name: x, responses: y, system: be brief}", "system: has no effect", "leave it out"),
    ("generate.rungs.0={name: x, responses: y, sampling: {top_p: 0.1}}", "sampling: has no effect", "leave it out"),
    ("generate.rungs.0={name: x, responses: y, chat_template_kwargs: {a: 1}}", "kwargs: has no effect", "leave it out"),
]


@pytest.mark.parametrize(("override", "what", "cure"), MISTAKES, ids=[mistake[0][:60] for mistake in MISTAKES])
def test_a_mistake_is_refused_with_its_address_and_a_cure(tmp_path: Path, override: str, what: str, cure: str):
    """Each message says what, where (the override that did it, or the recipe's line) and what to do."""
    path = write(tmp_path, GOOD.replace("train:", "seed: 0\ntrain:"))

    with pytest.raises(UserError) as told:
        recipe.load(path, [override])

    assert what in told.value.what
    assert cure in f"{told.value.what} {told.value.cure}"
    assert told.value.where is not None
    assert told.value.where.startswith((f"--set {override}"[:126], str(path)))


BOMB = "a: &a [" + "1," * 9 + "]\n" + "".join(f"{b}: &{b} [" + f"*{a}," * 9 + "]\n" for a, b in pairwise("abcdefgh"))
LINES = [
    ("a: \x01", "'\\x01' is a character that it cannot hold"),
    ("seed: !!int abc", "'abc' is no !!int"),
    ("seed: !!float abc", "'abc' is no !!float"),
    ("seed: !!bool maybe", "'maybe' is no !!bool"),
    ("seed: !!timestamp x", "'x' is no !!timestamp"),
    ("a: !!set {b}", "!!set is no tag of a recipe"),
    ("seed: " + "9" * 5000, "a number of 5,000 digits"),
    ("part rows: 7", "'part rows': unknown key"),
    ("größe: 3", "größe: unknown key"),
    ('"": 1', "'': unknown key"),
    ('"<<": 1', "'<<': unknown key"),
    ("<<: {seed: 1}", "merge keys (<<) are not read"),
    ("? [a]", "a list or a mapping is no key"),
    ("a: &x [*x]", "nested too deeply"),
    ("a: " + "[" * 33 + "]" * 33, "nested too deeply"),
    (BOMB, "more than 100,000 values"),
    ("filter:", "filter: is empty"),
    ("holdout: .NaN", ".nan is no number"),
]


@pytest.mark.parametrize(("line", "what"), LINES, ids=[line[:20] for line, _ in LINES])
def test_an_odd_line_is_refused_with_its_number(tmp_path: Path, line: str, what: str):
    """Whatever stands in line 11 of the recipe, the message names it and says what is wrong there."""
    path = write(tmp_path, GOOD + line + "\n")

    with pytest.raises(UserError) as told:
        recipe.load(path)

    assert what in told.value.what
    assert told.value.where is not None
    assert told.value.where.startswith(f"{path}:1")
    assert told.value.cure


def test_an_override_is_the_place_of_what_is_wrong_inside_it(tmp_path: Path):
    """The message for an item of a list that --set gave names the --set."""
    given = "pair.pairings=[[strong, weak], [strong, weak]]"

    with pytest.raises(UserError) as told:
        recipe.load(write(tmp_path, GOOD), [given])

    assert told.value.where == f"--set {given}"


@pytest.mark.parametrize("given", [None, 3, ["characters"], "x"])
def test_scripted_options_are_a_mapping(given: object):
    """`runtime.scripted` that is empty, a number, a list or text is the user's mistake."""
    with pytest.raises(UserError, match="is no mapping"), open_engine(Model("m"), {"scripted": given}):
        pass


def test_greedy_samples_are_copies(tmp_path: Path):
    """Several samples of a rung at temperature 0 are one text, tied or not; the rung and the place are named."""
    path = write(tmp_path, GOOD)
    several = ["generate.sampling.samples=2"]

    for more in ([], ["pair.control=tied"], ["generate.rungs.0.sampling.temperature=0"]):
        with pytest.raises(UserError, match="'strong', which at temperature 0 are the same text") as told:
            recipe.load(path, [*several, *more])
        assert told.value.what.startswith("generate.sampling.samples: 2 samples")
        assert told.value.where == "--set generate.sampling.samples=2"
        assert "temperature above 0, or generate.rungs[0].sampling.samples to 1" in str(told.value.cure)
    own = "generate.rungs.1.sampling={samples: 3, temperature: 0.0}"
    with pytest.raises(UserError, match=r"generate.rungs\[1\].sampling.samples: 3 samples of 'weak'") as told:
        recipe.load(path, [own])
    assert told.value.where == f"--set {own}"

    for cured in (["generate.sampling.temperature=1"], ["generate.rungs.0.sampling={samples: 1}"]):
        loaded = recipe.load(path, [*several, *cured, "pair.control=tied", "pair.pairings=[[weak, strong]]"])
        assert pair.planned(loaded) == [("weak", "weak")]


def test_a_mistake_in_the_file_is_refused_with_its_line(tmp_path: Path):
    """The place is file:line of the wrong key."""
    path = write(tmp_path, GOOD.replace("model: a}", "modle: a}"))

    with pytest.raises(UserError) as told:
        recipe.load(path)

    assert told.value.where == f"{path}:8"
    assert "generate.rungs[0].modle: unknown key" in told.value.what


def test_a_key_given_twice_is_refused_with_both_places(tmp_path: Path):
    """PyYAML would keep the last one silently."""
    path = write(tmp_path, GOOD + "name: other\n")

    with pytest.raises(UserError, match="name is given twice") as told:
        recipe.load(path)

    assert told.value.where == f"{path}:11"
    assert f"{path}:1" in told.value.what


@pytest.mark.parametrize(
    "text", ["", "just words", "- a\n- b\n", "a: [1", "a: &x [*x]", "!!python/object:os.system x", "\t"]
)
def test_what_is_no_recipe_is_refused_without_a_traceback(tmp_path: Path, text: str):
    """Empty, a list, broken YAML, a self-reference or a Python tag: all the user's mistake."""
    with pytest.raises(UserError):
        recipe.load(write(tmp_path, text))


def test_a_missing_recipe_is_refused(tmp_path: Path):
    """The path is named."""
    with pytest.raises(UserError, match="cannot read the recipe"):
        recipe.load(tmp_path / "none.yaml")


def test_the_dump_of_a_recipe_loads_to_the_same_recipe(tmp_path: Path):
    """`deltadata recipe` prints something that can be run."""
    once = recipe.load(ROOT / "recipes" / "quickstart.yaml")

    assert once == recipe.load(write(tmp_path, recipe.dump(once)))

    once = recipe.load(write(tmp_path, GOOD), ["generate.sampling.max_tokens=99"])
    again = recipe.load(write(tmp_path, recipe.dump(once)))
    for rung in ("strong", "weak"):
        assert once.generate.sampling_of(once.rung(rung)) == again.generate.sampling_of(again.rung(rung))


def test_the_schema_knows_every_section_and_refuses_unknown_keys():
    """Editors can complete and check."""
    schema = recipe.json_schema()

    assert set(recipe.Recipe.model_fields) == set(schema["properties"])
    assert schema["additionalProperties"] is False
    json.dumps(schema)


@pytest.mark.slow
def test_sampling_names_are_those_of_the_installed_vllm():
    """Every name that the recipe lets through is one of vLLM's SamplingParams."""
    vllm = pytest.importorskip("vllm")

    assert set(sections.SAMPLING_NAMES) <= set(vllm.SamplingParams.__struct_fields__)
