"""The language of a text, by py3langid: for the rule `language` and for the card's header.

Short texts, and those in no language (code, names, figures), are left undecided rather than guessed.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import polars as pl

from deltadata.errors import need

NONE = "zxx"  # the library's name for what is no language
_LOOKED_AT = 500  # characters
_DECIDABLE = 20  # letters of the Latin script; one of another script tells as much as five
_CLEAR = 0.3  # of a text in a language, the likeliest has more; of code, names and typing errors less


class Likeliest(NamedTuple):
    """An ISO 639 code as py3langid has it, and its probability."""

    code: str
    probability: float


@cache
def identifier() -> Any:
    """Raises UserError without py3langid (extra `checks`)."""
    langid = need("py3langid.langid", "checks")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def heads(texts: pl.Series) -> pl.Series:
    """What is looked at: the first 500 characters."""
    return texts.str.head(_LOOKED_AT)


def decidable(texts: pl.Series) -> pl.Series:
    """Whether there are letters enough to tell; null is no."""
    found = heads(texts)
    letters = found.str.count_matches(r"\p{L}") + 4 * found.str.count_matches(r"[\p{L}--\p{Latin}]")
    return (letters >= _DECIDABLE).fill_null(False)


def likeliest(head: str) -> Likeliest | None:
    """None where no language is likely."""
    best = Likeliest(*identifier().classify(head))
    return best if best.probability >= _CLEAR else None


def shares(texts: pl.Series) -> dict[str, float]:
    """The share of each language among the texts whose language can be told, the most frequent first."""
    found = [likeliest(head) for head in heads(texts).filter(decidable(texts))]
    codes = pl.Series("code", [best.code for best in found if best and best.code != NONE], dtype=pl.String)
    counts = codes.value_counts().sort(["count", "code"], descending=[True, False])
    return {code: count / len(codes) for code, count in counts.iter_rows()}
