"""One commit on the Hub that holds exactly what lies in `dataset/`, then read back and compared.

    deltadata push runs/quickstart --repo me/delta-pairs --dry-run
    deltadata push runs/quickstart --repo me/delta-pairs            # private; the token is that of `hf auth login`

Killed or cut off, it is run again: what reached the Hub is not sent twice, and nobody sees any of it before the commit.
"""

from __future__ import annotations

import json
import re
import time
from typing import Any

from deltadata import card, licences
from deltadata.errors import UserError, need
from deltadata.generate import Progress
from deltadata.job import DATASET, FILTER, PUSH
from deltadata.publish import CARD, RECIPE, published, write_card
from deltadata.recipe import Recipe, load
from deltadata.remote import Remote, Target, Tree
from deltadata.reports import JSON_FILE
from deltadata.sections import REPO
from deltadata.store import RECORD, Run, disk, whole, write_json
from deltadata.verify import Published, verify


def prepare(run: Run, repo: str | None) -> tuple[Tree, Recipe]:
    """The tree to push, its card speaking of `repo` (None: the recipe's own), and the recipe that lies in it.

    Raises UserError when the dataset is not made or was changed since, when no repository is named, and when a part's
    licence stops it.
    """
    entry = run.entry(DATASET, "deltadata run RECIPE makes it")
    folder = run.path / DATASET
    cure = "deltadata run RECIPE makes the folder anew"
    if FILTER not in run.record or entry.inputs[FILTER] != run.record[FILTER].fingerprint:
        raise UserError("older than the run's pairs", where=str(folder), cure=cure)
    changed = [name for name, size in entry.files.items() if not whole(run.path / name, size)]
    if changed:
        raise UserError(f"changed since the run ended: {', '.join(changed[:3])}", where=str(folder), cure=cure)
    recipe = load(folder / RECIPE)
    to = repo or recipe.push.repo
    if to is None:
        cure = "add --repo owner/name, or `push: {repo: owner/name}` to the recipe"
        raise UserError("no repository is named", where=str(run.path), cure=cure)
    if not re.fullmatch(REPO, to):
        raise UserError(f"{to!r} is no repository", where="--repo", cure="give owner/name")
    licences.refuse(card.licences(recipe, run.record), recipe.push.accept)
    _address(run, recipe, to)
    names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    names.sort(key=lambda name: (name == CARD, name))
    files = {name: (folder / name).stat().st_size for name in names}
    return Tree(folder, files, to, recipe.name, splits=entry.facts["splits"]), recipe


def _address(run: Run, recipe: Recipe, repo: str) -> None:
    """Let the card speak of `repo`."""
    entry, report = run.record[DATASET], run.path / JSON_FILE
    if not report.exists():
        raise UserError("the report is missing", where=str(report), cure=f"deltadata report {run.path}")
    told = json.loads(report.read_text(encoding="utf-8"))
    named = recipe.model_copy(update={"push": recipe.push.model_copy(update={"repo": repo})})
    folder = run.path / DATASET
    before = (folder / CARD).read_bytes()
    with disk(folder):
        write_card(folder, named, run.record, entry.facts, told)
        if (folder / CARD).read_bytes() == before:
            return
        size = {f"{DATASET}/{CARD}": (folder / CARD).stat().st_size}
        run.record[DATASET] = entry._replace(files=entry.files | size)
        write_json(folder / RECORD, published(run))
    run.save()


def push(run: Run, tree: Tree, target: Target, progress: Progress) -> dict[str, Any]:
    """Upload the tree and prove it; returns what the record keeps: commit, url, the files sent, the proof.

    Raises UserError (no token or right, another run's data, a tag that exists) before anything is sent, and
    OutsideError when the Hub fails for good: it then holds what it held before, or all of the commit.
    """
    need("datasets", "hub")  # the proof needs it: better told now
    began = time.monotonic()
    hub = Remote(tree, target, progress)
    hub.check_token()
    made = hub.create()
    head = hub.head()
    hub.check_tag(head)
    commit, sent = hub.commit(head)
    hub.tag(commit)
    proof = verify(Published(tree.repo, commit, list(tree.splits)), progress)
    if not target.private and not made:
        hub.publish(commit)
    facts = {
        "commit": commit,
        "url": f"{hub.api.endpoint}/datasets/{tree.repo}/tree/{commit}",
        "sent": {name: tree.files[name] for name in sent},
        "splits": list(tree.splits),
        "proof": proof,
    }
    rows = sum(split["rows"] for split in tree.splits)
    spec = {"repo": tree.repo} | target._asdict()
    run.finish(PUSH, rows, time.monotonic() - began, spec, {DATASET: run.record[DATASET].fingerprint}, facts)
    return facts
