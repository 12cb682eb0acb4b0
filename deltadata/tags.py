"""What a prompt asks for, in one word: a rule of thumb for the table of a pool's kinds, not a classifier.

    frame.with_columns(tag=tag(pl.col("text")))    # code, maths, roleplay, translation, … question, other

The first of TAGS that is found gives the tag. The patterns are for English, read the wording only, and know nothing of
the subject: a question on physics is a question. A text in another language is mostly `other`.
"""

from __future__ import annotations

import polars as pl

OTHER = "other"
_LOOKED_AT = 4000  # characters

# Where an order begins: at the start of the text, a line or a sentence, behind words of courtesy.
_COURTESY = (
    "please,?|kindly|now|then|and|hi,?|hello,?|i(?:'d| would) like (?:you )?to|i (?:want|need) (?:you )?to"
    "|(?:can|could|would|will) you|you (?:should|must|need to|have to|are (?:asked|required) to)"
    "|your (?:task|job|goal) is to|help me(?: to)?|try to|let's|we need to"
)
_DO = rf"(?:\A|[.!?:;,\n-]\s*)(?:(?:{_COURTESY}) ){{0,4}}(?:[a-z]+ly )?"
_FEW = r"(?:[^\s.?!]+ ){0,6}?"  # words between the order and what is ordered

_LANGUAGES = (
    "english|french|german|spanish|italian|portuguese|dutch|chinese|mandarin|japanese|korean|russian|arabic|hindi|latin"
    "|greek|turkish|polish|swedish|norwegian|danish|finnish|hebrew|urdu|bengali|vietnamese|thai|indonesian"
)
_CODES = (
    r"python|java|javascript|typescript|c\+\+|c#|golang|rust|kotlin|php|perl|matlab|haskell|scala|html|css|(?:my)?sql|bash"
    r"|powershell|vba|luau?|dockerfile|numpy|pandas|django|reactjs|latex|regex|verilog|lean 4|node\.?js|yaml|rst|roblox"
)
_PROGRAM = (
    "function|program|script|algorithm|code|snippet|query|macro|unit tests?|web ?(?:page|site|app)|app|regex|class|api"
)
_WRITTEN = (
    "story|stories|poem|haiku|sonnet|limerick|songs?|lyrics|rap|essay|e-?mail|letter|blog(?: ?post)?|posts?|article"
    "|paragraphs?|speech|dialogue|monologue|scene|script|reviews?|headlines?|slogans?|tweets?|captions?|press release"
    "|resume|bio|introduction|novel|chapter|screenplay|pitch|plot|jokes?|riddles?|message|newsletter|proposal|report|announcement"
    "|advert(?:isement)?|invitation|memo|backstory|fable|fairy tale|tagline|outline|character|lesson plan|business plan"
)
_WRITE = "write|compose|draft|craft|create|pen|tell|generate|develop|produce|make|prepare|construct|describe"
_SORTS = "classify|categori[sz]e|(?:rate|label|rank) (?:the|each|these)|evaluate the following"

# In the order in which they are tried.
TAGS: tuple[tuple[str, str], ...] = (
    (
        "roleplay",
        rf"{_DO}(?:(?:act|behave|speak|talk) (?:as|like) (?:if|an?|the|my|though)\b|pretend\b|role-?play"
        r"|(?:play|take on|assume|embrace|adopt|embody) the (?:role|part|persona|character)|you are now\b|now you are\b"
        r"|(?:imagine|picture|suppose) (?:yourself|(?:that )?you(?:'re| are) (?:an?|the|my)\b)|from now on,? you)",
    ),
    (
        "translation",
        rf"{_DO}translate\b|\btranslat(?:e|ion)\b[^.\n]{{0,60}} (?:in)?to (?:{_LANGUAGES})\b"
        rf"|\bhow (?:do|would|can) (?:you|i|one) say\b[^?\n]{{1,80}}\bin (?:{_LANGUAGES})\b",
    ),
    (
        "summarisation",
        rf"{_DO}(?:summari[sz]e|condense|shorten|(?:give|write|provide|create|make) {_FEW}summary"
        rf"|(?:list|give|state) {_FEW}(?:key|main) (?:takeaways|points))\b|\btl;?dr\b|\bsum (?:it |this )?up\b",
    ),
    (
        "classification",
        rf"{_DO}(?:{_SORTS}|(?:decide|determine|check|predict|identify|assess) (?:if|whether|the sentiment))\b"
        r"|\b(?:positive|true),? (?:negative|false),? or (?:neutral|uncertain|unknown)\b|\bassign (?:them|it|each)\b"
        rf"|{_DO}(?:give|pick|choose|assign) {_FEW}categor(?:y|ies)\b|\bbelongs? to\b[^.?!\n]{{0,60}}\bcategory\b",
    ),
    (
        "extraction",
        rf"{_DO}(?:extract|identify (?:the|all|each|every)\b[^.\n]{{0,80}}\b(?:in|from|mentioned))\b|\bnamed entit"
        r"|\b(?:extract|identify|find|count)\b[^.?!\n]{0,80}\b(?:from|in) th(?:e|is|ese) (?:given|following|text)"
        r"|\bgiven the following (?:data|records)\b|\b(?:read|review) the (?:paragraph|passage|text) below\b",
    ),
    (
        "code",
        r"```|\n\s*(?:def \w+\(|#include\s*<|import \w+\n|public (?:static|class) )"
        rf"|{_DO}(?:write|create|implement|develop|build|fix|debug|refactor)\b {_FEW}(?:{_PROGRAM})\b"
        rf"|\b(?:{_CODES})(?:[\s,;:?!)]|\.\s|\.?\z)|\b(?:source code|snippet|pseudo-?code|programming problem"
        r"|stack trace|binary (?:search|tree)|linked list|time complexity|regular expression|data structures?)\b",
    ),
    (
        "maths",
        r"\bsolve (?:for|the equation)\b|\b(?:equation|integral|derivative|polynomial|theorem|hypotenuse|inequality"
        r"|integers?|prime numbers?|square root|remainder|probability (?:that|of)|mathematics|maths?)\b"
        r"|\b[a-z]\([a-z]\) ?="
        r"|[0-9a-z)] ?[=^] ?-?[0-9a-z(]*[0-9][^\n]{0,40}[+*/^=]|\d ?[+*/×÷] ?\d+ ?(?:[+*/=?×÷-]|\z)"
        r"|\bhow (?:many|much)\b[^?]{0,100}\b(?:left|total|altogether|in all|each|does (?:he|she)|did (?:he|she))\b"
        r"|\btotal (?:cost|amount|number) (?:of|the|that|you)\b|\barea of (?:the|a)\b|\bprove (?:that|the)\b"
        r"|\bcalculate\b",
    ),
    (
        "rewriting",
        rf"{_DO}(?:rewrite|re-write|rephrase|paraphrase|proofread|edit|simplify|reword|polish|improve|correct|revise"
        r"|change) (?:the|this|these|my|it|\")|\bgrammatical errors\b",
    ),
    (
        "writing",
        rf"{_DO}(?:{_WRITE})\b {_FEW}(?:{_WRITTEN})\b|{_DO}(?:write|compose|draft|phrase|describe a (?:vivid|scene)) "
        r"|\b(?:you are writing|opening paragraph)\b",
    ),
    (
        "ideas",
        rf"{_DO}(?:suggest|brainstorm|recommend|come up with|think of|share ideas|list|name"
        rf"|(?:make|create|give|provide) {_FEW}(?:list|ideas|examples|names|suggestions|options|tips))\b"
        rf"|\b(?:ideas|suggestions) (?:for|on)\b",
    ),
    (
        "question",
        r"\?|(?:\A|[.!?\n]\s*)(?:please |can you |could you )?(?:what|who|whom|whose|when|where|why|which|how|is|are"
        r"|was|were|do|does|did|can|could|should|would|will|has|have|explain|discuss|tell me|describe|compare"
        r"|define|provide)\b",
    ),
)
NAMES = [*(name for name, _ in TAGS), OTHER]


def tag(text: pl.Expr) -> pl.Expr:
    """The text's tag, one of NAMES, by its first 4,000 characters; null for null. Blind to case."""
    seen = text.str.head(_LOOKED_AT).str.replace_all("’", "'", literal=True)
    rest: pl.Expr = pl.when(text.is_not_null()).then(pl.lit(OTHER))
    for name, pattern in reversed(TAGS):
        plain = "(?i)" + pattern.replace(r"\b", r"(?-u:\b)")
        rest = pl.when(seen.str.contains(plain)).then(pl.lit(name)).otherwise(rest)
    return rest
