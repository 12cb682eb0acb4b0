"""The licences of a run's parts: what is known of each, what the whole is proposed under, and what stops a push.

    deltadata push runs/quickstart --dry-run

What is known stands in cards/licences.yaml. It is no legal advice. A part that forbids commercial use, or whose licence
nobody stated, stops a push until `push: accept:` in the recipe gives a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, NamedTuple

import yaml

from deltadata.errors import UserError, did_you_mean
from deltadata.templates import folder

KINDS = ("permissive", "attribution", "share-alike", "terms", "non-commercial", "no-sharing", "unknown")
UNKNOWN = KINDS[-1]
STOPPING = KINDS[KINDS.index("non-commercial") :]
SOURCE, GENERATOR, JUDGE = "source", "generator", "judge"
DATASET_PREFIX = "hf:"
COMPUTED = "computed"  # the row of what is no work of its own: numbers made of the other parts

_MODELS_FOLDER = "models"  # where this project keeps weights: models/NAME is a directory, not a Hub id
_FILES = (".json", ".jsonl", ".csv", ".parquet", ".gz", ".zst")
_SAMPLE_REASON = "why this is fine"


class Part(NamedTuple):
    """Something a dataset is made from: where it lies in the run (responses/RUNG), its role and its printed name."""

    where: str
    role: str  # source | generator | judge
    name: str  # a Hub id, hf:owner/dataset..., a directory, a file
    stated: str | None = None  # by the recipe
    known: str | None = None  # by the run itself, as of weights that it fetched


class Found(NamedTuple):
    """A part and its licence: the id (None: nobody knows it), the kind, and how it is known."""

    part: Part
    licence: str | None
    kind: str
    because: str
    notices: tuple[str, ...]
    conditions: tuple[str, ...]
    link: str | None


class Licence(NamedTuple):
    """A row of the file. `rank` orders all of them from the least to the most restrictive."""

    title: str
    kind: str
    rank: tuple[int, int]
    link: str | None
    notices: tuple[str, ...]
    conditions: tuple[str, ...]
    on_hub: bool


class Pattern(NamedTuple):
    by: str | None  # the owner on the Hub; None: the patterns are whole ids
    named: tuple[str, ...]
    licence: str
    note: str | None


class Known(NamedTuple):
    licences: dict[str, Licence]
    models: tuple[Pattern, ...]
    datasets: tuple[Pattern, ...]
    copies: tuple[str, ...]


@lru_cache(maxsize=1)
def known() -> Known:
    """All of cards/licences.yaml."""
    text = (folder() / "licences.yaml").read_text(encoding="utf-8")
    told = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # in C where PyYAML has it
    licences = {
        name: Licence(
            title=row["title"],
            kind=row["kind"],
            rank=(KINDS.index(row["kind"]), position),
            link=row.get("link"),
            notices=tuple(row.get("notices", ())),
            conditions=tuple(row.get("conditions", ())),
            on_hub=row.get("hub", True),
        )
        for position, (name, row) in enumerate(told["licences"].items())
    }
    return Known(licences, _patterns(told["models"]), _patterns(told["datasets"]), tuple(told["copies"]))


def _patterns(rows: list[dict[str, Any]]) -> tuple[Pattern, ...]:
    return tuple(Pattern(row.get("by"), tuple(row["named"]), row["licence"], row.get("note")) for row in rows)


def found(parts: Iterable[Part]) -> list[Found]:
    """The licence of each part, in their order.

    Of what the recipe states and what is known here the more restrictive counts: a recipe that knows better accepts
    the part and says why.
    """
    return [_found(part) for part in parts]


def _found(part: Part) -> Found:
    stated, (own, because, note) = _id(part.stated), _known_of(part)
    licence = stated if own is None or (stated is not None and _rank(stated) >= _rank(own)) else own
    if licence is None:
        return Found(part, None, UNKNOWN, "not known", (), (), None)
    if licence == stated:
        because = "stated in the recipe"
    elif stated is not None:
        because += f", though the recipe states {stated}"
    row = known().licences.get(licence, Licence(licence, UNKNOWN, (0, 0), None, (), (), False))
    conditions = row.conditions + ((note,) if note else ())
    return Found(part, licence, row.kind, because, row.notices, conditions, row.link)


def _id(written: str | None) -> str | None:
    """A licence's id as the Hub writes it: `Apache 2.0` is apache-2.0."""
    return "-".join(written.lower().split()) or None if written is not None else None


def _rank(licence: str) -> tuple[int, int]:
    row = known().licences.get(licence)
    return row.rank if row else (KINDS.index(UNKNOWN), len(known().licences))


def _known_of(part: Part) -> tuple[str | None, str, str | None]:
    """(licence, how it is known, note) without asking the recipe."""
    name = part.name.strip()
    if (own := _id(part.known)) is not None:
        return own, f"known of {_line(name)}", None
    match = _dataset(name) if part.role == SOURCE or name.startswith(DATASET_PREFIX) else _model(name)
    return (match[0].licence, match[1], match[0].note) if match else (None, "not known", None)


def _dataset(name: str) -> tuple[Pattern, str] | None:
    shown = name.removeprefix(DATASET_PREFIX)
    if name.startswith(DATASET_PREFIX):
        shown = shown.partition("@")[0].partition(":")[0]  # hf:owner/dataset[@revision][:config][:split]
    if shown.lower().endswith(_FILES):
        return None
    row = next((row for row in known().datasets if _fits(shown.lower(), row)), None)
    return (row, f"known of {shown}") if row else None


def _model(name: str) -> tuple[Pattern, str] | None:
    """By Hub id when the owner is its maker or a known copier, else by the name of a local directory.

    A file of responses is no model, whatever it is called.
    """
    path = name.replace("\\", "/").rstrip("/")
    if path.lower().endswith(_FILES):
        return None
    owner, _, last = path.lower().rpartition("/")
    if owner and not _is_path(owner):
        rows = (row for row in known().models if (owner == row.by or owner in known().copies) and _fits(last, row))
        because = f"known of {path}"
    else:
        rows = (row for row in known().models if _fits(last, row))
        because = f"known by the name {path.rpartition('/')[2]}"
    row = next(rows, None)
    return (row, because) if row else None


def _is_path(folder: str) -> bool:
    return "/" in folder or folder.startswith((".", "~")) or folder == _MODELS_FOLDER


def _fits(name: str, row: Pattern) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in row.named)


def proposed(found: Iterable[Found]) -> str | None:
    """The licence of the most restrictive part, for `header`; None where any is unknown, or there are no parts."""
    ids = [one.licence if one.kind != UNKNOWN else None for one in found]
    told = [licence for licence in ids if licence is not None]
    return max(told, key=_rank) if told and len(told) == len(ids) else None


def header(licence: str | None) -> dict[str, str]:
    """The keys of a card's YAML: `license`, and for one without an id on the Hub `license_name` and `license_link`."""
    name = _id(licence)
    if name is None:
        return {}
    row = known().licences.get(name)
    if row is not None and row.on_hub:
        return {"license": name}
    return {"license": "other", "license_name": name} | ({"license_link": row.link} if row and row.link else {})


def notices(found: Iterable[Found]) -> list[str]:
    """What has to be shown with the dataset, each once, in the order of the parts."""
    return list(dict.fromkeys(notice for one in found for notice in one.notices))


def stops(found: Iterable[Found], accepted: Mapping[str, str]) -> list[Found]:
    """The parts that may not be used commercially or passed on, or are of unknown licence, and are not accepted.

    A reason of blanks is none. `accepted` is the recipe's push.accept: `where` of a part to the reason.
    """
    return [one for one in found if one.kind in STOPPING and not accepted.get(one.part.where, "").strip()]


def refuse(found: Sequence[Found], accepted: Mapping[str, str], recipe: str = "recipe") -> None:
    """Raises UserError when a part stops the push, or `accepted` names none that needs it. `recipe`: where to edit."""
    for key in accepted:
        _needed(key, found, accepted, recipe)
    left = stops(found, accepted)
    if not left:
        return
    count = "1 part" if len(left) == 1 else f"{len(left)} parts"
    what = "\n".join([f"{count} may not be published without a reason", *(f"    {_told(one)}" for one in left)])
    raise UserError(what, where=recipe, cure="\n".join(_cure(left)))


def _needed(key: str, found: Sequence[Found], accepted: Mapping[str, str], recipe: str) -> None:
    """Raises UserError when `key` accepts nothing: it would hide that another part was meant."""
    here = [one for one in found if one.part.where == key]
    if any(one.kind in STOPPING for one in here):
        return
    meant = [one.part.where for one in found if one.kind in STOPPING and one.part.where not in accepted]
    hint = did_you_mean(key, dict.fromkeys(meant)) if meant else ""
    if not here:
        cure = hint or "leave it out: no other part needs a reason"
        raise UserError(f"push.accept: {_line(key)}: no such part of this run", where=recipe, cure=cure)
    what = f"push.accept: {key}: needs no reason, its licence is {here[0].licence} ({_line(here[0].because)})"
    raise UserError(what, where=recipe, cure=f"leave it out; {hint}" if hint else "leave it out")


def _told(one: Found) -> str:
    name = f"{one.part.where} ({_line(one.part.name)})"
    if one.licence is None:
        return f"{name}: licence not known"
    kind = "of unknown conditions" if one.kind == UNKNOWN else one.kind
    return f"{name}: {_line(one.licence)}, {kind} ({_line(one.because)})"


def _cure(left: Sequence[Found]) -> Iterator[str]:
    yield "say in the recipe why it may be published all the same; the card prints the reason"
    yield "    push:"
    yield "      accept:"
    for where in dict.fromkeys(one.part.where for one in left):
        yield f'        {where}: "{_SAMPLE_REASON}"'
    if any(one.licence is None for one in left):
        yield "  or, where you know the licence, state it as `license:` of the pool, rung or scorer"


def _line(text: str) -> str:
    """On one line: names come from recipes and files."""
    return " ".join(text.split())
