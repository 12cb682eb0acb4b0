"""PAIRS to PAIRS with `dropped_by`: every drop has the name of the first rule that asked for it.

    deltadata filter RECIPE --dry-run      # what would go, and what it would do to the deltas

The rules themselves are in rules.py. Here they are read from the recipe and applied in its order, each to what the
ones before it left; null never fulfils one.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import NamedTuple

import polars as pl

from deltadata import measure, pair, tables
from deltadata.asked import numbered, read
from deltadata.errors import UserError, did_you_mean
from deltadata.mixed import CONTRADICTED
from deltadata.recipe import Recipe
from deltadata.rules import ALWAYS, RULES, Choose, Keeps
from deltadata.tables import DROPPED_BY, MESSAGES, PAIR_KEY, SIDES, SOFT_LABEL, delta, empty, of

RESPONSE_RATIO = "response_ratio"
WHERE = "where"
MOST_SQL = 2000  # polars takes the square of the length, and its parser a stack
# The nodes, in polars' JSON of an expression, of every SQL function that looks beyond its own row; a test lists those.
_OVER_PAIRS = re.compile(r'"(Agg|Over|Explode|Quantile|Correlation)":|(?<!"String":)"Len"')
_PLACE = "pair_row"


class Rule(NamedTuple):
    """A rule of the recipe under the name of its reason: the second `min_delta` is `min_delta_2`."""

    name: str
    keeps: Keeps
    seed: int = 0

    @property
    def inputs(self) -> set[str]:
        """The columns it looks at."""
        return set(self.keeps.meta.root_names()) if isinstance(self.keeps, pl.Expr) else {*self.keeps.columns}


def rules(recipe: Recipe) -> list[Rule]:
    """The recipe's rules in their order, behind those that always hold, `where` last.

    Raises UserError for an unknown rule, measure or parameter, or SQL that is no expression over the pairs' columns.
    """

    def check(name: str) -> None:
        known = pair.measures(recipe)
        if name not in known and name in (*measure.NAMES, tables.SIMILARITY):
            raise UserError(f"{name} is not measured by this recipe", cure=f"add {name} to pair.measures")
        if name not in known:
            raise UserError(f"no measure is called {name!r}; {did_you_mean(name, known)}", cure="name a measure")

    own = [read(rule, f"filter.rules[{i}]", RULES, check) for i, rule in enumerate(recipe.filter.rules)]
    given = [read(name, "", RULES) for name in ALWAYS if name not in [rule.name for rule in own]]
    for i, rule in enumerate(own):
        _refuse_without(recipe, Rule(rule.name, rule.made), f"filter.rules[{i}]")
    found = [Rule(rule.name, rule.made, recipe.seed) for rule in numbered([*given, *own])]
    return [*found, *([_read_where(recipe)] if recipe.filter.where else [])]


def _refuse_without(recipe: Recipe, rule: Rule, where: str) -> None:
    """Raises UserError for a rule over a column that this recipe's pairs have not."""
    if SOFT_LABEL in rule.inputs and not recipe.pair.soft_label:
        cure = "add `pair: {soft_label: [SCORER, ...]}`"
        raise UserError(f"{rule.name}: pairs have no soft label in this recipe", where=where, cure=cure)
    if CONTRADICTED in rule.inputs and not recipe.pair.also:
        cure = "leave it out, or add pairs by score as well: `pair: {also: {by: SCORER}}`"
        raise UserError(f"{rule.name}: all pairs are of one kind, and cannot contradict", where=where, cure=cure)


def always(found: list[Rule]) -> list[Rule]:
    """Those of them that hold whatever the recipe says."""
    return [rule for rule in found if rule.name in ALWAYS]


def sides(found: list[Rule]) -> set[str]:
    """What the rules ask of a side's text that pairs.parquet does not hold: measures, and the tokens of the prompt."""
    values = {of(side, name): name for side in SIDES for name in (*measure.OF_TEXT, tables.PROMPT_TOKENS)}
    return {values[column] for rule in found for column in rule.inputs if column in values}


def _where_columns(recipe: Recipe) -> pl.DataFrame:
    """What a `where` may name, on no rows: the pairs' columns but text, the ratio, and what is measured of a side."""
    schema = pair.contract(recipe, []).schema
    frame = empty(tables.Table("", schema, (), ())).select(
        field.name for field in schema if field.type != MESSAGES and field.name != DROPPED_BY
    )
    ratio = [] if RESPONSE_RATIO not in pair.measures(recipe) else [RESPONSE_RATIO]
    extra = [*ratio, *(of(side, name) for name in measure.OF_TEXT for side in SIDES)]
    return frame.with_columns(pl.lit(None, dtype=pl.Float64).alias(name) for name in extra)


def _read_where(recipe: Recipe) -> Rule:
    """The SQL expression with its columns checked. polars parses an expression only: no query, no file functions."""
    sql = recipe.filter.where or ""
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
    known = _where_columns(recipe)
    for name in names:
        if name not in known.columns:
            cure = did_you_mean(name, known.columns)
            if f'"{name}"' in sql:
                cure = f"text goes in single quotes: '{name}'" + (f"; {cure}" if "did you" in cure else "")
            raise UserError(f"no column is called {name!r}", where="filter.where", cure=cure)
    if _OVER_PAIRS.search(nodes):
        raise UserError(
            "an aggregate or a window looks at all pairs, so that one pair's fate would depend on the others",
            where="filter.where",
            cure="compare the pair's own columns with numbers",
        )
    rule = Rule(WHERE, expression)
    dropped_by(known, [rule])  # on no rows: a wrong type shows before any work
    return rule


def dropped_by(numbers: pl.DataFrame, found: list[Rule]) -> pl.Series:
    """For each pair the name of the first rule it does not fulfil, null when it is kept.

    `numbers` holds the pairs' columns without text, what is known of the texts (EMPTY per side, SAME_TEXT) and the
    values of `sides`. Raises UserError when `where` is no yes-or-no expression.
    """
    looked_at = {*PAIR_KEY}.union(*(rule.inputs for rule in found))
    left = _seen(numbers, looked_at)
    left = left.with_columns(pl.int_range(pl.len()).alias(_PLACE))
    gone = [left.clear().select(_PLACE, pl.lit(None, dtype=pl.String).alias(DROPPED_BY))]
    for rule in found:
        kept = _fulfils(rule, left)
        gone.append(left.filter(~kept).select(_PLACE, pl.lit(rule.name).alias(DROPPED_BY)))
        left = left.filter(kept)
    every = pl.DataFrame({_PLACE: pl.int_range(numbers.height, eager=True)})
    return every.join(pl.concat(gone), on=_PLACE, how="left", maintain_order="left")[DROPPED_BY]


def _seen(numbers: pl.DataFrame, looked_at: Collection[str]) -> pl.DataFrame:
    """The numbers as rules see them."""
    ratio = delta(measure.response_ratio.__name__)
    wanted = [name for name in numbers.columns if name in looked_at or (name == ratio and RESPONSE_RATIO in looked_at)]
    plain = pl.lit(2.0).pow(pl.col(ratio)).round_sig_figs(12)  # 300 characters over 100 are 3.0
    return numbers.select(wanted).with_columns(
        pl.selectors.starts_with(tables.DELTA).round_sig_figs(12),  # 0.7 - 0.4 is 0.3, not a hair less
        pl.selectors.integer().cast(pl.Int64),  # unsigned, 7 - 12 tokens would be 4294967291
        pl.selectors.enum().cast(pl.String),  # any text may be compared with
        *([plain.alias(RESPONSE_RATIO)] if ratio in wanted else []),
    )


def _fulfils(rule: Rule, left: pl.DataFrame) -> pl.Series:
    """Whether each pair that is left fulfils the rule."""
    if isinstance(rule.keeps, Choose):
        known = left.drop_nulls(rule.keeps.columns)
        # A draw belongs to a pair, so that no added pair changes another's luck.
        draws = [tables.rank(rule.seed, rule.name, *key) for key in known.select(PAIR_KEY).iter_rows()]
        chosen = rule.keeps.choose(known, pl.Series(draws, dtype=pl.Int64))
        return left[_PLACE].is_in(known[_PLACE].filter(chosen).implode())
    try:
        kind = left.lazy().select(rule.keeps).collect_schema().dtypes()[0]
        if kind not in (pl.Boolean, pl.Null):
            raise _undecided(f"it gives {_plain(kind)}, neither yes nor no")
        return left.select(kept=rule.keeps.fill_null(False)).to_series()
    except pl.exceptions.PolarsError as problem:
        raise _undecided(_said(problem)) from None


def _said(problem: Exception) -> str:
    """What polars says, without its hints, its plan and its name for text."""
    return str(problem).splitlines()[0].replace("Utf8View", "text")[:200]


def _undecided(why: str) -> UserError:
    return UserError(f"cannot be decided: {why}", where="filter.where", cure="give a yes-or-no expression")


def _plain(kind: pl.DataType) -> str:
    return "text" if kind == pl.String else "a number" if kind.is_numeric() else str(kind)


def unknown(numbers: pl.DataFrame, found: list[Rule]) -> dict[str, int]:
    """How many pairs each rule dropped because what it looks at is null; rules that did not are left out."""
    counts = {}
    for rule in found:
        dropped = _seen(numbers.filter(pl.col(DROPPED_BY) == rule.name), rule.inputs)
        parts = [rule.keeps] if isinstance(rule.keeps, pl.Expr) else [pl.col(name) for name in rule.keeps.columns]
        count = dropped.select(pl.any_horizontal(part.is_null() for part in parts).sum()).item()
        if count:
            counts[rule.name] = count
    return counts


def uncounted(numbers: pl.DataFrame, rule: Rule) -> bool:
    """Whether the rule looks at token counts, and some are unknown."""
    names = (tables.TOKENS, tables.PROMPT_TOKENS)
    counts = {delta(tables.TOKENS), *(of(side, name) for side in SIDES for name in names)}
    return any(numbers[column].null_count() for column in counts & rule.inputs)


def funnel(dropped: pl.Series, found: list[Rule]) -> dict[str, int]:
    """How many pairs each rule dropped, in the order of the rules, zeros included."""
    counts = dict(dropped.drop_nulls().value_counts().iter_rows())
    return {rule.name: counts.get(rule.name, 0) for rule in found}


def emptied(dropped: pl.Series, found: list[Rule]) -> str | None:
    """Which rule dropped the last pair, and why it may have; None where a pair is kept, or there was none."""
    if dropped.is_empty() or dropped.null_count():
        return None
    counts = funnel(dropped, found)
    last = [rule for rule in found if counts[rule.name]][-1]
    why = last.keeps.empties if isinstance(last.keeps, Choose) else ""
    return f"{last.name}: dropped the last {counts[last.name]} pair(s)" + (f"; {why}" if why else "")
