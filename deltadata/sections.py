"""What a recipe's sections hold: one struct each, strict, with its defaults and bounds."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    model_validator,
)

from deltadata.errors import did_you_mean

REPO = r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9_][\w.-]*$"
NAME = r"^[A-Za-z0-9_-][A-Za-z0-9._-]*$"  # no dot first: temporary files have one

# vLLM's SamplingParams by name; values pass through untouched. A test holds this list against the installed vLLM.
# fmt: off
SAMPLING_NAMES = (
    "allowed_token_ids", "bad_words", "detokenize", "frequency_penalty", "ignore_eos",
    "include_stop_str_in_output", "logit_bias", "min_p", "min_tokens", "presence_penalty", "repetition_penalty",
    "skip_special_tokens", "spaces_between_special_tokens", "stop", "stop_token_ids", "top_k", "top_p",
)
# fmt: on


_NAMED = "letters a to z, digits, dot, underscore, hyphen; no dot first; never a path"
Name = Annotated[str, Field(pattern=NAME, max_length=100, description=_NAMED)]


class Section(BaseModel):
    """Every part of a recipe: no unknown key, no silent conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Pool(Section):
    name: Name
    path: str
    """.jsonl .json .csv .parquet (.gz .zst), a pattern (data/*.csv), or hf:owner/dataset[@revision][:config][:split]"""
    prompt: str = "prompt"
    """the column, or a path into one (turns.0.content): text, messages of {role, content}, or ShareGPT turns"""
    take: Literal["auto", "first_user", "history", "chosen"] = "auto"
    """of a conversation: all | its first user turn | up to its last user turn | what comes before a chosen response"""
    weight: float = Field(default=1.0, gt=0)
    """share of `limit` that this pool gets, relative to the others"""
    count: int | None = Field(default=None, ge=0)
    """take so many, whatever the weights"""
    max_count: int | None = Field(default=None, ge=0)
    """take no more than so many"""
    max_share: float = Field(default=1.0, gt=0, le=1)
    """at most this share of all that is taken (OLMo 3 held one pool to 0.35)"""
    keep: list[str] = []
    """columns to keep as meta"""
    license: str | None = None
    """the licence of the prompts, as the Hub writes it; null: what is known of a Hub dataset"""


class Overlap(Section):
    """When a prompt counts as contaminated (Tulu 3: 8-grams, half of an evaluation item's words)."""

    ngram: int = Field(default=8, gt=0)
    """the packs' n-grams that are looked up: 8, or 13"""
    at_least: float = Field(default=0.5, ge=0, le=1)
    """the share of an evaluation item's words that stand in n-grams of the prompt"""


class Collect(Section):
    pools: list[Pool] = Field(min_length=1)
    rules: list[str | dict[str, Any]] = []
    """rules a prompt must fulfil: no_special_tokens, {max_words: 2000}, {language: [en]}, no_pii ..."""
    special_tokens: Literal["keep", "neutralise"] = "keep"
    """neutralise: marks of chat templates in prompts lose their force (`< |im_start|>`)"""
    tag: bool = False
    """add a category (code, maths, writing ...) to meta as `tag`, by a small rule set for English"""
    dedup: Literal["none", "exact", "normalised", "near"] = "exact"
    """each depth includes those before it; none: pools known to be distinct"""
    near_threshold: float = Field(default=0.8, ge=0.5, le=1)
    """with `dedup: near`: the Jaccard similarity of 5-byte windows from which on a prompt is a near duplicate"""
    against: list[str] = []
    """folders of earlier runs, whose prompts are not collected again"""
    decontaminate: list[str] = []
    """n-gram packs of evaluation sets: names or files that `deltadata pack build` made"""
    overlap: Overlap = Overlap()
    limit: int | None = Field(default=None, gt=0)
    """how many prompts to take, as a seeded sample that keeps its members when the limit grows"""
    max_bad: float = Field(default=0.01, ge=0, le=1)
    """share of a pool's rows that may be bad (they are written aside), or 10 rows where that is more"""


class Sampling(Section):
    """Passed on to the engine as its SamplingParams; `samples` is how many responses each prompt gets."""

    model_config = ConfigDict(extra="allow")
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=256, gt=0, le=10_000_000)
    samples: int = Field(default=1, gt=0, le=10_000)

    @model_validator(mode="after")
    def _known_names(self) -> Sampling:
        for name in self.model_extra or {}:
            if name == "seed":
                raise ValueError("seed: one seed per prompt and sample is derived from the recipe's `seed`; set that")
            if name == "n":
                raise ValueError("n: say `samples` instead")
            if name not in SAMPLING_NAMES:
                raise ValueError(
                    f"{name}: unknown key; {did_you_mean(name, [*Sampling.model_fields, *SAMPLING_NAMES])}"
                )
        return self


Engine = Literal["vllm", "server", "transformers", "scripted"]


class Rung(Section):
    """A model that answers, or responses that already exist."""

    name: Name
    model: str | None = None
    """a Hub id, a local directory, or the name under which a server knows the model"""
    responses: str | None = None
    """a .jsonl, .json, .csv or .parquet file of existing responses"""
    prompt: str = "prompt"
    """with `responses`: the column with the prompt; that of the response itself: the turns before the response"""
    response: str = "response"
    """with `responses`: the column with the response (text, or a conversation that ends with it)"""
    each: str | None = None
    """with `responses`: a column that holds a list; each of its items is a row, its keys beside those of the row"""
    select: dict[str, str | int | float | bool] = {}
    """with `responses`: take only the rows whose columns have these values, e.g. {generator: gemma-7b-it}"""
    revision: str | None = None
    dtype: str | None = None
    params: float | None = Field(default=None, gt=0)
    """parameter count"""
    license: str | None = None
    """the licence of the model, as the Hub writes it; null: what is known of the model"""
    system: str | None = None
    """a system turn for prompts that have none; none is supplied by default, as in the paper"""
    chat_template_kwargs: dict[str, Any] = {}
    engine: Engine | None = None
    sampling: Sampling = Sampling()
    """what differs from generate.sampling"""

    @model_validator(mode="after")
    def _one_source(self) -> Rung:
        if (self.model is None) == (self.responses is None):
            has = "neither" if self.model is None else "both"
            raise ValueError(f"a rung has either `model` or `responses`, and {self.name!r} has {has}; keep one of them")
        source, idle = "model", ["select", "prompt", "response", "each"]
        if self.model is None:
            source, idle = "responses", ["engine", "system", "sampling", "chat_template_kwargs"]
        for key in idle:
            # The default may stand: `deltadata recipe` writes every key out.
            if getattr(self, key) != Rung.model_fields[key].default:
                raise ValueError(f"{key}: has no effect on a rung with `{source}`; leave it out")
        return self


class Generate(Section):
    engine: Engine = "vllm"
    rungs: list[Rung] = Field(min_length=1)
    """strongest first"""
    sampling: Sampling = Sampling()
    part_rows: int = Field(default=256, gt=0, le=1_000_000)
    """responses of one rung per part: one batch of fixed composition, the unit of resume"""

    def sampling_of(self, rung: Rung) -> Sampling:
        """The rung's own sampling over the section's."""
        return Sampling(**self.sampling.model_dump() | rung.sampling.model_dump(exclude_unset=True))

    def engine_of(self, rung: Rung) -> str:
        return rung.engine or self.engine


class Filter(Section):
    rules: list[str | dict[str, Any]] = ["finished"]
    where: str | None = None
    """an SQL expression over the pairs' columns; pairs for which it is not true are dropped"""


class Push(Section):
    repo: str | None = Field(default=None, pattern=REPO)
    """owner/name on the Hub"""
    private: bool = True
    """false, or `deltadata push --public`: everyone can read it"""
    license: str | None = None
    """the dataset's licence, as the Hub writes it; null: the most restrictive of its parts"""
    accept: dict[str, str] = {}
    """parts that may not be used commercially, or whose licence is unknown, and why they may be published:
    {responses/RUNG: reason, prompts/POOL: reason, scores/SCORER: reason}; the card prints the reason"""


class Train(Section):
    student: str | None = None
    """a directory, a Hub id (owner/name[@revision]) or a model that `deltadata models` names (models/NAME)"""
    dataset: str | None = None
    """a run, a dataset folder or a Hub id (owner/name[@revision]); null: the recipe's own run"""
    method: Literal["dpo", "sft"] = "dpo"
    """sft: the chosen side alone, the paper's baseline"""
    name: Name | None = None
    """its folder in the run: train/NAME; null: the method"""
    batch: int = Field(default=32, gt=0)
    """pairs per optimizer step over all devices; gradient accumulation follows from it"""
    args: dict[str, Any] = {}
    """straight to trl.DPOConfig; what is not given is the paper's"""
    lora: dict[str, Any] | None = None
    """r, alpha, dropout and anything of peft.LoraConfig; null: all weights are trained"""
    max_bad_share: float = Field(default=0.01, ge=0, le=1)
    """share of pairs that may be unfit for the student's tokenizer and window (`deltadata check` counts them)"""
    max_cut_share: float = Field(default=0.1, ge=0, le=1)
    """share of pairs of which an answer may be cut at max_length"""
    allow: list[str] = []
    """what `deltadata check` finds and shall not count"""


class Runtime(Section):
    """Machine-dependent settings: never part of a fingerprint. Keys not named here go to the engine."""

    model_config = ConfigDict(extra="allow")
    overlap: bool = False
    """let the next part enter while one drains: a fuller engine, no promise of equal text after a resume"""
