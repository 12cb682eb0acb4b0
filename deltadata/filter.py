"""PAIRS to PAIRS with `dropped_by`: every drop has the name of the first rule that asked for it.

    deltadata filter RECIPE

A rule is one function here that returns what a kept pair must fulfil; null does not fulfil. To add one, write the
function and name it in RULES; its parameters are what the recipe may give. Two rules always hold, named or not:
a kept pair's texts differ, and neither is empty.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any, NamedTuple

import polars as pl
from pydantic import ConfigDict, TypeAdapter, ValidationError

from deltadata import measure
from deltadata.errors import UserError, did_you_mean
from deltadata.pair import EMPTY, SAME_TEXT
from deltadata.recipe import Recipe
from deltadata.tables import DROPPED_BY, FINISH, MESSAGES, SIDES, delta, empty, of, pairs

RESPONSE_RATIO = "response_ratio"
WHERE = "where"
MOST_SQL = 2000  # polars takes the square of the length, and its parser a stack
# The nodes, in polars' JSON of an expression, of every SQL function that looks beyond its own row; a test lists those.
_OVER_PAIRS = re.compile(r'"(Agg|Over|Explode|Quantile|Correlation)":|(?<!"String":)"Len"')


def not_empty() -> pl.Expr:
    """Neither response is empty or white space."""
    return pl.all_horizontal(~pl.col(of(side, EMPTY)) for side in SIDES)


def texts_differ() -> pl.Expr:
    """The two responses are not the same text."""
    return ~pl.col(SAME_TEXT)


def finished() -> pl.Expr:
    """Both responses ended by themselves (finish_reason stop), not at max_tokens."""
    return pl.all_horizontal(pl.col(of(side, FINISH)) == "stop" for side in SIDES)


def max_length_delta(at_most: float, measure: str = "tokens") -> pl.Expr:
    """|length(chosen) - length(rejected)| <= at_most, in tokens or another measure (OLMo 3 uses 100 tokens)."""
    return pl.col(_known_delta(measure)).abs() <= at_most


def min_delta(at_least: float, measure: str) -> pl.Expr:
    """The measure's delta is at least this."""
    return pl.col(_known_delta(measure)) >= at_least


RULES: dict[str, Callable[..., pl.Expr]] = {
    rule.__name__: rule for rule in (not_empty, texts_differ, finished, max_length_delta, min_delta)
}
ALWAYS = (not_empty.__name__, texts_differ.__name__)
REASONS = [*RULES, WHERE]


def _known_delta(name: str) -> str:
    if name not in measure.NAMES:
        raise UserError(f"no measure is called {name!r}; {did_you_mean(name, measure.NAMES)}", cure="name a measure")
    return delta(name)


class Rule(NamedTuple):
    name: str
    keeps: pl.Expr


def rules(recipe: Recipe) -> list[Rule]:
    """The recipe's rules in their order, behind those that always hold, `where` last.

    Raises UserError for an unknown rule, measure or parameter, or SQL that is no expression over the pairs' columns.
    """
    asked = [_read_rule(given, f"filter.rules[{i}]") for i, given in enumerate(recipe.filter.rules)]
    always = [Rule(name, RULES[name]()) for name in ALWAYS if name not in [rule.name for rule in asked]]
    return [*always, *asked, *([_read_where(recipe.filter.where)] if recipe.filter.where else [])]


def _read_rule(given: str | dict[str, Any], where: str) -> Rule:
    """`finished`, `{max_length_delta: 100}` or `{min_delta: {measure: tokens, at_least: 0}}`."""
    if isinstance(given, dict) and len(given) != 1:
        raise UserError(f"{given!r} is not one rule", where=where, cure="write `- rule` or `- {rule: value}`")
    name, value = (given, {}) if isinstance(given, str) else next(iter(given.items()))
    if name not in RULES:
        raise UserError(f"no rule is called {name!r}", where=where, cure=did_you_mean(name, RULES))
    takes = inspect.signature(RULES[name]).parameters
    arguments = value if isinstance(value, dict) else {next(iter(takes), "value"): value}
    for key in arguments:
        if not takes:
            raise UserError(f"{name} takes nothing", where=where, cure=f"write `- {name}`")
        if key not in takes:
            raise UserError(f"{name} takes no {key!r}", where=where, cure=did_you_mean(key, takes))
    missing = [key for key, parameter in takes.items() if parameter.default is parameter.empty and key not in arguments]
    if missing:
        raise UserError(f"{name} needs {', '.join(missing)}", where=where, cure=f"{{{name}: {{{missing[0]}: …}}}}")
    for key, argument in arguments.items():
        kind = {"float": float, "str": str}[str(takes[key].annotation)]
        try:
            TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(argument)
        except ValidationError:
            raise UserError(
                f"{name}: {key} is a {'number' if kind is float else 'text'}, not {argument!r}",
                where=where,
                cure="mend it",
            ) from None
    try:
        return Rule(name, RULES[name](**arguments))
    except UserError as problem:
        raise UserError(problem.what, where=where, cure=problem.cure) from None


def _where_columns() -> list[str]:
    """What a `where` may name: the pairs' columns that are not text, and the ratio of the lengths."""
    schema = pairs(measure.NAMES, REASONS).schema
    return [field.name for field in schema if field.type != MESSAGES and field.name != DROPPED_BY] + [RESPONSE_RATIO]


def _read_where(sql: str) -> Rule:
    """The SQL expression with its columns checked. polars parses an expression only: no query, no file functions."""
    if len(sql) > MOST_SQL:
        cure = f"{MOST_SQL:,} at most; several conditions on one column are `column IN (…)`"
        raise UserError(f"an expression of {len(sql):,} characters", where="filter.where", cure=cure)
    try:
        expression = pl.sql_expr(sql)
        names = expression.meta.root_names()
        nodes = expression.meta.serialize(format="json")
    except (pl.exceptions.PolarsError, ValueError) as problem:
        raise UserError(
            f"not an SQL expression: {_said(problem)}",
            where="filter.where",
            cure='e.g. "response_ratio < 3"',
        ) from None
    if '"SubPlan":' in nodes:
        raise UserError("a sub-query is no expression over a pair", where="filter.where", cure="compare columns")
    if expression.meta.has_multiple_outputs():
        raise UserError("several columns at once are no yes or no", where="filter.where", cure="name each column")
    known = _where_columns()
    for name in names:
        if name not in known:
            raise UserError(f"no column is called {name!r}", where="filter.where", cure=did_you_mean(name, known))
    if _OVER_PAIRS.search(nodes):
        raise UserError(
            "an aggregate or a window looks at all pairs, so that one pair's fate would depend on the others",
            where="filter.where",
            cure="compare the pair's own columns with numbers",
        )
    rule = Rule(WHERE, expression)
    dropped_by(empty(pairs(measure.NAMES, REASONS)), [rule])  # on no rows: a wrong type shows before any work
    return rule


def dropped_by(numbers: pl.DataFrame, rules: list[Rule]) -> pl.Series:
    """For each pair the name of the first rule it does not fulfil, null when it is kept.

    `numbers` holds the pairs' columns without text, and what is known of the texts (EMPTY per side, SAME_TEXT).
    Raises UserError when `where` is no yes-or-no expression.
    """
    ratio = pl.lit(2.0).pow(pl.col(delta(measure.response_ratio.__name__)))
    seen = numbers.with_columns(
        pl.selectors.integer().cast(pl.Int64),  # unsigned, 7 - 12 tokens would be 4294967291
        ratio.round_sig_figs(12).alias(RESPONSE_RATIO),  # 300 characters over 100 are 3.0
    )
    reason = pl.lit(None, dtype=pl.String)
    for rule in reversed(rules):
        fails = rule.keeps.fill_null(False).not_()
        reason = pl.when(fails).then(pl.lit(rule.name)).otherwise(reason)
    try:
        for rule in rules:
            kind = seen.lazy().select(rule.keeps).collect_schema().dtypes()[0]
            if kind not in (pl.Boolean, pl.Null):
                raise _undecided(f"it gives {_plain(kind)}, neither yes nor no")
        return seen.select(reason.alias(DROPPED_BY)).to_series()
    except pl.exceptions.PolarsError as problem:
        raise _undecided(_said(problem)) from None


def _said(problem: Exception) -> str:
    """What polars says, without its hints, its plan and its name for text."""
    return str(problem).splitlines()[0].replace("Utf8View", "text")[:200]


def _undecided(why: str) -> UserError:
    return UserError(f"cannot be decided: {why}", where="filter.where", cure="give a yes-or-no expression")


def _plain(kind: pl.DataType) -> str:
    return "text" if kind == pl.String else "a number" if kind.is_numeric() else str(kind)


def unknown(numbers: pl.DataFrame, rules: list[Rule]) -> dict[str, int]:
    """How many pairs each rule dropped because its input is null, rules that did not left out."""
    found = {}
    for rule in rules:
        if rule.name == WHERE:  # it sees columns of its own making; what it drops is counted as a whole
            continue
        asked = numbers.filter(pl.col(DROPPED_BY) == rule.name).select(rule.keeps.is_null().sum()).item()
        if asked:
            found[rule.name] = asked
    return found


def funnel(dropped: pl.Series, rules: list[Rule]) -> dict[str, int]:
    """How many pairs each rule dropped, in the order of the rules, zeros included."""
    counts = dict(dropped.drop_nulls().value_counts().iter_rows())
    return {rule.name: counts.get(rule.name, 0) for rule in rules}
