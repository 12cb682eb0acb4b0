"""The recipe: one strict YAML file that says everything about a dataset.

    deltadata recipe recipes/quickstart.yaml --set generate.sampling.max_tokens=512

prints it with every default filled in. An unknown key, a key given twice or a value of the wrong type is refused with
its address, file and line. `deltadata schema` prints the JSON Schema for editors.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, ValidationError, model_validator

from deltadata import strict
from deltadata.errors import UserError, did_you_mean
from deltadata.pair_sections import ByScore, Pair
from deltadata.scorer_sections import ByModel, Combined, Imported, Score
from deltadata.sections import Collect, Filter, Generate, Name, Push, Rung, Runtime, Section, Train


class Recipe(Section):
    name: Name
    seed: int = 0
    collect: Collect
    generate: Generate
    score: list[Score] = []
    """scorers: what the rungs' responses are worth"""
    pair: Pair = Pair()
    filter: Filter = Filter()
    holdout: float = Field(default=0.1, ge=0, lt=1)
    """share of the prompts in the test split, by prompt_id"""
    push: Push = Push()
    train: Train = Train()
    runtime: Runtime = Runtime()

    @model_validator(mode="after")
    def _names(self) -> Recipe:
        """Names are unique; pairings name rungs, each once. Messages are `address: what; cure`."""
        for where, names in (
            ("collect.pools", [pool.name for pool in self.collect.pools]),
            ("generate.rungs", [rung.name for rung in self.generate.rungs]),
            ("score", [score.name for score in self.score]),
        ):
            for name in names:
                if names.count(name) > 1:
                    raise ValueError(f"{where}: the name {name!r} is given {names.count(name)} times; names are unique")
        rungs = [rung.name for rung in self.generate.rungs]
        self._names_of_scores(rungs)
        if self.pair.pairings == []:
            raise ValueError("pair.pairings: is empty; say adjacent, all or ends, or name [stronger, weaker]")
        seen: list[list[str]] = []
        for i, pairing in enumerate(self.pair.pairings if isinstance(self.pair.pairings, list) else []):
            for name in pairing:
                if name not in rungs:
                    raise ValueError(f"pair.pairings[{i}]: no rung is called {name!r}; {did_you_mean(name, rungs)}")
            if pairing[0] == pairing[1]:
                raise ValueError(f"pair.pairings[{i}]: {pairing[0]!r} is paired with itself; name two rungs")
            key = sorted(pairing) if self.pair.control == "random" else pairing  # random turns pairs round
            if key in seen:
                raise ValueError(f"pair.pairings[{i}]: {pairing} is there twice; keep one of them")
            seen.append(key)
        return self

    def _names_of_scores(self, rungs: list[str]) -> None:
        """What names a scorer, or a rung beside a scorer, exists."""
        for i, score in enumerate(self.score):
            if isinstance(score, Combined):
                self._names_of_combined(i, score)
            for theirs, ours in score.models.items() if isinstance(score, Imported) else ():
                if ours is not None and ours not in rungs:
                    where = strict.at(f"score[{i}].models", theirs)
                    raise ValueError(f"{where}: no rung is called {ours!r}; {did_you_mean(ours, rungs)}")
        for i, name in enumerate(self.pair.soft_label):
            self._scorer(f"pair.soft_label[{i}]", name)
            if name in self.pair.soft_label[:i]:
                raise ValueError(f"pair.soft_label[{i}]: {name!r} is there twice; keep one")
        if self.pair.also:
            self._names_by_score("pair.also", self.pair.also, rungs)
        if isinstance(asked := self.pair.pairings, ByScore):
            self._names_by_score("pair.pairings", asked, rungs)
            if self.pair.control == "tied":
                cure = "name rungs in `pairings`, or take `reversed` or `random`"
                raise ValueError(f"pair.control: tied pairs are two samples of one rung, and these go by score; {cure}")

    def _names_by_score(self, where: str, asked: ByScore, rungs: list[str]) -> None:
        self._scorer(f"{where}.by", asked.by)
        for name in asked.weak.rungs if asked.weak else ():
            if name not in rungs:
                raise ValueError(f"{where}.weak.rungs: no rung is called {name!r}; {did_you_mean(name, rungs)}")
        if asked.weak and asked.candidates and asked.candidates < asked.weak.at_least:
            raise ValueError(f"{where}.weak.at_least: is more than there are candidates; raise `candidates`")

    def _scorer(self, where: str, name: str) -> None:
        scorers = [score.name for score in self.score]
        if name not in scorers:
            cure = did_you_mean(name, scorers) if scorers else f"add `score: [{{name: {name}, ...}}]`"
            raise ValueError(f"{where}: no scorer is called {name!r}; {cure}")

    def _names_of_combined(self, place: int, asked: Combined) -> None:
        """What a combined scorer is made of stands above it."""
        above = [score.name for score in self.score[:place]]
        labels = [asked.labels] if asked.labels is not None else []
        for key, name in [(f"of[{i}]", name) for i, name in enumerate(asked.of)] + [("labels", x) for x in labels]:
            if name not in above:
                cure = did_you_mean(name, above) if above else "put it below the scorers that it combines"
                raise ValueError(f"score[{place}].{key}: no scorer above is called {name!r}; {cure}")

    def engine_of(self, asked: ByModel) -> str:
        """The engine of a scorer that asks a model."""
        return asked.engine or self.generate.engine

    def engines(self) -> set[str]:
        """Every engine that generating and scoring use."""
        scoring = {self.engine_of(asked) for asked in self.score if isinstance(asked, ByModel)}
        return scoring | {self.generate.engine_of(rung) for rung in self.generate.rungs if rung.model}

    def rung(self, name: str) -> Rung:
        return next(rung for rung in self.generate.rungs if rung.name == name)


def load(
    path: Path | str,
    overrides: list[str] | tuple[str, ...] = (),
    places: dict[str, str] | None = None,
    written: Mapping[str, str] = {},
) -> Recipe:
    """Read, override and check the recipe at `path`; an override is `key.key=value` with the value in YAML.

    `places` gets the file and line of every address, for who checks further; `written` says where overrides stand that
    no --set gave.

    Raises UserError with the address of the first mistakes, file and line.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as problem:
        what = f"cannot read the recipe: {problem}"
        raise UserError(what, where=str(path), cure="give the path of a .yaml") from None
    places = {} if places is None else places
    tree = strict.parse(text, str(path), places)
    if not isinstance(tree, dict):
        raise UserError("a recipe is a mapping of keys", where=str(path), cure="see recipes/quickstart.yaml")
    for override in overrides:
        strict.override(tree, override, places, written.get(override))
    try:
        recipe = Recipe.model_validate(tree)
    except ValidationError as problem:
        raise strict.explain(problem, Recipe, tree, str(path), places) from None
    _refuse_copies(recipe, str(path), places)
    return recipe


def _refuse_copies(recipe: Recipe, path: str, places: dict[str, str]) -> None:
    """Raises UserError for a rung that is to answer a prompt several times at temperature 0: each time the same."""
    for i, rung in enumerate(recipe.generate.rungs):
        sampling = recipe.generate.sampling_of(rung)
        if rung.responses or sampling.samples < 2 or sampling.temperature:
            continue
        own = f"generate.rungs[{i}].sampling"
        section = own if "samples" in rung.sampling.model_fields_set else "generate.sampling"
        what = f"{sampling.samples} samples of {rung.name!r}, which at temperature 0 are the same text"
        cure = f"set generate.sampling.temperature above 0, or {own}.samples to 1"
        raise UserError(f"{section}.samples: {what}", where=strict.place(f"{section}.samples", path, places), cure=cure)


def dump(recipe: Recipe, published: bool = False) -> str:
    """The recipe as YAML, every default filled in; when published without this machine's `runtime`."""
    tree = recipe.model_dump(mode="json", exclude={"runtime"} if published else None)
    for rung, written in zip(recipe.generate.rungs, tree["generate"]["rungs"], strict=True):
        # Defaults filled in here would take the place of generate.sampling when the text is loaded.
        written["sampling"] = rung.sampling.model_dump(mode="json", exclude_unset=True)
    text: str = yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=110)
    return text


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of a recipe."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "deltadata recipe"} | {
        key: value for key, value in Recipe.model_json_schema().items() if key != "title"
    }
