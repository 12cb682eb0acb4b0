"""A trained model to the Hub, in one commit: model files, card, record, log and picture; no checkpoint.

push_model(Path("runs/quickstart/train/dpo"), "me/my-student")
"""

from __future__ import annotations

from pathlib import Path

from deltadata.errors import UserError


def files(folder: Path) -> list[Path]:
    """What goes up: the files at the top of a finished training's folder."""
    found = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    if not any(path.suffix == ".safetensors" for path in found):
        raise UserError("no model here", where=str(folder), cure="deltadata train RECIPE makes one")
    return found


def push_model(folder: Path, repo: str, private: bool = True) -> str:
    """Upload the folder's files to the model repository `repo` (made where it is missing); the commit's address.

    Raises UserError for no access or a wrong name, OutsideError when the Hub does not answer.
    """
    from huggingface_hub import CommitOperationAdd, HfApi
    from huggingface_hub.errors import HFValidationError

    from deltadata.hub import _failed, _failures

    api = HfApi()
    operations = [CommitOperationAdd(path.name, str(path)) for path in files(folder)]
    try:
        api.create_repo(repo, private=private, exist_ok=True)
        made = api.create_commit(repo, operations, commit_message="A student trained with deltadata")
    except HFValidationError as problem:
        raise UserError(str(problem), where=repo, cure="give owner/name") from None
    except _failures() as problem:
        raise _failed(repo, problem) from None
    return str(made.commit_url)
