"""Commands that speak with the Hub: push, verify, pull.

deltadata push runs/quickstart --dry-run
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deltadata.errors import UserError

Repo = Annotated[str, typer.Argument(metavar="REPO", help="owner/name[@revision] on the Hub")]


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


def verify(
    target: Annotated[str, typer.Argument(metavar="REPO|RUN", help="owner/name[@revision], or a run that was pushed")],
) -> None:
    """Read a pushed dataset back from the Hub and compare rows, columns and values."""
    from deltadata import verify
    from deltadata.screen import Screen

    screen = Screen()
    screen.proof(verify.verify(verify.published(target), screen))
    screen.note(f"{target}: every config gives back what was written")


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
