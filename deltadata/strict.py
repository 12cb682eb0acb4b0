"""Strict YAML: numbers as YAML 1.2 reads them, a key only once, and every value's place kept for messages.

    parse("recipe.yaml" text, "recipe.yaml", places)     # places["generate.sampling"] == "recipe.yaml:14"

What pydantic finds wrong in the result is told by address, with that place, and "did you mean".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import reduce
from typing import Any, get_args

import yaml
from pydantic import BaseModel, Tag, ValidationError

from deltadata.errors import UserError, did_you_mean

# YAML 1.2's core scalars. PyYAML's own resolver (YAML 1.1) reads 5e-7 as text, `no` as False and 1:30 as 90.
_SCALARS = (
    ("tag:yaml.org,2002:null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
    ("tag:yaml.org,2002:bool", r"^(?:true|True|TRUE|false|False|FALSE)$", list("tTfF")),
    ("tag:yaml.org,2002:int", r"^[-+]?[0-9]+$", list("-+0123456789")),
    (
        "tag:yaml.org,2002:float",
        r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.(?:inf|Inf|INF)$|^\.(?:nan|NaN|NAN)$",
        list("-+.0123456789"),
    ),
)


_PATTERNS = {tag: re.compile(pattern) for tag, pattern, _ in _SCALARS}
_TEXT, _LIST, _MAPPING = "tag:yaml.org,2002:str", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:map"
MOST_DIGITS = 20  # an unsigned 64-bit seed has as many; Python reads no more than 4,300
MOST_LEVELS = 32
SHOWN = 120
MOST_NODES = 100_000  # ten lines of aliases to aliases are thousands of millions

# What pydantic calls a value of the wrong shape: what is wanted, what it holds, how that is written.
_SHAPES = {
    "model_type": ("a mapping", "keys", "`key: value` lines"),
    "dict_type": ("a mapping", "keys", "`key: value` lines"),
    "list_type": ("a list", "items", "`- item` lines"),
}
_NOUNS = ((list, "a list"), (dict, "a mapping"), (str, "text"), (bool, "true or false"), (int | float, "a number"))


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for _tag, _, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, _PATTERNS[_tag], _first)


def parse(text: str, where: str, places: dict[str, str]) -> Any:
    """Python values of a YAML text; `places` gets `where:line` of every address in it."""
    try:
        node = _Loader(text).get_single_node()
        return _build(node, "", where, places, 0) if node else None
    except yaml.reader.ReaderError as problem:
        what = f"not YAML: {chr(problem.character)!r} is a character that it cannot hold"
        at = f"{where}:{text.count(chr(10), 0, problem.position) + 1}"
        raise UserError(what, where=at, cure="take that character out") from None
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        at = f"{where}:{mark.line + 1}" if mark else where
        raise UserError(f"not YAML: {getattr(problem, 'problem', problem)}", where=at, cure="mend that line") from None
    except RecursionError:  # of the parser, which knows no limit
        raise UserError("nested too deeply", where=where, cure="a recipe is at most a few levels deep") from None


def _build(node: yaml.Node, address: str, where: str, places: dict[str, str], level: int) -> Any:
    place = f"{where}:{node.start_mark.line + 1}"
    places.setdefault(address, place)
    if level > MOST_LEVELS:
        raise UserError("nested too deeply", where=place, cure="a recipe is at most a few levels deep")
    if len(places) > MOST_NODES:  # every value has an address of its own
        raise UserError(f"more than {MOST_NODES:,} values", where=place, cure="a recipe has a few dozen")
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, place)
    if node.tag not in (_LIST, _MAPPING):
        raise UserError(f"{_tag_of(node)} is no tag of a recipe", where=place, cure="leave the tag out")
    if isinstance(node, yaml.SequenceNode):
        return [_build(item, at(address, i), where, places, level + 1) for i, item in enumerate(node.value)]
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        place = f"{where}:{key_node.start_mark.line + 1}"
        if not isinstance(key_node, yaml.ScalarNode):
            raise UserError("a list or a mapping is no key", where=place, cure="a key is text")
        key = key_node.value
        if key == "<<" and key_node.style is None:
            raise UserError("merge keys (<<) are not read", where=place, cure="write the keys out")
        here = at(address, key)
        if key in built:
            raise UserError(f"{here} is given twice (first at {places[here]})", where=place, cure="keep one of them")
        places[here] = place
        built[key] = _build(value_node, here, where, places, level + 1)
    return built


def _scalar(node: yaml.ScalarNode, place: str) -> Any:
    """The value of a scalar, whose tag was found by its look or written (`!!int 3`)."""
    given, kind = node.value, node.tag.rpartition(":")[2]
    if node.tag == _TEXT:
        return given
    if node.tag not in _PATTERNS or not _PATTERNS[node.tag].fullmatch(given):
        raise UserError(f"{given!r:.60} is no {_tag_of(node)}", where=place, cure="leave the tag out")
    if kind == "null":
        return None
    if kind == "bool":
        return given.lower() == "true"
    if kind == "int":
        if len(given) > MOST_DIGITS:
            what = f"a number of {len(given):,} digits"
            raise UserError(what, where=place, cure=f"whole numbers have at most {MOST_DIGITS} digits")
        return int(given)
    if given.lower() == ".nan":  # no value is equal to it, and every rule with it would let all pass
        raise UserError(".nan is no number", where=place, cure="give a number, or leave the key out")
    return float(given.lower().replace(".inf", "inf"))


def _tag_of(node: yaml.Node) -> str:
    return node.tag.replace("tag:yaml.org,2002:", "!!")[:60]


def at(address: str, part: str | int) -> str:
    """The address of a list's item or of a section's key; a key that is no plain word is quoted."""
    if isinstance(part, int):
        return f"{address}[{part}]"
    word = part if re.fullmatch(r"[\w-]+", part) else repr(part)
    return f"{address}.{word}" if address else word


def override(tree: dict[str, Any], given: str, places: dict[str, str], written: str | None = None) -> None:
    """`generate.sampling.max_tokens=512`, `generate.rungs.0.model=x`: list items by number.

    `written` is where it stands, of one that no --set gave.
    """
    where = written or (f"--set {given}" if len(given) <= SHOWN else f"--set {given[:SHOWN]}…")
    address, equals, text = given.partition("=")
    *parents, last = re.sub(r"\[([^\]]*)\]", r".\1", address).split(".")
    if not equals or not all([*parents, last]) or not address.isprintable():
        raise UserError("an override is key.key=value", where=where, cure="--set generate.sampling.max_tokens=512")
    value = parse(text, where, {})
    here: Any = tree
    named = ""
    for key in parents:
        below = _child(here, key, where)
        named, here = at(named, int(key) if isinstance(here, list) else key), below
    if isinstance(here, list):
        _child(here, last, where)
        here[int(last)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise UserError(f"{named} has no keys", where=where, cure="name a section's key")
    now = at(named, int(last) if isinstance(here, list) else last)
    for below in [known for known in places if known.startswith((f"{now}.", f"{now}["))]:
        del places[below]  # what stood there is no longer what is read
    places[now] = where


def _child(here: Any, key: str, where: str) -> Any:
    if isinstance(here, list):
        if not re.fullmatch(r"[0-9]{1,9}", key) or int(key) >= len(here):
            raise UserError(f"no item {key!r:.60} in a list of {len(here)}", where=where, cure="items count from 0")
        return here[int(key)]
    if not isinstance(here, dict):
        raise UserError(f"{key!r:.60} is below a plain value", where=where, cure="name a section's key")
    return here.setdefault(key, {})


def explain(
    problem: ValidationError, model: type[BaseModel], tree: dict[str, Any], path: str, places: dict[str, str]
) -> UserError:
    """The first mistake with its place and cure, the next few by address."""
    told: list[tuple[str, str, str]] = []
    for error in problem.errors():
        address, said, cure = _one(error, model, tree)
        if not any(address == known or address.startswith(f"{known}[") for known, _, _ in told):
            told.append((address, said, cure))
    address, said, cure = told[0]
    what = [f"{address}: {said}" if address else said]
    what += [f"{other}: {also}" for other, also, _ in told[1:6]]
    return UserError("\n  also ".join(what), where=place(address, path, places), cure=cure)


def place(address: str, path: str, places: dict[str, str]) -> str:
    """Where an address stands: its own line or override, else the nearest above it, else the file."""
    while address and address not in places:
        address = address.rpartition("[" if address.endswith("]") else ".")[0]
    return places.get(address, path)


def _parts(loc: tuple[Any, ...], tree: Any) -> list[Any]:
    """The keys and indices of an error's location. Unions add the tried branch to it, which the tree does not have."""
    parts = []
    for part in loc:
        if isinstance(tree, list if isinstance(part, int) else dict) and (isinstance(part, int) or part in tree):
            parts.append(part)
            tree = tree[part]
    return parts


def _one(error: Any, model: type[BaseModel], tree: dict[str, Any]) -> tuple[str, str, str]:
    """Address, what is wrong and the cure of one pydantic error."""
    kind, given = error["type"], error["input"]
    shown = repr(given) if len(repr(given)) <= SHOWN else f"{repr(given)[:SHOWN]}…"
    loc = [*_parts(error["loc"], tree), *(error["loc"][-1:] if kind == "missing" else ())]
    address = reduce(at, loc, "")
    if kind == "extra_forbidden":
        return address, "unknown key", did_you_mean(str(loc[-1]), _fields_at(model, error["loc"][:-1]))
    if kind == "missing":
        return address, "is missing", f"add `{loc[-1]}:`"
    if kind in _SHAPES:
        wanted, inside, form = _SHAPES[kind]
        if given is None:
            return address, "is empty", f"give its {inside} or leave it out"
        is_now = next(noun for shape, noun in _NOUNS if isinstance(given, shape))
        return address, f"is {is_now}, not {wanted}", f"write {form} below it"
    if kind == "value_error":
        said = str(error["ctx"]["error"])
        sub, colon, rest = said.partition(": ")
        if colon and re.fullmatch(r"[\w.\[\]]+", sub):
            return (f"{address}.{sub}" if address else sub), *_split_cure(rest)
        return address, *_split_cure(said)
    if kind == "too_long" and error["ctx"]["max_length"] == 0:
        return address, f"this version ships none, so {shown} cannot be used", f"leave `{loc[-1]}` empty"
    if kind == "string_pattern_mismatch":
        if "/" in error["ctx"]["pattern"]:
            return address, f"{shown} is not a name", "give owner/name"
        if set(given) == {"."}:
            return address, f"{shown} is a path, not a name", "give a name"
        cure = "use letters a to z, digits, dot, underscore and hyphen, no dot first (never a path)"
        return address, f"{shown} is not a name", cure
    if kind == "literal_error":
        return (
            address,
            f"{shown} is not one of {error['ctx']['expected']}",
            did_you_mean(str(given), re.findall(r"'([^']+)'", error["ctx"]["expected"])),
        )
    cure = "give a value within the bounds" if error.get("ctx") else "give a value of that type"
    return address, f"{shown}: {error['msg'][0].lower()}{error['msg'][1:]}", cure


def _split_cure(said: str) -> tuple[str, str]:
    what, semicolon, cure = said.partition("; ")
    return what, cure if semicolon else "mend the recipe"


def _fields_at(model: type[BaseModel], loc: tuple[Any, ...]) -> list[str]:
    """The keys that the section at an error's location takes; of a union the branch that was tried."""
    sections: list[tuple[str, Any]] = [("", model)]
    for part in loc:
        if isinstance(part, int):
            continue
        branch = [section for tag, section in sections if tag == part]
        if branch:
            sections = [("", branch[0])]
        elif part in sections[0][1].model_fields:
            sections = list(_sections_in(sections[0][1].model_fields[part].annotation))
        if not sections:
            return []
    return list(sections[0][1].model_fields)


def _sections_in(annotation: Any, tag: str = "") -> Iterator[tuple[str, Any]]:
    """Every section that an annotation allows, with its tag in a union."""
    for told in getattr(annotation, "__metadata__", ()):
        tag = told.tag if isinstance(told, Tag) else tag
    if hasattr(annotation, "model_fields"):
        yield tag, annotation
    for inner in get_args(annotation):
        yield from _sections_in(inner, tag)
