"""The type checker that jaxtyping's import hook calls: beartype, where an int is also a float (PEP 484)."""

from beartype import BeartypeConf, beartype

__all__ = ["checked"]

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
