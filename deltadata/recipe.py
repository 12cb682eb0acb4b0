"""The recipe: one strict YAML file that says everything about a dataset.

    deltadata recipe recipes/quickstart.yaml --set generate.sampling.max_tokens=512

prints it with every default filled in. An unknown key, a key given twice or a value of the wrong type is refused with
its address, file and line. `deltadata schema` prints the JSON Schema for editors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from deltadata.errors import UserError, did_you_mean

NAME = r"^[A-Za-z0-9._-]+$"

# vLLM's SamplingParams by name; values pass through untouched. A test holds this list against the installed vLLM.
# fmt: off
SAMPLING_NAMES = (
    "allowed_token_ids", "bad_words", "detokenize", "frequency_penalty", "ignore_eos",
    "include_stop_str_in_output", "logit_bias", "min_p", "min_tokens", "presence_penalty", "repetition_penalty",
    "skip_special_tokens", "spaces_between_special_tokens", "stop", "stop_token_ids", "top_k", "top_p",
    "truncate_prompt_tokens",
)
# fmt: on


def _not_a_path(name: str) -> str:
    if set(name) == {"."}:
        raise ValueError(f"{name!r} is a path, not a name")
    return name


Name = Annotated[str, Field(pattern=NAME, description="letters, digits, dot, underscore, hyphen; never a path")]


class Section(BaseModel):
    """Every part of a recipe: no unknown key, no silent conversion."""

    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class Pool(Section):
    name: Name
    path: str
    """a .jsonl, .json, .csv or .parquet file, or hf:owner/dataset[@revision][:config][:split]"""
    prompt: str = "prompt"
    """the column with the prompt: a string, or a list of {role, content} messages"""
    weight: float = Field(default=1.0, gt=0)
    """share of `limit` that this pool gets, relative to the others"""
    keep: list[str] = []
    """columns to keep as meta"""


class Collect(Section):
    pools: list[Pool] = Field(min_length=1)
    dedup: Literal["none", "exact"] = "exact"
    decontaminate: list[str] = Field(default=[], max_length=0)
    """names of n-gram packs (none are shipped with this version)"""
    limit: int | None = Field(default=None, gt=0)
    """how many prompts to take, as a seeded sample that keeps its members when the limit grows"""
    max_bad: float = Field(default=0.01, ge=0, le=1)
    """share of a pool's rows that may be bad (they are written aside) before the pool is refused"""


class Sampling(Section):
    """Passed on to the engine as its SamplingParams; `samples` is how many responses each prompt gets."""

    model_config = ConfigDict(extra="allow")
    temperature: float = Field(default=0.0, ge=0)
    max_tokens: int = Field(default=256, gt=0)
    samples: int = Field(default=1, gt=0)

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
    """with `responses`: the column with the prompt"""
    response: str = "response"
    """with `responses`: the column with the response (text, or a conversation that ends with it)"""
    select: dict[str, str | int | float | bool] = {}
    """with `responses`: take only the rows whose columns have these values, e.g. {generator: gemma-7b-it}"""
    revision: str | None = None
    dtype: str | None = None
    params: float | None = Field(default=None, gt=0)
    """parameter count"""
    license: str | None = None
    system: str | None = None
    """a system turn for prompts that have none; none is supplied by default, as in the paper"""
    chat_template_kwargs: dict[str, Any] = {}
    engine: Engine | None = None
    sampling: Sampling = Sampling()
    """what differs from generate.sampling"""

    @model_validator(mode="after")
    def _one_source(self) -> Rung:
        if (self.model is None) == (self.responses is None):
            raise ValueError("a rung has either `model` or `responses`")
        return self


class Generate(Section):
    engine: Engine = "vllm"
    rungs: list[Rung] = Field(min_length=1)
    """strongest first"""
    sampling: Sampling = Sampling()
    part_rows: int = Field(default=256, gt=0)
    """responses of one rung per part: one batch of fixed composition, the unit of resume"""

    def sampling_of(self, rung: Rung) -> Sampling:
        """The rung's own sampling over the section's."""
        return Sampling(**self.sampling.model_dump() | rung.sampling.model_dump(exclude_unset=True))

    def engine_of(self, rung: Rung) -> str:
        return rung.engine or self.engine


class Pair(Section):
    pairings: Literal["adjacent", "all", "ends"] | list[Annotated[list[str], Field(min_length=2, max_length=2)]] = (
        "adjacent"
    )
    """adjacent | all | ends | [[stronger, weaker], ...]"""
    control: Literal["none", "reversed", "tied", "random"] = "none"
    """the paper's controls"""


class Filter(Section):
    rules: list[str | dict[str, Any]] = ["finished"]
    where: str | None = None
    """an SQL expression over the pairs' columns; pairs for which it is not true are dropped"""


class Push(Section):
    repo: str | None = None
    private: bool = True
    license: str | None = None


class Train(Section):
    student: str | None = None
    args: dict[str, Any] = {}
    """straight to trl.DPOConfig"""


class Runtime(Section):
    """Machine-dependent settings: never part of a fingerprint. Keys not named here go to the engine."""

    model_config = ConfigDict(extra="allow")
    overlap: bool = False
    """let the next part enter while one drains: a fuller engine, no promise of equal text after a resume"""


class Score(Section):
    name: Name


class Recipe(Section):
    name: Name
    seed: int = 0
    collect: Collect
    generate: Generate
    score: list[Score] = Field(default=[], max_length=0)
    """scorers (none are shipped with this version)"""
    pair: Pair = Pair()
    filter: Filter = Filter()
    holdout: float = Field(default=0.1, ge=0, lt=1)
    """share of the prompts in the test split, by prompt_id"""
    push: Push = Push()
    train: Train = Train()
    runtime: Runtime = Runtime()

    @model_validator(mode="after")
    def _names(self) -> Recipe:
        """Names are unique and no paths; pairings name rungs. Messages are `address: what; cure`."""
        for where, names in (
            ("collect.pools", [pool.name for pool in self.collect.pools]),
            ("generate.rungs", [rung.name for rung in self.generate.rungs]),
        ):
            for name in names:
                _not_a_path(name)
                if names.count(name) > 1:
                    raise ValueError(f"{where}: the name {name!r} is given {names.count(name)} times; names are unique")
        _not_a_path(self.name)
        rungs = [rung.name for rung in self.generate.rungs]
        for i, pairing in enumerate(self.pair.pairings if isinstance(self.pair.pairings, list) else []):
            for name in pairing:
                if name not in rungs:
                    raise ValueError(f"pair.pairings[{i}]: no rung is called {name!r}; {did_you_mean(name, rungs)}")
            if pairing[0] == pairing[1]:
                raise ValueError(f"pair.pairings[{i}]: {pairing[0]!r} is paired with itself; name two rungs")
        return self

    def rung(self, name: str) -> Rung:
        return next(rung for rung in self.generate.rungs if rung.name == name)


def load(path: Path | str, overrides: list[str] | tuple[str, ...] = ()) -> Recipe:
    """Read, override and check the recipe at `path`; an override is `key.key=value` with the value in YAML.

    Raises UserError with the address of the first mistakes, file and line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        raise UserError(
            f"cannot read the recipe: {problem}", where=str(path), cure="give the path of a .yaml"
        ) from None
    places: dict[str, str] = {}
    tree = _parse(text, str(path), places)
    if not isinstance(tree, dict):
        raise UserError("a recipe is a mapping of keys", where=str(path), cure="see recipes/quickstart.yaml")
    for override in overrides:
        _override(tree, override, places)
    try:
        return Recipe.model_validate(tree)
    except ValidationError as problem:
        raise _explain(problem, str(path), places) from None


def dump(recipe: Recipe) -> str:
    """The recipe as YAML, every default filled in."""
    text: str = yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=110)
    return text


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "deltadata recipe"} | {
        key: value for key, value in Recipe.model_json_schema().items() if key != "title"
    }


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


def _parse(text: str, where: str, places: dict[str, str]) -> Any:
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


def _override(tree: dict[str, Any], override: str, places: dict[str, str]) -> None:
    """`generate.sampling.max_tokens=512`, `generate.rungs.0.model=x`: list items by number."""
    where = f"--set {override}"
    address, equals, text = override.partition("=")
    if not equals or not address:
        raise UserError("an override is key.key=value", where=where, cure="--set generate.sampling.max_tokens=512")
    *parents, last = re.sub(r"\[(\d+)\]", r".\1", address).split(".")
    value = _parse(text, where, {})
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


def _explain(problem: ValidationError, path: str, places: dict[str, str]) -> UserError:
    """The first mistake with its place and cure, the next few by address."""
    told: list[tuple[str, str, str]] = []
    for error in problem.errors():
        address, said, cure = _one(error)
        if not any(address == known or address.startswith(f"{known}[") for known, _, _ in told):
            told.append((address, said, cure))
    address, said, cure = told[0]
    what = [f"{address}: {said}" if address else said]
    what += [f"{other}: {also}" for other, also, _ in told[1:6]]
    nearest = address
    while nearest and nearest not in places:
        nearest = nearest.rpartition(".")[0]
    return UserError("\n  also ".join(what), where=places.get(nearest, path), cure=cure)


def _one(error: Any) -> tuple[str, str, str]:
    """Address, what is wrong and the cure of one pydantic error."""
    # Unions add the tried branch to the location; those parts are no keys of the recipe.
    loc = [part for part in error["loc"] if isinstance(part, int) or re.fullmatch(NAME, part)]
    loc = [part for part in loc if part not in ("str", "int", "list")]
    address = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in loc).lstrip(".")
    kind, given = error["type"], error["input"]
    if kind == "extra_forbidden":
        return address, "unknown key", did_you_mean(str(loc[-1]), _fields_at([*loc[:-1]]))
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
        return address, f"{given!r} is not a name", "use letters, digits, dot, underscore and hyphen (never a path)"
    if address == "pair.pairings" and kind == "literal_error":
        return address, f"{given!r} is no pairing", "adjacent, all, ends, or a list of [stronger, weaker]"
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


def _fields_at(loc: list[Any]) -> list[str]:
    """The keys that the section at `loc` takes."""
    section: Any = Recipe
    for part in loc:
        if isinstance(part, int):
            continue
        kind = section.model_fields[part].annotation
        section = next((a for a in [kind, *getattr(kind, "__args__", ())] if hasattr(a, "model_fields")), None)
        if section is None:
            return []
    return list(section.model_fields)
