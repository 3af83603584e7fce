"""Self-training methods, one small file each, named as in the config (`method.name`).

A method's module has `Options`, derived from `MethodOptions`, and one subclass of `Method`. One that is not
part of this package is named by its module's full name.
"""

from dast_jax.methods.base import Method, MethodFacts, MethodOptions, RoundStart, restore, state_of
from dast_jax.methods.lookup import METHODS, make_method, method_name, options_class

__all__ = [
    "METHODS",
    "Method",
    "MethodFacts",
    "MethodOptions",
    "RoundStart",
    "make_method",
    "method_name",
    "options_class",
    "restore",
    "state_of",
]
