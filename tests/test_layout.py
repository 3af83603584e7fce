"""Allowed imports: dependencies point down the groups of the package, and there is no cycle."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).parents[1]

GROUPS = (
    {"records", "errors", "version"},
    {"options", "runtime"},
    {"models", "estimators", "llm", "metrics", "assets", "distributed"},
    {"reporting", "methods", "sampling", "training", "verifiers", "data", "store"},
    {"loop", "inference", "config", "planning"},
    {"study"},
    {"cli"},
    # the commands, `__main__` and the public names of the package itself
)
"""From the bottom up; a module imports from its own group and those before it."""

NO_JAX = ("methods", "estimators", "verifiers", "store", "records")


@functools.cache
def _modules() -> dict[str, ast.Module]:
    paths = sorted((ROOT / "dast_jax").rglob("*.py"))
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in paths
    ]
    return dict(zip(names, (ast.parse(path.read_text()) for path in paths), strict=True))


def _imports(tree: ast.Module) -> set[str]:
    """Every imported name as a dotted path; those inside functions and for type checkers too."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _dependencies() -> dict[str, set[str]]:
    """Module → the modules of the package that it imports; a package's `__init__` runs before its modules."""
    trees = _modules()
    edges: dict[str, set[str]] = {}
    for name, tree in trees.items():
        edges[name] = set()
        for path in _imports(tree):
            if path.split(".")[0] != "dast_jax":
                continue
            target = path if path in trees else path.rpartition(".")[0]
            assert target in trees, f"{name} imports {path}"
            package = target.rpartition(".")[0]
            outside = package != "dast_jax" and not name.startswith(package)
            edges[name] |= {target, package} - {"dast_jax"} if outside else {target}
        edges[name] -= {name}
    return edges


def _rank(module: str) -> int:
    head = ([*module.split("."), ""])[1]
    return next((i for i, group in enumerate(GROUPS) if head in group), len(GROUPS))


def test_dependencies_point_down() -> None:
    wrong = [
        f"{name} imports {target}"
        for name, targets in _dependencies().items()
        for target in sorted(targets)
        if _rank(target) > _rank(name)
    ]
    assert not wrong, "\n".join(wrong)


def _cycles(edges: dict[str, set[str]]) -> list[str]:
    done: set[str] = set()
    cycles = []

    def visit(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            cycles.append(" → ".join((*path[path.index(name) :], name)))
        elif name not in done:
            for target in sorted(edges[name]):
                visit(target, (*path, name))
            done.add(name)

    for name in edges:
        visit(name, ())
    return cycles


def test_no_module_imports_itself_through_others() -> None:
    assert not (cycles := _cycles(_dependencies())), "\n".join(cycles)


def test_no_package_imports_itself_through_others() -> None:
    """As above for the folders; `config` only composes the options of loop and inference, which read it."""
    packages: dict[str, set[str]] = {}
    for name, targets in _dependencies().items():
        package = name.split(".")[:2][-1]
        packages.setdefault(package, set()).update(t.split(".")[1] for t in targets if "." in t)
        packages[package].discard(package)
    packages["config"] -= {"loop", "inference"}
    assert not (cycles := _cycles(packages)), "\n".join(cycles)


def test_pure_packages_import_no_jax() -> None:
    jax = ("jax", "jaxlib", "flax", "optax", "orbax")
    wrong = [
        f"{name} imports {path}"
        for name, tree in _modules().items()
        if ([*name.split("."), ""])[1] in NO_JAX
        for path in sorted(_imports(tree))
        if path.split(".")[0] in jax
    ]
    assert not wrong, "\n".join(wrong)
