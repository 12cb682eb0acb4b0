"""Strict YAML: numbers as YAML 1.2 reads them, a key only once, and every value's place kept for messages.

    parse("recipe.yaml" text, "recipe.yaml", places)     # places["generate.sampling"] == "recipe.yaml:14"

What pydantic finds wrong in the result is told by address, with that place, and "did you mean".
"""

from __future__ import annotations

import re
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

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


class _Loader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}


for _tag, _pattern, _first in _SCALARS:
    _Loader.add_implicit_resolver(_tag, re.compile(_pattern), _first)


def _int(loader: yaml.SafeLoader, node: yaml.Node) -> int:
    return int(node.value)


def _float(loader: yaml.SafeLoader, node: yaml.Node) -> float:
    return float(node.value.lower().replace(".inf", "inf").replace(".nan", "nan"))


_Loader.add_constructor("tag:yaml.org,2002:int", _int)
_Loader.add_constructor("tag:yaml.org,2002:float", _float)


def parse(text: str, where: str, places: dict[str, str]) -> Any:
    """Python values of a YAML text; `places` gets `where:line` of every address in it."""
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        return _build(loader, node, "", where, places) if node else None
    except yaml.YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        at = f"{where}:{mark.line + 1}" if mark else where
        raise UserError(f"not YAML: {getattr(problem, 'problem', problem)}", where=at, cure="mend that line") from None
    except RecursionError:
        raise UserError("nested too deeply", where=where, cure="a recipe is at most a few levels deep") from None


def _build(loader: _Loader, node: yaml.Node, address: str, where: str, places: dict[str, str]) -> Any:
    places.setdefault(address, f"{where}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.SequenceNode):
        return [_build(loader, item, f"{address}[{i}]", where, places) for i, item in enumerate(node.value)]
    if not isinstance(node, yaml.MappingNode):
        return loader.construct_object(node)
    built: dict[str, Any] = {}
    for key_node, value_node in node.value:
        key = str(loader.construct_object(key_node))
        here = f"{address}.{key}" if address else key
        place = f"{where}:{key_node.start_mark.line + 1}"
        if key in built:
            raise UserError(f"{here} is given twice (first at {places[here]})", where=place, cure="keep one of them")
        places[here] = place
        built[key] = _build(loader, value_node, here, where, places)
    return built


def override(tree: dict[str, Any], given: str, places: dict[str, str]) -> None:
    """`generate.sampling.max_tokens=512`, `generate.rungs.0.model=x`: list items by number."""
    where = f"--set {given}"
    address, equals, text = given.partition("=")
    if not equals or not address:
        raise UserError("an override is key.key=value", where=where, cure="--set generate.sampling.max_tokens=512")
    *parents, last = re.sub(r"\[(\d+)\]", r".\1", address).split(".")
    value = parse(text, where, {})
    here: Any = tree
    for key in parents:
        here = _child(here, key, where)
    if isinstance(here, list):
        _child(here, last, where)
        here[int(last)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise UserError(f"{'.'.join(parents)} has no keys", where=where, cure="name a section's key")
    places[re.sub(r"\.(\d+)(?=\.|$)", r"[\1]", ".".join([*parents, last]))] = where


def _child(here: Any, key: str, where: str) -> Any:
    if isinstance(here, list):
        if not key.isdecimal() or int(key) >= len(here):
            raise UserError(f"no item {key!r} in a list of {len(here)}", where=where, cure="items count from 0")
        return here[int(key)]
    if not isinstance(here, dict):
        raise UserError(f"{key!r} is below a plain value", where=where, cure="name a section's key")
    return here.setdefault(key, {})


def explain(problem: ValidationError, model: type[BaseModel], path: str, places: dict[str, str]) -> UserError:
    """The first mistake with its place and cure, the next few by address."""
    told: list[tuple[str, str, str]] = []
    for error in problem.errors():
        address, said, cure = _one(error, model)
        if not any(address == known or address.startswith(f"{known}[") for known, _, _ in told):
            told.append((address, said, cure))
    address, said, cure = told[0]
    what = [f"{address}: {said}" if address else said]
    what += [f"{other}: {also}" for other, also, _ in told[1:6]]
    nearest = address
    while nearest and nearest not in places:
        nearest = nearest.rpartition(".")[0]
    return UserError("\n  also ".join(what), where=places.get(nearest, path), cure=cure)


def _one(error: Any, model: type[BaseModel]) -> tuple[str, str, str]:
    """Address, what is wrong and the cure of one pydantic error."""
    # Unions add the tried branch to the location; those parts are no keys of the recipe.
    loc = [part for part in error["loc"] if isinstance(part, int) or re.fullmatch(r"[A-Za-z0-9._-]+", part)]
    loc = [part for part in loc if part not in ("str", "int", "list")]
    address = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
    kind, given = error["type"], error["input"]
    if kind == "extra_forbidden":
        return address, "unknown key", did_you_mean(str(loc[-1]), _fields_at(model, loc[:-1]))
    if kind == "missing":
        return address, "is missing", f"add `{loc[-1]}:`"
    if kind == "value_error":
        said = str(error["ctx"]["error"])
        sub, colon, rest = said.partition(": ")
        if colon and re.fullmatch(r"[\w.\[\]]+", sub):
            return (f"{address}.{sub}" if address else sub), *_split_cure(rest)
        return address, *_split_cure(said)
    if kind == "too_long" and error["ctx"]["max_length"] == 0:
        return address, f"this version ships none, so {given!r} cannot be used", f"leave `{loc[-1]}` empty"
    if kind == "string_pattern_mismatch":
        slash = "/" in error["ctx"]["pattern"]
        cure = "give owner/name" if slash else "use letters, digits, dot, underscore and hyphen (never a path)"
        return address, f"{given!r} is not a name", cure
    if kind == "literal_error":
        return (
            address,
            f"{given!r} is not one of {error['ctx']['expected']}",
            did_you_mean(str(given), re.findall(r"'([^']+)'", error["ctx"]["expected"])),
        )
    return address, f"{given!r}: {error['msg'][0].lower()}{error['msg'][1:]}", "give a value of that type"


def _split_cure(said: str) -> tuple[str, str]:
    what, semicolon, cure = said.partition("; ")
    return what, cure if semicolon else "mend the recipe"


def _fields_at(model: type[BaseModel], loc: list[Any]) -> list[str]:
    """The keys that the section at `loc` takes."""
    section: Any = model
    for part in loc:
        if isinstance(part, int):
            continue
        kind = section.model_fields[part].annotation
        section = next((a for a in [kind, *getattr(kind, "__args__", ())] if hasattr(a, "model_fields")), None)
        if section is None:
            return []
    return list(section.model_fields)
