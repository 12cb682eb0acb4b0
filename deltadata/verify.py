"""Proof that the Hub gives back what was written: every config, loaded and streamed, row for row.

deltadata verify me/delta-pairs         # against the record that lies beside its data
deltadata verify runs/quickstart        # the commit that was pushed, against the run's own record
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa

from deltadata.content import Content
from deltadata.dataset import feature
from deltadata.errors import OutsideError, UserError, need
from deltadata.generate import Progress
from deltadata.hub import asking
from deltadata.job import DATASET, PUSH
from deltadata.sections import REPO
from deltadata.store import RECORD, disk, read_record

BATCH = 1000


class Published(NamedTuple):
    """A dataset on the Hub at one commit, and what it must hold (the record's splits)."""

    repo: str
    commit: str
    splits: list[dict[str, Any]]


def published(target: str) -> Published:
    """What `target`, a run folder or owner/name[@revision] on the Hub, stands for.

    Raises UserError when it is neither, was never pushed or has no record; OutsideError when the Hub does not answer.
    """
    if Path(target).is_dir():
        record = read_record(Path(target))[1]
        if PUSH not in record:
            cure = f"deltadata push {target} --repo owner/name"
            raise UserError("this run was not pushed yet", where=target, cure=cure)
        pushed = record[PUSH]
        return Published(pushed.spec["repo"], pushed.facts["commit"], pushed.facts["splits"])
    repo, _, revision = target.partition("@")
    if not re.fullmatch(REPO, repo):
        cure = "give a run folder, or owner/name[@revision]"
        raise UserError("neither a run folder nor a dataset on the Hub", where=target, cure=cure)
    commit, told = remote_record(repo, revision or None)
    return Published(repo, commit, told["tables"][DATASET]["facts"]["splits"])


def remote_record(repo: str, revision: str | None) -> tuple[str, dict[str, Any]]:
    """The commit and its record.json. Raises UserError when there is none, or it is not deltadata's."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError

    with asking(repo, revision=revision):
        commit = str(HfApi().dataset_info(repo, revision=revision).sha)
        try:
            path = hf_hub_download(repo, RECORD, repo_type="dataset", revision=commit)
        except EntryNotFoundError:
            cure = "only datasets that `deltadata push` made have one"
            raise UserError(f"it has no {RECORD}", where=f"{repo}@{commit[:12]}", cure=cure) from None
    try:
        told = json.loads(Path(path).read_text(encoding="utf-8"))
        told["recipe"], told["tables"][DATASET]["facts"]["splits"][0]["content"]
    except (ValueError, KeyError, TypeError, IndexError):
        what, cure = f"its {RECORD} is not one of deltadata's", "give a dataset that `deltadata push` made"
        raise UserError(what, where=f"{repo}@{commit[:12]}", cure=cure) from None
    return commit, told


def verify(target: Published, progress: Progress) -> list[dict[str, Any]]:
    """Load and stream every config at the commit; one row per config and split.

    Nothing of a cache is used. Raises OutsideError naming every difference; UserError without `datasets`.
    """
    need("datasets", "hub").disable_progress_bars()
    found = []
    with tempfile.TemporaryDirectory(prefix="deltadata-verify-") as cache, disk(Path(cache)):
        for split in target.splits:
            for how in ("loaded", "streamed"):
                progress.note(f"reading back {target.repo}: {split['config']}/{split['split']}, {how}")
                with asking(f"{target.repo}@{target.commit[:12]}", "the commit stands"):
                    found.append(_compared(target, split, how, cache))
    wrong = [f"{row['config']}/{row['split']} {row['how']}: {row['differs']}" for row in found if row["differs"]]
    if wrong:
        raise OutsideError(
            "the Hub does not give back what was written: " + "; ".join(wrong),
            where=f"{target.repo}@{target.commit[:12]}",
            cure="push again; if it stays so, files of the repository were changed by hand",
        )
    return found


def _compared(target: Published, split: dict[str, Any], how: str, cache: str) -> dict[str, Any]:
    from datasets.exceptions import DatasetsError

    try:
        rows, features, content = _read(target, split, how, cache)
    except (ValueError, TypeError, DatasetsError) as problem:  # a header or a file that cannot be read
        differs = " ".join(str(problem).split())[:300]
        return {"config": split["config"], "split": split["split"], "how": how, "rows": None, "differs": differs}
    wrong = [f"{rows} rows, not {split['rows']}"] if rows != split["rows"] else []
    wrong += ["other columns"] if features != split["features"] else []
    wrong += ["other values"] if not wrong and content != split["content"] else []
    return {
        "config": split["config"],
        "split": split["split"],
        "how": how,
        "rows": rows,
        "content": content[:16],
        "differs": ", ".join(wrong),
    }


def _read(target: Published, split: dict[str, Any], how: str, cache: str) -> tuple[int, list[dict[str, Any]], str]:
    import datasets

    loaded = datasets.load_dataset(
        f"hf://datasets/{target.repo}",  # with this prefix a local folder of the same name is not taken for it
        split["config"],
        split=split["split"],
        revision=target.commit,
        streaming=how == "streamed",
        cache_dir=cache,
    )
    content, schema = Content(), pa.schema([])
    batches: Iterable[pa.Table] = loaded.with_format("arrow").iter(batch_size=BATCH)
    for batch in batches:
        content.add(batch)
        schema = batch.schema
    return content.rows, [feature(field) for field in schema], content.hexdigest()
