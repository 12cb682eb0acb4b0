"""What `pair:` in a recipe holds: pairs by the order of the rungs, by score, or both, with their defaults and bounds.

pair: {pairings: ends, also: {by: gpt4, share: 0.5, exclusive: true}}
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationError,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from deltadata.sections import Section


class Weak(Section):
    """Which responses must be among the candidates of a prompt (OLMo 3 had two of four from weak models)."""

    rungs: list[str] = Field(min_length=1)
    at_least: int = Field(default=2, gt=0)


class ByScore(Section):
    """One pair a prompt: the response of the highest score over another of a lower one, whatever their rungs."""

    by: str
    """a scorer"""
    pick: Literal["max_min", "max_random"] = "max_min"
    """the rejected one: that of the lowest score, or any of a lower score than the chosen one's"""
    min_delta: float = Field(default=0.0, ge=0)
    """the least difference of the scores; equal scores never make a pair"""
    candidates: int | None = Field(default=None, ge=2)
    """how many responses of a prompt are looked at, a seeded choice; null: all, or 4 with `weak`"""
    weak: Weak | None = None

    @property
    def drawn(self) -> int | None:
        """How many candidates a prompt has at most."""
        return self.candidates or (max(4, self.weak.at_least) if self.weak else None)


class Also(ByScore):
    """Pairs by score beside those of `pairings`, in one dataset (OLMo 3 had 125,000 of each)."""

    share: float = Field(default=1.0, ge=0, le=1)
    """the share of prompts that get a pair by score, by a seeded draw; a larger one keeps those of a smaller one"""
    exclusive: bool = False
    """true: these prompts get pairs by score alone, and the others those of `pairings` alone"""


def _form(given: Any) -> str:
    """Which form of `pairings` a value has, so that its mistakes are told in that form alone."""
    return "score" if isinstance(given, dict | ByScore) else "list" if isinstance(given, list) else "shape"


class Pair(Section):
    pairings: Annotated[
        Annotated[Literal["adjacent", "all", "ends"], Tag("shape")]
        | Annotated[list[Annotated[list[str], Field(min_length=2, max_length=2)]], Tag("list")]
        | Annotated[ByScore, Tag("score")],
        Discriminator(_form),
    ] = "adjacent"
    """adjacent | all | ends | [[stronger, weaker], ...] | {by: SCORER, ...}"""
    control: Literal["none", "reversed", "tied", "random"] = "none"
    """the paper's controls"""
    measures: list[str] | None = None
    """what is measured beside lengths; null: all but `similarity`; `params_ratio` only where rungs state `params`"""
    also: Also | None = None
    """{by: SCORER, ...}: pairs by score as well; a column `preference_type` says which pair is of which kind"""
    soft_label: list[str] = []
    """scorers: a column `soft_label` has the share of them that prefer the chosen side, a tie counting half"""

    @model_validator(mode="before")
    @classmethod
    def _by_score_below_pairings(cls, given: Any) -> Any:
        for key in given if isinstance(given, dict) else ():
            if key in ByScore.model_fields:
                raise ValueError(f"{key}: goes under `pairings`; write pair: {{pairings: {{by: SCORER, ...}}}}")
        return given

    @field_validator("pairings", mode="wrap")
    @classmethod
    def _one_message(cls, given: Any, check: ValidatorFunctionWrapHandler) -> Any:
        if _form(given) == "score":
            return check(given)
        try:
            return check(given)
        except ValidationError:
            known = "adjacent, all, ends, a list of [stronger, weaker], or {by: SCORER}"
            raise ValueError(f"{given!r} is no pairing; {known}") from None

    @model_validator(mode="after")
    def _beside_pairings(self) -> Pair:
        if self.also and isinstance(self.pairings, ByScore):
            raise ValueError("also: `pairings` go by score already; name rungs or a shape there, or leave `also` out")
        if self.also and self.control == "tied":
            cure = "take `reversed` or `random`, or leave `also` out"
            raise ValueError(f"control: tied pairs are two samples of one rung, and those of `also` no such; {cure}")
        return self
