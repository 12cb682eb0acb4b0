"""Commands of n-gram packs: pack build, pack list.

deltadata pack list
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deltadata.errors import UserError, did_you_mean

pack = typer.Typer(
    help="Hashed n-grams of evaluation sets, for collect.decontaminate.", no_args_is_help=True, rich_markup_mode=None
)


@pack.command("build")
def pack_build(
    name: Annotated[str, typer.Argument(help="the pack's name, or one that `deltadata pack list` knows")],
    sources: Annotated[list[str] | None, typer.Argument(help="files or hf:owner/dataset; none: the known ones")] = None,
    column: Annotated[list[str], typer.Option(help="columns with the text of an item")] = ["prompt"],
    into: Annotated[Path, typer.Option(help="the folder that the pack goes to")] = Path(),
    overwrite: Annotated[bool, typer.Option("--overwrite", help="replace a pack of that name")] = False,
) -> None:
    """Write NAME.pack: hashes of the n-grams, no text."""
    from deltadata import packs
    from deltadata.screen import Screen

    known = packs.shipped()
    if not sources and name not in known:
        raise UserError(
            f"no evaluation set is called {name!r}", where="deltadata pack build", cure=did_you_mean(name, known)
        )
    path, screen = into / f"{name}{packs.ENDING}", Screen()
    if path.exists() and not overwrite:
        raise UserError("there is a pack already", where=str(path), cure="give another name, or add --overwrite")
    if sources and name in known:
        shipped = ", ".join(source.path for source in known[name])
        screen.note(f"{name} is also the name of a known set ({shipped}); this pack is of the files given instead")
    asked = [packs.Source(source, tuple(column)) for source in sources] if sources else known[name]
    built = packs.build_pack(name, asked)
    packs.write(path, built)
    screen.note(f"{path}: {len(built.words)} items; n-grams of {' and '.join(map(str, built.sizes))} words")


@pack.command("list")
def pack_list() -> None:
    """The evaluation sets whose packs can be built by name, and where they are read from."""
    from deltadata import packs
    from deltadata.screen import Screen

    Screen().blocks(
        [{"pack": name, "from": ", ".join(s.path for s in sources)} for name, sources in packs.shipped().items()]
    )
