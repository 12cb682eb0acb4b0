"""Commands of a student: train, check, evaluate, compare.

deltadata train runs/quickstart
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from deltadata.cli_types import RunFolder, Sets
from deltadata.ends import resumable

Source = Annotated[
    str, typer.Argument(metavar="RECIPE|RUN", help="a recipe, a run or dataset folder, or owner/name of the Hub")
]


def train(
    source: Source,
    method: Annotated[
        str | None, typer.Option(help="dpo, or sft: the chosen side alone [default: the recipe's]")
    ] = None,
    set_: Sets = [],
    run: RunFolder = None,
    student: Annotated[str | None, typer.Option(help="a directory or owner/name [default: the recipe's]")] = None,
    push: Annotated[str | None, typer.Option(help="upload the trained model to owner/name")] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="train anew what the recipe no longer describes")
    ] = False,
) -> None:
    """DPO or SFT by TRL on a run's pairs, after a preflight; resumes after a kill."""
    main = os.environ.get("RANK", "0") == "0"
    from deltadata import trainings
    from deltadata.screen import Screen

    asked = trainings.asked(source, set_, run, method, student)
    with resumable(asked.folder, "the last checkpoint is"):
        folder = trainings.run_training(asked, Screen(), overwrite)
    if push and main:
        from deltadata.model_push import push_model

        screen = Screen()
        screen.note(f"pushed: {push_model(folder, push, trainings.RECORD, screen)}")


def check(
    source: Source,
    tokenizer: Annotated[
        str | None, typer.Option(help="a model directory or owner/name [default: the student]")
    ] = None,
    set_: Sets = [],
    run: RunFolder = None,
) -> None:
    """What the student's tokenizer and window make of the pairs: cut, dropped, shifted; nothing is trained."""
    from deltadata import trainings
    from deltadata.screen import Screen

    trainings.check(trainings.asked(source, set_, run), tokenizer, Screen())


def evaluate(
    source: Source,
    model: Annotated[str, typer.Option(help="the trained student: a directory or owner/name")],
    reference: Annotated[
        str | None, typer.Option(help="what it was trained from [default: as its record says]")
    ] = None,
    name: Annotated[str | None, typer.Option(help="its folder in evaluate/ [default: the directory's name]")] = None,
    limit: Annotated[
        int | None, typer.Option(help="the first N held-out pairs, and items of a benchmark", min=1)
    ] = None,
    engine: Annotated[str | None, typer.Option(help="transformers or vllm [default: the recipe's]")] = None,
    measure: Annotated[
        str | None, typer.Option(help="whose delta the bins are of [default: the report's lead]")
    ] = None,
    bins: Annotated[int, typer.Option(help="bins of the delta", min=1, max=50)] = 4,
    no_fresh: Annotated[bool, typer.Option("--no-fresh", help="log-probs alone, no answers")] = False,
    suite: Annotated[str | None, typer.Option(help="all, or names: gsm8k,ifeval (list: what each needs)")] = None,
    data: Annotated[Path | None, typer.Option(help="the benchmarks' files; without it the Hub is asked")] = None,
    baseline: Annotated[list[str], typer.Option(help="another model for the suite's table")] = [],
    allow_code: Annotated[bool, typer.Option("--allow-code", help="let the suite run code that models wrote")] = False,
    judged: Annotated[Path | None, typer.Option(help="AlpacaEval's leaderboard.csv of a judge")] = None,
    set_: Sets = [],
    run: RunFolder = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="let the name go to another model")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="evaluate.json on stdout")] = False,
) -> None:
    """A trained student against what it came from: held-out margins by delta, fresh answers, benchmarks."""
    from deltadata import trainings
    from deltadata.evaluate import Told
    from deltadata.evaluations import run_evaluation
    from deltadata.screen import Screen
    from deltadata.suite import Bench

    asked = trainings.asked(source, set_, run)
    told = Told(model, reference, name, limit, engine, measure, bins, not no_fresh, overwrite)
    bench = Bench(suite, data, tuple(baseline), allow_code, judged) if suite else None
    with resumable(asked.run, "finished parts are"):
        facts = run_evaluation(asked, told, bench, Screen())
    if as_json:
        print(json.dumps(facts, ensure_ascii=False, indent=1))


def compare(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="runs, or folders in RUN/evaluate/")],
    out: Annotated[Path, typer.Option(help="the picture")] = Path("compare.png"),
    as_json: Annotated[bool, typer.Option("--json", help="every evaluate.json on stdout, by name")] = False,
) -> None:
    """Several evaluations: one table, one picture."""
    from deltadata import compare
    from deltadata.screen import Screen

    found = compare.found(runs)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    screen = Screen()
    for title, rows in compare.tables(found).items():
        screen.rows(title, rows)
    for line in compare.unlike(found):
        screen.note(line)
    if compare.draw(found, out):
        screen.note(f"picture: {out}")
