"""The paper's experiments as recipes: their headers, the Hub ids they name, and a dry run over rows of each layout.

pytest tests/test_presets.py
"""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from project import in_place

from deltadata import memory, recipe
from deltadata.generate import runtime_for
from deltadata.memory import LLAMA_8B, Shape
from deltadata.recipe import Recipe

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "recipes"
SHIPPED = sorted(FOLDER.glob("*.yaml"))
NAMES = [path.stem for path in SHIPPED]
LLAMA_3B = Shape(128_256, 3072, 8192, 28, 24, 8, 128, tied=True)

# What the reference of the paper's facts names: data sets by id, models by name. Nothing else stands in a recipe.
DATASETS = {
    "allenai/llama-3.1-tulu-3-8b-preference-mixture",
    "openbmb/UltraFeedback",
    "scottgeng00/delta_learning_model_ladder",
    "scottgeng00/delta_learning_num_sections",
    "scottgeng00/delta_learning_num_sections_3section_tied",
    "scottgeng00/delta_learning_tulu3-sft-mix_model_ladder",
}
MODELS = {
    "Qwen/Qwen2.5-1.5B-Instruct",
    "Qwen/Qwen2.5-3B-Instruct",
    "Qwen/Qwen3-0.6B",
    "Qwen/Qwen3-1.7B",
    "Qwen/Qwen3-32B",
    "Qwen/Qwen3-8B",
    "allenai/Llama-3.1-Tulu-3-8B-SFT",
    "allenai/OLMo-2-1124-7B-SFT",  # there: OLMo-2-7B-SFT
    "gpt-4.1",
    "meta-llama/Llama-3.1-8B-Instruct",
    "meta-llama/Llama-3.2-3B-Instruct",
}
LOCAL = {"models/smollm2-135m-instruct"}
SIZES = ["72b", "32b", "14b", "7b", "3b", "1.5b", "0.5b"]

Turn = dict[str, str]
Found = list[tuple[str, str, str]]


def header(name: str) -> list[str]:
    """The header's lines without their mark."""
    lines = (FOLDER / f"{name}.yaml").read_text().splitlines()
    return [line[1:].strip() for line in lines if line.startswith("#")]


def commands(name: str) -> list[list[str]]:
    """Every `deltadata ...` that the header tells, as its words."""
    text = "\n".join(header(name)).replace("\\\n", " ").replace("Command:", "")
    told = [line.strip() for line in text.splitlines()]
    return [shlex.split(line.partition("      (")[0]) for line in told if re.match(r"deltadata (run|train) ", line)]


def loaded(words: list[str]) -> Recipe:
    """The recipe of a command, with what it sets."""
    sets = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
    student = [f"train.student={words[i + 1]}" for i, word in enumerate(words) if word == "--student"]
    return recipe.load(ROOT / words[2], [*sets, *student])


def header_part(name: str, word: str) -> str:
    """What stands after `word:`, up to the next of the five."""
    text = " ".join(header(name))
    return re.split(r" ?\b(?:Data|Command|Cost|Figure):", text.partition(f"{word}:")[2])[0]


@pytest.mark.parametrize("name", NAMES)
def test_every_header_has_its_five_parts_in_order(name: str) -> None:
    """Question, data, command, cost and figure, each with something to say."""
    words = [match[1] for line in header(name) if (match := re.match(r"(\w+):\s+\S", line))]
    assert [word for word in words if word in ("Question", "Data", "Command", "Cost", "Figure")] == [
        *("Question", "Data", "Command", "Cost", "Figure")
    ]


@pytest.mark.parametrize("name", NAMES)
def test_every_command_of_a_header_is_one_that_runs(name: str) -> None:
    """Its recipe loads with all that it sets; what is trained is what is run, under the same name."""
    if name == "quickstart":
        assert "make dataset" in header_part(name, "Command")
        return
    told = commands(name)
    assert told and all(words[2] == f"recipes/{name}.yaml" for words in told)
    for words in told:
        loaded(words)
    runs = {words[words.index("--run") + 1] if "--run" in words else "" for words in told if words[1] == "run"}
    trained = {words[words.index("--run") + 1] if "--run" in words else "" for words in told if words[1] == "train"}
    assert trained <= runs


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_names_only_ids_that_are_known(name: str) -> None:
    """Datasets and models, in the recipe, in what its header's commands set, and in the header's words."""
    asked = [recipe.load(FOLDER / f"{name}.yaml"), *(loaded(words) for words in commands(name))]
    models = {
        model
        for one in asked
        for model in [
            one.train.student,
            *(r.model for r in one.generate.rungs),
            *(getattr(s, "model", "") for s in one.score),
        ]
        if model and model not in ("model", "YOUR/SFT")
    }
    assert models <= MODELS | LOCAL
    sources = {
        path.removeprefix("hf:")
        for one in asked
        for path in [*(pool.path for pool in one.collect.pools), *(rung.responses or "" for rung in one.generate.rungs)]
        if path.startswith("hf:")
    }
    text = (FOLDER / f"{name}.yaml").read_text()
    sources |= {*re.findall(r"(?:hf:|huggingface\.co/datasets/)([\w.-]+/[\w.-]*\w)", text)}
    assert sources <= DATASETS
    owners = {known.partition("/")[0] for known in DATASETS | MODELS}
    named = {*re.findall(rf"\b((?:{'|'.join(owners)})/[\w.-]*\w)", text)}
    assert named <= DATASETS | MODELS
    if re.search(r"hf:\w", text):
        assert "revision unknown" in text.lower()


def test_every_recipe_is_in_the_table() -> None:
    """recipes/README.md has a row for each, and none for what is not there."""
    rows = re.findall(r"^\| \[([\w.]+)\]\(\1\) \|", (FOLDER / "README.md").read_text(), re.MULTILINE)
    assert sorted(rows) == [path.name for path in SHIPPED]


# What is known of each training of a header, in order: student, method, rate, beta, batch, prompts.
TAUGHT: dict[str, list[tuple[str, str, float, float, int, int | None]]] = {
    "sections": [
        ("Llama-3.2-3B-Instruct", "dpo", 5e-7, 5, 32, 16384),
        ("Llama-3.2-3B-Instruct", "sft", 1e-6, 5, 256, 16384),
        ("Llama-3.2-3B-Instruct", "dpo", 1e-7, 10, 32, 16384),
        ("Llama-3.2-3B-Instruct", "dpo", 1e-7, 5, 32, 16384),
        ("Llama-3.2-3B-Instruct", "sft", 1e-6, 5, 256, 16384),
    ],
    "self_improvement": [
        ("Llama-3.1-8B-Instruct", "dpo", 1e-8, 5, 32, 50000),
        ("Llama-3.1-8B-Instruct", "sft", 1e-7, 5, 256, 50000),
        ("Llama-3.1-8B-Instruct", "dpo", 1e-8, 5, 32, 50000),
        ("Llama-3.1-8B-Instruct", "dpo", 1e-8, 5, 32, 50000),
    ],
    "post_training": [
        ("Llama-3.1-Tulu-3-8B-SFT", "dpo", 1e-7, 10, 32, 100000),
        ("Llama-3.1-Tulu-3-8B-SFT", "dpo", 7e-8, 5, 32, 100000),
        ("Llama-3.1-Tulu-3-8B-SFT", "dpo", 5e-8, 5, 32, 100000),
        ("OLMo-2-1124-7B-SFT", "dpo", 5e-8, 5, 32, 100000),
        ("Llama-3.1-Tulu-3-8B-SFT", "sft", 5e-6, 10, 256, 100000),
    ],
    "sweep_qwen": [
        ("Llama-3.1-Tulu-3-8B-SFT", "dpo", 1e-7, 10, 32, 100000),
        ("Llama-3.1-Tulu-3-8B-SFT", "dpo", 5e-8, 10, 32, 100000),
        ("Llama-3.1-Tulu-3-8B-SFT", "sft", 1e-6, 10, 256, 100000),
    ],
    "tulu3_dpo": [("Llama-3.1-Tulu-3-8B-SFT", "dpo", 5e-7, 5, 128, None)],
    "olmo3_think": [("SFT", "dpo", 8e-8, 5, 128, None), ("SFT", "dpo", 7e-8, 5, 128, None)],
    "olmo3_instruct": [("SFT", "dpo", 1e-6, 5, 128, 259922)],
}


@pytest.mark.parametrize("name", TAUGHT)
def test_training_is_as_it_was_recovered(name: str) -> None:
    """Student, rate, beta and batch of every training that a header tells."""
    found = []
    for words in commands(name):
        if words[1] == "train":
            one = loaded(words)
            method = words[words.index("--method") + 1] if "--method" in words else one.train.method
            args, student = one.train.args, str(one.train.student).partition("/")[2]
            found.append((student, method, args["learning_rate"], args["beta"], one.train.batch, one.collect.limit))
    assert found == TAUGHT[name]


def test_linear_schedules_leave_the_cosines_floor_behind() -> None:
    """A linear schedule takes no floor: with the default one training would stop at its first step."""
    for name in ("tulu3_dpo", "olmo3_think", "olmo3_instruct"):
        args = recipe.load(FOLDER / f"{name}.yaml").train.args
        assert (args["lr_scheduler_type"], args["lr_scheduler_kwargs"], args["warmup_steps"]) == ("linear", {}, 0.1)


@pytest.mark.parametrize(
    ("name", "shape", "pairs"),
    [("sections", LLAMA_3B, 16384), ("self_improvement", LLAMA_8B, 50000), ("post_training", LLAMA_8B, 100000)]
    + [("sweep_qwen", LLAMA_8B, 100000), ("tulu3_dpo", LLAMA_8B, 271409)],
)
def test_the_hours_of_a_header_are_the_arithmetic(name: str, shape: Shape, pairs: int) -> None:
    """600 tokens a side, two sides; and the table's hours are the same ones."""
    tokens = pairs * 1200
    one, eight = (f"{memory.hours(shape, tokens, gpus):.1f} h" for gpus in (1, 8))
    cost = " ".join(header_part(name, "Cost").split())
    assert f"of {shape.parameters / 1e9:.1f}B parameters" in cost
    assert f"{pairs:,} pairs of 600 tokens a side are {tokens:.1e} tokens".replace("e+0", "e") in cost
    assert f"at 400 TFLOP/s a GPU about {one} on one, {eight} on eight" in cost
    row = next(line for line in (FOLDER / "README.md").read_text().splitlines() if f"]({name}.yaml)" in line)
    assert eight in row


def test_the_3b_shape_is_that_models() -> None:
    assert LLAMA_3B.parameters == 3_212_749_824  # as its weights count
    hours = [f"{memory.hours(LLAMA_8B, 21 * 1.2e8, gpus):.1f} h" for gpus in (1, 8)]
    assert f"about {hours[0]} on one, {hours[1]} on eight" in " ".join(header("sweep_qwen"))


@pytest.mark.parametrize("name", ["sections", "self_improvement", "post_training", "sweep_qwen", "ultrafeedback_weak"])
def test_what_was_not_recovered_stays_so(name: str) -> None:
    """In the header and in the table; of E4 the one figure that is known stands there."""
    row = next(line for line in (FOLDER / "README.md").read_text().splitlines() if f"]({name}.yaml)" in line)
    assert "NOT RECOVERED" in header_part(name, "Figure") and "NOT RECOVERED" in row
    known = {"post_training": {"57.2", "63.4"}}.get(name, set())
    assert {*re.findall(r"\b\d\d\.\d\b", header_part(name, "Figure"))} == known


def test_olmo3_takes_as_many_prompts_of_each_source() -> None:
    """Table 19 adds up."""
    pools = recipe.load(FOLDER / "olmo3_think.yaml").collect.pools
    counts = [pool.count or 0 for pool in pools]
    assert len(pools) == 21 and sum(counts) == 200_000
    assert (counts[0], counts[4], counts[-1]) == (40_701, 19_023, 927)
    limit, rungs = 259_922, 4
    assert f"{limit:,} prompts x {rungs} rungs" in header_part("olmo3_instruct", "Cost")
    assert f"{limit * rungs:,} answers" in header_part("olmo3_instruct", "Cost")
    assert f"{limit * rungs * 2048:.1e}".replace("e+0", "e") in header_part("olmo3_instruct", "Cost")
    assert f"{200_000 * 2 * 16_384:.1e}".replace("e+0", "e") in header_part("olmo3_think", "Cost")


# ---- dry runs -------------------------------------------------------------------------------------------------------


def talk(*texts: str) -> list[Turn]:
    """User and assistant in turns."""
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def ran(folder: Path, words: list[str], *sets: str) -> pl.DataFrame:
    """The kept pairs of `deltadata run` with the command's words and more `--set`; nothing is held out."""
    command = ["run", str(ROOT / words[2]), *words[3:], "--set", "holdout=0.0"]
    for one in sets:
        command += ["--set", one]
    if "--run" not in command:
        command += ["--run", "run"]
    code, _, said = in_place(folder, *command)
    assert code == 0, said
    return pl.read_parquet(folder / command[command.index("--run") + 1] / "dataset/data/default/train-*.parquet")


def from_file(path: str, words: list[str]) -> list[str]:
    """What points every pool and rung of a command's recipe at the file."""
    rungs = loaded(words).generate.rungs
    return [f"collect.pools.0.path={path}", *(f"generate.rungs.{i}.responses={path}" for i in range(len(rungs)))]


def texts(pairs: pl.DataFrame) -> Found:
    """Last user turn, chosen and rejected text of each pair, in order of them."""
    last = [pl.col(name).list.last().struct.field("content").alias(name) for name in ("prompt", "chosen", "rejected")]
    return sorted(pairs.select(last).iter_rows())


def bold(prompt: str, sections: int, word: str = "x") -> list[Turn]:
    return talk(prompt, "\n".join(f"**Part {i}**\n{word}" for i in range(sections)))


SECTIONS: list[dict[str, Any]] = [
    {
        "prompt": "not what the cells have",
        "2_sections": bold(prompt, 2),
        "3_sections": bold(prompt, 3),
        "9_sections": bold(prompt, 9),
    }
    for prompt in ("Plan a trip.", "Bake bread.")
]


def test_sections_pair_three_over_two(tmp_path: Path) -> None:
    """Both prompts; the delta is one bold span. Reversed it is minus one, of nine over two seven, tied none."""
    path = write(tmp_path / "sections.jsonl", SECTIONS)
    told = [words for words in commands("sections") if words[1] == "run"]
    three, two, nine = ("\n".join(f"**Part {i}**\nx" for i in range(n)) for n in (3, 2, 9))
    expected = {
        "": (three, two, 1.0),
        "runs/sections_reversed": (two, three, -1.0),
        "runs/sections_9": (nine, two, 7.0),
    }
    tied = [{"chosen": bold(p, 3), "rejected": bold(p, 3, "y")} for p in ("Plan a trip.", "Bake bread.")]
    other = write(tmp_path / "tied.jsonl", tied)
    expected["runs/sections_tied"] = (three, three.replace("x", "y"), 0.0)
    for words in told:
        run = words[words.index("--run") + 1] if "--run" in words else ""
        pairs = ran(tmp_path, words, *from_file(other if run.endswith("tied") else path, words))
        chosen, rejected, delta = expected.pop(run)
        assert texts(pairs) == [(prompt, chosen, rejected) for prompt in ("Bake bread.", "Plan a trip.")]
        assert pairs["delta_bold"].to_list() == [delta, delta]
    assert not expected


def test_self_improvement_chooses_the_students_own(tmp_path: Path) -> None:
    """Over the weaker model's; reversed under the control."""
    columns = ("llama-3.1-8b-instruct", "llama-3.2-3b-instruct")
    rows = [{column: talk(prompt, f"{prompt} {column}") for column in columns} for prompt in ("One?", "Two?")]
    path = write(tmp_path / "ladder.jsonl", rows)
    told = [words for words in commands("self_improvement") if words[1] == "run"]
    for words, (better, worse) in zip(told[:2], (columns, columns[::-1]), strict=True):
        found = texts(ran(tmp_path, words, *from_file(path, words)))
        assert found == [(prompt, f"{prompt} {better}", f"{prompt} {worse}") for prompt in ("One?", "Two?")]
    own = ran(tmp_path, told[2], f"collect.pools.0.path={path}", "generate.engine=scripted")
    assert {*own.select("chosen_model", "rejected_model").iter_rows()} == {("self", "weaker")} and own.height == 2


def ladder_row(prompt: list[str]) -> dict[str, Any]:
    """A row of the released ladder: a column a model, each cell the whole conversation."""
    names = [f"qwen-2.5-{size}-instruct" for size in SIZES] + ["llama-3.2-3b-instruct", "llama-3.2-1b-instruct"]
    return {"prompt": prompt[-1], **{name: talk(*prompt, f"{prompt[-1]} by {name}") for name in names}}


def test_the_released_ladder_makes_every_pairing_of_e4(tmp_path: Path) -> None:
    """The column names the models; an earlier turn is part of the prompt though the column `prompt` lacks it."""
    path = write(tmp_path / "ladder.jsonl", [ladder_row(["Hi", "Hello", "Name a prime."]), ladder_row(["Sing."])])
    pairings = {
        "": ("qwen-2.5-1.5b-instruct", "qwen-2.5-0.5b-instruct"),
        "runs/llama_3b_1b": ("llama-3.2-3b-instruct", "llama-3.2-1b-instruct"),
        "runs/qwen_3b_1.5b": ("qwen-2.5-3b-instruct", "qwen-2.5-1.5b-instruct"),
    }
    for words in commands("post_training"):
        if words[1] == "run":
            pairs = ran(tmp_path, words, *from_file(path, words))
            better, worse = pairings.pop(words[words.index("--run") + 1] if "--run" in words else "")
            assert texts(pairs) == [
                (prompt, f"{prompt} by {better}", f"{prompt} by {worse}") for prompt in ("Name a prime.", "Sing.")
            ]
            assert sorted(len(prompt) for prompt in pairs["prompt"]) == [1, 3]
    assert not pairings


def test_the_sweep_has_all_21_pairs_in_the_order_of_sizes(tmp_path: Path) -> None:
    """Of one prompt, each of the seven over every smaller one."""
    path = write(tmp_path / "ladder.jsonl", [ladder_row(["Sing."])])
    words = ["deltadata", "run", "recipes/sweep_qwen.yaml"]
    pairs = ran(tmp_path, words, *from_file(path, words), "pair.pairings=all")
    expected = {(f"qwen2.5-{a}", f"qwen2.5-{b}") for i, a in enumerate(SIZES) for b in SIZES[i + 1 :]}
    assert {*pairs.select("chosen_model", "rejected_model").iter_rows()} == expected
    assert pairs.height == 21 and pairs["chosen"][0][0]["content"].startswith("Sing. by qwen-2.5-")


def test_the_headline_collects_the_mixtures_prompts(tmp_path: Path) -> None:
    """What comes before the chosen answer is asked of both models."""
    rows = [{"id": "1", "prompt": "b", "chosen": talk("a", "A", "b", "B"), "rejected": talk("a", "A", "b", "C")}]
    path = write(tmp_path / "mixture.jsonl", rows)
    words = ["deltadata", "run", "recipes/delta_8b.yaml"]
    pairs = ran(tmp_path, words, f"collect.pools.0.path={path}", "generate.engine=scripted")
    assert pairs["prompt"].to_list() == [talk("a", "A", "b")]
    assert pairs.select("chosen_model", "rejected_model").rows() == [("qwen2.5-3b", "qwen2.5-1.5b")]


def test_tulu_3s_pairs_are_taken_as_they_are(tmp_path: Path) -> None:
    """A pair a row: of a conversation its last turn, and both pairs of a prompt that stands twice."""
    told = [
        (["Count."], "1, 2", "one"),
        (["Hi", "Hello", "Again?"], "Hello again", "No"),
        (["Count."], "1, 2, 3", "many"),
        (["Same."], "same", "same"),
    ]
    rows = [
        {"id": str(i), "prompt": prompt[0], "chosen": talk(*prompt, a), "rejected": talk(*prompt, b), "source": "s"}
        for i, (prompt, a, b) in enumerate(told)
    ]
    path = write(tmp_path / "mixture.jsonl", rows)
    words = commands("tulu3_dpo")[0]
    pairs = ran(tmp_path, words, *from_file(path, words))
    assert texts(pairs) == [("Again?", "Hello again", "No"), ("Count.", "1, 2", "one"), ("Count.", "1, 2, 3", "many")]
    assert sorted(len(prompt) for prompt in pairs["prompt"]) == [1, 1, 3]


def test_the_judge_alone_asks_the_server() -> None:
    """Its address and key are no business of the engine that answers."""
    asked = recipe.load(FOLDER / "olmo3_instruct.yaml")
    judge = {"base_url": "https://api.openai.com/v1", "api_key_env": "OPENAI_API_KEY"}
    assert runtime_for(asked, "judge", "server") == judge
    assert not runtime_for(asked, "qwen3-32b", "vllm")


def test_olmo3_think_pairs_the_ends_of_every_source(tmp_path: Path) -> None:
    """21 files; 32B over 0.6B for each prompt."""
    words = commands("olmo3_think")[0]
    for pool in loaded(words).collect.pools:
        write(tmp_path / pool.path, [{"prompt": f"A question of {pool.name}?"}])
    pairs = ran(tmp_path, words, "generate.engine=scripted")
    assert pairs["pool"].n_unique() == pairs.height == 21
    assert {*pairs.select("chosen_model", "rejected_model").iter_rows()} == {("qwen3-32b", "qwen3-0.6b")}


def answers(folder: Path, rung: str, words_of: dict[str, int], prompts: dict[str, Any]) -> str:
    """Answers of a rung, so many tokens to each prompt."""
    rows = [
        {"prompt": prompts[key], "response": f"{rung} says {key}", "response_tokens": n} for key, n in words_of.items()
    ]
    return write(folder / f"{rung}.jsonl", rows)


def test_olmo3_instruct_has_a_delta_half_and_a_judged_half(tmp_path: Path) -> None:
    """A prompt has one pair, 32B over 0.6B or best over worst of four; the length limit holds in chat alone."""
    words = commands("olmo3_instruct")[0]
    rungs = ["qwen3-32b", "qwen3-8b", "qwen3-1.7b", "qwen3-0.6b"]
    prompts: dict[str, Any] = {f"chat {i}": f"chat {i}" for i in range(6)}
    names = ["instruction_following", "maths", "code", "science", "safety", "misc"]
    prompts |= {f"{name} {i}": f"{name} {i}" for name in names for i in range(3)}
    prompts |= {f"turn {i}": talk(f"turn {i}", "yes", f"and {i}?") for i in range(4)}
    for name in ("chat", *names):
        mine = [{"prompt": key} for key in prompts if key.startswith(name)]
        write(tmp_path / "olmo3" / f"{name}.jsonl", mine)
    more = [{"messages": [*talk(f"turn {i}", "yes", f"and {i}?", "no")]} for i in range(4)]
    write(tmp_path / "olmo3" / "multi_turn.jsonl", more)
    # Half of the chat and of the conversations is 150 tokens longer on every rung's side than on the rung below it.
    sets, scores = [], []
    for place, rung in enumerate(rungs):
        lengths = {key: 50 + (150 * (3 - place) if key[-1] in "02" else 10 * place) for key in prompts}
        path = answers(tmp_path, rung, lengths, prompts)
        sets.append(f"generate.rungs.{place}={{name: {rung}, responses: {path}}}")
        rated = {"qwen3-32b": 7.0, "qwen3-8b": 9.0, "qwen3-1.7b": 2.0, "qwen3-0.6b": 4.0}[rung]
        scores += [{"prompt": prompt, "model": rung, "score": rated} for prompt in prompts.values()]
    judged = write(tmp_path / "scores.jsonl", scores)
    pairs = ran(tmp_path, words, *sets, f"score=[{{name: judge, scores: {judged}}}]")
    kinds = {
        "order": {("qwen3-32b", "qwen3-0.6b", 3.0)},
        "score": {("qwen3-8b", "qwen3-1.7b", 7.0)},
    }
    facts = pairs.select("preference_type", "chosen_model", "rejected_model", "delta_judge")
    found = {
        kind: {row[1:] for row in facts.iter_rows() if row[0] == kind} for kind in facts["preference_type"].unique()
    }
    assert found == kinds
    kept = {
        prompt: pool
        for prompt, pool in pairs.select(pl.col("prompt").list.last().struct["content"], "pool").iter_rows()
    }
    assert len(kept) == pairs.height
    assert {key for key in kept if key.startswith(("chat", "and"))} == {
        "chat 1",
        "chat 3",
        "chat 4",
        "chat 5",
        "and 1?",
        "and 3?",
    }
    assert sum(pool not in ("chat", "multi_turn") for pool in kept.values()) == 18
