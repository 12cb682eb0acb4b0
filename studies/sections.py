"""Sections (the paper's E2 at laptop size): does training on three bold sections over two teach more than three?

    python studies/sections.py [--quick] [--folder runs/study]

The student answers topics under one neutral prompt; of its own answers those with exactly three bold sections are
chosen over those with exactly two. Arms: up (3 over 2), reversed, tied (3 over another 3), SFT on the chosen side. The
attribute is counted in fresh answers to other topics, checkpoint by checkpoint. Weights are not kept, answers are.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator
from functools import partial
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl

from deltadata import tables
from deltadata.store import write_json
from deltadata.tables import FINISH, PROMPT_ID, RESPONSE, RESPONSE_TOKENS
from studies import common, sections_figures
from studies.common import ROOT, kept, run, say, side_by_side, timed, write_lines
from studies.sections_figures import BASE, CHOSEN, LOOPS, REJECTED, counted

NAME = "sections"
RECIPES = ROOT / "recipes" / "study"
TOPICS = RECIPES / "sections_topics.txt"
# One answer that shows the form. It stands before every topic, trained on or not, so that it favours no side.
EXAMPLE = (
    "**Origins:** Coffee comes from the highlands of Ethiopia.\n\n"
    "**Taste:** Roasting gives the beans their dark colour and bitter taste."
)
STRIDE, TEST, DEVELOPMENT = 8, (0, 1), (2,)  # of every eight topics: held out, for the search of rates, for training
LENGTH_DELTA, A_TOPIC = 15, 3  # tokens between the sides of a pair; pairs of one topic
SFT = "sft"
ARMS: dict[str, list[str]] = {
    "up": [],
    "reversed": ["pair.control=reversed"],
    "tied": ["pair.control=tied", "filter.rules=[texts_differ]"],
    SFT: [],
}


class Answer(NamedTuple):
    tokens: int
    text: str


class Size(NamedTuple):
    """How much is done; `split` names the topics that fresh answers are about."""

    seeds: tuple[int, ...] = (1, 2, 3)
    answers: int = 16  # of the student, a topic
    topics: int = 160
    drawn: int = 64  # topics that a seed draws of those that have pairs
    steps: int = 18  # no pair of `up` is seen twice
    every: int = 6  # steps from checkpoint to checkpoint
    fresh: int = 2  # answers a held-out topic
    split: str = "test"
    student: str = "models/smollm2-135m-instruct"
    engine: str = "vllm"


FULL, QUICK = Size(), Size(seeds=(1,), answers=8, topics=64, drawn=32, steps=8, every=8, fresh=1)


def main(folder: Path, quick: bool) -> dict[str, Any]:
    """Everything that is not done yet; writes and returns figures.json, draws sections.png, in <folder>/sections."""
    return study(folder.resolve() / NAME, QUICK if quick else FULL, quick)


def study(home: Path, size: Size, quick: bool) -> dict[str, Any]:
    """The study of this size in `home`. Raises Failed where another one lies there, or a command ends badly."""
    refuse_other(home, size)
    files = prompts(home, size)
    # The untrained student needs no pairs: it answers beside itself.
    first = [partial(answers, home, size, files["train"]), *(partial(one, home, size, BASE, s) for s in size.seeds)]
    side_by_side(first)
    facts = pairs(home, counted(home / "answers", "student"))
    say(f"{NAME}: {facts['pairs']['pairs']} pairs, {facts['tied']['pairs']} tied ones")
    side_by_side(partial(data, home, size, arm, seed) for seed in size.seeds for arm in ARMS if arm != SFT)
    side_by_side(partial(one, home, size, arm, seed) for seed in size.seeds for arm in ARMS)
    found = sections_figures.figures(home, size, facts, [BASE, *ARMS])
    found |= {"quick": quick, "size": size._asdict(), "machine": common.machine(), "seconds": common.seconds(home)}
    write_json(home / "figures.json", found)
    sections_figures.draw(found, home / f"{NAME}.png")
    say(f"{NAME}: {home / 'figures.json'}")
    return found


def refuse_other(home: Path, size: Size) -> None:
    """Raises Failed where what lies in `home` was made with another size, other arms or other recipes."""
    files = [*sorted(RECIPES.glob("sections*.yaml")), TOPICS]
    texts = [[line for line in file.read_text(encoding="utf-8").splitlines() if line[:1] != "#"] for file in files]
    told = json.loads(json.dumps({"size": size._asdict(), "rest": tables.fingerprint([texts, ARMS, EXAMPLE])}))
    if (there := kept(home / "made_by.json", lambda: told)) != told:
        raise common.Failed(f"{home} holds another study of sections ({there}): give another --folder, or remove it")


def conversation(topic: str) -> list[dict[str, str]]:
    """The neutral prompt: the example, then the topic."""
    turns = (("user", "Tell me about coffee."), ("assistant", EXAMPLE), ("user", f"Tell me about {topic}."))
    return [{"role": role, "content": content} for role, content in turns]


def split(topics: list[str]) -> dict[str, list[str]]:
    """Topics by what they are for; no topic is in two."""
    found: dict[str, list[str]] = {"train": [], "test": [], "development": []}
    for place, topic in enumerate(topics):
        at = place % STRIDE
        found["test" if at in TEST else "development" if at in DEVELOPMENT else "train"].append(topic)
    return found


def prompts(home: Path, size: Size) -> dict[str, Path]:
    """The prompts of each split as JSONL."""
    by_split = split(TOPICS.read_text(encoding="utf-8").split("\n")[:-1])
    by_split["train"] = by_split["train"][: size.topics]
    return {
        name: write_lines(home / f"prompts_{name}.jsonl", ({"prompt": conversation(topic)} for topic in topics))
        for name, topics in by_split.items()
    }


def answers(home: Path, size: Size, pool: Path) -> None:
    """The student's own answers to the training topics, to <home>/answers."""
    folder, recipe = home / "answers", RECIPES / "sections_answers.yaml"
    sets = [f"collect.pools.0.path={pool}", f"generate.sampling.samples={size.answers}"]
    if not (folder / "done.json").exists():
        say(f"{NAME}: the student answers {size.topics} topics {size.answers} times")
        with timed(home, "answers"):
            steps(("collect", "generate"), recipe, folder, sets)
        write_json(folder / "done.json", {})


def steps(commands: Iterable[str], recipe: Path, folder: Path, sets: Iterable[str]) -> None:
    """These commands of the product, one after the other."""
    for command in commands:
        run(command, recipe, "--run", folder, *_set(sets), log=folder.with_name(f"{folder.name}.log"))


def _set(sets: Iterable[str]) -> Iterator[str]:
    for each in sets:
        yield from ("--set", each)


def pairs(home: Path, found: pl.DataFrame) -> dict[str, Any]:
    """Write pairs.jsonl and tied.jsonl (a row an answer) and return what is known of answers and pairs."""
    prompts = {tables.prompt_id(row["prompt"]): row["prompt"] for row in lines(home / "prompts_train.jsonl")}
    rows: dict[str, list[dict[str, Any]]] = {"pairs": [], "tied": []}
    lengths: dict[str, list[tuple[int, int]]] = {"pairs": [], "tied": []}
    for (prompt_id,), own in found.group_by(PROMPT_ID, maintain_order=True):
        prompt = prompts[str(prompt_id)]
        chosen, rejected = (usable(own, n) for n in (CHOSEN, REJECTED))
        for better, worse in matched(product(chosen, rejected), LENGTH_DELTA):
            lengths["pairs"].append((better.tokens, worse.tokens))
            rows["pairs"] += [_row(prompt, CHOSEN, better), _row(prompt, REJECTED, worse)]
        for two in matched(combinations(chosen, 2), None) if rejected else ():
            # The longer one is chosen while the chosen were not longer so far: on the whole length teaches nothing.
            tied = sorted(two, reverse=sum(chose - other for chose, other in lengths["tied"]) <= 0)
            lengths["tied"].append((tied[0].tokens, tied[1].tokens))
            rows["tied"] += [_row(prompt, CHOSEN, one) for one in tied] + [_row(prompt, REJECTED, rejected[0])]
    for name, told in rows.items():
        write_lines(home / f"{name}.jsonl", told)
    return told_of(found) | {name: told_of_pairs(both) for name, both in lengths.items()}


def _row(prompt: list[dict[str, str]], sections: int, answer: Answer) -> dict[str, Any]:
    return {"prompt": prompt, "sections": sections, RESPONSE: answer.text, RESPONSE_TOKENS: answer.tokens}


def usable(own: pl.DataFrame, sections: int) -> list[Answer]:
    """The answers that ended, do not loop and have exactly so many sections, no heading twice; no text twice."""
    held = own.filter(
        pl.col(FINISH) == "stop",
        pl.col("repetition") < LOOPS,
        pl.col("sections") == sections,
        pl.col("distinct") == sections,
    )
    return [*dict.fromkeys(Answer(*row) for row in held.select(RESPONSE_TOKENS, RESPONSE).rows())]


def matched(found: Iterable[tuple[Answer, Answer]], most: int | None) -> list[tuple[Answer, Answer]]:
    """Up to A_TOPIC pairs without a common answer, those of most equal length first, none further apart than `most`.

    So that length teaches as little as can be.
    """
    taken: list[tuple[Answer, Answer]] = []
    for two in sorted(found, key=lambda two: abs(two[0].tokens - two[1].tokens)):
        apart, free = abs(two[0].tokens - two[1].tokens), not any({*two} & {*other} for other in taken)
        if free and len(taken) < A_TOPIC and (most is None or apart <= most):
            taken.append(two)
    return taken


def told_of(found: pl.DataFrame) -> dict[str, Any]:
    """Facts of the student's own answers."""
    counts = found["sections"].cast(pl.Int64).value_counts().sort("sections")
    return {
        "answers": found.height,
        "sections_of_answers": {str(n): count for n, count in counts.rows()},
        "sections_tokens_correlation": found.select(pl.corr("sections", RESPONSE_TOKENS).fill_nan(None)).item(),
    }


def told_of_pairs(lengths: list[tuple[int, int]]) -> dict[str, Any]:
    """How many, and their lengths in tokens: of both sides, the difference, how often the chosen is longer."""
    frame = pl.DataFrame(lengths, schema={"chosen": pl.Float64, "rejected": pl.Float64}, orient="row")
    delta = frame["chosen"] - frame["rejected"]
    told = {
        "pairs": len(lengths),
        "chosen_tokens": frame["chosen"].mean(),
        "rejected_tokens": frame["rejected"].mean(),
    }
    return told | {"delta_mean": delta.mean(), "delta_sd": delta.std(), "longer": (delta > 0).mean()}


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def data(home: Path, size: Size, arm: str, seed: int) -> None:
    """The arm's dataset by `deltadata run`; SFT takes the chosen side of that of `up`."""
    folder = home / "data" / f"{arm}-{seed}"
    if not (folder / "dataset" / "record.json").exists():
        with timed(home, "datasets"):
            steps(["run"], RECIPES / "sections.yaml", folder, sets(home, size, arm, seed))


def sets(home: Path, size: Size, arm: str, seed: int) -> list[str]:
    """What an arm and a seed change of recipes/study/sections.yaml. The seed draws the topics and orders the pairs."""
    file = home / ("tied.jsonl" if arm == "tied" else "pairs.jsonl")
    places = ["collect.pools.0.path", "generate.rungs.0.responses", "generate.rungs.1.responses"]
    told = [f"{place}={file}" for place in places] + [f"seed={seed}", f"collect.limit={size.drawn}"]
    told += [
        f"train.args.max_steps={size.steps}",
        f"train.args.save_steps={size.every}",
        f"train.student={size.student}",
    ]
    return told + ARMS[arm]


def one(home: Path, size: Size, arm: str, seed: int) -> None:
    """Train one arm, let its checkpoints answer, drop the weights. Of `base` the answers alone."""
    done, folder = home / "arms" / f"{arm}-{seed}.json", home / "data" / f"{'up' if arm == SFT else arm}-{seed}"
    method = SFT if arm == SFT else "dpo"
    if not done.exists():
        say(f"{NAME}: {arm}, seed {seed}")
        rungs = {BASE: size.student}
        facts: dict[str, Any] = {}
        if arm != BASE:
            with timed(home, f"training, {method}"):
                train(home, size, arm, seed, folder, method)
            facts = json.loads((folder / "train" / method / "train.json").read_text())["tables"]["train"]
            rungs = {
                f"step-{step:03}": str(folder / "train" / method / "checkpoints" / f"checkpoint-{step}")
                for step in range(size.every, size.steps + 1, size.every)
            }
        with timed(home, "fresh answers"):
            fresh(home, size, f"{arm}-{seed}", seed, rungs)
        write_json(done, facts)
    shutil.rmtree(folder / "train" / method / "checkpoints", ignore_errors=True)
    (folder / "train" / method / "model.safetensors").unlink(missing_ok=True)


def train(home: Path, size: Size, arm: str, seed: int, folder: Path, method: str) -> None:
    log = home / "data" / f"{arm}-{seed}-train.log"
    recipe, told = RECIPES / "sections.yaml", sets(home, size, arm, seed)
    run("train", recipe, "--run", folder, "--method", method, *_set(told), log=log)


def fresh(home: Path, size: Size, name: str, seed: int, rungs: dict[str, str]) -> None:
    """The held-out topics, answered by these models."""
    named = json.dumps([{"name": rung, "model": model} for rung, model in rungs.items()])
    told = [f"collect.pools.0.path={home / f'prompts_{size.split}.jsonl'}", f"generate.rungs={named}", f"seed={seed}"]
    told += [f"generate.sampling.samples={size.fresh}", f"generate.engine={size.engine}"]
    steps(("collect", "generate"), RECIPES / "sections_fresh.yaml", home / "fresh" / name, told)


if __name__ == "__main__":
    common.command(main)
