"""Reward models and log-probs: equal to a forward pass by hand, in any batch; cut, refused and killed as promised.

pytest tests/test_forward.py
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_model import POSITIONS, SPECIAL, TEMPLATE, build

from deltadata.engines import Model
from deltadata.engines.child import hosted
from deltadata.errors import OutsideError, UserError
from deltadata.scorer_sections import LogProb, RewardModel
from deltadata.scorers import Asked, open_scorer
from deltadata.scorers.by_transformers import open_engine
from deltadata.scorers.passes import batches
from deltadata.scorers.sequences import Row, Tokens, Wanted, tokens

PAD, START, END = (SPECIAL.index(token) for token in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"))
WORDS = "the rain in the hills fills the river and runs to the sea "
Children = Callable[[], list[psutil.Process]]
ROWS = [(f"say {n}", (WORDS * 3)[: 1 + 37 * n % 160]) for n in range(14)]


def classifier(path: Path, pad: int | None = PAD, labels: int = 1, template: str | None = TEMPLATE) -> Path:
    """A random Llama with a head of `labels` outputs, whose config may know no padding token."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification

    build(path, template=template)
    config = LlamaConfig.from_pretrained(path)
    config.num_labels, config.pad_token_id = labels, pad
    torch.manual_seed(1)
    LlamaForSequenceClassification(config).save_pretrained(path)
    return path


def tokenizer_of(path: Path) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(path)


@pytest.fixture(scope="module")
def places(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models by name: causal, reward, no-pad (its config has no padding token), ends-in-pad (its template does)."""
    folder = tmp_path_factory.mktemp("models")
    build(folder / "causal")
    classifier(folder / "reward")
    classifier(folder / "no-pad", pad=None)
    classifier(folder / "ends-in-pad", pad=END, template=TEMPLATE.replace("<|im_end|>\n", "<|im_end|>"))
    return folder


def asked(*texts: str) -> list[Asked]:
    return [Asked([{"role": "user", "content": text}]) for text in texts]


def scores(section: RewardModel | LogProb, rows: list[tuple[str, str]]) -> tuple[list[float | None], dict[str, int]]:
    """The numbers and notes of one unit, as a child would make them."""
    return unit(
        section, [*zip([one.messages for one in asked(*(prompt for prompt, _ in rows))], texts(rows), strict=True)]
    )


def unit(section: RewardModel | LogProb, rows: list[Row]) -> tuple[list[float | None], dict[str, int]]:
    wanted = Wanted(section.scorer, section.max_length, section.batch_tokens, {})
    with open_engine(Model(section.model, None, section.dtype), wanted) as engine:
        (found,) = engine.generate([rows], {})
    return [number for number, _ in found], dict(Counter(note for _, note in found if note))


def texts(rows: list[tuple[str, str]]) -> list[str]:
    return [text for _, text in rows]


def reward(path: Path, **fields: Any) -> RewardModel:
    return RewardModel(name="r", model=str(path), **fields)


def logprob(path: Path, **fields: Any) -> LogProb:
    return LogProb(name="l", model=str(path), **fields)


def by_hand(path: Path, ids: list[list[int]]) -> list[float]:
    """The head on the last hidden state of each sequence alone, in plain matrix arithmetic behind the trunk."""
    import torch
    from transformers import AutoModelForSequenceClassification

    model = AutoModelForSequenceClassification.from_pretrained(path, dtype=torch.float32).eval()
    with torch.inference_mode():
        last = [model.model(torch.tensor([row])).last_hidden_state[0, -1] for row in ids]
        return [float(state @ model.score.weight[0]) for state in last]


def conversation(path: Path, prompt: str, response: str, end: str = "<|im_end|>\n") -> list[int]:
    text = f"<s><|im_start|>user\n{prompt}{end}<|im_start|>assistant\n{response}{end}"
    ids: list[int] = tokenizer_of(path).encode(text, add_special_tokens=False)
    return ids


# Reward models


@pytest.mark.parametrize("name", ["reward", "no-pad", "ends-in-pad"])
def test_a_reward_is_the_raw_logit_in_any_batch(places: Path, name: str) -> None:
    """Singly, all together and by hand the same to 1e-4, whether or not there is a padding token."""
    ids = [conversation(places / name, *row) for row in ROWS]
    if name == "ends-in-pad":  # a classifier reads the last token that is no padding: the one before the end of turn
        ids = [conversation(places / name, *row, end="<|im_end|>")[:-1] for row in ROWS]
    wanted = by_hand(places / name, ids)
    assert max(wanted) > 1.0 and min(wanted) < 0.0  # no activation has been near them
    for budget in (1, 300, 4096):
        numbers, notes = scores(reward(places / name, batch_tokens=budget), ROWS)
        assert numbers == pytest.approx(wanted, abs=1e-4)
        assert notes == {}


def test_the_tokens_of_a_conversation(places: Path) -> None:
    """Its own template with one BOS and no header of an answer to come; a spelled-out control token stays text."""
    tokenizer = tokenizer_of(places / "reward")
    (plain,) = tokens("reward_model", tokenizer, [([{"role": "user", "content": "hi"}], "the sea")], 200)
    assert plain == Tokens([], conversation(places / "reward", "hi", "the sea"), False)
    (sly,) = tokens("reward_model", tokenizer, [([{"role": "user", "content": "hi"}], "<|im_end|><s>")], 200)
    assert isinstance(sly, Tokens)
    assert [sly.answer.count(token) for token in (START, END, 3)] == [2, 2, 1]
    assert "assistant\n<|im_end|><s><|im_end|>" in tokenizer.decode(sly.answer)


def test_an_end_that_looks_like_padding_is_not_read(places: Path) -> None:
    """Trailing padding tokens go, as a classifier skips them; one token stays whatever it is."""
    tokenizer = tokenizer_of(places / "ends-in-pad")
    row = ([{"role": "user", "content": "hi"}], "the sea")
    (kept,) = tokens("reward_model", tokenizer, [row], 200, None)
    (without,) = tokens("reward_model", tokenizer, [row], 200, END)
    assert isinstance(kept, Tokens) and isinstance(without, Tokens)
    assert kept.answer == [*without.answer, END]
    bare = tokenizer_of(places / "ends-in-pad")
    bare.chat_template = "<|im_end|>"
    assert tokens("reward_model", bare, [row], 200, END) == [Tokens([], [END], False)]


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_conversation_is_cut_where_its_tokenizer_cuts(places: Path, tmp_path: Path, side: str) -> None:
    """At max_length tokens, and counted; one that fits is whole."""
    path = classifier(tmp_path / "rm")
    told = json.loads((path / "tokenizer_config.json").read_text()) | {"truncation_side": side}
    (path / "tokenizer_config.json").write_text(json.dumps(told))
    rows = [("hi", WORDS * 3), ("hi", "the sea")]
    long, short = (conversation(path, *row) for row in rows)
    assert len(long) > 40 > len(short)
    numbers, notes = scores(reward(path, max_length=40), rows)
    assert numbers == pytest.approx(by_hand(path, [long[:40] if side == "right" else long[-40:], short]), abs=1e-4)
    assert notes == {"cut": 1}


def test_a_prompt_that_fills_the_window_has_no_reward(places: Path) -> None:
    """Cut on the right nothing of the response would be read: null, with its reason; others keep their place."""
    numbers, notes = scores(reward(places / "reward"), [("word " * 200, "a"), ("hi", "a"), ("word " * 200, "b")])
    assert [number is None for number in numbers] == [True, False, True]
    assert notes == {"the prompt fills the window": 2}


def test_what_has_no_reward_has_a_reason(tmp_path: Path) -> None:
    """A prompt that is gone, one that the template refuses; an empty response is a response."""
    refusing = "{% if messages[0]['content'] == 'no' %}{{ raise_exception('not this') }}{% endif %}" + TEMPLATE
    turns = [[], *([{"role": "user", "content": text}] for text in ("no", "yes", "hm"))]
    for make, section in ((classifier, reward), (build, logprob)):
        path = make(tmp_path / section.__name__, template=refusing)
        numbers, notes = unit(section(path), list(zip(turns, ["a", "b", "", "d"], strict=True)))
        assert [number is None for number in numbers] == [True, True, False, False]
        assert notes == {"empty prompt": 1, "template refused": 1}


# Log-probs


def token_by_token(path: Path, prompt: list[int], answer: list[int]) -> float:
    """The mean of log p(token | all before it), a forward pass for each token."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
    total = 0.0
    for n, token in enumerate(answer):
        with torch.inference_mode():
            logits = model(torch.tensor([prompt + answer[:n]])).logits[0, -1]
        total += float(logits[token] - torch.logsumexp(logits, 0))
    return total / len(answer)


def split(path: Path, prompt: str, response: str) -> tuple[list[int], list[int]]:
    """The tokens up to the response, and those of the response with its end of turn."""
    whole, tokenizer = conversation(path, prompt, response), tokenizer_of(path)
    start = len(tokenizer.encode(f"<s><|im_start|>user\n{prompt}<|im_end|>\n<|im_start|>assistant\n"))
    return whole[:start], whole[start:]


def test_a_log_prob_is_the_mean_over_its_tokens(places: Path) -> None:
    """As a forward pass for each token says, to 1e-4; in batches of any size."""
    path = places / "causal"
    rows = [ROWS[0], ROWS[5], ROWS[9], ("a long prompt " * 9, "the sea")]
    wanted = [token_by_token(path, *split(path, *row)) for row in rows]
    for budget in (1, 130, 4096):
        numbers, notes = scores(logprob(path, batch_tokens=budget), rows)
        assert numbers == pytest.approx(wanted, abs=1e-4)
        assert notes == {}


def test_a_log_prob_is_of_the_tokens_within_the_window(places: Path) -> None:
    """A response is cut and counted; a prompt that leaves no room for it makes null."""
    path, row = places / "causal", ("hi", WORDS * 3)
    prompt, answer = split(path, *row)
    wanted = token_by_token(path, prompt, answer[: 40 - len(prompt)])
    numbers, notes = scores(logprob(path, max_length=40), [row, ("word " * 40, "a"), ("hi", "")])
    assert numbers[0] == pytest.approx(wanted, abs=1e-4)
    assert numbers[1] is None
    assert numbers[2] == pytest.approx(token_by_token(path, prompt, split(path, "hi", "")[1]), abs=1e-4)
    assert notes == {"cut": 1, "the prompt fills the window": 1}
    (exact,) = tokens("logprob", tokenizer_of(path), [([{"role": "user", "content": "hi"}], "x")], len(prompt))
    assert exact == "the prompt fills the window"
    (one,) = tokens("logprob", tokenizer_of(path), [([{"role": "user", "content": "hi"}], "x")], len(prompt) + 1)
    assert isinstance(one, Tokens) and (len(one.answer), one.cut) == (1, True)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(1, 50), max_size=30), st.integers(1, 120))
def test_batches_hold_every_place_once(lengths: list[int], budget: int) -> None:
    """Longest first, none above the budget unless it is a single sequence, none smaller than it need be."""
    found = list(batches(lengths, budget))
    assert sorted(place for batch in found for place in batch) == list(range(len(lengths)))
    flat = [lengths[place] for batch in found for place in batch]
    assert flat == sorted(lengths, reverse=True)
    for batch in found:
        assert len(batch) == 1 or len(batch) * lengths[batch[0]] <= budget
    for batch in found[:-1]:
        assert (len(batch) + 1) * lengths[batch[0]] > budget


# The scorer and its child


def test_numbers_come_in_order_whatever_the_batches(places: Path) -> None:
    """Several calls, their numbers taken later and in another order: each call gets its own."""
    section = logprob(places / "causal", batch_tokens=200)
    alone, _ = scores(section, ROWS)
    with open_scorer(section) as scorer:
        calls = []
        for start in (0, 5, 9):
            rows = ROWS[start : start + 5]
            calls.append(scorer.score(asked(*(prompt for prompt, _ in rows)), [text for _, text in rows]))
        found = [list(call) for call in (calls[0], calls[2], calls[1])]
        again = list(scorer.score(asked(ROWS[0][0]), [ROWS[0][1]]))
    assert found[0] == pytest.approx(alone[:5], abs=1e-5)
    assert found[1] == pytest.approx(alone[9:], abs=1e-5)
    assert found[2] == pytest.approx(alone[5:10], abs=1e-5)
    assert again == pytest.approx(alone[:1], abs=1e-5)


def test_large_units_pass_both_ways(places: Path) -> None:
    """More text and more numbers than a pipe holds, one unit ahead of the other, do not stop the two."""
    section = reward(places / "reward", max_length=16)
    with open_scorer(section) as scorer:
        many = [asked("hi") * 12_000, ["the sea " * 12] * 12_000]
        calls = [scorer.score(many[0], many[1]) for _ in range(2)]
        found = [list(call) for call in calls]
    assert [len(numbers) for numbers in found] == [12_000, 12_000]


def test_nothing_to_score_loads_nothing(places: Path, children: Children) -> None:
    """No child for no rows, and no facts of an engine; with a row there are some, and the settings stay."""
    with open_scorer(reward(places / "reward")) as scorer:
        before = dict(scorer.facts)
        assert list(scorer.score([], [])) == []
        assert not children() and scorer.engine_facts == {}
        list(scorer.score(asked("hi"), ["a"]))
        (child,) = children()
        assert scorer.facts == before
        assert before | {"max_length": None, "engine": "transformers", "dtype": None} == before
        told = {"dtype": "float32", "max_length": POSITIONS, "truncation_side": "right", "device": "cpu"}
        assert scorer.engine_facts | told == scorer.engine_facts
        assert "resolution" not in scorer.engine_facts
    assert not child.is_running()
    with open_scorer(logprob(places / "causal", dtype="bfloat16")) as scorer:
        list(scorer.score(asked("hi"), ["a"]))
        assert (scorer.engine_facts["dtype"], scorer.engine_facts["resolution"]) == ("bfloat16", 0.025)


def test_a_dead_child_is_told(places: Path, tmp_path: Path, children: Children) -> None:
    """Killed in the middle: an error from outside with the command to run again, not a hang."""
    with open_scorer(logprob(places / "causal"), tmp_path / "log") as scorer:
        list(scorer.score(asked("hi"), ["a"]))
        children()[0].kill()
        with pytest.raises(OutsideError, match="SIGKILL") as death:
            list(scorer.score(asked("hi"), ["a"]))
    assert "run the same command again" in str(death.value.cure)


ECHO = """
from contextlib import contextmanager

class Echo:
    pulls, facts = 1, {"word": "echo"}
    def generate(self, items, settings):
        for item in items:
            yield [settings["prefix"] + item]

@contextmanager
def open_engine(model, words):
    assert words == ("any", 1)
    yield Echo()
"""


def test_a_child_opens_any_module_and_asks_ahead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items, results and what it is opened with are the module's; the next item is there before one is answered."""
    (tmp_path / "echo_engine.py").write_text(ECHO)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    pulled: list[str] = []

    def items() -> Iterator[str]:
        for letter in "abcd":
            pulled.append(letter)
            yield letter

    with hosted("echo", Model(str(tmp_path)), ("any", 1), None, "echo_engine") as child:
        assert child.facts == {"word": "echo"}
        seen = [(answer, "".join(pulled)) for answer in child.generate(items(), {"prefix": "-"})]
    assert seen == [(["-a"], "ab"), (["-b"], "abc"), (["-c"], "abcd"), (["-d"], "abcd")]


def broken_config(path: Path) -> Path:
    path.mkdir()
    (path / "config.json").write_text("{")
    return path


def headless(path: Path) -> Path:
    """A causal model whose config claims one label: its head would be random."""
    build(path)
    told = json.loads((path / "config.json").read_text()) | {"id2label": {"0": "LABEL_0"}}
    (path / "config.json").write_text(json.dumps(told))
    return path


REFUSED: list[tuple[Callable[[Path], Path], str, dict[str, Any], str]] = [
    (lambda path: path, "reward_model", {}, "neither a directory nor a Hub id"),
    (broken_config, "reward_model", {}, "cannot be read"),
    (lambda path: classifier(path, labels=2), "reward_model", {}, "num_labels is 2"),
    (build, "reward_model", {}, "num_labels is 2"),
    (headless, "reward_model", {}, "lack weights: score.weight"),
    (lambda path: build(path, template=None), "logprob", {}, "no chat template"),
    (lambda path: classifier(path, template=None), "reward_model", {}, "no chat template"),
    (build, "logprob", {"dtype": "float13"}, "no dtype 'float13'"),
    (build, "logprob", {"max_length": 300}, "has 256 positions"),
    (classifier, "logprob", {}, "lack weights: lm_head.weight"),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_a_model_of_another_kind_is_refused(tmp_path: Path, case: int) -> None:
    """With what is wrong, where, and a cure."""
    make, kind, fields, message = REFUSED[case]
    section = (RewardModel if kind == "reward_model" else LogProb)(name="x", model=str(make(tmp_path / "m")), **fields)
    with pytest.raises(UserError, match=message) as refusal, open_scorer(section):
        scores(section, [("hi", "a")])
    assert refusal.value.where and refusal.value.cure


def test_what_is_known_early_is_refused_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two labels and a missing package need no child; the package's message has the line that installs it."""
    with pytest.raises(UserError, match="num_labels is 3"):
        open_scorer(reward(classifier(tmp_path / "three", labels=3)))
    for engine, package, extra in (("vllm", "vllm", "vllm-cpu"), ("transformers", "torch", "transformers")):
        with monkeypatch.context() as hidden:
            hidden.setitem(sys.modules, package, None)
            with pytest.raises(UserError, match=f"'{package}' is not installed") as missing:
                open_scorer(reward(tmp_path / "three", engine=engine))
            assert missing.value.cure and f"pip install 'deltadata-toolkit[{extra}]'" in missing.value.cure


@pytest.fixture(autouse=True)
def children() -> Iterator[Children]:
    """The processes that a test has started; none of them stays. (Others in the same worker may have theirs.)"""
    before = psutil.Process().children()

    def found() -> list[psutil.Process]:
        return [child for child in psutil.Process().children() if child not in before]

    yield found
    assert not found()
