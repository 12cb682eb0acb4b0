"""What `score:` in a recipe holds: one struct for each kind of scorer, strict, with its defaults and bounds.

score: [{name: checks}, {name: helpful, scorer: judge, model: Qwen/Qwen2.5-7B-Instruct}]
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from deltadata.errors import did_you_mean
from deltadata.sections import Engine, Name, Sampling, Section

ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")  # UltraFeedback's (arXiv 2310.01377)


class Scorer(Section):
    name: Name
    """it makes the column `delta_<name>`; without `scorer` or `scores` it also says which scorer it is"""


class Imported(Scorer):
    """Scores that already exist."""

    scores: str
    """a .jsonl, .json, .csv or .parquet file of existing scores, or hf:owner/dataset"""
    prompt: str = "prompt"
    """the column with the prompt, or prompt_id"""
    model: str = "model"
    """the column with the rung"""
    score: str = "score"
    """the column with the number"""
    each: str | None = None
    """a column that holds a list; each of its items is a row, its keys beside those of the row"""
    models: dict[str, str | None] = {}
    """the rung of each name that the file uses, null for those to leave out"""
    license: str | None = None
    """the licence of the scores"""


class Checks(Scorer):
    """Verifiable checks that the prompts carry."""

    scorer: Literal["checks"] = "checks"
    form: Literal["auto", "constraints", "final_answer", "choice", "ifeval"] = "auto"
    """what the kept column holds"""
    column: str = "check"
    """the kept column with the check or the reference answer"""


class ByModel(Scorer):
    """A scorer that asks a model."""

    model: str
    """a Hub id, a local directory, or the name under which a server knows the model"""
    engine: Engine | None = None
    """null: generate.engine"""
    revision: str | None = None
    dtype: str | None = None
    license: str | None = None
    """the licence of the model, as the Hub writes it; null: what is known of it"""


class Price(Section):
    """US dollars for a million tokens."""

    prompt: float = Field(ge=0)
    response: float = Field(ge=0)


class Judge(ByModel):
    """A model that rates each response, or says which of two is better."""

    scorer: Literal["judge"] = "judge"
    form: Literal["rating", "pairwise"] = "rating"
    """rating: each response by itself, on every aspect; pairwise: two responses at a time, in both orders"""
    aspects: dict[str, str] | list[str] = list(ASPECTS)
    """what is rated: names of known aspects, or own ones as {name: what it means}"""
    scale: int = Field(default=10, ge=2, le=100)
    """with `rating`: whole numbers from 1 to this"""
    against: Literal["pairings", "all"] = "pairings"
    """with `pairwise`: which responses meet: those that `pair.pairings` pairs, or all rungs of a prompt"""
    sampling: Sampling = Sampling(max_tokens=512)
    """of the judge; samples above 1 (with a temperature): each judgement so many times, for self-consistency"""
    guided: bool = True
    """hold the judge to its JSON by guided decoding (vllm, server); false: for a server without `response_format`"""
    system: str | None = None
    chat_template_kwargs: dict[str, Any] = {}
    price: Price | None = None
    """for the cost; null: tokens alone are told"""

    @field_validator("aspects")
    @classmethod
    def _known_aspects(cls, given: dict[str, str] | list[str]) -> dict[str, str] | list[str]:
        if not given:
            raise ValueError(f"is empty; name some of {', '.join(ASPECTS)}, or give own ones as {{name: meaning}}")
        for name in given if isinstance(given, list) else ():
            if name not in ASPECTS:
                cure = f"{did_you_mean(name, ASPECTS)}; an own aspect is written {{{name}: what it means}}"
                raise ValueError(f"no aspect is called {name!r}; {cure}")
        if isinstance(given, list) and len({*given}) < len(given):
            raise ValueError("an aspect is there twice; keep one")
        return given

    @model_validator(mode="after")
    def _draws(self) -> Judge:
        if self.sampling.samples > 1 and not self.sampling.temperature:
            raise ValueError("sampling.samples: at temperature 0 every sample says the same; give a temperature, or 1")
        return self


class _Forward(ByModel):
    """A scorer that runs the model once over prompt and response, and generates nothing."""

    engine: Literal["transformers", "vllm"] = "transformers"
    """transformers: float32 on a CPU and bfloat16 on a GPU unless `dtype` says else"""
    max_length: int | None = Field(default=None, gt=1)
    """tokens of prompt and response; null: the model's window"""
    batch_tokens: int = Field(default=4096, gt=0)
    """with `transformers`: tokens of one forward pass; a longer sequence goes alone"""


class RewardModel(_Forward):
    """A sequence classifier with one output: its number before any activation."""

    scorer: Literal["reward_model"] = "reward_model"


class LogProb(_Forward):
    """The mean log-prob of a response's tokens, its end of turn included, in nats."""

    scorer: Literal["logprob"] = "logprob"


class Combined(Scorer):
    """One number from several scorers that stand above it."""

    scorer: Literal["combined"] = "combined"
    of: list[str] = Field(min_length=2)
    """scorers, by name"""
    rule: Literal["rank_average", "logistic"] = "rank_average"
    """rank_average: the mean of each score's rank among all, 0 to 1; logistic: weights fitted on `labels`"""
    labels: str | None = None
    """the scorer whose order of two responses counts as true, where it has one"""
    held_out: float = Field(default=0.5, gt=0, lt=1)
    """share of the labelled prompts that are not fitted on, and on which agreement is told"""

    @model_validator(mode="after")
    def _labelled(self) -> Combined:
        if self.rule == "logistic" and self.labels is None:
            raise ValueError("labels: `logistic` learns from labels; name the scorer that has them")
        if self.labels in self.of:
            raise ValueError(f"labels: {self.labels!r} is also in `of`; what is learned from is not combined")
        for name in self.of:
            if self.of.count(name) > 1:
                raise ValueError(f"of: {name!r} is there twice; keep one")
        return self


KINDS = ("checks", "judge", "reward_model", "logprob", "combined")
_EXISTING = "scores"


def _kind(given: Any) -> str:
    """Which struct a value has, so that its mistakes are told in that form alone."""
    if isinstance(given, Scorer):
        return str(getattr(given, "scorer", _EXISTING))
    if not isinstance(given, dict) or _EXISTING in given:
        return _EXISTING
    return str(given.get("scorer", given.get("name")))


def _known(given: Any) -> Any:
    """Refuses what names no scorer before the structs see it."""
    kind = _kind(given)
    if kind not in (*KINDS, _EXISTING):
        key = "scorer" if "scorer" in given else "name"
        cure = did_you_mean(kind, KINDS) + " (or give existing `scores:`, or say which `scorer:` it is)"
        raise ValueError(f"{key}: no scorer is called {kind!r}; {cure}")
    return given


Score = Annotated[
    Annotated[Imported, Tag(_EXISTING)]
    | Annotated[Checks, Tag("checks")]
    | Annotated[Judge, Tag("judge")]
    | Annotated[RewardModel, Tag("reward_model")]
    | Annotated[LogProb, Tag("logprob")]
    | Annotated[Combined, Tag("combined")],
    Discriminator(_kind),
    BeforeValidator(_known),
]
