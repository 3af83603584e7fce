"""From `method.name` to a method: one of this package, or any importable module that defines one."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import traceback
from types import ModuleType
from typing import Any

from dast_jax.errors import UserError
from dast_jax.methods.base import Method, MethodOptions
from dast_jax.options import nearest
from dast_jax.records import Pool

__all__ = ["METHODS", "make_method", "method_class", "method_name", "options_class", "trains_on"]

METHODS = (
    "adastar",
    "b_star",
    "dart_prop2diff",
    "dart_uniform",
    "dast",
    "dpo",
    "hs_star",
    "iterative_rpo",
    "rest_em",
    "rft",
    "sai_dpo",
    "sft",
    "star",
    "star_acc",
    "vrt",
)
"""The names of this package's methods, each the module of that name."""

_HERE = "dast_jax.methods."


def make_method(options: MethodOptions, pool: Pool, seed: int) -> Method:
    """Return the method that `options` (an instance of its module's `Options`) configures, bound to `pool`.

    Raises `UserError` where pool and options do not fit each other.
    """
    return _method_class(_import(method_name(options)))(pool, options, seed)


def method_class(options: MethodOptions) -> type[Method]:
    """Return the class of the method that `options` configures."""
    return _method_class(_import(method_name(options)))


def trains_on(options: MethodOptions) -> tuple[bool, bool]:
    """Return whether rounds of the method train on examples, and whether on pairs, as far as classes tell.

    A method of the user's may leave out what `training_set` returns: examples, then.
    """
    given: Any = options
    returned = inspect.get_annotations(method_class(options).training_set).get("return")
    pairs = "PreferenceSet" in str(returned) and getattr(given, "loss", "dpo") == "dpo"
    return not pairs or getattr(given, "warm_up", False) or hasattr(given, "loss"), pairs


def method_name(options: MethodOptions) -> str:
    """Return the `method.name` whose options these are: a name in `METHODS`, else the module's full name."""
    module = type(options).__module__
    short = module.removeprefix(_HERE)
    return short if short in METHODS else module


def options_class(name: str) -> type[MethodOptions]:
    """Return the dataclass `Options` of the method `name`.

    Raises `UserError` when there is no such module, or when what it defines is not a method.
    """
    module = _import(name)
    options = getattr(module, "Options", None)
    if not isinstance(options, type) or not issubclass(options, MethodOptions):
        raise UserError(
            f"method.name: {name} does not define a method: it needs a class Options derived from "
            "dast_jax.methods.MethodOptions"
        )
    if "__dataclass_fields__" not in vars(options):
        raise UserError(
            f"method.name: Options of {name} is not a dataclass; put @dataclass(frozen=True, kw_only=True) "
            "above it"
        )
    if options.__module__ != module.__name__:
        raise UserError(
            f"method.name: {name} takes its Options from {options.__module__}; derive a "
            "separate class from it"
        )
    _method_class(module)
    return options


def _method_class(module: ModuleType) -> type[Method]:
    """Return the one subclass of `Method` that `module` itself defines, leaving out abstract ones."""
    found = [
        value
        for name, value in vars(module).items()
        if inspect.isclass(value)
        and issubclass(value, Method)
        and (value.__module__, value.__name__) == (module.__name__, name)
    ]
    complete = [each for each in found if not inspect.isabstract(each)]
    if len(complete) == 1:
        return complete[0]
    if complete:
        raise UserError(
            f"method.name: {module.__name__} defines several methods ({_listed(complete)}); put each into a "
            "separate module"
        )
    if found:
        missing = ", ".join(sorted(found[0].__abstractmethods__))
        raise UserError(f"method.name: {found[0].__name__} in {module.__name__} does not define {missing}")
    raise UserError(
        f"method.name: {module.__name__} does not define a method: it needs a subclass of "
        "dast_jax.methods.Method"
    )


def _listed(classes: list[type[Method]]) -> str:
    return ", ".join(each.__name__ for each in classes)


def _import(name: str) -> ModuleType:
    if name in METHODS:
        return importlib.import_module(_HERE + name)
    if not all(part.isidentifier() for part in name.split(".")):
        raise UserError(f"method.name: there is no method {name!r}{nearest(name, METHODS)}")
    if "." not in name and importlib.util.find_spec(name) is None:
        raise UserError(f"method.name: there is no method {name!r}{nearest(name, METHODS)}")
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise UserError(_import_failed(name, error)) from error
        raise UserError(
            f"method.name: there is no module {error.name} to import {name} from; run the command from the "
            "folder that contains it, or install it"
        ) from error
    except Exception as error:
        raise UserError(_import_failed(name, error)) from error


def _import_failed(name: str, error: Exception) -> str:
    if isinstance(error, SyntaxError):
        place, text = f"{error.filename}, line {error.lineno}", error.msg
    else:
        last = traceback.extract_tb(error.__traceback__)[-1]
        place, text = f"{last.filename}, line {last.lineno}", str(error)
    return f"method.name: {name} cannot be imported ({place}: {type(error).__name__}: {text})"
