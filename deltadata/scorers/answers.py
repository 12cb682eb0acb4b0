"""Final answers: the number, the text or the letter that a response ends on, and whether it is the reference.

A response is searched in this order: after `####`, in the last \\boxed{}, after "the answer is", the last number.
Numbers are compared as fractions, so that 0.5, 1/2 and \\frac{1}{2} are one answer; other answers as normalised text.
"""

from __future__ import annotations

import re
import unicodedata
from fractions import Fraction

LARGEST = 60  # digits; more are no answer, and slow to compute with
_DIGITS = (
    rf"(?:\d{{1,3}}(?:,\d{{3}})+(?:\.\d{{0,{LARGEST}}})?|\d{{1,{LARGEST}}}(?:\.\d{{0,{LARGEST}}})?|\.\d{{1,{LARGEST}}})"
)
_PLAIN = rf"{_DIGITS}(?:[eE][+-]?\d{{1,2}})?"
_NUMBER = re.compile(
    r"(?<![\w.])(?:(?<![)\]}])[$€£¥]?(?P<sign>[-+]))?[$€£¥]?"
    rf"(?:(?P<whole>\d{{1,{LARGEST}}})[ ]+(?=\d+/\d))?(?P<above>{_PLAIN})(?:[ ]?/[ ]?(?P<below>{_DIGITS}))?"
    r"(?P<percent>[ ]?%)?(?!\d)"
)
_FRACTION = re.compile(r"\\[dt]?frac\s?(?:\{(?P<a>[^{}]*)\}\s?\{(?P<b>[^{}]*)\}|(?P<c>\d)\s?(?P<d>\d))")
_WRAPPER = re.compile(r"\\(?:text|mathrm|mathbf|textbf|mbox|operatorname)\s?\{([^{}]*)\}")
_LATEX = re.compile(r"\^\{?\\circ\}?|\\(?:left|right|displaystyle|[!,;: ()\[\]])")
_GAP = re.compile(r"(?<=\d)(?:[\u00a0\u2009\u202f]|\{,\})(?=\d{3}(?!\d))")
_HASHES = re.compile(r"####[ \t]*([^\n]+)")
_ANSWER, _IS = r"\banswer\b(?: to [^.:\n]{1,80}?)?[*_]{0,3}", r"(?:\bis\b|:|=)[*_]{0,3}"
_ANSWER_IS = re.compile(rf"{_ANSWER}[ \t]*{_IS}[ \t]*:?([^\n]+)", re.IGNORECASE)
_STOP = re.compile(r"[.!?](?=\s)")
_BY_A_SIGN = re.compile(r" (?:(?=[^\w\s])|(?<=[^\w\s] ))")
_SIGNS = str.maketrans({"−": "-", "–": "-", "⁄": "/", "½": " 1/2", "¼": " 1/4", "¾": " 3/4"})
_QUOTES = "\"'“”‘’«»`*_ \t\n"


def boxed(text: str) -> str | None:
    """What the last \\boxed{…} holds, braces within it included; None without one that closes."""
    start = text.rfind("\\boxed")
    opening = text.find("{", start) if start >= 0 else -1
    if opening < 0 or text[start + len("\\boxed") : opening].strip():
        return None
    depth = 0
    for at in range(opening, len(text)):
        depth += {"{": 1, "}": -1}.get(text[at], 0)
        if depth == 0:
            return text[opening + 1 : at].strip()
    return None


def stated(text: str) -> str | None:
    """The answer that a response marks as such: after `####`, boxed, or after the last "the answer is"."""
    if after := _HASHES.findall(text):
        return str(after[-1]).strip()
    if (inside := boxed(text)) is not None:
        return inside
    if said := _ANSWER_IS.findall(text):
        return _STOP.split(str(said[-1]).strip(), maxsplit=1)[0].strip()
    return None


def reference(given: str) -> str:
    """The answer in a reference: after `####` (GSM8K), in \\boxed{} (MATH), or the whole of it."""
    if after := _HASHES.findall(given):
        return str(after[-1]).strip()
    inside = boxed(given)
    return given.strip() if inside is None else inside


def plain(text: str) -> str:
    """The text without LaTeX around its numbers: `\\frac{1}{2}` is `1/2`, a Unicode minus is `-`."""
    text = _GAP.sub("", text).translate(_SIGNS)
    if "\\" in text:
        text = _FRACTION.sub(lambda f: f"{f['a'] or f['c']}/{f['b'] or f['d']}", text)
        text = _WRAPPER.sub(r"\1", text)
        text = _LATEX.sub("", text).replace("\\%", "%").replace("\\$", "$")
    return text


def number(text: str) -> Fraction | None:
    """The value of a text that is one number and nothing else but signs of currency, per cent and Markdown."""
    return _value(_NUMBER.fullmatch(_bare(plain(text))))


def last_number(text: str) -> Fraction | None:
    """The value of the last number in a text."""
    found = list(_NUMBER.finditer(plain(text)))
    return _value(found[-1]) if found else None


def final_number(text: str) -> Fraction | None:
    """The number a response ends on: in the answer it states (the first behind its last =), else the last of all."""
    answer = stated(text)
    if answer is None:
        return last_number(text)
    side = plain(answer).rpartition("=")[2]
    value = _value(_NUMBER.search(side))
    marked = "####" in text or boxed(text) is not None
    return value if value is not None or marked else last_number(text)


def same_answer(given: str, response: str) -> bool:
    """Whether the response ends on the answer of the reference `given`.

    A reference that is a number wants a number; 50% is met by 50 and by 0.5. Any other is compared as text with the
    stated answer, else with the whole response and with its last line.
    """
    wanted = reference(given)
    value = number(wanted)
    if value is not None:
        return same_number(value, final_number(response), "%" in wanted)
    answer = stated(response)
    tried = [answer] if answer is not None else [response, response.strip().rpartition("\n")[2]]
    return normal(wanted) in [normal(one) for one in tried]


def same_number(wanted: Fraction, found: Fraction | None, percent: bool = False) -> bool:
    """Whether two numbers are one but for rounding in the last of many digits."""
    if found is None:
        return False
    near = max(abs(wanted), Fraction(1, 1000)) / 10**6
    return abs(wanted - found) <= near or (percent and abs(wanted - found * 100) <= near)


def normal(text: str) -> str:
    """Text as it is compared: no case, quotes, Markdown emphasis, last full stop, nor white space around signs."""
    one_line = " ".join(unicodedata.normalize("NFC", text).split())
    text = " ".join(_bare(plain(one_line)).casefold().split())
    return _BY_A_SIGN.sub("", text)


def letter(text: str) -> str | None:
    """The one option (`B`, or a digit) that a response chooses; None where it names none or several.

    Looked for in this order: \\boxed{B}; "the answer is B"; a last line that is B; lines that start with B. or (B);
    "option B"; (B) anywhere. Two different letters at the first place that has any are no choice.
    """
    inside = boxed(text)
    if inside is not None:
        return _lone(plain(inside))
    for places in (_SAID, _LAST, _LEADING, _OPTION, _BRACKETED):
        found = {one.upper() for match in places.finditer(text.strip()) for one in match.groups() if one}
        if found:
            return found.pop() if len(found) == 1 else None
    return None


_BEFORE, _AFTER = r"[*_$(\[\"'“‘`]*", r"(?![\w'’+=/^]|[ \t]+[a-z])"
_OR = rf"(?:[ \t]*(?:,|/|\bor\b|\band\b|&)[ \t]*{_BEFORE}([A-Z\d])(?!\w))?"
_SAID = re.compile(
    rf"(?i:{_ANSWER}\s{{0,3}}{_IS}:?(?:[ \t]*(?:option|choice|letter)\b)?)"
    rf"\s{{0,3}}{_BEFORE}(?:([A-Z\d])(?:{_AFTER}|(?=[ \t]+(?:or|and|because|since|as)\b)){_OR}|(?<=\()([a-z])\))"
)
_LAST = re.compile(rf"(?:^|\n)[ \t]*{_BEFORE}([A-Za-z\d])[)\].:*_$\"'”’`]*\Z")
_LEADING = re.compile(rf"^[ \t]*{_BEFORE}([A-Z\d])(?:[)\].:*_$\"'”’`]+(?=\s|$)|[ \t]+[-–—][ \t]|$)", re.MULTILINE)
_OPTION = re.compile(rf"\b(?i:option|choice)[ \t]+{_BEFORE}([A-Z\d])(?!\w)")
_BRACKETED = re.compile(r"\(([A-Z\d])\)")


def _lone(text: str) -> str | None:
    bare = _bare(text).strip("()[].:")
    return bare.upper() if len(bare) == 1 and bare.isalnum() else None


def _bare(text: str) -> str:
    """Without quotes, emphasis and dollars around it and the full stop behind."""
    text = text.strip(_QUOTES)
    if text.endswith("$") or text.startswith("$$"):
        text = text.strip("$").strip(_QUOTES)
    return text.removesuffix(".").strip(_QUOTES)


def _value(found: re.Match[str] | None) -> Fraction | None:
    if found is None:
        return None
    below = Fraction(found["below"].replace(",", "")) if found["below"] else Fraction(1)
    if below == 0:
        return None
    value = Fraction(found["whole"] or 0) + Fraction(found["above"].replace(",", "")) / below
    return -value if found["sign"] == "-" else value
