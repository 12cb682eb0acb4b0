"""A rule as a recipe asks for it: `name`, `{name: value}` or `{name: {parameter: value}}`, held to its function.

The parameters of a rule's function, by name and type, are what a recipe may give.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple, NewType, get_args, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError

from deltadata.errors import UserError, did_you_mean

Measure = NewType("Measure", str)  # one of those that the recipe measures
Share = NewType("Share", float)  # above 0, at most 1
Part = NewType("Part", float)  # 0 to 1: how much of a text may be something
Size = NewType("Size", float)  # 0 or more
TOKENS = Measure("tokens")
_BOUNDS: dict[Any, tuple[Callable[[float], bool], str, str]] = {
    Share: (lambda given: 0 < given <= 1, "a share", "a number above 0, at most 1"),
    Part: (lambda given: 0 <= given <= 1, "a share", "a number from 0 to 1"),
    Size: (lambda given: given >= 0, "a size", "a number that is not negative"),
}
_NOUNS = {float: "a number", str: "a text", list[str]: "a list of texts"}


class Asked(NamedTuple):
    """A rule of the recipe under the name of its reason: the second `min_delta` is `min_delta_2`."""

    name: str
    made: Any


def read(
    given: str | dict[str, Any],
    where: str,
    known: Mapping[str, Callable[..., Any]],
    check: Callable[[str], None] | None = None,
) -> Asked:
    """What the rule's function makes of its parameters. `check` refuses a measure.

    Raises UserError for an unknown rule or parameter, a missing one, or one of the wrong kind.
    """
    if isinstance(given, dict) and len(given) != 1:
        raise UserError(f"{given!r} is not one rule", where=where, cure="write `- rule` or `- {rule: value}`")
    name, value = (given, {}) if isinstance(given, str) else next(iter(given.items()))
    if name not in known:
        raise UserError(f"no rule is called {name!r}", where=where, cure=did_you_mean(name, known))
    takes = inspect.signature(known[name]).parameters
    arguments = value if isinstance(value, dict) else {next(iter(takes), "value"): value}
    for key in arguments:
        if not takes:
            raise UserError(f"{name} takes nothing", where=where, cure=f"write `- {name}`")
        if key not in takes:
            raise UserError(f"{name} takes no {key!r}", where=where, cure=did_you_mean(key, takes))
    missing = [key for key, parameter in takes.items() if parameter.default is parameter.empty and key not in arguments]
    if missing:
        raise UserError(f"{name} needs {', '.join(missing)}", where=where, cure=f"{{{name}: {{{missing[0]}: …}}}}")
    kinds = get_type_hints(known[name])
    try:
        for key in takes:
            _check(f"{name}: {key}", kinds[key], arguments.get(key, takes[key].default), check)
        return Asked(name, known[name](**arguments))
    except UserError as problem:
        raise UserError(problem.what, where=where, cure=problem.cure) from None


def _check(whose: str, kind: Any, given: Any, check: Callable[[str], None] | None) -> None:
    """Raises UserError unless `given` is of the parameter's kind: a number, one of a choice, a measure."""
    choice = () if kind == list[str] else get_args(kind)
    if choice and given not in choice:
        raise UserError(f"{whose} is one of {', '.join(choice)}, not {given!r}", cure="name one of them")
    holds, noun, cure = _BOUNDS.get(kind, (None, "", ""))
    plain = float if holds else str if choice or kind is Measure else kind
    try:
        TypeAdapter(plain, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(given)
    except ValidationError:
        raise UserError(f"{whose} is {_NOUNS[plain]}, not {given!r}", cure="mend it") from None
    if holds and not holds(given):
        raise UserError(f"{whose} is {noun}, not {given!r}", cure=f"give {cure}")
    if kind is Measure and check:
        check(given)


def numbered(rules: Collection[Asked]) -> list[Asked]:
    """Every rule under a name of its own."""
    names = [rule.name for rule in rules]
    counts = [names[: i + 1].count(name) for i, name in enumerate(names)]
    return [rule._replace(name=f"{rule.name}_{n}") if n > 1 else rule for rule, n in zip(rules, counts, strict=True)]
