"""What a compiled program executes, read from its text: matrix products, memory traffic, collectives.

The compiler's own `cost_analysis()` counts the body of every loop once, and kernels as nothing. Here a loop's
body is multiplied by its trip count: the constant of its condition or, where the number depends on the
data, what the caller says of the `jax.named_scope` in which the loop is. The Pallas kernels of splash
attention are counted by formula.

All numbers are of one device, since the text is that of the partitioned program. FLOPs are those of matrix
products (on a TPU, convolutions); elementwise operations, which the memory bounds, are not among them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["Executed", "executed"]

_BYTES = {
    "pred": 1, "s4": 0.5, "u4": 0.5, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "s32": 4, "u32": 4, "s64": 8,
    "u64": 8, "bf16": 2, "f16": 2, "f32": 4, "f64": 8, "f8e4m3fn": 1, "f8e5m2": 1, "c64": 8, "c128": 16,
}  # fmt: skip
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\](?:\{([^}]*)\})?")
_NAME = re.compile(r"%?([\w.-]+)$")
_FREE = {
    "parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all", "partition-id",
    "replica-id", "copy-done", "all-gather-done", "all-reduce-done", "collective-permute-done", "async-done",
    "iota", "optimization-barrier", "opt-barrier", "domain", "add-dependency",
}  # fmt: skip
_SLICES = ("dynamic-slice", "slice", "gather")
_COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute")
_PASSED_ON = (*_COLLECTIVES, "parameter", "tuple", "custom-call")
"""Operations that do not touch a collective's arrays, in a fusion that runs while it is under way."""

_SPLASH = {"splash_mha_fwd": 2, "splash_mha_dkv": 4, "splash_mha_dq": 3}
"""Products of queries × keys × head width in each kernel: scores and values; and those of the gradients."""

Trips = Callable[[str], float | None]
"""(name of a loop's operation, with its scopes) → its trip count, None where it is not known."""


@dataclass(frozen=True, kw_only=True)
class Executed:
    """What one device executes in one call.

    flops: of matrix products; memory: bytes read and written outside of the chip; interconnect: bytes sent
    to other devices; collectives: executions by kind; uncounted: loops of unknown length, counted once.
    """

    flops: float = 0.0
    memory: float = 0.0
    interconnect: float = 0.0
    collectives: Mapping[str, float] = field(default_factory=dict)
    uncounted: tuple[str, ...] = ()

    def __add__(self, other: Executed) -> Executed:
        kinds = [*self.collectives, *(k for k in other.collectives if k not in self.collectives)]
        return Executed(
            flops=self.flops + other.flops,
            memory=self.memory + other.memory,
            interconnect=self.interconnect + other.interconnect,
            collectives={k: self.collectives.get(k, 0.0) + other.collectives.get(k, 0.0) for k in kinds},
            uncounted=tuple(dict.fromkeys((*self.uncounted, *other.uncounted))),
        )

    def times(self, count: float) -> Executed:
        """Return `count` executions."""
        return Executed(
            flops=count * self.flops,
            memory=count * self.memory,
            interconnect=count * self.interconnect,
            collectives={k: count * n for k, n in self.collectives.items()},
            uncounted=self.uncounted,
        )


class _Array(NamedTuple):
    kind: str
    shape: tuple[int, ...]
    outside: bool  # in the device's memory, not in the chip's own

    @property
    def size(self) -> float:
        return math.prod(self.shape) * _BYTES.get(self.kind, 0)

    @property
    def traffic(self) -> float:
        return self.size if self.outside else 0.0


class _Operation(NamedTuple):
    name: str
    arrays: tuple[_Array, ...]  # its result, one for each element of a tuple
    kind: str
    operands: tuple[str, ...]
    rest: str  # attributes

    def called(self, key: str) -> str:
        """Return the computation that attribute `key` names; empty where there is none."""
        found = re.search(rf"\b{key}=%?([\w.-]+)", self.rest)
        return found[1] if found else ""

    @property
    def where(self) -> str:
        found = re.search(r'op_name="([^"]*)"', self.rest)
        return found[1] if found else self.name


_Computation = dict[str, _Operation]  # in order; the last one is the root


class _Caller(NamedTuple):
    """Which operation, of which computation, called the present one, and that one's caller."""

    operation: _Operation
    inside: _Computation
    caller: _Caller | None


def executed(text: str, trips: Trips = lambda where: None) -> Executed:
    """Return what a compiled module executes; `text` is that of `compiled.as_text()`."""
    computations, entry = _parse(text)
    return _Walk(computations, trips).cost(entry)


# --- reading ----------------------------------------------------------------------------------------


def _parse(text: str) -> tuple[dict[str, _Computation], str]:
    """Return the computations by name, and the name of the entry."""
    found: dict[str, _Computation] = {}
    entry, current = "", {}
    for line in text.splitlines():
        header = re.match(r"(ENTRY )?%?([\w.-]+) \(.*\{\s*$", line)
        if header and " = " not in line.split("(")[0]:
            current = found[header[2]] = {}
            entry = header[2] if header[1] else entry
        elif " = " in line and line.startswith(" "):
            operation = _operation(line.strip())
            if operation is not None:
                current[operation.name] = operation
    return found, entry


def _operation(line: str) -> _Operation | None:
    name, _, rest = line.removeprefix("ROOT ").partition(" = ")
    end = _closing(rest, 0) if rest.startswith("(") else rest.find(" ")
    kind_at = end + 1
    opened = rest.find("(", kind_at)
    if end < 0 or opened < 0:
        return None
    closed = _closing(rest, opened)
    arrays = tuple(_arrays(rest[:end]))
    operands = tuple(
        match[1] for part in _split(rest[opened + 1 : closed - 1]) if (match := _NAME.search(part.strip()))
    )
    kind = rest[kind_at:opened].strip()
    if kind == "constant":
        operands = (rest[opened + 1 : closed - 1],)
    return _Operation(name.strip().removeprefix("%"), arrays, kind, operands, rest[closed:])


def _closing(text: str, start: int) -> int:
    """Return the place behind the parenthesis that closes the one at `start`."""
    depth = 0
    for place in range(start, len(text)):
        depth += (text[place] == "(") - (text[place] == ")")
        if depth == 0:
            return place + 1
    return len(text)


def _split(text: str) -> Iterator[str]:
    depth = start = 0
    for place, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and depth == 0:
            yield text[start:place]
            start = place + 1
    yield text[start:]


def _arrays(text: str) -> Iterator[_Array]:
    for kind, shape, layout in _ARRAY.findall(text):
        if kind in _BYTES:
            outside = re.search(r"S\([1-9]", layout) is None
            yield _Array(kind, tuple(int(n) for n in shape.split(",") if n), outside)


# --- counting ---------------------------------------------------------------------------------------


class _Walk:
    """Adds up the computations of one module."""

    def __init__(self, computations: dict[str, _Computation], trips: Trips):
        self.computations = computations
        self.trips = trips
        self.done: dict[tuple[str, bool], Executed] = {}

    def cost(self, name: str, fused: bool = False) -> Executed:
        """Return what one execution of a computation costs; inside a fusion nothing goes through memory."""
        key = name, fused
        if key not in self.done:
            computation = self.computations.get(name, {})
            total = Executed()
            for operation in computation.values():
                total = total + self._one(operation, computation, name, fused)
            self.done[key] = total
        return self.done[key]

    def _one(self, o: _Operation, inside: _Computation, name: str, fused: bool) -> Executed:
        if o.kind == "while":
            body = self.cost(o.called("body")) + self.cost(o.called("condition"))
            count = self._trip_count(o, inside)
            if count is None:
                return body + Executed(uncounted=(o.where,))
            return body.times(count)
        if o.kind == "conditional":
            branches = re.search(r"branch_computations=\{([^}]*)\}", o.rest)
            names = branches[1].split(",") if branches else [o.called("true_computation")]
            return max((self.cost(n.strip().removeprefix("%")) for n in names), key=lambda c: c.flops)
        if o.kind in ("call", "async-start"):
            return self.cost(o.called("to_apply") or o.called("calls"), fused)
        if o.kind == "fusion":
            memory = 0.0 if fused else self._fusion_traffic(o, inside)
            return self.cost(o.called("calls"), True) + Executed(memory=memory)
        memory = 0.0 if fused else _traffic(o, inside)
        kind = o.kind.removesuffix("-start")
        if kind in _COLLECTIVES:
            if fused and not _starts(inside):
                return Executed()
            return _collective(kind, o, inside, name) + Executed(memory=memory)
        return Executed(flops=_flops(o, inside), memory=memory)

    def _trip_count(self, loop: _Operation, inside: _Computation) -> float | None:
        """Return the constant in the loop's condition over its stride, or the caller's number."""
        said = self.trips(loop.where)
        if said is not None:
            return said
        condition = self.computations.get(loop.called("condition"), {})
        limits = [*self._constants(condition), *self._initial_limits(loop, inside, condition)]
        stride = self._stride(self.computations.get(loop.called("body"), {}), condition)
        return float(math.ceil(max(limits) / stride)) if limits else None

    def _stride(self, body: _Computation, condition: _Computation) -> int:
        """Return what a turn adds to the counter that the condition compares: 2 in a loop unrolled once.

        1 where that cannot be read.
        """
        stride = 0
        results = list(body.values())[-1].operands if body else ()
        for o in condition.values():
            place = re.search(r"index=(\d+)", o.rest) if o.kind == "get-tuple-element" else None
            value = body.get(results[int(place[1])]) if place and int(place[1]) < len(results) else None
            stride = max(stride, 0 if value is None else self._added(value, body, None))
        return stride or 1

    def _added(self, o: _Operation, inside: _Computation, caller: _Caller | None) -> int:
        """Return the sum of the constants that are added up in a value."""
        if o.kind == "constant":
            return int(o.operands[0]) if o.operands[0].isdigit() else 0
        if o.kind in ("add", "copy", "bitcast"):
            return sum(self._added(inside[n], inside, caller) for n in o.operands if n in inside)
        called = self.computations.get(o.called("calls") or o.called("to_apply"), {})
        if o.kind in ("fusion", "call") and called:
            return self._added(list(called.values())[-1], called, _Caller(o, inside, caller))
        if o.kind == "parameter" and caller is not None:
            given = caller.inside.get(caller.operation.operands[int(o.operands[0])])
            return 0 if given is None else self._added(given, caller.inside, caller.caller)
        return 0

    def _constants(self, computation: _Computation) -> Iterator[int]:
        for o in computation.values():
            if o.kind == "constant" and o.operands[0].lstrip("-").isdigit() and int(o.operands[0]) > 0:
                yield int(o.operands[0])
            elif o.kind in ("fusion", "call"):
                yield from self._constants(self.computations.get(o.called("calls"), {}))

    def _initial_limits(
        self, loop: _Operation, inside: _Computation, condition: _Computation
    ) -> Iterator[int]:
        """Yield the constants that the loop starts with at the places which its condition compares."""
        start = inside.get(loop.operands[0])
        while start is not None and start.kind in ("copy", "optimization-barrier", "opt-barrier"):
            start = inside.get(start.operands[0])
        if start is None or start.kind != "tuple":
            return
        for o in condition.values():
            place = re.search(r"index=(\d+)", o.rest) if o.kind == "get-tuple-element" else None
            value = inside.get(start.operands[int(place[1])]) if place else None
            if value is not None and value.kind == "constant" and value.operands[0].isdigit():
                yield int(value.operands[0])

    def _fusion_traffic(self, o: _Operation, inside: _Computation) -> float:
        """Return the bytes that a fusion reads and writes: of what it only slices, the slices."""
        computation = self.computations.get(o.called("calls"), {})
        if not computation:
            return _traffic(o, inside)
        collective = next((x for x in computation.values() if x.kind in _COLLECTIVES), None)
        if collective is not None and _starts(computation):
            return _traffic(collective, computation)
        total = 0.0
        parameters = [p for p in computation.values() if p.kind == "parameter"]
        for p in parameters:
            given = inside.get(
                o.operands[int(p.operands[0])]
            )  # it says where the array is, the parameter may not
            on_chip = given is not None and bool(given.arrays) and not given.arrays[0].outside
            whole = p.arrays[0].traffic if p.arrays and not on_chip else 0.0
            total += min(whole, self._read(computation, p)) if whole else 0.0
        root = list(computation.values())[-1]
        results = [computation.get(n) for n in root.operands] if root.kind == "tuple" else [root]
        for result, array in zip(results, o.arrays, strict=False):
            if collective is not None and result is not None and result.kind in _PASSED_ON:
                continue
            written = array.traffic
            if result is not None and result.kind == "dynamic-update-slice":
                update = computation.get(result.operands[1])
                written = min(written, update.arrays[0].size) if update and update.arrays else written
            total += written
        return total

    def _read(self, computation: _Computation, array: _Operation) -> float:
        """Return the bytes that a fusion reads of an array: slices, also by a fusion within; or all of it.

        Without the second, each layer of an unrolled loop would be said to read the weights of all.
        """
        total = 0.0
        passes = any(o.kind in _COLLECTIVES for o in computation.values())
        for user in computation.values():
            if array.name not in user.operands or (passes and user.kind in _PASSED_ON):
                continue
            if user.kind == "bitcast":
                total += self._read(computation, user)
            elif user.kind in _SLICES and user.operands[0] == array.name:
                total += user.arrays[0].size
            elif user.kind == "fusion":
                within = self.computations.get(user.called("calls"), {})
                places = {str(i) for i, name in enumerate(user.operands) if name == array.name}
                given = [p for p in within.values() if p.kind == "parameter" and p.operands[0] in places]
                total += sum(self._read(within, p) for p in given)
                result = list(within.values())[-1] if within else user
                while result.kind == "bitcast":
                    result = within[result.operands[0]]
                if result in given:  # the array itself, in another order: read by what reads the result
                    total += self._read(computation, user)
            elif user.kind != "dynamic-update-slice" or user.operands[0] != array.name:  # written in place
                return array.arrays[0].size
        return total


def _starts(computation: _Computation) -> bool:
    """Return whether a computation of a fusion starts the collective in it.

    The TPU compiler writes a collective beside which it computes into several fusions, all of it into each:
    one that starts it, those that compute meanwhile, and one that ends it.
    """
    return any("AsyncCollectiveStart" in o.rest for o in computation.values() if o.kind == "custom-call")


def _traffic(o: _Operation, inside: _Computation) -> float:
    """Return the bytes that an operation by itself reads and writes outside of the chip."""
    if o.kind in _FREE:
        return 0.0
    out = sum(a.traffic for a in o.arrays)
    if o.kind in _SLICES:
        return 2 * out
    if o.kind in ("dynamic-update-slice", "scatter"):
        update = inside.get(o.operands[-1 if o.kind == "scatter" else 1])
        return 2 * update.arrays[0].traffic if update and update.arrays else out
    if o.kind == "copy-start":  # (to, from, token): one of the two may be inside the chip
        return sum(a.traffic for a in o.arrays[:2])
    return out + sum(a.traffic for n in o.operands if n in inside for a in inside[n].arrays)


def _flops(o: _Operation, inside: _Computation) -> float:
    if o.kind == "dot":
        left = inside.get(o.operands[0])
        contracted = _numbers(o.rest, "lhs_contracting_dims")
        if left is None or not left.arrays:
            return 0.0
        return 2.0 * math.prod(o.arrays[0].shape) * math.prod(left.arrays[0].shape[i] for i in contracted)
    if o.kind == "convolution":
        return _convolution(o, inside)
    if o.kind == "custom-call":
        return _kernel(o, inside)
    return 0.0


def _convolution(o: _Operation, inside: _Computation) -> float:
    """Return 2 · results · inputs per result, of which those that fall into the padding are none."""
    left, right = (inside.get(n) for n in o.operands[:2])
    labels = re.search(r"dim_labels=(\w+)_(\w+)->(\w+)", o.rest)
    if left is None or right is None or labels is None:
        return 0.0
    lhs, rhs, out = left.arrays[0].shape, right.arrays[0].shape, o.arrays[0].shape
    of = dict(zip(labels[2], rhs, strict=False))
    window = _window(o.rest)
    spatial = 1.0
    for i, digit in enumerate(c for c in sorted(labels[3]) if c.isdigit()):
        spatial *= _pairs(
            lhs[labels[1].index(digit)], of[digit], out[labels[3].index(digit)], {k: v[i] for k, v in window}
        )
    batch, features = out[labels[3].index("b")], out[labels[3].index("f")]
    groups = re.search(r"batch_group_count=(\d+)", o.rest)
    total: float = 2.0 * batch * features * of["i"] * spatial / (int(groups[1]) if groups else 1)
    return total


def _window(rest: str) -> list[tuple[str, list[str]]]:
    found = re.search(r"window=\{([^}]*)\}", rest)
    return (
        [(k, v.split("x")) for k, _, v in (part.partition("=") for part in found[1].split())] if found else []
    )


def _pairs(size: int, kernel: int, results: int, window: Mapping[str, str]) -> int:
    """Return how many (result, place of the kernel) pairs of one dimension meet an element of the input."""
    low = int(window.get("pad", "0_0").split("_")[0])
    stride, dilation = int(window.get("stride", 1)), int(window.get("rhs_dilate", 1))
    base = int(window.get("lhs_dilate", 1))
    count = 0
    for place in range(kernel):
        offset = place * dilation - low
        first, last = -(offset // stride), ((size - 1) * base - offset) // stride
        reached = range(max(first, 0), min(last, results - 1) + 1)
        count += len(reached) if base == 1 else sum((r * stride + offset) % base == 0 for r in reached)
    return count


def _kernel(o: _Operation, inside: _Computation) -> float:
    """Return the FLOPs of a splash attention kernel: the blocks below the diagonal, whole."""
    products = next((n for name, n in _SPLASH.items() if name in o.name or name in o.where), 0)
    arrays = [a for n in o.operands if n in inside for a in inside[n].arrays]
    query = next((a for a in arrays if len(a.shape) >= 3 and a.kind in ("bf16", "f32", "f16")), None)
    if not products or query is None:
        return 0.0
    *heads, length, width = query.shape
    block = next((size for size in (512, 256, 128) if length % size == 0), length)
    return products * 2.0 * math.prod(heads) * width * length * (length + block) / 2


def _collective(kind: str, o: _Operation, inside: _Computation, name: str) -> Executed:
    """Return the bytes that a device sends: in a ring, (g − 1) / g of the array, twice in all-reduce."""
    group = _group_size(o.rest)
    if group == 1:
        return Executed()
    given = sum(a.size for n in o.operands if n in inside for a in inside[n].arrays)
    share = (group - 1) / group
    sent = {
        "all-gather": given * (group - 1),
        "all-reduce": 2 * given * share,
        "reduce-scatter": given * share,
        "all-to-all": given * share,
        "collective-permute": given,
    }[kind]
    if kind == "all-reduce" and "all-reduce-scatter" in name:  # how the TPU compiler writes the two in one
        kind, sent = "reduce-scatter", sent / 2
    return Executed(interconnect=sent, collectives={kind: 1.0})


def _group_size(rest: str) -> int:
    if found := re.search(r"replica_groups=\{\{([\d,]*)\}", rest):
        return len(found[1].split(","))
    if found := re.search(r"replica_groups=\[(\d+),(\d+)\]", rest):
        return int(found[2])
    if found := re.search(r"replica_groups=mesh\[([^\]]*)\]\s*\{([^}]*)\}", rest):
        sizes = dict(re.findall(r"'(\w+)'=(\d+)", found[1]))
        return math.prod(int(sizes[axis]) for axis in re.findall(r"'(\w+)'", found[2]))
    return 2 if "source_target_pairs" in rest else 1


def _numbers(rest: str, key: str) -> list[int]:
    found = re.search(rf"{key}=\{{([\d,]*)\}}", rest)
    return [int(n) for n in found[1].split(",") if n] if found else []
