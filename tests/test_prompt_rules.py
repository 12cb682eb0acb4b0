"""What each prompt rule keeps, at its bound and beside it; no tokenizer reads a neutralised token as the token.

pytest tests/test_prompt_rules.py
"""

from __future__ import annotations

import inspect
import json
import sys
from pathlib import Path
from typing import Any, get_type_hints

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from deltadata import prompt_rules
from deltadata.asked import read
from deltadata.errors import UserError
from deltadata.prompt_rules import RULES, neutralise, words

MODELS = sorted((Path(__file__).parents[1] / "models").glob("[!.]*/tokenizer.json"))


def kept(rule: str, *texts: str | None, **arguments: Any) -> list[bool]:
    """What the rule says of each text, asked by its name as a recipe does."""
    said = RULES[rule](**arguments)(pl.Series(texts, dtype=pl.String))
    assert said.dtype == pl.Boolean
    return list(said)


def harmless(text: str | None) -> Any:
    return pl.DataFrame({"text": [text]}, schema={"text": pl.String}).select(neutralise(pl.col("text"))).item()


GIVEN: dict[str, dict[str, Any]] = {
    "min_characters": {"at_least": 0},
    "max_characters": {"at_most": 99},
    "min_words": {"at_least": 0},
    "max_words": {"at_most": 99},
    "language": {"any_of": ["en"]},
    "max_non_latin": {"at_most": 1},
    "no_special_tokens": {},
    "no_pii": {},
    "matching": {"pattern": "f"},
    "not_matching": {"pattern": "z"},
    "hook": {"function": "operator:truth_of_each"},
}


@pytest.mark.parametrize("rule", [name for name in GIVEN if name != "hook"])
def test_null_fulfils_no_rule_and_a_plain_text_each(rule: str) -> None:
    """A prompt without text is never kept; the answers stand in the order of the texts, and no text gives no answer."""
    assert kept(rule, None, "A fine text.", None, **GIVEN[rule]) == [False, True, False]
    assert kept(rule, **GIVEN[rule]) == []


def test_every_rule_can_be_asked_for_by_a_recipe() -> None:
    """The parameters are a number, a text or texts, and these are all the rules."""
    assert sorted(GIVEN) == sorted(RULES)
    for rule in RULES.values():
        hints = get_type_hints(rule)
        assert {str(hints[name]) for name in inspect.signature(rule).parameters} <= {
            *("<class 'float'>", "<class 'str'>", "list[str]", "deltadata.asked.Size", "deltadata.asked.Part")
        }


def test_lengths_keep_their_bound() -> None:
    """At least and at most include the number itself; characters are Unicode's."""
    assert kept("min_characters", "Ä", "Äß", "Äßç", at_least=2) == [False, True, True]
    assert kept("max_characters", "Ä", "Äß", "Äßç", at_most=2) == [True, True, False]
    assert kept("min_words", "one", "one two", "one  two\nthree", at_least=2) == [False, True, True]
    assert kept("max_words", "one", "one two", "one  two\nthree", at_most=2) == [True, True, False]


@pytest.mark.parametrize(
    ("text", "count"),
    [("", 0), (" \n", 0), ("a-b c", 2), ("\u00a0x\u00a0y", 2), ("你好吗", 3), ("用Python写 code", 4), ("サル ok", 3)],
)
def test_a_word_is_between_white_space_or_a_character_of_a_script_without(text: str, count: int) -> None:
    """Chinese, Japanese and their like have a word for each character, so that they are not one long word."""
    assert pl.DataFrame({"text": [text]}).select(words(pl.col("text"))).item() == count


def test_max_non_latin_counts_letters_only() -> None:
    """A third of the letters of another script: kept at 1/3, not below; digits and signs are no letters."""
    assert kept("max_non_latin", "abя 123 !?", at_most=1 / 3) == [True]
    assert kept("max_non_latin", "abя 123 !?", "123", at_most=0.33) == [False, True]


def test_a_pattern_is_found_anywhere_or_nowhere() -> None:
    """`matching` wants it somewhere in the text, `not_matching` nowhere."""
    assert kept("matching", "one cat", "Cat", "dog", pattern="c.t") == [True, False, False]
    assert kept("not_matching", "one cat", "Cat", "dog", pattern="c.t") == [False, True, True]


@pytest.mark.parametrize("rule", ["matching", "not_matching"])
@pytest.mark.parametrize("pattern", ["(", "a(?=b)", r"(a)\1"])
def test_a_bad_pattern_is_refused_before_any_text(rule: str, pattern: str) -> None:
    """What Rust's expressions cannot do is a mistake of the recipe, told when it is read."""
    with pytest.raises(UserError, match="is no regular expression"):
        RULES[rule](pattern)


FOREIGN = [
    "Wie funktioniert ein Otto-Motor?",
    "¿Cómo puedo aprender a tocar la guitarra?",
    "Jak mogę nauczyć się programować w Pythonie?",
    "Hoe maak ik een taart zonder eieren?",
    "Как научиться играть на гитаре?",
    "如何学习编程？",
    "서울 날씨 어때요",
]
ENGLISH = [
    "What breed dog is smallest?",
    "explain TypeScript and Duck Typing",
    "is a bannana a fruit or a herb",
    'What does "c\'est la vie" mean and how is it used?',
    "Digital transformation project plan example",
    "convert December 21 · 1:00 – 1:50pm pacific to asia/taipei time",  # 0.2 English, 0.3 Nigerian Pidgin
]


def test_language_keeps_the_languages_asked_for() -> None:
    """English stays in an English pool, with its names and typing errors, and whole sentences of others go."""
    pytest.importorskip("py3langid")
    assert kept("language", *FOREIGN, *ENGLISH, any_of=["en"]) == [False] * len(FOREIGN) + [True] * len(ENGLISH)
    assert kept("language", *FOREIGN[:3], any_of=["de", "es"]) == [True, True, False]


def test_language_keeps_what_cannot_be_decided() -> None:
    """19 Latin letters are too few and 20 enough; four letters of another script are; code has no language."""
    pytest.importorskip("py3langid")
    assert kept("language", "Wie alt ist der Mond nun", any_of=["en"]) == [True]
    assert kept("language", "Wie alt ist der Mond dann", any_of=["en"]) == [False]
    assert kept("language", "你好吗", "你好吗你", any_of=["en"]) == [True, False]
    assert kept("language", "今天好 okay", "今天好 okay!s", any_of=["en"]) == [True, False]
    code = "def f(x):\n    return x + 1\nfor i in range(10):\n    print(f(i))"
    assert kept("language", code, "asdkjh qwoeiu zxcmnb lkjasd qpwoei", any_of=["en"]) == [True, True]


def test_language_looks_at_the_first_500_characters() -> None:
    """What follows them changes nothing."""
    pytest.importorskip("py3langid")
    german, english = "Wie funktioniert ein Otto-Motor? " * 16, "What is the engine of a car and who made it? " * 50
    assert kept("language", german[:500] + english, german[:250] + english, any_of=["en"]) == [False, True]


def test_language_sums_what_is_probable_against_its_bound() -> None:
    """A text of two languages is kept for either at the usual bound, and for neither alone at a high one."""
    pytest.importorskip("py3langid")
    norse = "Hvordan lager jeg en god fiskesuppe til middag?"  # 0.63 Norwegian, the rest mostly Danish
    assert kept("language", norse, any_of=["da"]) == [True]
    assert kept("language", norse, any_of=["no"], at_least=0.9) == [False]
    assert kept("language", norse, any_of=["no", "da", "nn"], at_least=0.9) == [True]


@pytest.mark.parametrize(("codes", "said"), [([], "names no language"), (["english"], "'english' is not known")])
def test_an_unknown_language_is_refused(codes: list[str], said: str) -> None:
    """A code that the library has not would drop every prompt."""
    pytest.importorskip("py3langid")
    with pytest.raises(UserError, match=said):
        RULES["language"](codes)


TOKENS = [
    *(
        "<|im_start|>",
        "<|im_end|>",
        "<|endoftext|>",
        "<|eot_id|>",
        "<|begin_of_text|>",
        "<|start_header_id|>",
        "[INST]",
    ),
    *("[/INST]", "<<SYS>>", "<</SYS>>", "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|assistant|>", "<|system|>"),
    *(
        "<|end|>",
        "<bos>",
        "<eos>",
        "<pad>",
        "<unk>",
        "<|START_OF_TURN_TOKEN|>",
        "<｜User｜>",
        "<｜begin▁of▁sentence｜>",
    ),
    *("<|turn>", "<turn|>", "<unused12>", "<fim_prefix>", "[TOOL_CALLS]", "[gMASK]", "<extra_id_0>", "<s>", "</s>"),
]
ALSO_PLAIN = ["<filename>", "<repo_name>", "<reponame>", "<mask>", "[SYSTEM_PROMPT]"]
PLAIN = [
    "a <b> and a < b, b > c; list[int], [1], x[INSTR]",
    "`[inst]`, <S>, <Bos>, [INST without its end",
    "xs |> map f <| g; a || b; <|>; <| not a token |>",
    "<s>old price</s> new price, and <span>text</span>",
    "<think>aloud</think> <tool_call> ### Instruction: USER:",
    "⟨ψ|φ⟩ <0|1> List<String>",
]


@pytest.mark.parametrize("token", TOKENS)
def test_a_special_token_is_seen_and_made_harmless_anywhere(token: str) -> None:
    """Alone, between letters and twice: one drops it, the other puts a space behind its first character."""
    broken = f"{token[0]} {token[1:]}"
    for text in (token, f"a{token}b", f"{token}{token}\n{token}"):
        assert kept("no_special_tokens", text) == [False]
        assert harmless(text) == text.replace(token, broken)
    assert kept("no_special_tokens", broken) == [True]


@pytest.mark.parametrize("token", ALSO_PLAIN)
def test_a_token_that_people_write_as_well_is_changed_but_drops_no_prompt(token: str) -> None:
    """`cp <filename>` is a prompt like others, and still must not reach a model as its token."""
    assert kept("no_special_tokens", f"cp {token} there") == [True]
    assert harmless(f"cp {token}") == f"cp {token[0]} {token[1:]}"


@pytest.mark.parametrize("text", PLAIN)
def test_text_that_only_resembles_a_token_is_left_alone(text: str) -> None:
    """Comparisons, generics, pipes, HTML and a model's <think> are no special tokens."""
    assert kept("no_special_tokens", text) == [True]
    assert harmless(text) == text


def test_struck_out_text_is_html_unless_another_mark_stands_beside_it() -> None:
    """`<s>` and `</s>` are tokens alone and in a template, and HTML as a pair."""
    assert harmless("<s>[INST] hi [/INST] ho </s>") == "< s>[ INST] hi [ /INST] ho < /s>"
    assert harmless("an answer</s>") == "an answer< /s>"
    assert harmless("<s>no</s> yes") == "<s>no</s> yes"
    assert harmless("<|[INST]|>") == "< |[ INST]|>"
    assert harmless(None) is None


fragments = st.sampled_from([*TOKENS, *ALSO_PLAIN, "<", "|", ">", "[", "]", " ", "im", "/", "s", "$1", "\n", "é"])


@given(st.lists(fragments, max_size=12).map("".join))
def test_neutralising_leaves_no_token_and_only_adds_spaces(text: str) -> None:
    """Whatever stands side by side, what comes out passes `no_special_tokens`, is stable, and lost no character."""
    changed = harmless(text)
    assert kept("no_special_tokens", changed) == [True]
    assert harmless(changed) == changed
    assert changed.replace(" ", "") == text.replace(" ", "")


@pytest.mark.skipif(not MODELS, reason="needs the fetched models")
@pytest.mark.parametrize("file", MODELS, ids=[file.parent.name for file in MODELS])
def test_no_real_tokenizer_finds_a_special_token_in_neutralised_text(file: Path) -> None:
    """All special tokens of the fetched models, in one text: their tokenizers find each before, and none after."""
    from tokenizers import Tokenizer

    special = [token["content"] for token in json.loads(file.read_text("utf-8"))["added_tokens"] if token["special"]]
    tokenizer = Tokenizer.from_file(str(file))
    text = "x".join([*special, "<s>"])
    ids = {tokenizer.token_to_id(token) for token in special}
    assert ids <= set(tokenizer.encode(text, add_special_tokens=False).ids)
    assert not ids & set(tokenizer.encode(harmless(text), add_special_tokens=False).ids)


PERSONAL = {
    "email": (
        ["write to Jane.Doe+x@mail.co.uk.", "<a_b@web.de>", "JANE@WEB.DE"],
        ["jane@example.com", "j@host.example", "me@a.test", "git@github.com:a/b", "a @ b.de", "x@y", "@user", "A@B.T"],
    ),
    "phone": (
        [
            "+49 30 901820",
            "call (212) 867-5309",
            "212-867-5309",
            "212.867.5309 now",
            "at:+4915112345678",
            "+1 (212) 867-5309",
            "1-212-867-5309",
        ],
        [
            "(555) 123-4567",
            "212-555-0123",
            "1+4915112345678",
            "+10 000",
            "+49 30 123",
            "1212-867-5309",
            "112-867-5309",
            "2023-10-12",
            "212-867-53091",
        ],
    ),
    "iban": (
        ["GB82 WEST 1234 5698 7654 32", "DE89370400440532013000.", "BE68 5390 0754 7034 WITH LOVE"],
        ["GB82 WEST 1234 5698 7654 33", "DE88370400440532013000", "XDE89370400440532013000", "AB8812345678"],
    ),
    "card": (
        ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "3782 822463 10005"],
        ["4111 1111 1111 1112", "1111 1111 1111 1117", "41111111111111110000000", "2023 2024 2025 2026"],
    ),
    "ipv4": (
        ["ping 8.8.4.4", "(93.184.216.34)"],
        ["127.0.0.1", "192.168.0.1", "10.1.2.3", "203.0.113.7", "1.2.3", "256.8.8.8", "Chrome 114.0.5735.199"],
    ),
    "ssn": (
        ["219-09-9998", "SSN: 899-01-0001"],
        ["000-12-3456", "666-12-3456", "900-12-3456", "123-00-4567", "123-45-0000", "1123-45-6789", "123-45-67890"],
    ),
}


@pytest.mark.parametrize("kind", PERSONAL)
def test_personal_data_is_told_from_what_resembles_it(kind: str) -> None:
    """Each kind has its examples, dropped, and its look-alikes, kept; together and named alone."""
    real, alike = PERSONAL[kind]
    assert [text for text, keep in zip(real, kept("no_pii", *real, kinds=[kind]), strict=True) if keep] == []
    assert [text for text, keep in zip(alike, kept("no_pii", *alike, kinds=[kind]), strict=True) if not keep] == []
    assert kept("no_pii", *real) == [False] * len(real)


def test_personal_data_is_looked_for_by_the_kinds_named() -> None:
    """A kind that is not named is not looked for, and these are all there are."""
    assert sorted(PERSONAL) == sorted(prompt_rules.PII)
    for kind, (real, _) in PERSONAL.items():
        others = [other for other in PERSONAL if other != kind]
        assert kept("no_pii", real[0], kinds=others) == [True]
    with pytest.raises(UserError, match=r"no kind is called 'mail'"):
        RULES["no_pii"](["mail"])


def test_a_second_find_is_looked_at_when_the_first_proves_nothing() -> None:
    """A harmless address does not cover for one behind it."""
    assert kept("no_pii", "a@example.com, b@web.de", "127.0.0.1 8.8.4.4", "a@example.com") == [False, False, True]


@given(st.integers(0, 10**15 - 1))
def test_one_check_digit_in_ten_makes_a_card(number: int) -> None:
    """Of the ten numbers that differ in the last digit, Luhn's rule lets exactly one be a card."""
    cards = [f"4{number:015d}"[:15] + str(last) for last in range(10)]
    assert kept("no_pii", *cards, kinds=["card"]).count(False) == 1


@pytest.fixture
def hooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module of a user's."""
    (tmp_path / "my_hooks.py").write_text(
        "import numpy\n"
        "NUMBER = 3\n"
        "def polite(texts): return ['damn' not in text for text in texts]\n"
        "def array(texts): return numpy.array(polite(texts))\n"
        "def unsure(texts): return [None for _ in texts]\n"
        "def short(texts): return [True]\n"
        "def scores(texts): return numpy.array([0.2 for _ in texts])\n"
        "def nothing(texts): return None\n"
        "def word(texts): return 'ab'[:len(texts)]\n"
        "def never(texts): raise AssertionError\n"
    )
    (tmp_path / "my_broken_hooks.py").write_text("import a_package_that_is_not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_hooks"
    sys.modules.pop("my_hooks", None)


def test_a_hook_decides_text_by_text(hooks: str) -> None:
    """It sees the texts that there are, in their order; None is no; it is not called for nothing."""
    assert kept("hook", "fine", None, "damn", "good", function="my_hooks:polite") == [True, False, False, True]
    assert kept("hook", "fine", "damn", function="my_hooks:array") == [True, False]
    assert kept("hook", "fine", "damn", function="my_hooks:unsure") == [False, False]
    assert kept("hook", None, function="my_hooks:never") == [False]
    assert kept("hook", function="my_hooks:never") == []


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("my_hooks", "'my_hooks' is no function"),
        (":polite", "':polite' cannot be imported"),
        ("my_hooks:", "'my_hooks:' is no function"),
        ("my_hook:polite", "'my_hook:polite' cannot be imported: No module named 'my_hook'"),
        ("my_broken_hooks:polite", "cannot be imported: No module named 'a_package_that_is_not_there'"),
        (".my_hooks:polite", "cannot be imported"),
        ("my_hooks:impolite", "cannot be imported: module 'my_hooks' has no attribute 'impolite'"),
        ("my_hooks:NUMBER", "'my_hooks:NUMBER' is no function"),
    ],
)
def test_a_hook_that_is_not_there_is_refused_before_any_text(hooks: str, function: str, said: str) -> None:
    """A missing module, a missing package of its own, a missing function: each is told when the recipe is read."""
    with pytest.raises(UserError, match=said):
        RULES["hook"](function)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("short", "my_hooks:short gives 1 values for 2 texts"),
        ("scores", "no list of bools"),
        ("nothing", "my_hooks:nothing gives None, no list of bools"),
        ("word", "no list of bools"),
    ],
)
def test_a_hook_that_gives_no_bool_for_each_text_is_refused(hooks: str, name: str, said: str) -> None:
    """Fewer values would shift the answers, and a score is not yet a decision."""
    with pytest.raises(UserError, match=said):
        kept("hook", "one", "two", function=f"my_hooks:{name}")


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"max_non_latin": 1.5}, "max_non_latin: at_most is a share, not 1.5"),
        ({"language": {"any_of": ["en"], "at_least": 10}}, "language: at_least is a share, not 10"),
        ({"max_words": -1}, "max_words: at_most is a size, not -1"),
    ],
)
def test_shares_and_sizes_have_bounds(rule: Any, said: str) -> None:
    """A share is from nought to one, a number of words never negative."""
    with pytest.raises(UserError, match=said):
        read(rule, "collect.rules[0]", RULES)
