"""One page about a compiled step: does it fit, what does it move, what bounds it."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jssl.method import Batch, Method
from jssl.pod import flops as model_flops
from jssl.pod.chips import GIB
from jssl.pod.collectives import Collective
from jssl.pod.compile import OutOfMemory, Pod, Program

BOUNDS = ("compute", "memory", "interconnect")


class Task(NamedTuple):
    """What was asked for: the same whether it fits or not.

    pod, mesh: see `jssl.pod.compile.Pod`; axis names and sizes.
    batch_size: of the global batch.
    images: of one example that the method sees: views, crops, or the image itself.
    parameters, state: how many numbers are learned, and how many carried beside them.
    model_flops: of a step, over all chips: loss and gradient, see `jssl.pod.flops.count`.
    """

    pod: Pod
    mesh: dict[str, int]
    batch_size: int
    images: int
    parameters: int
    state: int
    model_flops: int


def describe(method: Method, train: Any, batch: Batch, pod: Pod, mesh: dict[str, int]) -> Task:
    """Counts what is known before anything is compiled.

    ``train`` is the abstract train state, ``batch`` the global batch as `jax.ShapeDtypeStruct`.
    """
    seen = jax.eval_shape(method.views, train.key, batch)
    key, params, state = train.key, train.params, train.state
    gradient = jax.value_and_grad(method.loss, has_aux=True)
    return Task(
        pod=pod,
        mesh=mesh,
        batch_size=len(jax.tree.leaves(batch)[0]),
        images=images(seen, batch),
        parameters=_size(params),
        state=_size(state),
        model_flops=model_flops.count(gradient, params, state, seen, key, train.step),
    )


def images(views: Any, batch: Batch) -> int:
    """How many images of each example are among the views; 1 for data that is not images."""
    first = batch.get("image")
    if first is None:
        return 1
    n, channels = first.shape[0], first.shape[-1]
    found = 0
    for x in jax.tree.leaves(views):
        if x.ndim >= 4 and x.shape[-1] == channels and jnp.issubdtype(x.dtype, jnp.floating):
            pictures = 1
            for side in x.shape[:-3]:
                pictures *= side
            found += pictures
    return max(1, found // n)


def _size(tree: Any) -> int:
    return sum(x.size for x in jax.tree.leaves(tree))


def seconds(task: Task, program: Program) -> dict[str, float]:
    """The least time of a step for each of the three resources, at the chip's peak."""
    chip = task.pod.chip
    computed = max(program.flops, task.model_flops / len(task.pod.devices))
    sent = sum(c.sent for c in program.collectives)
    times = computed / chip.flops, program.bytes / chip.bandwidth, sent / chip.interconnect
    return dict(zip(BOUNDS, times, strict=True))


def as_json(
    task: Task, program: Program | OutOfMemory, views: Program | None, advice: list[dict]
) -> dict[str, Any]:
    """Everything on the page as one object; what only a compiled program tells is None without.

    ``peak_bytes_per_chip`` of a step that does not fit is the least that the compiler asks for.
    FLOPs are those of a step over all chips; bytes are those of one chip, bytes per example those
    of all chips over the global batch. ``augmentation`` is None where it was not compiled.
    """
    chips = len(task.pod.devices)
    found = {
        "topology": task.pod.name,
        "chips": chips,
        "mesh": task.mesh,
        "batch_size": task.batch_size,
        "images_per_example": task.images,
        "parameters": task.parameters,
        "state": task.state,
        "capacity_bytes_per_chip": task.pod.chip.memory,
        "model_flops": task.model_flops,
    }
    if isinstance(program, OutOfMemory):
        unknown = ("argument_bytes_per_chip", "temporary_bytes_per_chip", "compiled_flops")
        unknown += ("bytes_per_chip", "bytes_per_example", "bytes_per_image", "seconds")
        unknown += ("bound_by", "collectives", "augmentation")
        found |= {
            "fits": False,
            "peak_bytes_per_chip": program.needed,
            "available_bytes_per_chip": program.available,
            "missing_bytes_per_chip": program.needed - program.available,
        } | dict.fromkeys(unknown)
        return found | {"advice": advice}
    times = seconds(task, program)
    per_example = program.bytes * chips / task.batch_size
    missing = max(0, program.peak - task.pod.chip.memory)
    found |= {
        "fits": missing == 0,
        "peak_bytes_per_chip": program.peak,
        "available_bytes_per_chip": task.pod.chip.memory,
        "missing_bytes_per_chip": missing,
        "argument_bytes_per_chip": program.arguments,
        "temporary_bytes_per_chip": program.temporaries,
        "compiled_flops": program.flops * chips,
        "bytes_per_chip": program.bytes,
        "bytes_per_example": per_example,
        "bytes_per_image": per_example / task.images,
        "seconds": times,
        "bound_by": max(times, key=times.get),
        "collectives": [c._asdict() for c in program.collectives],
        "augmentation": None,
    }
    if views is not None:
        found["augmentation"] = {
            "flops": views.flops / program.flops,
            "bytes": views.bytes / program.bytes,
        }
    return found | {"advice": advice}


def page(title: str, found: dict[str, Any], chip: Any) -> str:
    """The object of `as_json` for people: about 40 lines."""
    mesh = " x ".join(f"{axis} {size}" for axis, size in found["mesh"].items())
    images = found["images_per_example"]
    lines = [
        title,
        f"on {found['topology']}: {found['chips']} chips ({mesh}), global batch "
        f"{found['batch_size']:,}, {images} image{'s' * (images > 1)} an example",
        "",
        f"parameters    {found['parameters']:,}, and {found['state']:,} numbers of other state",
        "",
        "memory, a chip",
    ]
    if found["temporary_bytes_per_chip"] is None:
        lines += [f"  needed      {_gib(found['peak_bytes_per_chip'])} at least"]
    else:
        lines += [
            f"  arguments   {_gib(found['argument_bytes_per_chip'])}   train state and batch",
            f"  temporaries {_gib(found['temporary_bytes_per_chip'])}   activations, gradients",
            f"  peak        {_gib(found['peak_bytes_per_chip'])}   with results and code",
        ]
    lines += [f"  capacity    {_gib(found['capacity_bytes_per_chip'])}", ""]
    lines += [f"model FLOPs   {found['model_flops']:.3e} a step (products and convolutions)"]
    if found["bound_by"] is not None:
        lines += _traffic(found, chip)
    return "\n".join([*lines, "", *_verdict(found)])


def _traffic(found: dict[str, Any], chip: Any) -> list[str]:
    ratio = found["compiled_flops"] / max(1, found["model_flops"])
    lines = [
        f"compiled      {found['compiled_flops']:.3e}, {ratio:.2f} of it (loop bodies count once)",
        "",
        f"bytes moved   {_gib(found['bytes_per_chip'])} a chip, "
        f"{found['bytes_per_example'] / 1e6:,.1f} MB an example, "
        f"{found['bytes_per_image'] / 1e6:,.1f} MB an image",
        "",
        f"bound by {found['bound_by']}: the least time of a step at the peak of {chip.name}",
    ]
    peaks = {
        "compute": f"{chip.flops / 1e12:,.0f} TFLOP/s bfloat16",
        "memory": f"{chip.bandwidth / 1e9:,.0f} GB/s",
        "interconnect": f"{chip.interconnect / 1e9:,.0f} GB/s sent, by rings, nothing overlapped",
    }
    for name, time in found["seconds"].items():
        lines += [f"  {name:<12} {time * 1e3:10.2f} ms   {peaks[name]}"]
    lines += [f"  peaks: {chip.source}", "", "collectives"]
    rows = [Collective(**c) for c in found["collectives"]]
    for c in rows:
        lines += [
            f"  {c.kind:<20} {c.axis:<13} {c.count:>4} x in groups of {c.group:<4} "
            f"{c.bytes / 1e6:>10,.2f} MB, sends {c.sent / 1e6:,.2f} MB"
        ]
    lines += [] if rows else ["  none"]
    share = found["augmentation"]
    if share is not None:
        lines += [
            "",
            f"augmentation  {share['bytes']:.1%} of the bytes, {share['flops']:.1%} of the FLOPs "
            "(views compiled alone)",
        ]
    return lines


def _verdict(found: dict[str, Any]) -> list[str]:
    if found["fits"]:
        room = found["available_bytes_per_chip"] - found["peak_bytes_per_chip"]
        return [f"It fits, with {_gib(room).strip()} to spare."]
    lines = [
        f"It does not fit: {_gib(found['missing_bytes_per_chip']).strip()} a chip are missing; the "
        f"compiler has {_gib(found['available_bytes_per_chip']).strip()}."
    ]
    for tried in found["advice"]:
        if tried["fits"] is None:
            result = "not tried (--advise compiles it)"
        else:
            peak = _gib(tried["peak_bytes_per_chip"]).strip()
            result = f"fits, peak {peak}" if tried["fits"] else f"does not fit either, needs {peak}"
        lines += [f"  {tried['change']:<36} {result}"]
    return lines


def _gib(size: float) -> str:
    return f"{size / GIB:8.3f} GiB"
