"""Imports point down or sideways, never up; heavy libraries are imported inside functions only.

pytest tests/test_layers.py
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "deltadata"

# From the bottom up. A module may import its own row and those below it.
ROWS = {
    "apart": ["theory", "theory_simulation", "theory_study"],
    "base": [
        *("__init__", "errors", "tables", "strict", "sections", "scorer_sections", "pair_sections", "recipe"),
        *("layouts", "files", "languages", "sweep_rows"),
    ],
    "seams": ["engines", "scorers", "models", "convert", "hub", "student", "train_args", "preflight"],
    "pure": [
        "asked",
        "mix",
        "dedup",
        "ngrams",
        "overlap",
        "prompt_rules",
        "tags",
        *("measure", "by_score", "mixed", "controls", "pair", "unpaired", "rules", "filter"),
        *("licences", "templates", "markdown", "header", "columns", "figures", "limits", "provenance", "card"),
        *("combine", "report", "agreement", "findings", "kinds", "scorer_notes", "spread", "scored", "validity"),
        "verdicts",
        *("sheet", "headings", "pictures", "page"),
        *("memory", "curves", "model_card", "content", "bins", "eval_tables", "theory_picture"),
        *("sweep_figures", "sweep_picture", "grid"),
    ],
    "run": ["packs", "store", "parquet", "rows", "nested", "parts", "replies"],
    "effects": [
        *("spool", "collect", "imported", "taken", "generate", "imported_scores", "grade", "judgements", "score"),
        *("pair_text", "dataset", "training_data", "margins", "fresh"),
    ],
    "shell": [
        *("job", "nothing", "reports", "publish", "run", "verify", "remote", "push", "pull", "model_push"),
        *("machine", "watch", "train", "trainings"),
        *("eval_models", "evaluate", "suite", "harness", "evaluations", "compare", "plan"),
        *("outlook", "sampled", "validate", "cli_validate"),
        *("sweep_shared", "sweep_stages", "sweep", "sweep_plan", "cli_sweep"),
        *("screen", "show", "ends", "cli_types", "cli_look", "cli_hub", "cli_packs", "cli_train", "cli_theory"),
        *("cli", "__main__"),
    ],
}
HEAVY = {"torch", "vllm", "transformers", "datasets", "trl", "huggingface_hub", "ray", "aiohttp"}
HEAVY |= {"matplotlib", "scipy", "rapidfuzz", "py3langid", "lm_eval"}

Edge = tuple[str, str]


def module_of(path: Path, package: Path = PACKAGE) -> str:
    """`deltadata/pair.py` is `pair`; a sub-package is one module."""
    return path.relative_to(package).parts[0].removesuffix(".py")


def imported(tree: ast.Module) -> Iterator[str]:
    """Every deltadata module that the code imports, wherever in the file it does."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        for name in names:
            package, _, rest = name.partition(".")
            if package == "deltadata":
                inside = rest.partition(".")[0]
                yield inside if (PACKAGE / inside).exists() or (PACKAGE / f"{inside}.py").exists() else "__init__"


def edges(package: Path) -> set[Edge]:
    """Who imports whom."""
    return {
        (module_of(path, package), to)
        for path in package.rglob("*.py")
        for to in imported(ast.parse(path.read_text(encoding="utf-8")))
        if to != module_of(path, package)
    }


def upward(found: set[Edge]) -> list[Edge]:
    """The edges that point to a higher row."""
    height = {module: row for row, modules in enumerate(ROWS.values()) for module in modules}
    return sorted((start, end) for start, end in found if height[start] < height[end])


def at_import(source: str) -> set[str]:
    """What importing the module would load: imports outside functions."""
    found: set[str] = set()
    waiting: list[ast.AST] = [ast.parse(source)]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(str(node.module).partition(".")[0])
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += ast.iter_child_nodes(node)
    return found


def test_every_module_has_its_row() -> None:
    """A new module gets a place in the picture, and one that is gone leaves it."""
    placed = [module for modules in ROWS.values() for module in modules]
    assert sorted(placed) == sorted({module_of(path) for path in PACKAGE.rglob("*.py")})


def test_arrows_only_point_down() -> None:
    """No module imports one of a higher row."""
    assert upward(edges(PACKAGE)) == []


def test_an_arrow_that_points_up_is_found(tmp_path: Path) -> None:
    """The check above would fail: edges added to a copy by hand, at the top or inside a function, are reported."""
    for name in ("tables", "pair", "cli", "generate"):
        (tmp_path / f"{name}.py").write_text((PACKAGE / f"{name}.py").read_text())
    assert upward(edges(tmp_path)) == []
    for name, line in (
        ("tables", "from deltadata.pair import pair\n"),
        ("pair", "def late():\n    from deltadata import store\n"),
        ("generate", "import deltadata.cli\n"),
    ):
        with (tmp_path / f"{name}.py").open("a") as source:
            source.write(f"\n{line}")
    assert upward(edges(tmp_path)) == [("generate", "cli"), ("pair", "store"), ("tables", "pair")]


def test_engines_and_scorers_know_no_table_and_a_pure_stage_knows_neither() -> None:
    """Both see errors and the recipe alone; what only computes sees the base and its own row."""
    found = edges(PACKAGE)
    recipe = {"errors", "recipe", "sections", "scorer_sections"}
    assert {end for start, end in found if start == "engines"} <= recipe
    assert {end for start, end in found if start == "scorers"} <= recipe | {"engines", "preflight"}
    allowed = {*ROWS["apart"], *ROWS["base"], *ROWS["pure"], "preflight"}
    assert {end for start, end in found if start in ROWS["pure"]} <= allowed


def test_the_theory_stands_apart() -> None:
    """It knows nothing of tables and recipes, needs numpy alone, and nobody but its picture and command needs it."""
    apart, found = set(ROWS["apart"]), edges(PACKAGE)
    assert {end for start, end in found if start in apart} <= {*apart, "errors"}
    assert {start for start, end in found if end in apart} <= {*apart, "theory_picture", "cli_theory"}
    loaded = {name for module in apart for name in at_import((PACKAGE / f"{module}.py").read_text())}
    assert loaded - sys.stdlib_module_names <= {"numpy", "deltadata"}


def test_heavy_libraries_are_imported_inside_functions() -> None:
    """No module of the package loads torch and its like when it is imported."""
    found = {str(path.relative_to(PACKAGE)): at_import(path.read_text()) & HEAVY for path in PACKAGE.rglob("*.py")}
    assert {name: heavy for name, heavy in found.items() if heavy} == {}


def test_numpy_is_for_statistics() -> None:
    """Only pure modules and packs load it at their top, and of those none that decides which pairs there are."""
    found = {module_of(path) for path in PACKAGE.rglob("*.py") if "numpy" in at_import(path.read_text())}
    assert found <= {*ROWS["apart"], *ROWS["pure"], "packs"} - {"measure", "pair", "rules", "filter", "card"}


def test_a_heavy_import_at_the_top_is_found() -> None:
    """The check above would fail: in the module, under a condition or in a class; not in a function."""
    assert at_import("import torch.nn") == {"torch"}
    assert at_import("try:\n    from vllm import LLM\nexcept ImportError:\n    pass") == {"vllm"}
    assert at_import("class A:\n    import ray") == {"ray"}
    assert at_import("def f():\n    import torch\nimport torchless") == {"torchless"}


def test_importing_the_stages_loads_nothing_heavy() -> None:
    """Not by way of another library either: the commands start without torch, matplotlib or a network client."""
    code = "import sys, deltadata.cli, deltadata.run; print(sorted(set(sys.argv[1:]) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code, *HEAVY], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
