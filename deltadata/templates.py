"""Where files that come with the package lie: cards/ (templates, licences, the example), recipes/."""

from __future__ import annotations

from pathlib import Path


def folder(name: str = "cards") -> Path:
    """In the package when installed, beside it in a checkout."""
    here = Path(__file__).parent
    return next(place for place in (here / name, here.parent / name) if place.is_dir())
