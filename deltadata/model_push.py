"""A trained model to the Hub, in one commit: model files, card, record, log and picture; no checkpoint.

push_model(Path("runs/quickstart/train/dpo"), "me/my-student", Screen())
"""

from __future__ import annotations

from pathlib import Path

from deltadata.errors import UserError
from deltadata.generate import Progress
from deltadata.publish import CARD
from deltadata.remote import Remote, Target, Tree


def files(folder: Path) -> dict[str, int]:
    """What goes up, with sizes: the files at the top of a finished training's folder, the card last."""
    found = [path for path in folder.iterdir() if path.is_file() and not path.name.startswith(".")]
    if not any(path.suffix == ".safetensors" for path in found):
        raise UserError("no model here", where=str(folder), cure="deltadata train RECIPE makes one")
    return {path.name: path.stat().st_size for path in sorted(found, key=lambda path: (path.name == CARD, path.name))}


def push_model(folder: Path, repo: str, record: str, progress: Progress) -> str:
    """Upload the folder's files to the private model repository `repo`, made where it is missing; the commit's address.

    Raises UserError for no access, a wrong name or a repository that holds other things than a student of ours;
    OutsideError when the Hub does not answer.
    """
    hub = Remote(Tree(folder, files(folder), repo, folder.name, "model", record), Target(), progress)
    hub.check_token()
    hub.create()
    commit, _ = hub.commit(hub.head())
    return f"{hub.api.endpoint}/{repo}/tree/{commit}"
