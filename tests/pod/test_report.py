"""The page and the object: arithmetic, verdict, advice; compiled for the eight devices here."""

import json

import jax
import jax.numpy as jnp
import optax
import pytest

from jssl.cli import build, config
from jssl.method import Features, Method, Out, Vars
from jssl.pod import chips, report
from jssl.pod import compile as pod_compile
from jssl.pod.collectives import Collective
from jssl.train import shard

CHIP = chips.Chip("toy", 1000, 1e6, 1e5, 1e4, 2, {}, "nowhere")


def regression(width):
    """Linear, on noisy data; state counts the steps."""

    def init(key, batch):
        d = batch["x"].shape[-1]
        return Vars({"w": jax.random.normal(key, (d, width))}, {"count": jnp.zeros((), jnp.int32)})

    def views(key, batch):
        return batch["x"] + 0.1 * jax.random.normal(key, batch["x"].shape)

    def loss(params, state, views, key, step):
        value = jnp.mean((views @ params["w"] - 1) ** 2)
        return value, Out({"count": state["count"] + 1}, {"loss": value})

    def embed(params, state, batch):
        return Features(batch["x"] @ params["w"], None)

    return Method(init, views, loss, lambda params, state, step: state, embed)


def task(devices=4):
    pod = pod_compile.Pod("toy:2x2", CHIP, [None] * devices)
    mesh = {"replica": devices, "fsdp": 1}
    return report.Task(pod, mesh, 8, 2, 30, 10, model_flops=4_000_000)


def program(**changes):
    reduce = Collective("all-reduce", "replica", 4, 1, 2000, 3000)
    values = {"arguments": 300, "temporaries": 500, "peak": 900, "flops": 5e5, "bytes": 4e4}
    return pod_compile.Program(**values | {"collectives": [reduce]} | changes)


def test_arithmetic():
    found = report.as_json(task(), program(), program(flops=1e5, bytes=1e4), [])
    json.dumps(found)
    assert found["fits"]
    assert found["missing_bytes_per_chip"] == 0
    assert found["peak_bytes_per_chip"] == 900
    assert found["compiled_flops"] == 4 * 5e5
    assert found["bytes_per_example"] == 4 * 4e4 / 8
    assert found["bytes_per_image"] == 4 * 4e4 / 16
    # The compiler counted fewer than the model has: the larger is what must be computed.
    assert found["seconds"] == {"compute": 1.0, "memory": 0.4, "interconnect": 0.3}
    assert found["bound_by"] == "compute"
    assert found["augmentation"] == {"flops": 0.2, "bytes": 0.25}
    assert report.as_json(task(), program(bytes=2e5), None, [])["bound_by"] == "memory"
    sends = [Collective("all-gather", "fsdp", 4, 2, 2 * 10**4, 15_000)]
    assert report.as_json(task(), program(collectives=sends), None, [])["bound_by"] == (
        "interconnect"
    )


def test_a_step_over_the_capacity_does_not_fit():
    found = report.as_json(task(), program(peak=1250), None, [])
    assert not found["fits"]
    assert found["missing_bytes_per_chip"] == 250


def test_the_page_of_what_fits_and_of_what_does_not():
    text = report.page("simclr", report.as_json(task(), program(), program(), []), CHIP)
    for words in ("all-reduce", "bound by compute", "augmentation", "It fits", "toy:2x2"):
        assert words in text
    assert text.count("\n") < 60
    advice = [
        {"change": "mesh.fsdp=4", "fits": True, "peak_bytes_per_chip": 2**29},
        {"change": "encoder.remat=true", "fits": False, "peak_bytes_per_chip": 2**34},
        {"change": "train.batch_size=4", "fits": None, "peak_bytes_per_chip": None},
    ]
    error = pod_compile.OutOfMemory(3 * 2**29, 2**30)
    found = report.as_json(task(), error, None, advice)
    assert not found["fits"]
    assert found["bound_by"] is found["collectives"] is None
    text = report.page("simclr", found, CHIP)
    for words in ("0.500 GiB a chip are missing", "fits, peak 0.500 GiB", "needs 16.000 GiB"):
        assert words in text
    assert "--advise" in text


@pytest.mark.parametrize(
    ("views", "expected"),
    [
        ([(4, 8, 8, 3)], 1),
        ([(4, 2, 8, 8, 3)], 2),
        ([(4, 2, 8, 8, 3), (4, 6, 4, 4, 3)], 8),
        ([(4, 8, 8, 3), (4, 16)], 1),  # an image and which patches to keep
        ([(4, 16)], 1),
    ],
)
def test_images_of_an_example(views, expected):
    batch = {"image": jax.ShapeDtypeStruct((4, 9, 9, 3), jnp.uint8)}
    shapes = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in views]
    assert report.images(shapes, batch) == expected


@pytest.mark.parametrize("fsdp", [1, 4])
def test_a_step_compiled_for_the_devices_here(fsdp):
    method, tx = regression(512), optax.sgd(0.1, momentum=0.9)
    batch = {"x": jax.ShapeDtypeStruct((16, 256), jnp.float32)}
    mesh = shard.make_mesh(fsdp)
    pod = pod_compile.Pod("here", CHIP, jax.devices())
    train = pod_compile.abstract_state(method, tx, batch)
    found = report.describe(method, train, batch, pod, dict(mesh.shape))
    assert (found.parameters, found.images, found.batch_size) == (256 * 512, 1, 16)
    assert found.model_flops == 2 * 2 * 16 * 256 * 512  # the input needs no gradient
    step = pod_compile.step(method, tx, batch, mesh)
    # Parameters and momentum, split over fsdp; a chip's two examples; counters and key.
    state = 2 * 256 * 512 * 4 // fsdp
    assert 0 <= step.arguments - state - 2 * 256 * 4 < 256
    assert step.peak >= step.arguments + step.temporaries
    axes = {axis for c in step.collectives for axis in c.axis.split("+")}
    assert axes == ({"replica", "fsdp"} if fsdp > 1 else {"replica"})
    # Each chip has to learn the gradient of all others.
    assert sum(c.bytes for c in step.collectives) >= 256 * 512 * 4 // fsdp
    views = pod_compile.views(method, batch, mesh)
    assert 0 < views.bytes < step.bytes


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("JAX TPU support not installed; cannot generate TPU topology.", r"pip install 'jssl\[pod"),
        ("ABORTED: Internal error when accessing libtpu multi-process lockfile.", "only one at a"),
        ("ABORTED: The TPU is already in use by process with pid 7.", "another process"),
        ('INVALID_ARGUMENT: Topology layout "v5e:3x5" is not divisible', "no topology 'v5e:4x4'"),
    ],
)
def test_what_libtpu_complains_of_is_one_clear_line(monkeypatch, said, expected):
    def refuse(**options):
        raise RuntimeError(said)

    monkeypatch.setattr(pod_compile.topologies, "get_topology_desc", refuse)
    with pytest.raises(ValueError, match=expected) as error:
        pod_compile.open_pod("v5e:4x4")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["v5e:4x4x4", "v5p:4x4", "v7:2x2", "v5e", "v5e:0x4", "v5e:4x", ""])
def test_an_unknown_topology_lists_the_known(name):
    with pytest.raises(ValueError, match=r"--topology must be v4:AxBxC, v5e:AxB, .* got"):
        pod_compile.open_pod(name)


def test_a_gpu_must_be_there():
    with pytest.raises(ValueError, match="needs a GPU in this machine"):
        pod_compile.open_pod("gpu")
    assert chips.gpu("NVIDIA H100 80GB HBM3").name == "H100"
    assert chips.gpu("NVIDIA A100-SXM4-80GB").memory > chips.gpu("NVIDIA A100-SXM4-40GB").memory
    with pytest.raises(ValueError, match="no peak figures for the GPU 'Tesla K80'"):
        chips.gpu("Tesla K80")


def test_the_batch_must_be_divisible():
    cfg = config.load("simclr:batch_size=24")
    build.check(cfg, 8)
    with pytest.raises(ValueError, match=r"batch_size=24 must be a multiple of devices .*16 x 1"):
        build.check(cfg, 16)


def test_the_compiler_s_two_ways_of_saying_out_of_memory():
    used = "Ran out of memory in memory space hbm. Used 20.50G of 15.75G hbm. Exceeded by 4.75G."
    early = "total memory required for HLO temporaries (31.50G) exceeds available HBM (512.00M)."
    error = pod_compile._out_of_memory(used, 100)
    assert (error.needed, error.available) == (20.5 * 2**30, 15.75 * 2**30)
    error = pod_compile._out_of_memory(early, 100)
    assert (error.needed, error.available) == (31.5 * 2**30 + 100, 2**29)
    assert pod_compile._out_of_memory("INTERNAL: something else", 100) is None
