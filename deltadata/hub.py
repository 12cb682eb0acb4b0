"""Datasets on the Hugging Face Hub: the commit an address stands for, and its rows, streamed.

hf:owner/dataset[@revision][:config][:split]        the split is `train` unless given; without config: hf:owner/d::split
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from deltadata.errors import DeltadataError, OutsideError, UserError, first_line, need
from deltadata.layouts import column_of

PREFIX = "hf:"
_FORM = "hf:owner/dataset[@revision][:config][:split]"
LOGIN = "`hf auth login` or set HF_TOKEN"
LINE = (ConnectionError, TimeoutError)
ACCEPT = f"accept the terms on its page, then {LOGIN}"
_SPEC = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^:]+))?(:(?P<config>[^:]*))?(:(?P<split>[^:]+))?")


def _spec(path: str) -> dict[str, str | None]:
    match = _SPEC.fullmatch(path)
    if match is None:
        raise UserError("not the address of a Hub dataset", where=path, cure=_FORM)
    return match.groupdict()


@contextmanager
def asking(
    where: str,
    kept: str = "nothing was written",
    access: str = ACCEPT,
    revision: str | None = None,
    kind: str = "dataset",
) -> Iterator[None]:
    """What the Hub's clients raise, as ours: UserError where the user can cure it, OutsideError where he must wait.

    `kept` is what stands for all that; `access` is the cure where the Hub refuses.
    """
    from huggingface_hub import errors

    try:
        yield
    except errors.HFValidationError as problem:
        raise UserError(str(problem), where=where, cure=_FORM) from None
    except errors.LocalTokenNotFoundError:
        raise UserError("no token for the Hub", where=where, cure=LOGIN) from None
    except errors.GatedRepoError:
        raise UserError(f"a gated {kind}", where=where, cure=access) from None
    except errors.RepositoryNotFoundError:
        cure = f"check the name; if it is private, {LOGIN}"
        raise UserError(f"no such {kind} on the Hub", where=where, cure=cure) from None
    except errors.RevisionNotFoundError:
        cure = "give one of its branches, tags or commits"
        raise UserError(f"the {kind} has no revision {revision!r}", where=where, cure=cure) from None
    except failures() as problem:
        raise failed(where, problem, kept, access) from None


def _info(path: str) -> Any:
    from huggingface_hub import HfApi

    spec = _spec(path)
    with asking(path, revision=spec["revision"]):
        return HfApi().dataset_info(spec["repo"] or "", revision=spec["revision"])


def commit(path: str) -> str:
    """The commit that a Hub address stands for now.

    Raises UserError when there is no such dataset or no access to it, OutsideError when the Hub does not answer.
    """
    return str(_info(path).sha)


def licence(path: str) -> str | None:
    """The licence that the dataset's card states. Raises as `commit` does."""
    card = _info(path).card_data
    told = card.get("license") if card else None
    return str(told[0] if isinstance(told, list) else told) if told else None


def failures() -> tuple[type[Exception], ...]:
    """What the Hub's clients raise when the Hub or the network fails."""
    from huggingface_hub.errors import HfHubHTTPError

    # OSError and the HTTP library's own error, whichever of two libraries this version uses.
    return tuple(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception))


def status(problem: BaseException) -> int | None:
    """The Hub's answer, if it gave one."""
    found = getattr(getattr(problem, "response", None), "status_code", None)
    return found if isinstance(found, int) else None


def is_local(problem: BaseException) -> bool:
    """Whether it is a file's fault, a full disk say, and no line's."""
    return isinstance(problem, OSError) and problem.errno is not None and not isinstance(problem, LINE)


def said(problem: BaseException) -> str:
    """The first line of it, without what follows an address: that may be a signature."""
    return re.sub(r"\?\S+", "?...", first_line(problem.__cause__ or problem))


def failed(where: str, problem: BaseException, kept: str, access: str = ACCEPT) -> DeltadataError:
    if status(problem) in (401, 403):
        return UserError(f"the Hub refuses: {said(problem)}", where=where, cure=access)
    if is_local(problem):
        cure = f"{kept}; make room there (HF_HOME and TMPDIR say where), then run the same command again"
        return OutsideError(f"cannot write: {said(problem)}", where=where, cure=cure)
    return OutsideError(
        f"the Hub did not answer: {said(problem)}",
        where=where,
        cure=f"{kept}; check the network and HF_ENDPOINT, then run the same command again",
    )


def _stream(repo: str, config: str | None, split: str, revision: str, columns: Collection[str] | None) -> Any:
    """The dataset as `datasets` streams it, of the columns that are asked for and there; all when none is."""
    import datasets
    from datasets.packaged_modules.parquet.parquet import ParquetConfig
    from pyarrow.dataset import ParquetFragmentScanOptions

    # With this prefix a local directory of the same name is not taken for the dataset.
    what = {"path": f"hf://datasets/{repo}", "name": config, "revision": revision}
    builder = datasets.load_dataset_builder(**what)
    found = builder.as_streaming_dataset(split=split)
    names = found.column_names or []
    wanted = list(dict.fromkeys(filter(None, (column_of(path, names) for path in columns or ()))))
    if isinstance(builder.config, ParquetConfig):
        # Left to itself it fetches every column, and a row group's bytes all before its first row.
        scan = ParquetFragmentScanOptions(use_buffered_stream=True, buffer_size=1 << 20, pre_buffer=False)
        more: dict[str, Any] = {"fragment_scan_options": scan, "columns": wanted or None}
        return datasets.load_dataset(**what, split=split, streaming=True, **more)
    return found.select_columns(wanted) if wanted else found


def rows(path: str, columns: Collection[str] | None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Where each row stands, and the row; of a columnar dataset only `columns`. Raises as `commit` does."""
    spec = _spec(path)
    # Asking for the commit first tells a missing dataset from a missing network, and keeps `datasets` from falling
    # back on whatever its cache holds.
    revision_now = commit(path)
    need("datasets", "hub")
    from datasets.exceptions import DatasetNotFoundError, DatasetsError

    split = spec["split"] or "train"
    revision = f"@{spec['revision']}" if spec["revision"] else ""
    where = f"{PREFIX}{spec['repo']}{revision}:{spec['config'] or ''}:{split}"
    number = 0
    try:
        for value in _stream(spec["repo"] or "", spec["config"] or None, split, revision_now, columns):
            number += 1
            yield f"{where} row {number}", value
    except DatasetNotFoundError as problem:  # gated: anyone sees the commit, not the files
        raise UserError(str(problem), where=path, cure=ACCEPT) from None
    except (ValueError, TypeError, DatasetsError) as problem:  # an unknown config or split, columns that do not fit
        here = f"{where} row {number + 1}" if number else path
        said = " ".join(str(problem).split())
        raise UserError(said, where=here, cure=f"check config and split ({_FORM}); else its files are broken") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        said = f"a compressed file of it is broken or cut short: {problem}"
        raise UserError(said, where=f"{where} row {number + 1}", cure="give a revision that is whole") from None
    except failures() as problem:
        raise failed(where, problem, "nothing was written") from None
