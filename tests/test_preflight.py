"""What a tokenizer and a window make of pairs is counted by reason, with the tokens that TRL itself would train on.

pytest tests/test_preflight.py
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from trainings_by_hand import SCHEMA, Heard, asked, pair, say, student, write

from deltadata import preflight, trainings
from deltadata.errors import UserError
from deltadata.student import Student, ends, tokenizer

PLAIN = "{% for m in messages %}{{ m['content'] }}{% if m['role'] == 'assistant' %}<|im_end|>{% endif %}{% endfor %}"


class Letters:
    """A tokenizer of one id a letter: what it should find can be counted on fingers. `.` is its end, `^` its BOS."""

    bos_token_id = ord("^")

    def __init__(self, header: str = ">", end: str = ".", bos: str = "^") -> None:
        self.header, self.end, self.bos = header, end, bos

    def apply_chat_template(self, conversations: list[Any], add_generation_prompt: bool, **_: Any) -> Any:
        return {"input_ids": [self._ids(each, add_generation_prompt) for each in conversations]}

    def _ids(self, messages: list[dict[str, str]], asks: bool) -> list[int]:
        prompt = "".join(m["content"] for m in messages if m["role"] == "user")
        answer = "".join(m["content"] + self.end for m in messages if m["role"] == "assistant")
        return [ord(letter) for letter in self.bos + prompt + (self.header if asks else ">") + answer]


def look(rows: list[tuple[str, str, str]], window: int = 100, allow: Any = (), **how: Any) -> preflight.Found:
    """The preflight of (prompt, chosen, rejected) texts; the id of the first row is `a` sixteen times."""
    told = [
        {
            "prompt": say("user", prompt),
            "chosen": say("assistant", chosen),
            "rejected": say("assistant", rejected),
            "prompt_id": "abcdefgh"[number] * 16,
        }
        for number, (prompt, chosen, rejected) in enumerate(rows)
    ]
    return preflight.preflight(Letters(**how), [pa.Table.from_pylist(told, SCHEMA)], window, {ord(".")}, allow=allow)


def occurring(found: preflight.Found) -> dict[str, int]:
    return {reason: count for reason, count in found.counts.items() if count}


def test_a_pair_that_fits_has_no_reason_and_all_its_tokens() -> None:
    """`^ask>` is five tokens, `yes.` four, `no.` three."""
    found = look([("ask", "yes", "no")])
    assert occurring(found) == {}
    assert found.tokens == {"prompt": 5, "chosen": 4, "rejected": 3, "lost": 0}
    assert found.delta == {"before": 1.0, "after": 1.0}
    assert (found.pairs, found.bad, found.cut) == (1, 0, 0)


def test_every_side_that_is_cut_is_counted_with_what_the_cut_takes() -> None:
    """In 8 tokens `^ask>` leaves 3: of `yes.` one is lost, of `nope.` two; in the second pair nothing is."""
    found = look([("ask", "yes", "nope"), ("ask", "a", "no")], window=8)
    assert occurring(found) == {"chosen_cut": 1, "rejected_cut": 1, "end_token_lost": 1}
    assert found.tokens["lost"] == 3 and found.cut == 1 and found.bad == 0
    assert found.delta == {"before": (-1 - 1) / 2, "after": (0 - 1) / 2}


def test_answers_that_begin_alike_are_the_same_once_cut() -> None:
    assert occurring(look([("ask", "yes it is", "yes and no")], window=8))["identical_after_cut"] == 1


@pytest.mark.parametrize(("window", "fills"), [(4, 1), (5, 1), (6, 0)])
def test_a_prompt_fills_the_window_when_no_token_is_left(window: int, fills: int) -> None:
    """`^ask>` is five tokens; TRL keeps the pair from six on."""
    found = look([("ask", "yes", "no")], window=window)
    assert found.counts["prompt_fills_window"] == fills
    assert found.tokens["prompt"] == (0 if fills else 5)


def test_a_template_without_an_end_token_a_shifted_prompt_two_bos_and_an_empty_answer() -> None:
    """Each by itself, with the first prompt_id."""
    assert occurring(look([("ask", "yes", "no")], end="")) == {"no_end_token": 1}
    assert occurring(look([("ask", "yes", "no")], header=">?")) == {"prompt_is_no_prefix": 1}
    assert occurring(look([("ask", "yes", "no")], bos="^^")) == {"two_bos": 1}
    found = look([("ask", "yes", "no"), ("ask", "yes", "")], end="")
    assert found.counts["no_trainable_token"] == 1 and found.first["no_trainable_token"] == "b" * 16


def test_beyond_the_share_it_is_refused_and_what_is_allowed_does_not_count() -> None:
    rows = [("ask", "yes", "no")] * 9 + [("a" * 96, "yes", "no")]
    rows = [(f"{prompt}", chosen, rejected) for prompt, chosen, rejected in rows][2:]
    found = look(rows, window=98)
    assert (found.bad, found.pairs) == (1, 8)
    preflight.refuse(found, 1 / 8, 0)
    with pytest.raises(UserError, match=r"1 of 8 pairs are unfit.*prompt_fills_window.*first hhhhhhhhhhhhhhhh"):
        preflight.refuse(found, 0.12, 0)
    assert look(rows, 98, allow=["prompt_fills_window"]).bad == 0
    with pytest.raises(UserError, match="did you mean 'two_bos'"):
        look(rows, 98, allow=["two_boss"])
    cut = look([("ask", "yes", "nope"), ("ask", "a", "no")], window=8)
    preflight.refuse(cut, 0, 0.5)
    with pytest.raises(UserError, match="1 of 2 pairs have an answer that is cut at 8 tokens"):
        preflight.refuse(cut, 0, 0.49)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return student(tmp_path_factory.mktemp("preflight") / "tiny")


def test_a_prompt_that_the_template_refuses_is_named(tmp_path: Path) -> None:
    found = tokenizer(Student("strict", str(student(tmp_path / "strict", system=False)), None, ""))
    row = pair(3) | {"prompt": [*say("system", "be brief"), *say("user", "hello")]}
    with pytest.raises(UserError, match=f"refuses the prompt {row['prompt_id']}.*no system message"):
        preflight.tokenised(found, [pair(1), row])


def test_two_bos_of_a_real_tokenizer_are_found(tmp_path: Path) -> None:
    """The template writes the BOS, and so does a tokenizer that is asked to: here the template does both."""
    place = student(tmp_path / "twice", template="{{ bos_token }}{{ bos_token }}" + PLAIN)
    told = Student("twice", str(place), None, "")
    found = tokenizer(told)
    rows = pa.Table.from_pylist([pair(number) for number in range(4)], SCHEMA)
    assert preflight.preflight(found, [rows], 256, ends(told, found)).counts["two_bos"] == 4


@pytest.mark.parametrize("template", [None, PLAIN + "{% if add_generation_prompt %}Answer: {% endif %}"])
def test_the_tokens_are_those_that_trl_trains_on(tmp_path: Path, tiny: Path, template: str | None) -> None:
    """Also where the prompt is no prefix of the conversation: TRL's own dataset says the same, row by row."""
    place = tiny if template is None else student(tmp_path / "other", template=template)
    rows = [pair(number) for number in range(8)]
    told = asked(tmp_path, place, write(tmp_path / "ds", rows))
    plan = trainings.plan(told)
    made = trainings.opened_trainer(told, Heard().screen).train_dataset
    found = preflight.tokenised(tokenizer(plan.student), rows)
    assert [each.prompt for each in found] == made["prompt_ids"][:]
    for side in ("chosen", "rejected"):
        assert [each.sides[side] for each in found] == made[f"{side}_ids"][:]
    assert {each.shifted for each in found} == {template is not None}


def test_check_counts_the_split_that_would_be_trained_on_and_trains_nothing(tmp_path: Path, tiny: Path) -> None:
    rows = [pair(number) for number in range(10)]
    heard, told = Heard(), asked(tmp_path, tiny, write(tmp_path / "ds", rows))
    assert trainings.check(told, None, heard.screen).pairs == 10
    assert "every pair fits as it is" in heard.text and not (tmp_path / "run").exists()
