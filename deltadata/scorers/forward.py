"""Scores by one pass of a model."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from deltadata.scorer_sections import LogProb, RewardModel
from deltadata.scorers import Scorer


def opened(asked: RewardModel | LogProb, runtime: dict[str, Any], log: Path | None) -> AbstractContextManager[Scorer]:
    raise NotImplementedError
