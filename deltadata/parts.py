"""A rung's responses on disk: `responses/<rung>/part-00000.parquet ...`, each with what made it in its footer.

A part is written under a temporary name and renamed: what lies there is whole. The footer holds the spec (the recipe's
fields that shape the text) and the engine's facts, so that a run killed before its record knows what it may continue.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from deltadata import tables
from deltadata.engines import Completion
from deltadata.models import NOTE
from deltadata.parquet import groups, open_parquet, read_columns, write_table
from deltadata.recipe import Recipe
from deltadata.rows import digest
from deltadata.sections import Rung
from deltadata.store import changes
from deltadata.tables import RESPONSES

SPEC, FACTS, DIGEST = b"deltadata.spec", b"deltadata.facts", b"deltadata.digest"
NAME = "part-{:05d}.parquet"
_NO_KEYS = tables.empty(RESPONSES).select(RESPONSES.key)


class Parts(NamedTuple):
    """The files in order of their number, how many rows they hold, and what made them (different values once each)."""

    files: list[Path]
    rows: int
    specs: list[dict[str, Any]]
    facts: list[dict[str, Any]]
    digests: list[str]

    @property
    def keys(self) -> pl.DataFrame:
        """The keys of all rows, in order; read each time."""
        return pl.concat([_NO_KEYS, *(read_columns(path, RESPONSES.key) for path in self.files)])

    @property
    def inputs(self) -> dict[str, Any]:
        """What a table made from these parts depends on: a part made anew with other texts has another digest."""
        return {"rows": self.rows, "parts": len(self.files), "digest": tables.fingerprint(self.digests)}


def folder(run: Path, rung: str) -> Path:
    return run / RESPONSES.name / rung


def read(run: Path, rung: str) -> Parts:
    """Raises UserError naming a part that cannot be read."""
    files = sorted(folder(run, rung).glob("part-*.parquet"))
    rows = 0
    specs: list[dict[str, Any]] = []
    facts: list[dict[str, Any]] = []
    digests: list[str] = []
    for path in files:
        status = path.stat()
        part_rows, told = _rows_and_footer(path, status.st_ino, status.st_mtime_ns, status.st_size)
        rows += part_rows
        digests.append(told.get(DIGEST, b"").decode())
        for key, found in ((SPEC, specs), (FACTS, facts)):
            value = json.loads(told.get(key, b"{}"))
            if value not in found:
                found.append(value)
    return Parts(files, rows, specs, facts, digests)


@cache
def _rows_and_footer(path: Path, _inode: int, _changed: int, _size: int) -> tuple[int, dict[bytes, bytes]]:
    """Read once for each state of the file: the stages ask for a rung's parts several times in one run."""
    with open_parquet(path, RESPONSES.schema) as file:
        return file.metadata.num_rows, file.schema_arrow.metadata or {}


def checked(files: list[Path], rung: str) -> Iterator[pl.DataFrame]:
    """The parts' rows, a row group at a time, since an imported rung is one large part.

    Raises BrokenTable naming the part when a row breaks a rule or belongs to another rung.
    """
    for path in files:
        for group in groups(path):
            rows = pl.DataFrame(group)
            tables.check_rows(RESPONSES, rows, str(path))
            if not (rows[tables.MODEL] == rung).all():
                cure = "remove that file and run the same command again"
                raise tables.BrokenTable(f"holds responses of another rung than {rung!r}", where=str(path), cure=cure)
            yield rows


def check_unique(have: Parts) -> None:
    """Raises BrokenTable naming the first part that repeats a key of an earlier one."""
    seen = _NO_KEYS
    if not have.keys.is_duplicated().any():
        return
    for path in have.files:
        keys = read_columns(path, RESPONSES.key)
        tables.check_keys(RESPONSES, pl.concat([seen, keys]), str(path))
        seen = pl.concat([seen, keys])


def overlaps(recipe: Recipe, rung: Rung) -> bool:
    """Whether parts may mix: as asked, and always with a server, which batches as it likes anyway."""
    return recipe.runtime.overlap or recipe.generate.engine_of(rung) == "server"


def spec_of(recipe: Recipe, rung: Rung, recipe_dir: Path) -> dict[str, Any]:
    """The fields that shape a rung's text. `samples` is an extent, not an identity: more of them only adds rows."""
    if rung.responses:
        return {
            "rung": rung.model_dump(include={"responses", "prompt", "response", "select", "each"}),
            "file": digest(rung.responses, recipe_dir),
        }
    spec = {
        "rung": rung.model_dump(include={"model", "revision", "dtype", "system", "chat_template_kwargs"}),
        "engine": recipe.generate.engine_of(rung),
        "sampling": recipe.generate.sampling_of(rung).model_dump(exclude={"samples"}),
        "seed": recipe.seed,
    }
    if not overlaps(recipe, rung):
        spec["part_rows"] = recipe.generate.part_rows
    if spec["engine"] in ("vllm", "transformers") and (files := model_files(str(rung.model))):
        spec["model_files"] = files
    return spec


def same(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether both specs make the same text.

    Weights that are not here (any more) do not count, nor does the size of the parts once `runtime.overlap`, which
    promises nothing of their composition, comes or goes.
    """
    loose = {key for key in ("model_files", "part_rows") if old.get(key) is None or new.get(key) is None}
    mine, theirs = ({key: value for key, value in spec.items() if key not in loose} for spec in (old, new))
    return not changes(mine, theirs)


def model_files(model: str) -> str | None:
    """Names and sizes of all files, and what the small ones say: notices other weights under an old name.

    None where the model is no directory.
    """
    directory, told = Path(model), hashlib.sha256()
    if not directory.is_dir():
        return None
    for path in sorted(p for p in directory.rglob("*") if p.is_file() and p.name != NOTE):
        told.update(f"{path.relative_to(directory)} {path.stat().st_size}\n".encode())
        if path.suffix in (".json", ".jinja", ".txt"):
            told.update(path.read_bytes())
    return told.hexdigest()[:16]


def digest_of(part: pa.Table) -> str:
    """16 hex digits over keys and texts, for the footer."""
    told = hashlib.sha256()
    for column in (tables.PROMPT_ID, tables.SAMPLE, tables.RESPONSE, tables.ERROR):
        told.update("\x1f".join(map(str, part[column].to_pylist())).encode("utf-8", "surrogatepass"))
    return told.hexdigest()[:16]


def without_failed(run: Path, rung: str) -> int:
    """Take the failed rows out of a rung's parts, so that they are missing and asked for again; returns how many."""
    removed = 0
    for path in sorted(folder(run, rung).glob("part-*.parquet")):
        with open_parquet(path, RESPONSES.schema) as file:
            rows, told = file.read(use_threads=False), file.schema_arrow.metadata or {}
        kept = rows.filter(pc.is_null(rows[tables.ERROR]))
        if kept.num_rows == rows.num_rows:
            continue
        removed += rows.num_rows - kept.num_rows
        if kept.num_rows:
            write_table(path, kept, {**told, DIGEST: digest_of(kept)})
        else:
            path.unlink()
    return removed


class Writer:
    """Collects answered rows and writes them as the next free part, checked, in the order they were asked for."""

    def __init__(self, run: Path, rung: str, spec: dict[str, Any], facts: dict[str, Any]) -> None:
        self.rung, self.added, self.rows = rung, 0, list[tuple[str, int, Completion]]()
        self._folder = folder(run, rung)
        self._made_by = {SPEC: json.dumps(spec, sort_keys=True), FACTS: json.dumps(facts, sort_keys=True)}
        taken = {path.name for path in self._folder.glob("part-*.parquet")}
        self._free = (name for name in map(NAME.format, range(10**9)) if name not in taken)

    def add(self, prompt_id: str, sample: int, completion: Completion) -> None:
        self.rows.append((prompt_id, sample, completion))

    def flush(self) -> None:
        """Raises OutsideError when the disk is full; the part is then not there."""
        if not self.rows:
            return
        ids, samples, done = zip(*sorted(self.rows, key=lambda row: row[2].index), strict=True)
        columns = {
            tables.PROMPT_ID: list(ids),
            tables.MODEL: [self.rung] * len(done),
            tables.SAMPLE: list(samples),
            tables.RESPONSE: [completion.text for completion in done],
            tables.FINISH: [completion.finish_reason for completion in done],
            tables.ERROR: [completion.error for completion in done],
            tables.PROMPT_TOKENS: [completion.prompt_tokens for completion in done],
            tables.RESPONSE_TOKENS: [completion.response_tokens for completion in done],
        }
        path = self._folder / next(self._free)
        part = tables.as_rows(RESPONSES, columns)
        tables.check_rows(RESPONSES, pl.DataFrame(part), str(path))
        write_table(path, part, self._made_by | {DIGEST: digest_of(part)})
        self.added += len(self.rows)
        self.rows = []
