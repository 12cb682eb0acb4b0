"""The rules a prompt must fulfil to stay in the pool: one function each, named as in the recipe.

    collect: {rules: [no_special_tokens, {max_words: 2000}, {language: [en]}, {no_pii: [email, card]}]}

A rule gives a function from prompts (Strings: the user turns, joined) to yes or no, one for each, never null: a null
text fulfils no rule. To add one, write the function and name it in RULES; its parameters, by name and type, are what
the recipe may give. `neutralise` is no rule: it keeps a prompt and takes the force out of its special tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address
from itertools import accumulate
from pkgutil import resolve_name
from typing import Any, NamedTuple

import polars as pl

from deltadata import languages, measure
from deltadata.asked import Part, Size
from deltadata.errors import UserError, did_you_mean

Keeps = Callable[[pl.Series], pl.Series]
_TEXT = "text"


def _where(holds: Callable[[pl.Expr], pl.Expr]) -> Keeps:
    """The rule that `holds` says of a text; null is no."""
    expression = holds(pl.col(_TEXT)).fill_null(False)
    return lambda texts: texts.alias(_TEXT).to_frame().select(kept=expression).to_series()


def min_characters(at_least: Size) -> Keeps:
    """At least so many Unicode characters."""
    return _where(lambda text: text.str.len_chars() >= at_least)


def max_characters(at_most: Size) -> Keeps:
    """At most so many Unicode characters."""
    return _where(lambda text: text.str.len_chars() <= at_most)


_SPACELESS = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"


def words(text: pl.Expr) -> pl.Expr:
    """What stands between white space; each character of a script without spaces (Chinese, Thai …) is a word."""
    each = pl.when(text.str.contains(f"[{_SPACELESS}]")).then(text)
    return pl.coalesce(each.str.count_matches(rf"[{_SPACELESS}]|[^\s{_SPACELESS}]+"), text.str.count_matches(r"\S+"))


def min_words(at_least: Size) -> Keeps:
    """At least so many words."""
    return _where(lambda text: words(text) >= at_least)


def max_words(at_most: Size) -> Keeps:
    """At most so many words."""
    return _where(lambda text: words(text) <= at_most)


def max_non_latin(at_most: Part) -> Keeps:
    """At most this share of the letters is of another script than Latin."""
    return _where(lambda text: measure.non_latin(text) <= at_most)


def matching(pattern: str) -> Keeps:
    """The pattern (a Rust regular expression) is found somewhere. Raises UserError for one that is none."""
    _check_pattern(pattern)
    return _where(lambda text: text.str.contains(pattern))


def not_matching(pattern: str) -> Keeps:
    """The pattern (a Rust regular expression) is found nowhere. Raises UserError for one that is none."""
    _check_pattern(pattern)
    return _where(lambda text: ~text.str.contains(pattern))


def _check_pattern(pattern: str) -> None:
    try:
        pl.Series([""]).str.contains(pattern)
    except pl.exceptions.PolarsError as problem:
        said = " ".join(str(problem).split())[:200]
        raise UserError(f"{pattern!r} is no regular expression: {said}", cure="write Rust's syntax") from None


_PROBABLE = Part(0.1)


def language(any_of: list[str], at_least: Part = _PROBABLE) -> Keeps:
    """In one of these languages (ISO 639 codes as py3langid has them: en, de, zh …) with this probability, summed.

    Judged by the first 500 characters. Kept as undecidable: fewer than 20 letters (a letter that is not Latin counts
    five times), and where no language has 0.3, as in code. Raises UserError for an unknown code.
    """
    known = languages.identifier()
    if not any_of:
        raise UserError("language: any_of names no language", cure="name one, e.g. en")
    for code in any_of:
        if code not in known.labels:
            raise UserError(f"language: {code!r} is not known", cure=did_you_mean(code, known.labels))
    wanted = {*any_of, languages.NONE}

    def fits(head: str) -> Any:
        best = languages.likeliest(head)
        if best is None or (best.code in wanted and best.probability >= at_least):
            return True
        return sum(share for code, share in known.rank(head) if code in wanted) >= at_least

    def keeps(texts: pl.Series) -> pl.Series:
        clear = languages.decidable(texts)
        fitting = pl.Series([fits(head) for head in languages.heads(texts).filter(clear)], dtype=pl.Boolean)
        return texts.is_not_null().scatter(clear.arg_true(), fitting).alias("kept")

    return keeps


# Special tokens and the marks of chat templates, apart by their first character. Case counts, as it does to tokenizers.
_Marks = dict[str, tuple[str, ...]]
_MARKS: _Marks = {
    "<": (
        r"[|｜][^|｜<>\s]{1,60}[|｜]>",  # <|im_start|>, <|eot_id|>, <|user|>, <｜User｜> … whatever the name
        r"\|[a-z][a-z_]{2,30}>|[a-z][a-z_]{2,30}\|>",  # <|turn>, <turn|>
        "(?:(?:start|end)_of_(?:turn|image)|bos|eos|pad|unk|eod|sop|eop|</?SYS>)>",
        "(?:unused|extra_id_|SPECIAL_|reserved_)[0-9]+>",
        "(?:fim_(?:prefix|middle|suffix|pad)|file_sep|gh_stars|empty_output|image_soft_token)>",
        "(?:issue_(?:start|comment|closed)|jupyter_(?:start|text|code|output|script))>",
    ),
    "[": (r"(?:/?(?:INST|TOOL_CALLS|TOOL_RESULTS|TOOL_CONTENT|AVAILABLE_TOOLS)|gMASK)\]",),
}
# Tokens of some model as well, but people write them: `cp <filename>`, a cloze's <mask>, code with [SYSTEM_PROMPT].
_ALSO_PLAIN: _Marks = {"<": ("(?:filename|repo_?name|mask)>",), "[": ("/?SYSTEM_PROMPT\\]",)}
_STRIKE: _Marks = {"<": ("/?s>",), "[": ()}  # <s>, </s>: begin and end of text, and struck-out text in HTML


def _pattern(first: str, *tables: _Marks) -> str:
    return rf"({re.escape(first)})({'|'.join(mark for table in tables for mark in table[first])})"


_ANY_MARK = "|".join(_pattern(first, _MARKS) for first in _MARKS)


def _marked(text: pl.Expr) -> pl.Expr:
    """Whether a mark is there, or one of <s> and </s> alone. A pair of those and no other mark is HTML."""
    opens, closes = (text.str.contains(mark, literal=True) for mark in ("<s>", "</s>"))
    return (opens != closes) | text.str.contains(_ANY_MARK)


def no_special_tokens() -> Keeps:
    """No special token or mark of a chat template, such as <|im_start|>, [INST], <start_of_turn>, <eos>, <｜User｜>.

    <s> and </s> count unless they are HTML: both there and no other mark. <filename>, <repo_name>, <mask> and
    [SYSTEM_PROMPT] do not count, as people write them too. Nor does <think>, which no template puts before a prompt.
    """
    return _where(lambda text: ~_marked(text))


def neutralise(text: pl.Expr) -> pl.Expr:
    """The text with a space behind the first character of each special token: `< |im_start|>`, `[ INST]`.

    No tokenizer reads that as the token, and a person sees what was done. Done to all that `no_special_tokens` names
    and to <filename>, <repo_name>, <mask> and [SYSTEM_PROMPT]; doing it twice changes nothing. Left alone: <s>…</s> as
    HTML, <think>, <tool_call> (plain words to the prompt's side) and marks that are plain text (`### Instruction:`).
    """
    changed = text
    for first in _MARKS:
        changed = changed.str.replace_all(_pattern(first, _MARKS, _ALSO_PLAIN), "${1} ${2}")
    return pl.when(_marked(text)).then(changed.str.replace_all(_pattern("<", _STRIKE), "${1} ${2}")).otherwise(changed)


class _Personal(NamedTuple):
    """What looks like it, and the proof, as looks deceive."""

    pattern: str
    proof: Callable[[str], bool]


def _luhn(found: str) -> bool:
    digits = [int(digit) for digit in found if digit.isdigit()]
    doubled = [2 * digit - 9 * (digit > 4) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _iban(found: str) -> bool:
    """ISO 7064: the first four signs moved to the end, letters as 10 to 35, leave 1 over 97. Words may stand behind."""
    codes = accumulate(found.split(" "))
    whole = (code[4:] + code[:4] for code in codes if len(code) >= 15)
    return any(int("".join(str(int(sign, 36)) for sign in code)) % 97 == 1 for code in whole)


def _address_of_someone(found: str) -> bool:
    """Neither a repository's `git@` nor one of the names kept for documentation (RFC 2606)."""
    name, _, host = found.lower().partition("@")
    parts = host.split(".")
    return name != "git" and parts[-2] != "example" and parts[-1] not in ("example", "test", "invalid", "localhost")


def _social_security(found: str) -> bool:
    """Not one of the numbers that are never given: area 000 or 666, group 00, serial 0000."""
    area, group, serial = found.split("-")
    return area not in ("000", "666") and group != "00" and serial != "0000"


_AREA = "(?:[2-46-9][0-9]{2}|5[0-46-9][0-9]|55[0-46-9])"  # North America's, without 555 of films and examples
_ISSUER = "(?:2[2-7]|[3-6][0-9])"
_OCTET = "(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_B = r"(?-u:\b)"
_PII = {
    "email": _Personal(rf"(?i){_B}[a-z0-9][a-z0-9._%+-]*@(?:[a-z0-9-]+\.)+[a-z]{{2,24}}{_B}", _address_of_someone),
    "phone": _Personal(
        r"(?:^|[\s(:,;])\+[1-9][0-9]{0,2}(?:[ .-]?\(?[0-9]{1,4}\)?){2,6}[0-9]"
        rf"|(?:^|[^0-9.+-])(?:1[ .-])?(?:\({_AREA}\) ?|{_AREA}[.-]){_AREA}[.-][0-9]{{4}}{_B}",
        lambda found: "+" not in found or 9 <= sum(map(str.isdigit, found)) <= 15,
    ),
    "iban": _Personal(rf"{_B}[A-Z]{{2}}[0-9]{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?{_B}", _iban),
    "card": _Personal(
        rf"{_B}(?:{_ISSUER}[0-9]{{2}}(?:[ -][0-9]{{4}}){{3}}|3[47][0-9]{{2}}[ -][0-9]{{6}}[ -][0-9]{{5}}"
        rf"|{_ISSUER}[0-9]{{11,17}}){_B}",
        _luhn,
    ),
    "ipv4": _Personal(rf"{_B}(?:{_OCTET}\.){{3}}{_OCTET}{_B}", lambda found: ip_address(found).is_global),
    "ssn": _Personal(rf"{_B}[0-8][0-9]{{2}}-[0-9]{{2}}-[0-9]{{4}}{_B}", _social_security),
}
PII = list(_PII)


def no_pii(kinds: list[str] = PII) -> Keeps:
    """Nothing that looks like personal data of these kinds: email, phone, iban, card, ipv4, ssn.

    Cards and IBANs have right check digits; an IPv4 address is a public one; a phone number begins with + or has North
    America's form. Names and postal addresses are not seen: that takes a model, see `hook`.
    """
    for kind in kinds:
        if kind not in _PII:
            raise UserError(f"no_pii: no kind is called {kind!r}", cure=did_you_mean(kind, _PII))

    def keeps(texts: pl.Series) -> pl.Series:
        clean = texts.is_not_null()
        for pattern, proof in (_PII[kind] for kind in kinds):
            likely = texts.str.contains(pattern).arg_true()
            proven = [any(map(proof, found)) for found in texts.gather(likely).str.extract_all(pattern)]
            clean = clean.scatter(likely.filter(pl.Series(proven, dtype=pl.Boolean)), False)
        return clean.alias("kept")

    return keeps


def hook(function: str) -> Keeps:
    """Your own function, `package.module:name`, from a list of texts to as many bools: for toxicity and the like.

    It is imported when the recipe is read and called once for each batch; None is no. Raises UserError when it is not
    there, and later when it gives another number of values or others than True, False and None.
    """
    call = _imported(function)

    def keeps(texts: pl.Series) -> pl.Series:
        known = texts.is_not_null()
        given = call(texts.filter(known).to_list()) if known.any() else []
        try:
            said = pl.Series(list(given), dtype=pl.Boolean, strict=True)
        except (TypeError, ValueError, pl.exceptions.PolarsError):
            raise UserError(f"hook: {function} gives {str(given)[:60]}, no list of bools", cure="mend it") from None
        if len(said) != known.sum():
            counts = f"{len(said):,} values for {known.sum():,} texts"
            raise UserError(f"hook: {function} gives {counts}", cure="one bool a text, in their order")
        return pl.repeat(False, len(texts), eager=True).scatter(known.arg_true(), said.fill_null(False)).alias("kept")

    return keeps


def _imported(function: str) -> Any:
    try:
        found = resolve_name(function)
    except (ImportError, AttributeError, ValueError) as problem:
        cure = "package.module:function; its folder may be named in PYTHONPATH"
        raise UserError(f"hook: {function!r} cannot be imported: {problem}", cure=cure) from None
    if not callable(found):
        raise UserError(f"hook: {function!r} is no function", cure="write package.module:function")
    return found


RULES: dict[str, Callable[..., Keeps]] = {
    rule.__name__: rule
    for rule in (
        *(min_characters, max_characters, min_words, max_words, language, max_non_latin),
        *(no_special_tokens, no_pii, matching, not_matching, hook),
    )
}
