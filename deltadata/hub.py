"""Datasets on the Hugging Face Hub: the commit an address stands for, and its rows, streamed.

hf:owner/dataset[@revision][:config][:split]        the split is `train` unless given; without config: hf:owner/d::split
"""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Collection, Iterator
from typing import Any

from deltadata.errors import DeltadataError, OutsideError, UserError, need
from deltadata.layouts import column_of

PREFIX = "hf:"
_FORM = "hf:owner/dataset[@revision][:config][:split]"
_LOGIN = "accept the terms on its page, then `hf auth login` or set HF_TOKEN"
_SPEC = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(@(?P<revision>[^:]+))?(:(?P<config>[^:]*))?(:(?P<split>[^:]+))?")


def _spec(path: str) -> dict[str, str | None]:
    match = _SPEC.fullmatch(path)
    if match is None:
        raise UserError("not the address of a Hub dataset", where=path, cure=_FORM)
    return match.groupdict()


def commit(path: str) -> str:
    """The commit that a Hub address stands for now.

    Raises UserError when there is no such dataset or no access to it, OutsideError when the Hub does not answer.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    spec = _spec(path)
    try:
        return str(HfApi().dataset_info(spec["repo"] or "", revision=spec["revision"]).sha)
    except HFValidationError as problem:
        raise UserError(str(problem), where=path, cure=_FORM) from None
    except GatedRepoError:
        raise UserError("a gated dataset", where=path, cure=_LOGIN) from None
    except RepositoryNotFoundError:
        cure = "check the name; if it is private, `hf auth login` or set HF_TOKEN"
        raise UserError("no such dataset on the Hub", where=path, cure=cure) from None
    except RevisionNotFoundError:
        what = f"the dataset has no revision {spec['revision']!r}"
        raise UserError(what, where=path, cure="give one of its branches, tags or commits") from None
    except _failures() as problem:
        raise _failed(path, problem) from None


def _failures() -> tuple[type[Exception], ...]:
    """What the Hub's clients raise when the Hub or the network fails."""
    from huggingface_hub.errors import HfHubHTTPError

    # OSError and the HTTP library's own error, whichever of two libraries this version uses.
    return tuple(base for base in HfHubHTTPError.__bases__ if issubclass(base, Exception))


def _failed(path: str, problem: BaseException) -> DeltadataError:
    said = (str(problem).strip() or type(problem).__name__).splitlines()[0]
    if getattr(getattr(problem, "response", None), "status_code", None) in (401, 403):
        return UserError(f"the Hub refuses: {said}", where=path, cure=_LOGIN)
    return OutsideError(
        f"the Hub did not answer: {said}",
        where=path,
        cure="nothing was written; check the network and HF_ENDPOINT, then run the same command again",
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
        raise UserError(str(problem), where=path, cure=_LOGIN) from None
    except (ValueError, TypeError, DatasetsError) as problem:  # an unknown config or split, columns that do not fit
        here = f"{where} row {number + 1}" if number else path
        said = " ".join(str(problem).split())
        raise UserError(said, where=here, cure=f"check config and split ({_FORM}); else its files are broken") from None
    except (EOFError, zlib.error, gzip.BadGzipFile) as problem:
        said = f"a compressed file of it is broken or cut short: {problem}"
        raise UserError(said, where=f"{where} row {number + 1}", cure="give a revision that is whole") from None
    except _failures() as problem:
        raise _failed(where, problem) from None
