"""Licences: what is known of models and datasets, what the whole is proposed under, and what stops a push.

pytest tests/test_licences.py
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from deltadata import licences, models
from deltadata.errors import UserError
from deltadata.licences import KINDS, Part, found, header, known, notices, proposed, refuse, stops
from deltadata.templates import folder

# What the Hub accepted as `license:` in a card's header in May 2026 (huggingface_hub issue 4218 quotes its answer).
# fmt: off
ON_THE_HUB = [
    "apache-2.0", "mit", "openrail", "bigscience-openrail-m", "creativeml-openrail-m", "bigscience-bloom-rail-1.0",
    "bigcode-openrail-m", "afl-3.0", "artistic-2.0", "bsl-1.0", "bsd", "bsd-2-clause", "bsd-3-clause",
    "bsd-3-clause-clear", "c-uda", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0",
    "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0",
    "cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "cdla-sharing-1.0",
    "cdla-permissive-1.0", "cdla-permissive-2.0", "wtfpl", "ecl-2.0", "epl-1.0", "epl-2.0", "etalab-2.0", "eupl-1.1",
    "eupl-1.2", "agpl-3.0", "gfdl", "gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "isc", "h-research",
    "intel-research", "lppl-1.3c", "ms-pl", "apple-ascl", "apple-amlr", "mpl-2.0", "odc-by", "odbl", "openmdw-1.0",
    "openrail++", "osl-3.0", "postgresql", "ofl-1.1", "ncsa", "unlicense", "zlib", "pddl", "lgpl-lr",
    "deepfloyd-if-license", "fair-noncommercial-research-license", "llama2", "llama3", "llama3.1", "llama3.2",
    "llama3.3", "llama4", "grok2-community", "gemma", "unknown", "other",
]
# fmt: on


def generator(name: str, stated: str | None = None, own: str | None = None, where: str = "responses/a") -> Part:
    return Part(where, "generator", name, stated, own)


def model(name: str) -> str | None:
    """The licence that is known of a model."""
    return found([generator(name)])[0].licence


def dataset(name: str) -> str | None:
    return found([Part("prompts/a", "source", name)])[0].licence


def stated(*ids: str) -> list[licences.Found]:
    """Parts that nothing is known of but what the recipe states."""
    return found([generator(f"me/model-{i}", id_, where=f"responses/r{i}") for i, id_ in enumerate(ids)])


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("Qwen/Qwen2.5-3B-Instruct", "qwen-research"),
        ("Qwen/Qwen2.5-1.5B-Instruct", "apache-2.0"),
        ("Qwen/Qwen2.5-0.5B", "apache-2.0"),
        ("Qwen/Qwen2.5-7B-Instruct-GPTQ-Int4", "apache-2.0"),
        ("Qwen/Qwen2.5-32B-Instruct", "apache-2.0"),
        ("Qwen/Qwen2.5-72B-Instruct-AWQ", "qwen"),
        ("Qwen/Qwen2.5-Coder-3B-Instruct", "qwen-research"),
        ("Qwen/Qwen2.5-Coder-32B-Instruct", "apache-2.0"),
        ("Qwen/Qwen3-32B", "apache-2.0"),
        ("Qwen/Qwen3-0.6B-Base", "apache-2.0"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507-FP8", "apache-2.0"),
        ("qwen3-max", None),
        ("Qwen/Qwen2-72B-Instruct", "tongyi-qianwen"),
        ("Qwen/Qwen2-7B-Instruct", "apache-2.0"),
        ("Qwen/Qwen1.5-1.8B-Chat", "tongyi-qianwen-research"),
        ("Qwen/Qwen1.5-7B-Chat", "tongyi-qianwen"),
        ("meta-llama/Llama-2-7b-chat-hf", "llama2"),
        ("meta-llama/Meta-Llama-3-8B-Instruct", "llama3"),
        ("meta-llama/Meta-Llama-3.1-8B-Instruct", "llama3.1"),
        ("meta-llama/Llama-3.1-8B-Instruct", "llama3.1"),
        ("meta-llama/Llama-3.2-1B-Instruct", "llama3.2"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama3.3"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "llama4"),
        ("unsloth/Llama-3.2-3B-Instruct-bnb-4bit", "llama3.2"),
        ("allenai/Llama-3.1-Tulu-3-8B-SFT", "llama3.1"),
        ("allenai/OLMo-2-1124-7B-Instruct", "apache-2.0"),
        ("google/gemma-2b-it", "gemma"),
        ("google/gemma-2-9b-it", "gemma"),
        ("google/gemma-3-270m", "gemma"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "apache-2.0"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "apache-2.0"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "apache-2.0"),
        ("mistralai/Mistral-Large-Instruct-2411", "mrl"),
        ("mistralai/Mistral-Small-Instruct-2409", "mrl"),
        ("mistralai/Mistral-Small-24B-Instruct-2501", "apache-2.0"),
        ("mistralai/Codestral-22B-v0.1", "mnpl"),
        ("microsoft/Phi-4-mini-instruct", "mit"),
        ("deepseek-ai/DeepSeek-V3", "deepseek"),
        ("deepseek-ai/DeepSeek-V3-0324", "mit"),
        ("deepseek-ai/DeepSeek-R1", "mit"),
        ("deepseek-ai/DeepSeek-R1-Distill-Qwen-7B", "mit"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "llama3.1"),
        ("01-ai/Yi-34B-Chat", "apache-2.0"),
        ("tiiuae/falcon-40b-instruct", "apache-2.0"),
        ("tiiuae/falcon-180B-chat", None),
        ("lmsys/vicuna-13b-v1.5", "llama2"),
        ("lmsys/vicuna-13b-v1.3", "llama-1"),
        ("openai/gpt-oss-20b", "apache-2.0"),
        ("openai/gpt-4o-2024-08-06", "openai-terms"),
        ("gpt-4.1", "openai-terms"),
        ("claude-sonnet-4-5", "anthropic-terms"),
    ],
)
def test_models(name: str, licence: str | None) -> None:
    """Size and version decide where a family's licences differ; upper and lower case and quantisation do not."""
    assert model(name) == model(name.upper()) == licence


def test_a_directory_is_known_by_its_name() -> None:
    """With or without a path before it; the words say that only the name speaks."""
    for name in ("qwen2.5-3b-instruct", "models/Qwen2.5-3B-Instruct", "./qwen2.5-3b-instruct/", "/data/w/qwen2.5-3b"):
        assert model(name) == "qwen-research", name
    assert model("..\\weights\\Qwen2.5-1.5B-Instruct-AWQ") == "apache-2.0"
    assert found([generator("models/Qwen2.5-3B-Instruct")])[0].because == "known by the name Qwen2.5-3B-Instruct"
    assert found([generator("Qwen/Qwen2.5-3B-Instruct")])[0].because == "known of Qwen/Qwen2.5-3B-Instruct"


def test_what_is_not_known() -> None:
    """Someone's own fine-tune, a file of responses, an empty name: no licence, kind unknown."""
    for name in (
        "someone/Qwen2.5-1.5B-Instruct",
        "someone/llama-3.1-8b-mine",
        "x/gemma-2b-it.json",
        "gemma-7b-it.json",
    ):
        one = found([generator(name)])[0]
        assert one[1:] == (None, "unknown", "not known", (), (), None), name
    assert model("gemma-7b-it.jsonl.gz") is model("") is model("vicuna-13b") is None


@pytest.mark.parametrize(
    ("name", "licence"),
    [
        ("hf:allenai/llama-3.1-tulu-3-8b-preference-mixture", "odc-by"),
        ("allenai/tulu-3-IF-augmented-on-policy-8b", "odc-by"),
        ("HuggingFaceH4/ultrafeedback_binarized", "mit"),
        ("hf:openai/gsm8k@main:main:test", "mit"),
        ("hf:openai/gsm8k:main:test", "mit"),
        ("Anthropic/hh-rlhf", "mit"),
        ("allenai/WildChat-1M", "odc-by"),
        ("tatsu-lab/alpaca_eval", "cc-by-nc-4.0"),
        ("HuggingFaceH4/no_robots", "cc-by-nc-4.0"),
        ("lmsys/lmsys-chat-1m", "lmsys-chat-1m"),
        ("Magpie-Align/Magpie-Llama-3.3-Pro-1M-v0.1", "llama3.3"),
        ("Magpie-Align/Llama-3-Magpie-Pro-1M-v0.1", "llama3"),
        ("anon8231489123/ShareGPT_Vicuna_unfiltered", "unknown"),
        ("me/gsm8k", None),
        ("openai/gsm8k.jsonl", None),
        ("downloads/sharegpt_90k.json", None),
        ("recipes/data/starter.jsonl", None),
    ],
)
def test_datasets(name: str, licence: str | None) -> None:
    """By the Hub id, without revision, config and split; a file is not known by its path."""
    assert dataset(name) == licence


def test_the_prefix_of_a_dataset_decides_not_the_role() -> None:
    """Scores from the Hub are looked up among datasets, a source never among models."""
    judge = Part("scores/judge", "judge", "hf:nvidia/HelpSteer2")
    assert found([judge])[0][1:4] == ("cc-by-4.0", "attribution", "known of nvidia/HelpSteer2")
    assert dataset("Qwen/Qwen3-8B") is None


def test_a_note_is_a_condition() -> None:
    """What the file says of one dataset alone comes after the conditions of its licence."""
    conditions = found([Part("prompts/a", "source", "lmsys/chatbot_arena_conversations")])[0].conditions
    assert conditions[1:] == ("Its card: prompts are CC-BY-4.0, outputs of models CC-BY-NC-4.0.",)


def test_what_the_recipe_states() -> None:
    """It counts where nothing is known or where it is as strict; it does not loosen what is known."""

    def told(*part: str | None) -> tuple[str | None, str, str]:
        return found([generator(*part)])[0][1:4]

    assert told("me/mine", "Apache 2.0") == ("apache-2.0", "permissive", "stated in the recipe")
    assert told("Qwen/Qwen3-8B", "cc-by-nc-4.0") == ("cc-by-nc-4.0", "non-commercial", "stated in the recipe")
    assert told("Qwen/Qwen3-8B", "apache-2.0") == ("apache-2.0", "permissive", "stated in the recipe")
    because = "known of Qwen/Qwen2.5-3B, though the recipe states apache-2.0"
    assert told("Qwen/Qwen2.5-3B", "apache-2.0") == ("qwen-research", "non-commercial", because)
    assert told("me/mine", "my-own-1.0") == ("my-own-1.0", "unknown", "stated in the recipe")
    assert told("me/mine", "my-own-1.0", "theirs-1.0")[0] == "my-own-1.0"
    assert told("me/mine", " ") == (None, "unknown", "not known")


def test_what_the_run_knows_itself() -> None:
    """The licence of fetched weights counts before any pattern, and every model that can be fetched has one."""
    one = found([generator("models/x", None, "gemma")])[0]
    assert one[1:4] == ("gemma", "terms", "known of models/x")
    assert found([generator("models/gemma-2b", None, "mit")])[0].licence == "mit"
    assert {name: row.license for name, row in models.KNOWN.items()} == {name: model(name) for name in models.KNOWN}


@pytest.mark.parametrize(
    ("ids", "licence"),
    [
        (["mit"], "mit"),
        (["mit", "apache-2.0"], "apache-2.0"),
        (["apache-2.0", "odc-by"], "odc-by"),
        (["odc-by", "cc-by-4.0", "cc0-1.0"], "cc-by-4.0"),
        (["cc-by-4.0", "cc-by-sa-4.0"], "cc-by-sa-4.0"),
        (["cc-by-sa-4.0", "gemma"], "gemma"),
        (["llama3.1", "gemma"], "llama3.1"),
        (["llama3.1", "llama3"], "llama3"),
        (["llama3", "openai-terms"], "openai-terms"),
        (["openai-terms", "cc-by-nc-4.0"], "cc-by-nc-4.0"),
        (["qwen-research", "cc-by-nc-4.0", "apache-2.0"], "qwen-research"),
        (["qwen-research", "cc-by-nd-4.0"], "cc-by-nd-4.0"),
        (["mit", "unknown"], None),
        (["mit", "my-own-1.0"], None),
        (["mit", ""], None),
        ([], None),
    ],
)
def test_the_most_restrictive_is_proposed(ids: list[str], licence: str | None) -> None:
    """In either order of the parts; nothing where any part is unknown."""
    assert proposed(stated(*ids)) == proposed(stated(*reversed(ids))) == licence


def restriction(parts: list[Part]) -> int:
    """How restrictive a proposal is: a larger number for a later kind and row; none at all is the most."""
    licence = proposed(found(parts))
    return 10_000 if licence is None else list(known().licences).index(licence)


IDS = st.sampled_from([*known().licences, None, "my-own-1.0"])
NAMES = st.sampled_from(["Qwen/Qwen2.5-3B", "Qwen/Qwen3-8B", "meta-llama/Llama-3.1-8B", "google/gemma-2b", "me/mine"])
PARTS = st.builds(generator, NAMES, IDS, IDS)


@given(st.lists(PARTS, min_size=1, max_size=6), PARTS)
def test_one_more_part_never_loosens_the_proposal(parts: list[Part], more: Part) -> None:
    """Whatever it is; and the proposal is the licence of one of the parts."""
    assert restriction([*parts, more]) >= restriction(parts)
    assert proposed(found(parts)) in {one.licence for one in found(parts)} | {None}


@given(PARTS)
def test_a_statement_never_loosens_what_is_known(part: Part) -> None:
    """The kind with the recipe's word is as strict as without it, where anything is known without it."""
    without, with_ = found([part._replace(stated=None), part])
    if without.licence is not None:
        assert KINDS.index(with_.kind) >= KINDS.index(without.kind)


def test_header() -> None:
    """A Hub id stands alone; others are `other` with their name and link."""
    assert header("Apache-2.0") == {"license": "apache-2.0"}
    assert header("llama3.1") == {"license": "llama3.1"}
    link = "https://huggingface.co/Qwen/Qwen2.5-3B-Instruct/blob/main/LICENSE"
    assert header("qwen-research") == {"license": "other", "license_name": "qwen-research", "license_link": link}
    assert header("my-own-1.0") == {"license": "other", "license_name": "my-own-1.0"}
    assert header(None) == header("") == {}


def test_notices() -> None:
    """Each is shown once, in the order of the parts; permissive parts need none."""
    parts = ["meta-llama/Llama-3.1-8B-Instruct", "Qwen/Qwen3-8B", "meta-llama/Llama-3.2-1B-Instruct"]
    assert notices(found([generator(name) for name in [*parts, *parts]])) == [
        "Built with Llama",
        *(
            f"Llama {n} is licensed under the Llama {n} Community License, Copyright © Meta Platforms, Inc. "
            "All Rights Reserved."
            for n in ("3.1", "3.2")
        ),
    ]
    one = found([generator("Qwen/Qwen2.5-3B-Instruct")])[0]
    assert one.notices[0] == "Built with Qwen"
    assert one.link == "https://huggingface.co/Qwen/Qwen2.5-3B-Instruct/blob/main/LICENSE"


RUN = found(
    [
        Part("prompts/mine", "source", "mine\n.jsonl"),
        Part("prompts/gsm8k", "source", "hf:openai/gsm8k:main:train"),
        Part("responses/qwen", "generator", "Qwen/Qwen2.5-3B-Instruct", "apache-2.0"),
        Part("responses/small", "generator", "Qwen/Qwen2.5-1.5B-Instruct"),
        Part("responses/own", "generator", "me/own", "my-own-1.0"),
        Part("scores/judge", "judge", "preferences.csv"),
        Part("scores/open", "judge", "preferences.csv", "cc-by-nd-4.0"),
    ]
)
FINE = {"prompts/mine": "ours", "responses/own": "ours", "scores/judge": "ours", "scores/open": "asked the authors"}


def test_what_stops() -> None:
    """Non-commercial, not to be passed on and unknown, until accepted with a reason; blanks are no reason."""
    stopping = ["prompts/mine", "responses/qwen", "responses/own", "scores/judge", "scores/open"]
    assert [one.part.where for one in stops(RUN, {})] == stopping
    assert [one.part.where for one in stops(RUN, FINE)] == ["responses/qwen"]
    assert [one.part.where for one in stops(RUN, FINE | {"responses/qwen": " \n"})] == ["responses/qwen"]
    assert stops(RUN, FINE | {"responses/qwen": "for research"}) == []
    assert stops(stated("openai-terms", "gpl-3.0", "cc-by-4.0", "mit"), {}) == []


def test_the_refusal() -> None:
    """It names every part with its licence, and the lines that go into the recipe."""
    with pytest.raises(UserError) as told:
        refuse(RUN, {"scores/open": "asked the authors"}, "recipe.yaml")
    assert str(told.value) == (
        "recipe.yaml: 4 parts may not be published without a reason\n"
        "    prompts/mine (mine .jsonl): licence not known\n"
        "    responses/qwen (Qwen/Qwen2.5-3B-Instruct): qwen-research, non-commercial"
        " (known of Qwen/Qwen2.5-3B-Instruct, though the recipe states apache-2.0)\n"
        "    responses/own (me/own): my-own-1.0, of unknown conditions (stated in the recipe)\n"
        "    scores/judge (preferences.csv): licence not known\n"
        "  cure: say in the recipe why it may be published all the same; the card prints the reason\n"
        "    push:\n"
        "      accept:\n"
        '        prompts/mine: "why this is fine"\n'
        '        responses/qwen: "why this is fine"\n'
        '        responses/own: "why this is fine"\n'
        '        scores/judge: "why this is fine"\n'
        "  or, where you know the licence, state it as `license:` of the pool, rung or scorer"
    )


def test_the_lines_of_the_refusal_cure_it() -> None:
    """Pasted as they are, they are the YAML that lets the push through; one part alone gets no word on unknowns."""
    with pytest.raises(UserError, match="1 part may") as told:
        refuse(RUN, FINE)
    lines = str(told.value.cure).splitlines()[1:]
    assert lines == ["    push:", "      accept:", '        responses/qwen: "why this is fine"']
    refuse(RUN, FINE | yaml.safe_load("\n".join(lines))["push"]["accept"])
    with pytest.raises(UserError) as told:
        refuse([RUN[2], RUN[2]], {})
    assert str(told.value.cure).splitlines()[1:] == lines  # a key twice would be no YAML
    refuse(stated("mit"), {})
    refuse([], {})


REASONS = FINE | {"responses/qwen": "for research"}


@pytest.mark.parametrize(
    ("accepted", "what", "cure"),
    [
        (
            FINE | {"responses/qwenn": "fine"},
            "push.accept: responses/qwenn: no such part of this run",
            "did you mean 'responses/qwen'?",
        ),
        (
            REASONS | {"responses/qwenn": "fine"},
            "push.accept: responses/qwenn: no such part of this run",
            "leave it out: no other part needs a reason",
        ),
        (
            FINE | {"responses/small": "fine"},
            "push.accept: responses/small: needs no reason, its licence is apache-2.0"
            " (known of Qwen/Qwen2.5-1.5B-Instruct)",
            "leave it out; did you mean 'responses/qwen'?",
        ),
        (
            REASONS | {"prompts/gsm8k": "fine"},
            "push.accept: prompts/gsm8k: needs no reason, its licence is mit (known of openai/gsm8k)",
            "leave it out",
        ),
    ],
)
def test_a_needless_acceptance_is_refused(accepted: dict[str, str], what: str, cure: str) -> None:
    """A key of no part, or of one that needs none: it would hide that another part was meant."""
    with pytest.raises(UserError) as told:
        refuse(RUN, accepted, "recipe.yaml")
    assert (told.value.what, told.value.where, told.value.cure) == (what, "recipe.yaml", cure)


def test_the_file_is_sound() -> None:
    """Every licence of a pattern exists, patterns are lower case, rows stand in the order of kinds."""
    here = known()
    assert {row.licence for row in (*here.models, *here.datasets)} <= set(here.licences)
    written = [(row.by, pattern) for row in (*here.models, *here.datasets) for pattern in row.named]
    assert written == [(by and by.lower(), pattern.lower()) for by, pattern in written]
    assert len(set(written)) == len(written)
    assert all(row.by for row in here.models) and not any(row.by for row in here.datasets)
    ranks = [row.rank for row in here.licences.values()]
    assert ranks == sorted(ranks)
    assert all(row.link for name, row in here.licences.items() if not row.on_hub and name != licences.COMPUTED)


def test_the_file_names_what_the_hub_knows() -> None:
    """Every id that the Hub accepts has a row, and no row claims an id that it does not."""
    assert {name for name, row in known().licences.items() if row.on_hub} == set(ON_THE_HUB)


def test_no_pattern_is_hidden_by_an_earlier_one() -> None:
    """First match wins: each pattern of a model, read as a name, leads to its own row."""
    rows = known().models
    for row in rows:
        for pattern in row.named:
            name = pattern.replace("[0-9]*b*", "8b").replace("[0-9]*", "7b").replace("*", "x")
            for wanted, single in (("[13]", "3"), ("[57]", "5"), ("[679]", "6")):
                name = name.replace(wanted, single)
            assert model(f"{row.by}/{name}") == model(name) == row.licence, pattern


def test_an_installed_package_has_its_file(tmp_path: Path) -> None:
    """In a wheel the cards lie inside the package; nothing beside it is needed."""
    package = Path(licences.__file__).parent
    inside = tmp_path / "deltadata"
    (inside / "cards").mkdir(parents=True)
    for name in ("__init__.py", "errors.py", "licences.py", "templates.py"):
        shutil.copy(package / name, inside)
    shutil.copy(folder() / "licences.yaml", inside / "cards")
    code = "from deltadata import licences; print(licences.folder(), len(licences.known().licences))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == f"{inside / 'cards'} {len(known().licences)}\n"
    settings = (package.parent / "pyproject.toml").read_text()
    assert '"cards" = "deltadata/cards"' in settings
