"""The collectives of a compiled program: which, how often, how many bytes, over which mesh axis."""

import math
import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

KINDS = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)

_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.-]+) (?:\(.*-> .*)?\{$")
_OPERATION = re.compile(rf" = (.*?) (?:ragged-)?({'|'.join(KINDS)})(-start)?\(")
_CALLED = re.compile(r"\b(calls|body|condition|to_apply|branch_computations)=\{?(%?[^{}\s]+)")
_TRIPS = re.compile(r'"known_trip_count":\{"n":"(\d+)"')
_LIMIT = re.compile(r" = s32\[\][^ ]* constant\((\d+)\)")
_SHAPE = re.compile(r"\b([a-z]+\d*)\w*\[([\d,]*)\]")


class Collective(NamedTuple):
    """Collectives of one kind over the same groups.

    kind: such as ``all-reduce``.
    axis: of the mesh; ``replica+fsdp`` for both.
    group: chips that take part together.
    count: how often in a step.
    bytes: of a chip's whole arrays in a step: what an all-reduce, all-to-all or permute passes
      on, what an all-gather ends with, what a reduce-scatter begins with.
    sent: bytes that a chip sends for it in a step, by a ring.
    """

    kind: str
    axis: str
    group: int
    count: int
    bytes: int
    sent: int


def find(hlo: str, mesh: dict[str, int]) -> list[Collective]:
    """Every collective of an optimised HLO program, the one that sends the most first.

    One in a loop counts as often as the loop runs, where the program says how often, else once.
    Groups of a single chip are left out.

    Args:
      hlo: the text of the module, as ``compiled.as_text()`` gives it.
      mesh: axis names and sizes, in the order in which partitions are numbered.
    """
    lines = list(_lines(hlo))
    times = _times(hlo, lines)
    number, total = Counter(), Counter()
    for computation, line in lines:
        match = _OPERATION.search(line)
        if match is None:
            continue
        result, kind, start = match.groups()
        group, axis = _groups(line, mesh)
        size = _bytes(result, kind, bool(start))
        if kind == "reduce-scatter":
            size *= group
        elif "all-reduce-scatter" in computation:
            # The TPU compiler's reduce-scatter: an all-reduce fused with the slicing of it.
            kind = "reduce-scatter"
        if group > 1 and times[computation]:
            number[kind, axis, group] += times[computation]
            total[kind, axis, group] += times[computation] * size
    found = [
        Collective(*key, number[key], round(size), round(_sent(key[0], key[2]) * size))
        for key, size in total.items()
    ]
    return sorted(found, key=lambda c: (-c.sent, c))


def _sent(kind: str, group: int) -> float:
    """Of each byte, how often a chip sends it."""
    if kind in ("collective-permute", "collective-broadcast"):
        return 1.0
    return (2 if kind == "all-reduce" else 1) * (group - 1) / group


def _lines(hlo: str) -> Iterator[tuple[str, str]]:
    """Each instruction, behind the name of its computation."""
    computation = None
    for line in hlo.splitlines():
        match = _COMPUTATION.match(line)
        if match:
            computation = match[1]
        elif line.startswith("}"):
            computation = None
        elif computation is not None:
            yield computation, line


def _times(hlo: str, lines: list[tuple[str, str]]) -> Counter:
    """How often each computation runs in a step, followed from the entry."""
    limits, calls = {}, {}
    for computation, line in lines:
        limits.setdefault(computation, []).extend(_LIMIT.findall(line))
    for computation, line in lines:
        called = {key: names for key, names in _CALLED.findall(line)}
        trips = 1
        if "body" in called:
            # A loop that counts from 0 has its end as the one constant of its condition.
            known = _TRIPS.findall(line) or limits.get(called["condition"].strip("%,"), [])
            trips = int(known[0]) if len(known) == 1 else 1
        for key, names in called.items():
            for name in names.split(","):
                if name:
                    often = trips if key == "body" else 1
                    calls.setdefault(computation, []).append((name.lstrip("%"), often))
    times = Counter()

    def visit(name, often):
        times[name] += often
        for inner, trips in calls.get(name, ()):
            visit(inner, often * trips)

    entry = re.search(r"^ENTRY %?([\w.-]+)", hlo, re.MULTILINE)
    if entry:
        visit(entry[1], 1)
    return times


def _bytes(result: str, kind: str, start: bool) -> float:
    """Of the result of an operation; of what one that is only started here will end with."""
    sizes = [
        math.prod(int(side) for side in sides.split(",") if side) * _width(dtype)
        for dtype, sides in _SHAPE.findall(result)
    ]
    if start and kind == "collective-permute":  # operand, result, perhaps two scalars of context
        return sizes[1]
    if start and kind != "all-reduce":  # operands, then as many results
        sizes = sizes[len(sizes) // 2 :]
    return sum(sizes)


def _width(dtype: str) -> float:
    """Bytes of one element: pred, bf16, s32, c64, f8 (of any kind) ..."""
    bits = re.search(r"\d+", dtype)
    return int(bits[0]) / 8 if bits else 1


def _groups(line: str, mesh: dict[str, int]) -> tuple[int, str]:
    """How many chips take part in each group, and along which axes of the mesh they differ."""
    groups = _listed(line)
    if groups is None:
        groups = np.arange(math.prod(mesh.values()))[None]
    sides = list(mesh.values())
    axes = set()
    for group in groups:
        places = np.array(np.unravel_index(np.asarray(group), sides))
        differ = (places != places[:, :1]).any(axis=1)
        axes |= {axis for axis, differs in zip(mesh, differ, strict=True) if differs}
    return max(map(len, groups)), "+".join(axis for axis in mesh if axis in axes)


def _listed(line: str):
    """The groups that an instruction names, in one of the four ways of writing them."""
    # {{0,1},{2,3}}, or pairs of source and target.
    found = re.search(r"(?:replica_groups|source_target_pairs)=\{(\{[\d,{} ]*\})\}", line)
    if found:
        inner = re.findall(r"\{([\d, ]+)\}", found[1])
        return [[int(i) for i in group.split(",")] for group in inner]
    # [2,4]<=[4,2]T(1,0): two groups of four out of 0 ... 7, reshaped and transposed.
    found = re.search(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?", line)
    if found:
        shape, sides = _ints(found[1]), _ints(found[2])
        ids = np.arange(math.prod(sides)).reshape(sides)
        return ids.transpose(_ints(found[3]) if found[3] else None).reshape(shape)
    # mesh['a'=2,'b'=4] {'b'}: along an axis, or along a part of one, 'b':(1)2. The devices of the
    # mesh may be reordered, device_ids=([4,2]T(1,0)), or listed.
    found = re.search(r"replica_groups=mesh\[([^\]]+)\]([^{]*)\{([^}]*)\}", line)
    if found:
        names = re.findall(r"'(\w+)'=(\d+)", found[1])
        along = {n: (p, s) for n, p, s in re.findall(r"'(\w+)'(?::\((\d+)\)(\d+))?", found[3])}
        sides, chosen = [], []
        for name, size in names:
            if name in along and along[name][0]:
                before, inside = map(int, along[name])
                chosen.append(len(sides) + 1)
                sides += [before, inside, int(size) // before // inside]
            else:
                chosen += [len(sides)] if name in along else []
                sides.append(int(size))
        ids = _devices(found[2], math.prod(sides)).reshape(sides)
        group = math.prod(sides[axis] for axis in chosen)
        return np.moveaxis(ids, chosen, range(-len(chosen), 0)).reshape(-1, group)
    return None


def _devices(text: str, count: int) -> np.ndarray:
    """The devices of a written mesh in its order."""
    listed = re.search(r"device_ids=\(([\d,]+)\)", text)
    if listed:
        return np.array(_ints(listed[1]))
    shaped = re.search(r"device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\)", text)
    if shaped is None:
        return np.arange(count)
    ids = np.arange(count).reshape(_ints(shaped[1]))
    return ids.transpose(_ints(shaped[2]) if shaped[2] else None)


def _ints(text: str) -> list[int]:
    return [int(i) for i in text.split(",")]
