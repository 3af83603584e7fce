"""Rows of data sets on the Hugging Face hub: how such a set is named, and how it is read."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from dast_jax.data.limits import TooLargeError, check_counts
from dast_jax.data.table import Table, one_line
from dast_jax.errors import UserError

if TYPE_CHECKING:
    import datasets

__all__ = ["HUB_ID", "read_hub"]

HUB_ID = re.compile(
    r"(?P<name>[\w-][\w.-]*/[\w-][\w.-]*)(@(?P<revision>[^:@\s]+))?(:(?P<part>[^:\s]*))?(:(?P<split>[^:\s]+))?"
)
"""`owner/name[@revision][:part][:split]`, where the part is a subset or a folder of the repository.

Alone, the part may also be a split: `owner/name:test` is `owner/name::test` where no subset is called test.
"""


def read_hub(source: str, hub: re.Match[str]) -> Table:
    """Return the rows of the data set that `hub`, a match of `HUB_ID`, names; media are not decoded.

    A loading script in the repository is neither run nor asked about.
    """
    try:
        data = _undecoded(_load(source, hub))
        check_counts(data.num_rows)
        rows = [(number, dict(row)) for number, row in enumerate(data, 1)]
    except UserError:
        raise
    except TooLargeError as error:
        raise UserError(f"{source}: cannot be read whole ({error})") from error
    except Exception as error:  # the hub client raises its own, HTTP, file and value errors
        raise UserError(
            f"{source}: no such file, and the hub data set cannot be loaded ({one_line(error)})"
        ) from error
    return Table(hub["name"].rpartition("/")[2], rows, _class_names(data))


def _load(source: str, hub: re.Match[str]) -> datasets.Dataset:
    import datasets

    part, split = hub["part"] or None, hub["split"] or "train"
    load: Callable[..., Any] = functools.partial(
        datasets.load_dataset, hub["name"], revision=hub["revision"], trust_remote_code=False
    )
    try:
        return load(part, split=split)
    except ValueError:
        subsets = datasets.get_dataset_config_names(hub["name"], revision=hub["revision"])
        if part is None or part in subsets:
            raise
    if not hub["split"] and part in _splits(hub):
        return load(split=part)
    try:
        return load(data_dir=part, split=split)
    except FileNotFoundError as error:
        tried = "subset or folder" if hub["split"] else "subset, split or folder"
        raise UserError(
            f"{source}: the hub data set has no {tried} {part}; its subsets are {', '.join(subsets[:12])}"
        ) from error


def _splits(hub: re.Match[str]) -> list[str]:
    """Return the splits of the subset that is loaded by default; none where there is no such subset."""
    import datasets

    try:
        splits: list[str] = datasets.get_dataset_split_names(hub["name"], revision=hub["revision"])
    except ValueError:
        return []
    return splits


def _undecoded(data: datasets.Dataset) -> datasets.Dataset:
    """Return `data` without decoding media, which needs a library for each kind and yields no text."""
    for name, feature in data.features.items():
        left = _without_media(feature)
        if left != feature:
            data = data.cast_column(name, left)
    return data


def _without_media(feature: Any) -> Any:
    if isinstance(feature, dict):
        return {name: _without_media(inner) for name, inner in feature.items()}
    if hasattr(feature, "feature"):  # a list of any kind
        return dataclasses.replace(feature, feature=_without_media(feature.feature))
    # Json (columns of several types) is decoded by the same switch, and must be.
    if getattr(feature, "decode", False) and type(feature).__name__ != "Json":
        return dataclasses.replace(feature, decode=False)
    return feature


def _class_names(data: datasets.Dataset) -> dict[str, list[str]]:
    import datasets

    return {
        name: list(feature.names)
        for name, feature in data.features.items()
        if isinstance(feature, datasets.ClassLabel)
    }
