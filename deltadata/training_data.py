"""The pairs that a training reads: those of a run, of a dataset folder or of a dataset on the Hub.

    open_pairs("runs/quickstart", Path("runs/quickstart/train"))

They stay in parquet and are read by row group; what is trained on has a digest, and deltas of its own.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import yaml

from deltadata import hub
from deltadata.dataset import DEFAULT, TEST, TRAIN
from deltadata.errors import UserError, did_you_mean
from deltadata.parquet import groups, open_parquet
from deltadata.tables import CHOSEN, CONTENT, DELTA, MODEL, PROMPT, PROMPT_ID, REJECTED, ROLE, SIDES, of

_HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?")
_LIST = (pa.types.is_list, pa.types.is_large_list)


class Pairs(NamedTuple):
    """`files` by split; `repo` and `commit` for a dataset of the Hub; `licence` as its card states it."""

    told: str
    files: dict[str, list[Path]]
    rows: dict[str, int]
    digest: str
    repo: str | None = None
    commit: str | None = None
    licence: str | None = None


def is_hub(told: str) -> bool:
    """Whether `told` may name a dataset of the Hub."""
    return bool(_HUB.fullmatch(told)) and not told.startswith(".")


def open_pairs(told: str, cache: Path) -> Pairs:
    """The pairs at `told`: a run folder, a dataset folder, or owner/name[@revision] of the Hub (kept in `cache`).

    Raises UserError when there are none, or they are not lists of {role, content} in prompt, chosen and rejected.
    """
    place = Path(told).expanduser()
    if place.is_dir():
        return _local(told, place)
    if is_hub(told):
        return _fetched(told, cache)
    cure = "give a run, a dataset folder or owner/name[@revision] of the Hub"
    raise UserError("no such folder", where=told, cure=cure)


def _local(told: str, place: Path) -> Pairs:
    folder = place / "dataset" if (place / "dataset").is_dir() else place
    for data in (folder / "data" / DEFAULT, folder / "data", folder):
        files = {split: sorted(data.glob(f"{split}-*.parquet")) for split in (TRAIN, TEST)}
        if files[TRAIN]:
            found = _checked(told, {split: paths for split, paths in files.items() if paths})
            return found._replace(licence=_stated(folder / "README.md"))
    cure = "`deltadata run RECIPE` makes a dataset" if folder == place else "run the same recipe with `deltadata run`"
    raise UserError("no pairs to train on (data/default/train-*.parquet)", where=str(folder), cure=cure)


def _fetched(told: str, cache: Path) -> Pairs:
    """Copies of the splits `train` and `test` of the Hub dataset, as parquet, by commit."""
    repo = told.partition("@")[0]
    address = f"{hub.PREFIX}{told}"
    commit = hub.commit(address)
    folder = cache / f"{repo.replace('/', '--')}-{commit[:12]}"
    files = {split: folder / f"{split}-00000-of-00001.parquet" for split in (TRAIN, TEST)}
    if not files[TRAIN].exists():
        _download(repo, commit, address, files)
    found = {split: [path] for split, path in files.items() if path.exists()}
    return _checked(told, found)._replace(repo=repo, commit=commit, licence=hub.licence(address))


def _stated(card: Path) -> str | None:
    """The licence in the header of a dataset's card, if there is one."""
    head = card.read_text(encoding="utf-8").split("---\n") if card.is_file() else []
    told = yaml.safe_load(head[1]) if len(head) > 2 and not head[0] else None
    return (told.get("license_name") or told.get("license")) if isinstance(told, dict) else None


def _download(repo: str, commit: str, address: str, files: dict[str, Path]) -> None:
    import datasets
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    from deltadata.store import atomic

    try:
        found = datasets.load_dataset(f"hf://datasets/{repo}", revision=commit)
    except (DatasetNotFoundError, DatasetsError, ValueError, TypeError) as problem:
        said = " ".join(str(problem).split())
        raise UserError(said, where=address, cure="give a dataset whose config is clear, or download it") from None
    if TRAIN not in found:
        raise UserError("the dataset has no split `train`", where=address, cure=f"its splits: {', '.join(found)}")
    for split in sorted(files, reverse=True):  # `train` last: with it the copy is whole
        if split in found:
            with atomic(files[split]) as temporary:
                found[split].to_parquet(temporary)


def _checked(told: str, files: dict[str, list[Path]]) -> Pairs:
    digest, rows = hashlib.sha256(), dict.fromkeys(files, 0)
    for split, paths in files.items():
        for path in paths:
            with open_parquet(path) as file:
                check_schema(file.schema_arrow, str(path))
                rows[split] += file.metadata.num_rows
            with path.open("rb") as opened:
                digest.update(f"{split} {hashlib.file_digest(opened, 'sha256').hexdigest()}\n".encode())
    if not rows[TRAIN]:
        raise UserError("no row to train on", where=told, cure="loosen the filter of the recipe that made it")
    return Pairs(told, files, rows, digest.hexdigest()[:16])


def check_schema(schema: pa.Schema, where: str) -> None:
    """Raises UserError unless prompt, chosen and rejected are lists of {role, content}."""
    for column in (PROMPT, *SIDES):
        if column not in schema.names:
            cure = f"the columns are prompt, chosen, rejected; {did_you_mean(column, schema.names)}"
            raise UserError(f"no column {column!r}", where=where, cure=cure)
    flat = [
        c for c in (PROMPT, *SIDES) if pa.types.is_string(kind := schema.field(c).type) or kind == pa.large_string()
    ]
    if flat:
        beside = " beside lists of messages" if len(flat) < 3 else ""
        what = f"{', '.join(flat)} {'is' if len(flat) == 1 else 'are'} text{beside}"
        raise UserError(
            what, where=where, cure="each must be a list of {role, content}; `collect` and `import` make them"
        )
    for column in (PROMPT, *SIDES):
        kind = schema.field(column).type
        inner = kind.value_type if any(is_list(kind) for is_list in _LIST) else kind
        if not pa.types.is_struct(inner) or not {ROLE, CONTENT} <= {field.name for field in inner}:
            what = f"{column} is {kind}, not a list of {{role, content}}"
            raise UserError(what, where=where, cure="give the columns as DPOTrainer takes them")


def messages(pairs: Pairs, split: str) -> Iterator[pa.Table]:
    """The messages of a split, and ids where it has them, row group by row group."""
    for path in pairs.files.get(split, ()):
        with open_parquet(path) as file:
            names = file.schema_arrow.names
        without = [name for name in names if name not in (PROMPT, *SIDES, PROMPT_ID)]
        yield from groups(path, without)


def deltas(pairs: Pairs) -> list[dict[str, Any]]:
    """Per pairing of what is trained on: pairs, and the mean of every `delta_*` column; one row without models."""
    found = []
    for path in pairs.files[TRAIN]:
        with open_parquet(path) as file:
            names = file.schema_arrow.names
        keys = [of(side, MODEL) for side in SIDES]
        wanted = [name for name in names if name.startswith(DELTA) or name in keys]
        found += (
            [pl.DataFrame(group) for group in groups(path, [n for n in names if n not in wanted])] if wanted else []
        )
    if not found:
        return [{CHOSEN: "-", REJECTED: "-", "pairs": pairs.rows[TRAIN], "deltas": {}}]
    frame = pl.concat(found, how="diagonal_relaxed")
    keys = [key for key in (of(CHOSEN, MODEL), of(REJECTED, MODEL)) if key in frame.columns]
    means = [pl.col(name).mean() for name in frame.columns if name.startswith(DELTA)]
    grouped = (
        frame.group_by(keys, maintain_order=True).agg(pl.len().alias("pairs"), *means)
        if keys
        else frame.select(pl.len().alias("pairs"), *means)
    )
    return [
        {
            CHOSEN: row.get(of(CHOSEN, MODEL), "-"),
            REJECTED: row.get(of(REJECTED, MODEL), "-"),
            "pairs": row["pairs"],
            "deltas": {name.removeprefix(DELTA): row[name] for name in row if name.startswith(DELTA)},
        }
        for row in grouped.to_dicts()
    ]
