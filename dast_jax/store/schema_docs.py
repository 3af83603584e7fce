"""Write the tables of docs/schemas.md from the types: `python -m dast_jax.store.schema_docs [FILE]`.

The document has a block for each group of types, which this fills in: the docstring of each type, and a table
of its fields with the text below each.

    <!-- types: Summary RoundResult -->
    …
    <!-- end -->
"""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import re
import sys
import textwrap
import types
import typing
from pathlib import Path
from typing import Any

from dast_jax.records import Json
from dast_jax.store import analysis_results, comparison_results, evaluation_results, plan_results, results
from dast_jax.store.durable import write_text

__all__ = ["documented", "filled"]

_BLOCK = re.compile(r"(<!-- types: ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)
_NAMES = {int: "int", float: "number", str: "text", bool: "bool", Json: "any JSON"}


def filled(document: str) -> str:
    """Return the document with every block filled in again."""
    return _BLOCK.sub(lambda m: m[1] + "\n".join(map(_type_section, m[2].split())) + "\n" + m[3], document)


def documented(document: str) -> set[str]:
    """Return the names of the types that have a block."""
    return {name for match in _BLOCK.finditer(document) for name in match[2].split()}


def _type_section(name: str) -> str:
    """Return the heading, the description and the fields of a type."""
    cls = _find(name)
    parts = [f"\n#### {name}\n", inspect.cleandoc(cls.__doc__ or "") + "\n"]
    parents = [base for base in cls.__bases__ if dataclasses.is_dataclass(base)]
    if parents:
        parts.append("Has the fields of " + ", ".join(map(_link, parents)) + ", and\n")
    parts += ["| field | type | meaning |", "|---|---|---|"]
    inherited = {f.name for base in parents for f in dataclasses.fields(base)}
    hints, texts = typing.get_type_hints(cls), _field_texts(cls)
    for f in dataclasses.fields(cls):
        if f.name not in inherited:
            version = f'`"{f.default}"`: ' if f.name == "schema" else ""
            parts.append(f"| `{f.name}` | {_type_text(hints[f.name])} | {version}{texts[f.name]} |")
    return "\n".join(parts)


def _find(name: str) -> Any:
    """Return the type of this name."""
    modules = (results, evaluation_results, analysis_results, comparison_results, plan_results)
    return next(getattr(module, name) for module in modules if hasattr(module, name))


def _type_text(kind: Any) -> str:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in _NAMES:
        return _NAMES[kind]
    if dataclasses.is_dataclass(kind):
        return _link(kind)
    if origin in (types.UnionType, typing.Union):
        return " or ".join("null" if a is types.NoneType else _type_text(a) for a in arguments)
    if origin is typing.Literal:
        return " or ".join(f'`"{a}"`' for a in arguments)
    if origin is dict:
        return f"object of {_type_text(arguments[1])}"
    if arguments[-1] is Ellipsis:
        return f"list of {_type_text(arguments[0])}"
    return "[" + ", ".join(map(_type_text, arguments)) + "]"


def _link(cls: Any) -> str:
    return f"[{cls.__name__}](#{cls.__name__.lower()})"


def _field_texts(cls: Any) -> dict[str, str]:
    """Return field → the text below it, of the class alone."""
    tree = _class_tree(cls)
    found = {}
    for field, text in zip(tree.body, tree.body[1:], strict=False):
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
            assert isinstance(field.target, ast.Name)
            assert isinstance(text.value, ast.Constant)
            found[field.target.id] = " ".join(str(text.value.value).split())
    return found


@functools.cache
def _class_tree(cls: Any) -> ast.ClassDef:
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    return tree


if __name__ == "__main__":
    _path = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schemas.md")
    write_text(_path, filled(_path.read_text(encoding="utf-8")))
