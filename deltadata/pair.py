"""RESPONSES to PAIRS: the stronger rung's response is chosen, the weaker one's rejected, prompt by prompt.

    deltadata pair RECIPE

Pairs are decided on numbers alone (one narrow row per response); their text is streamed from the parts afterwards.
A pair exists where both responses do, sample by sample. Strength is the order of the rungs, not their size; with
`pairings: {by: SCORER}` it is the score of the response, whatever its rung; with `also: {by: SCORER}` there are both.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import polars as pl

from deltadata import measure, mixed, tables
from deltadata.by_score import best_and_worse
from deltadata.controls import controlled
from deltadata.errors import UserError, did_you_mean
from deltadata.measure import PARAMS, POSITION
from deltadata.pair_sections import Also, ByScore
from deltadata.recipe import Recipe
from deltadata.tables import (
    CHOSEN,
    FINISH,
    MODEL,
    PREFERENCE_TYPE,
    PROMPT_ID,
    REJECTED,
    SAMPLE,
    SIDES,
    SIMILARITY,
    SOFT_LABEL,
    TOKENS,
    delta,
    of,
)

# Working columns of the numbers, never written: where a text lies, and what is known of it without holding it.
ORDER, ROW, TEXT_HASH = "prompt_row", "response_row", "text_hash"
EMPTY, SAME_TEXT = "is_empty", "same_text"
SLICE = 2048  # responses that are measured at once
ENDS = pl.Enum(["stop", "length", "error"])  # a byte each
_NUMBER = "prompt_number"


class Pairing(NamedTuple):
    stronger: str
    weaker: str


def measures(recipe: Recipe) -> list[str]:
    """Everything that the recipe measures, in order: lengths (always), its other measures, its scorers.

    Raises UserError for a measure that does not exist, stands twice, or shares its name with a scorer.
    """
    known, scorers = [*measure.NAMES, SIMILARITY], [score.name for score in recipe.score]
    asked = recipe.pair.measures
    if asked is None:
        stated = any(rung.params for rung in recipe.generate.rungs)
        asked = [name for name in measure.NAMES if stated or name != measure.params_ratio.__name__]
    for i, name in enumerate(asked):
        where = f"pair.measures[{i}]"
        if name in scorers:
            raise UserError(f"{name!r} is a scorer, and measured anyway", where=where, cure="leave it out")
        if name not in known:
            raise UserError(f"no measure is called {name!r}", where=where, cure=did_you_mean(name, known))
        if name in asked[:i]:
            raise UserError(f"{name!r} is there twice", where=where, cure="keep one")
    for i, name in enumerate(scorers):
        if name in known:
            cure = "give the scorer another name"
            raise UserError(f"{name!r} is the name of a measure", where=f"score[{i}].name", cure=cure)
    lengths = [name for name in measure.LENGTHS if name not in scorers]
    return [*lengths, *(name for name in asked if name not in lengths), *scorers]


def contract(recipe: Recipe, known_reasons: list[str]) -> tables.Table:
    """The contract of the recipe's pairs; `known_reasons` are the values `dropped_by` may take."""
    return tables.pairs(measures(recipe), known_reasons, recipe.pair.also is not None, bool(recipe.pair.soft_label))


def pairings(recipe: Recipe) -> list[Pairing]:
    """The recipe's pairings, stronger rung first; none where pairs go by score.

    Raises UserError when one rung leaves nothing to pair.
    """
    rungs = [rung.name for rung in recipe.generate.rungs]
    asked = recipe.pair.pairings
    if isinstance(asked, ByScore):
        return []
    if isinstance(asked, list):
        return [Pairing(stronger, weaker) for stronger, weaker in asked]
    if len(rungs) < 2:
        raise UserError("one rung makes no pair", where="generate.rungs", cure="add a weaker rung below it")
    match asked:
        case "adjacent":
            return [Pairing(*two) for two in pairwise(rungs)]
        case "ends":
            return [Pairing(rungs[0], rungs[-1])]
        case "all":
            return [Pairing(*two) for two in combinations(rungs, 2)]


def samples(recipe: Recipe) -> dict[str, int]:
    """Responses per prompt that the recipe asks each rung for; all there are for an imported rung."""
    return {
        rung.name: 2**31 if rung.responses else recipe.generate.sampling_of(rung).samples
        for rung in recipe.generate.rungs
    }


def response_numbers(
    responses: Mapping[str, Iterable[pl.DataFrame]],
    prompts: pl.DataFrame,
    recipe: Recipe,
    scores: Sequence[pl.DataFrame] = (),
    also: Collection[str] = (),
) -> pl.DataFrame:
    """One narrow row per response with text: key, place, measures (and those in `also`), scores, hash of the text.

    `responses` are each rung's parts, taken one at a time: all of them would hold all text. `prompts` has prompt_id and
    pool in the order of the prompts table; responses to other prompts, or with a sample index at or above the samples
    asked of their rung, are left out. `scores` has the key and a column named by the scorer.
    """
    wanted = prompts.select(tables.id_number().alias(_NUMBER), tables.POOL).with_row_index(ORDER)
    asked = samples(recipe)
    taken = {*measures(recipe), *also}
    names = [name for name in measure.NAMES if name in taken]
    found = []
    for position, rung in enumerate(recipe.generate.rungs):
        stands = (pl.lit(position).alias(POSITION), pl.lit(rung.params, dtype=pl.Float64).alias(PARAMS))
        parts = [
            _part_numbers(rows.with_columns(*stands), names)
            for part in responses.get(rung.name, ())
            for rows in part.iter_slices(SLICE)
        ]
        if not parts:
            continue
        numbers = pl.concat(parts).with_row_index(ROW)
        parts.clear()
        wanted_too = numbers[TEXT_HASH].is_not_null() & (numbers[SAMPLE] < asked[rung.name])
        if not wanted_too.all():  # else a copy for nothing
            numbers = numbers.filter(wanted_too)
        for scored in scores:
            numbers = with_scores(numbers, scored.filter(pl.col(MODEL) == rung.name))
        numbers = numbers.with_columns(tables.id_number().alias(_NUMBER)).join(wanted, on=_NUMBER).drop(_NUMBER)
        in_order = numbers.select((pl.col(ORDER).cast(pl.UInt64) * 2**32 + pl.col(SAMPLE)).alias(ORDER))[ORDER]
        found.append(numbers if in_order.is_sorted() else numbers.sort(ORDER, SAMPLE))
    # Rungs one after the other: whatever is made of them is taken rung by rung, and then sorted.
    return pl.concat(found)


def with_scores(numbers: pl.DataFrame, scores: pl.DataFrame) -> pl.DataFrame:
    """The responses' numbers beside their scores: `scores` has the key and a column named by the scorer."""
    key = tables.RESPONSES.key
    named = scores.rename({name: column_of(name) for name in scores.columns if name not in key})
    return numbers.join(named, on=key, how="left", maintain_order="left")


def _part_numbers(part: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    text = pl.col(tables.RESPONSE)
    return part.select(
        PROMPT_ID,
        MODEL,
        SAMPLE,
        pl.col(FINISH).cast(ENDS),
        tables.PROMPT_TOKENS,
        pl.col(tables.RESPONSE_TOKENS).alias(TOKENS),
        pl.when(text.is_not_null()).then(text.hash()).alias(TEXT_HASH),
        (text.str.strip_chars() == "").alias(EMPTY),
        **{column_of(name): expression for name, expression in measure.per_response(names).items()},
    )


def mean_characters(numbers: pl.DataFrame) -> dict[str, float]:
    """The mean length of each rung's responses, where it was measured."""
    column = column_of(measure.characters.__name__)
    if column not in numbers.columns:
        return {}
    return dict(numbers.group_by(MODEL).agg(pl.col(column).mean()).sort(MODEL).iter_rows())


def column_of(name: str) -> str:
    return f"measured_{name}"


def pair(numbers: pl.DataFrame, recipe: Recipe, also: Collection[str] = ()) -> pl.DataFrame:
    """All pairs of all pairings, in order of pairing, prompt and sample, with every delta; nothing is dropped here.

    With `also` pairs by score follow, each pair has its preference_type, and what is known of contradictions.
    Both sides' values of the measures named in `also` stand beside them, for the rules. `similarity` does not: it takes
    the texts. Raises UserError when `control: tied` finds no second sample.
    """
    asked = recipe.pair.pairings
    if isinstance(asked, ByScore):
        sides = [_by_score(numbers, asked, recipe.seed)]
    elif recipe.pair.also:
        sides = _both_kinds(numbers, recipe, recipe.pair.also)
    else:
        sides = [_of_pairing(numbers, pairing, recipe.pair.control == "tied") for pairing in planned(recipe)]
    found = pl.concat([_compared(joined, recipe, also) for joined in sides])
    return found.with_columns(mixed.contradicted(found)) if recipe.pair.also else found


def _both_kinds(numbers: pl.DataFrame, recipe: Recipe, asked: Also) -> list[pl.DataFrame]:
    """The pairs of each pairing, and those by score that are no pair of a pairing."""
    ours = mixed.takes_part(numbers[PROMPT_ID], asked, recipe.seed)
    by_score = _by_score(numbers.filter(ours), asked, recipe.seed)
    rest = numbers.filter(~ours) if asked.exclusive else numbers
    return mixed.together([_of_pairing(rest, pairing, tied=False) for pairing in planned(recipe)], by_score)


def planned(recipe: Recipe) -> list[Pairing]:
    """The pairings under the recipe's control: `tied` pairs a rung with itself, two samples of the stronger one.

    Raises UserError where there is nothing to pair, or no such measure.
    """
    measures(recipe)
    if recipe.pair.control != "tied":
        return pairings(recipe)
    stronger = list(dict.fromkeys(pairing.stronger for pairing in pairings(recipe)))
    for name in stronger:
        rung = recipe.rung(name)  # an imported one has as many samples as its file
        if not rung.responses and recipe.generate.sampling_of(rung).samples < 2:
            raise UserError(
                f"tied pairs take two samples of {name!r}, which has one",
                where="pair.control",
                cure="set generate.sampling.samples to 2 and a temperature above 0",
            )
    return [Pairing(name, name) for name in stronger]


def _of_pairing(numbers: pl.DataFrame, pairing: Pairing, tied: bool) -> pl.DataFrame:
    """Both rungs' responses side by side, sample by sample; tied: samples (0, 1), (2, 3) ... of one rung."""
    stronger, weaker = (numbers.filter(pl.col(MODEL) == model) for model in pairing)
    if tied:
        return _beside(stronger.filter(pl.col(SAMPLE) % 2 == 0), weaker, 1)
    return _beside(stronger, weaker, 0)


def _beside(better: pl.DataFrame, worse: pl.DataFrame, shift: int | None) -> pl.DataFrame:
    """Two responses a row, where the worse one's sample is the better one's and `shift`; any sample without one."""
    chosen, rejected = _side(better, CHOSEN), _side(worse, REJECTED).drop(PROMPT_ID, tables.POOL)
    left, right = (pl.col(of(side, SAMPLE)).cast(pl.Int64) for side in SIDES)
    return chosen.join(
        rejected,
        left_on=[ORDER] if shift is None else [ORDER, left + shift],
        right_on=[ORDER] if shift is None else [ORDER, right],
        coalesce=False,
        maintain_order="left",
    ).drop(f"{ORDER}_right")


def _side(numbers: pl.DataFrame, side: str) -> pl.DataFrame:
    return numbers.rename(lambda column: column if column in (PROMPT_ID, ORDER, tables.POOL) else of(side, column))


def _by_score(numbers: pl.DataFrame, asked: ByScore, seed: int) -> pl.DataFrame:
    """One pair a prompt, of the responses with text and a score."""
    score = column_of(asked.by)
    rows = numbers.filter(pl.col(score).is_not_null(), ~pl.col(EMPTY))
    best, worse = best_and_worse(rows, score, asked, seed)
    return _beside(best.sort(ORDER), worse, None)


def _compared(joined: pl.DataFrame, recipe: Recipe, also: Collection[str]) -> pl.DataFrame:
    """The pairs' columns but their text; `joined` has the better response as chosen, before any control."""
    joined = controlled(joined, recipe, ORDER)
    facts = (MODEL, SAMPLE, TOKENS, FINISH, ROW, EMPTY, *({tables.PROMPT_TOKENS} & {*also}))
    names = [name for name in measures(recipe) if name != SIMILARITY]
    labels = [_soft_label(recipe.pair.soft_label)] if recipe.pair.soft_label else []
    return joined.select(
        ORDER,
        PROMPT_ID,
        tables.POOL,
        *(of(side, column) for column in facts for side in SIDES),
        (pl.col(of(CHOSEN, TEXT_HASH)) == pl.col(of(REJECTED, TEXT_HASH))).alias(SAME_TEXT),
        *(
            pl.col(of(side, column_of(name))).alias(of(side, name))
            for name in measure.NAMES
            for side in SIDES
            if name in also
        ),
        *([PREFERENCE_TYPE] if recipe.pair.also else []),
        *labels,
        **{delta(name): _difference(name) for name in names},
    )


def _difference(name: str) -> pl.Expr:
    return pl.col(of(CHOSEN, column_of(name))) - pl.col(of(REJECTED, column_of(name)))


def _soft_label(scorers: list[str]) -> pl.Expr:
    """The share of the scorers that prefer the chosen side, a tie counting half; null where none knows both sides."""
    return pl.mean_horizontal([(_difference(name).sign() + 1) / 2 for name in scorers]).alias(SOFT_LABEL)
