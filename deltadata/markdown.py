"""Text from outside inside Markdown: it is read as what it is, and is no markup, link, template or new line.

inert("<b> | *x*")       # \\<b\\> \\| \\*x\\*
"""

from __future__ import annotations

import re
from typing import Any

from deltadata.page import plain

# All that begins a construct of Markdown, HTML, an autolink, a mention, an emoji name or a formula.
_ACTIVE = re.compile(r"([\\`*_{}\[\]<>|#!~&@:$])")
_OPENING = re.compile(r"^(\d*)([-+=.)])")  # of a list item or a heading's rule


def inert(text: Any) -> str:
    """One line that cannot become Markdown or HTML, nor leave its table cell."""
    line = plain(" ".join(str(text).split()))
    return _OPENING.sub(r"\1\\\2", _ACTIVE.sub(r"\\\1", line))
