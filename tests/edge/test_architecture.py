"""Modules of `edge` import only the same or lower levels, and imports have no cycle."""

import ast
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import CHECKOUT

LEVELS = (
    ("__main__", "cli", "api"),
    ("benchmark", "camera", "doctor", "fleet", "serve", "service", "watch"),
    ("daemon",),
    ("capture", "delivery", "hub", "sources"),
    ("store", "inference"),
    ("imaging", "provenance", "board"),
    ("process",),
    ("verdict", "errors", "retry", "stats", "files", "paths", "records", "redact", "requirements", "resources"),
)
SHARED = "edge.cli.commands"  # how a command line reports errors: also for train, convert and the benchmark


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_of(path): path for path in sorted((CHECKOUT / "edge").rglob("*.py"))}


def level(module: str) -> int:
    package = module.split(".")[1]
    (found,) = (number for number, packages in enumerate(LEVELS) if package in packages)
    return found


def imported(module: str, *, at_import: bool) -> set[str]:
    """Modules of the package that a module imports: anywhere in it, or only while it is being imported itself."""
    tree = ast.parse(MODULES[module].read_text("utf-8"))
    nodes = list(tree.body) if at_import else list(ast.walk(tree))
    found = set()
    for node in nodes:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "edge":
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else str(node.module))
        elif isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names if alias.name in MODULES)
    return found - {"edge", module}


def test_every_module_belongs_to_a_level() -> None:
    assert [module for module in MODULES if module != "edge" and level(module) < 0] == []


@pytest.mark.parametrize("module", [module for module in MODULES if module != "edge"])
def test_modules_import_only_same_or_lower_levels(module: str) -> None:
    upward = [other for other in imported(module, at_import=False) if level(other) < level(module)]
    assert [other for other in upward if other != SHARED] == []


def test_imports_have_no_cycle() -> None:
    graph = {module: imported(module, at_import=True) for module in MODULES}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"a cycle: {' <- '.join(error.args[1])}")


def test_edge_imports_neither_train_nor_convert() -> None:
    for module, path in MODULES.items():
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            assert not {name.split(".")[0] for name in names} & {"train", "convert", "tensorflow", "keras"}, module
