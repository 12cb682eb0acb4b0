"""RESPONSES to PAIRS: the stronger rung's response is chosen, the weaker one's rejected, prompt by prompt.

    deltadata pair RECIPE

Pairs are decided on numbers alone (one narrow row per response); their text is streamed from the parts afterwards.
A pair exists where both responses do, sample by sample. Strength is the order of the rungs, not their size.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import combinations, pairwise
from typing import NamedTuple

import polars as pl

from deltadata import measure, tables
from deltadata.errors import UserError
from deltadata.recipe import Recipe
from deltadata.tables import CHOSEN, FINISH, MODEL, PROMPT_ID, REJECTED, SAMPLE, SIDES, TOKENS, delta, of

# Working columns of the numbers, never written: where a text lies, and what is known of it without holding it.
ORDER, ROW, TEXT_HASH = "prompt_row", "response_row", "text_hash"
EMPTY, SAME_TEXT = "is_empty", "same_text"


class Pairing(NamedTuple):
    stronger: str
    weaker: str


def pairings(recipe: Recipe) -> list[Pairing]:
    """The recipe's pairings, stronger rung first. Raises UserError when one rung leaves nothing to pair."""
    rungs = [rung.name for rung in recipe.generate.rungs]
    asked = recipe.pair.pairings
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


def response_numbers(
    responses: Mapping[str, Iterable[pl.DataFrame]], prompts: pl.DataFrame, samples: dict[str, int]
) -> pl.DataFrame:
    """One narrow row per response with text: key, place, measures and a hash of the text.

    `responses` are each rung's parts, taken one at a time: all of them would hold all text. `prompts` has prompt_id and
    pool in the order of the prompts table; responses to other prompts, or with a sample index at or above `samples` of
    their rung, are left out.
    """
    wanted = prompts.with_row_index(ORDER)
    found = []
    for rung, parts in responses.items():
        numbers = pl.concat([_part_numbers(part) for part in parts]).with_row_index(ROW)
        numbers = numbers.filter(pl.col(TEXT_HASH).is_not_null(), pl.col(SAMPLE) < samples[rung])
        found.append(numbers.join(wanted, on=PROMPT_ID))
    return pl.concat(found).sort(ORDER, MODEL, SAMPLE)


def _part_numbers(part: pl.DataFrame) -> pl.DataFrame:
    text = pl.col(tables.RESPONSE)
    return part.select(
        PROMPT_ID,
        MODEL,
        SAMPLE,
        FINISH,
        pl.col(tables.RESPONSE_TOKENS).alias(TOKENS),
        pl.when(text.is_not_null()).then(text.hash()).alias(TEXT_HASH),
        (text.str.strip_chars() == "").alias(EMPTY),
        **{_measured(name): expression for name, expression in measure.per_response().items()},
    )


def _measured(name: str) -> str:
    return f"measured_{name}"


def pair(numbers: pl.DataFrame, recipe: Recipe) -> pl.DataFrame:
    """All pairs of all pairings, in order of pairing, prompt and sample, with every delta; nothing is dropped here.

    Raises UserError when `control: tied` finds no second sample.
    """
    return pl.concat([_one_pairing(numbers, pairing, recipe) for pairing in planned(recipe)])


def planned(recipe: Recipe) -> list[Pairing]:
    """The pairings under the recipe's control: `tied` pairs a rung with itself, two samples of the stronger one.

    Raises UserError where there is nothing to pair.
    """
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


def _one_pairing(numbers: pl.DataFrame, pairing: Pairing, recipe: Recipe) -> pl.DataFrame:
    control = recipe.pair.control
    sides = (pairing.weaker, pairing.stronger) if control == "reversed" else pairing
    chosen, rejected = (
        _side(numbers.filter(pl.col(MODEL) == model), side) for model, side in zip(sides, SIDES, strict=True)
    )
    match_on = pl.col(of(CHOSEN, SAMPLE)), pl.col(of(REJECTED, SAMPLE))
    if control == "tied":  # samples (0, 1), (2, 3) ... of one rung
        chosen = chosen.filter(match_on[0] % 2 == 0)
        match_on = match_on[0] + 1, match_on[1]
    joined = chosen.join(
        rejected.drop(ORDER, tables.POOL),
        left_on=[PROMPT_ID, match_on[0]],
        right_on=[PROMPT_ID, match_on[1]],
        coalesce=False,
        maintain_order="left",
    ).drop(f"{PROMPT_ID}_right")
    if control == "random":
        joined = _flip_coins(joined, recipe.seed)
    return joined.select(
        ORDER,
        PROMPT_ID,
        tables.POOL,
        *(of(side, column) for column in (MODEL, SAMPLE, TOKENS, FINISH, ROW, EMPTY) for side in SIDES),
        (pl.col(of(CHOSEN, TEXT_HASH)) == pl.col(of(REJECTED, TEXT_HASH))).alias(SAME_TEXT),
        **{
            delta(name): pl.col(of(CHOSEN, _measured(name))) - pl.col(of(REJECTED, _measured(name)))
            for name in measure.NAMES
        },
    )


def _side(numbers: pl.DataFrame, side: str) -> pl.DataFrame:
    return numbers.rename(lambda column: column if column in (PROMPT_ID, ORDER, tables.POOL) else of(side, column))


def _flip_coins(joined: pl.DataFrame, seed: int) -> pl.DataFrame:
    """The control `random`: which side is chosen is a coin per pair, fixed by the seed."""
    tossed = joined.select(PROMPT_ID, of(CHOSEN, MODEL), of(REJECTED, MODEL), of(CHOSEN, SAMPLE)).iter_rows()
    heads = pl.Series([tables.rank(seed, "control", *pair) % 2 == 1 for pair in tossed], dtype=pl.Boolean)
    swapped = joined.rename(lambda column: _other_side(column))
    return pl.concat([joined.filter(heads), swapped.filter(~heads).select(joined.columns)]).sort(
        ORDER, of(CHOSEN, SAMPLE), maintain_order=True
    )


def _other_side(column: str) -> str:
    for this, other in (SIDES, SIDES[::-1]):
        if column.startswith(of(this, "")):
            return of(other, column.removeprefix(of(this, "")))
    return column
