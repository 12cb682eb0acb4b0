"""Arguments and options that several commands share.

from deltadata.cli_types import RunPath, Sets
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="the recipe, a .yaml file")]
Sets = Annotated[list[str], typer.Option("--set", help="override a key: generate.sampling.max_tokens=512")]
RunFolder = Annotated[Path | None, typer.Option("--run", help="the run folder [default: runs/<recipe name>]")]
Retry = Annotated[bool, typer.Option("--retry-failed", help="ask again for responses and judgements that failed")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="rebuild tables that the recipe no longer describes")]
RunPath = Annotated[Path, typer.Argument(metavar="RUN", help="a run folder")]
