"""Collectives found in programs: one recorded from the TPU compiler, some compiled here."""

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jssl.pod import collectives
from jssl.train import shard

# Shortened from what libtpu 0.0.52 made of a loop of five steps for v5e:4x4, replica 4 x fsdp 4.
TPU = """\
HloModule jit_f, is_scheduled=true

%all-reduce-scatter.clone.1 (input.2: f32[2048,2048]) -> f32[528,2048] {
  %pad.2 = f32[2112,2048]{1,0:T(8,128)} pad(%input.2, %constant.31), padding=0_64x0_0
  %all-reduce.7 = f32[2112,2048]{1,0:T(8,128)} all-reduce(%pad.2), channel_id=3, replica_groups={{0,1,2,3},{4,5,6,7},{8,9,10,11},{12,13,14,15}}, use_global_device_ids=true, to_apply=%add.clone
  ROOT %dynamic-slice.27 = f32[528,2048]{1,0:T(8,128)S(1)} dynamic-slice(%all-reduce.7, %multiply.7)
}

%body (param: (s32[], f32[512,2048], /*index=5*/u32[16])) -> (s32[], f32[512,2048]) {
  %all-gather.8 = bf16[2048,2048]{1,0:T(8,128)(2,1)S(1)} all-gather(%convert.11), channel_id=2, replica_groups=mesh['axis_0'=4,'axis_1'=4] {'axis_1'}, dimensions={0}, use_global_device_ids=true
  %fusion.31 = f32[64,2048]{1,0:T(8,128)S(1)} fusion(%all-gather.8), kind=kOutput, calls=%fused
  %fusion.33 = f32[528,2048]{1,0:T(8,128)S(1)} fusion(%fusion.32), kind=kCustom, calls=%all-reduce-scatter.clone.1, metadata={op_name="jit(f)/all-reduce(x)"}
  %collective-permute-start = (f32[48,2048]{1,0:T(8,128)S(1)}, f32[48,2048]{1,0:T(8,128)S(1)}, u32[]{:S(2)}, u32[]{:S(2)}) collective-permute-start(%slice.2), channel_id=1, source_target_pairs={{0,1},{1,2},{2,3},{4,5}}
  %collective-permute-done = f32[48,2048]{1,0:T(8,128)S(1)} collective-permute-done(%collective-permute-start)
}

%condition (param.1: (s32[], f32[512,2048])) -> pred[] {
  %constant.17.clone.1 = s32[]{:T(128)} constant(5)
  ROOT %lt.3 = pred[]{:T(512)} compare(%get-tuple-element.37, %constant.17.clone.1), direction=LT
}

ENTRY %main.4_spmd (param.2: f32[512,2048]) -> (f32[512,2048], f32[5]) {
  %while.4 = (s32[]{:T(128)}, f32[512,2048]{1,0:T(8,128)}) while(%tuple.20), condition=%condition, body=%body, metadata={op_name="jit(f)/while"}
  %all-reduce.9 = (f32[8]{0:T(128)}, bf16[2,2]{1,0}) all-reduce(%a, %b), channel_id=5, replica_groups=[1,16]<=[16], use_global_device_ids=true, to_apply=%add.clone
  ROOT %all-reduce.1 = f32[99]{0:T(128)} all-reduce(%c), replica_groups=[16,1]<=[16], to_apply=%add.clone
}
"""  # noqa: E501


def test_a_recorded_tpu_program():
    found = {c.kind: c for c in collectives.find(TPU, {"replica": 4, "fsdp": 4})}
    scattered, gathered, permuted = 5 * 2112 * 2048 * 4, 5 * 2048 * 2048 * 2, 5 * 48 * 2048 * 4
    assert found == {
        "reduce-scatter": ("reduce-scatter", "fsdp", 4, 5, scattered, scattered * 3 // 4),
        "all-gather": ("all-gather", "fsdp", 4, 5, gathered, gathered * 3 // 4),
        "collective-permute": ("collective-permute", "fsdp", 2, 5, permuted, permuted),
        "all-reduce": ("all-reduce", "replica+fsdp", 16, 1, 40, 75),
    }


@pytest.mark.parametrize(
    ("written", "group", "axis"),
    [
        ("replica_groups={{0,4},{1,5},{2,6},{3,7}}", 2, "replica"),
        ("replica_groups=[2,4]<=[8]", 4, "fsdp"),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", 2, "replica"),
        ("replica_groups=mesh['a'=2,'b'=4] {'a'}", 2, "replica"),
        ("replica_groups=mesh['a'=2,'b'=4] {'a','b'}", 8, "replica+fsdp"),
        ("replica_groups=mesh['a'=8] {'a':(1)2}", 2, "replica"),
        ("replica_groups=mesh['a'=8] {'a':(2)4}", 4, "fsdp"),
        ("replica_groups=mesh['a'=4,'b'=1,'c'=2], device_ids=([2,4]T(1,0)) {'a'}", 4, "fsdp"),
        ("replica_groups=mesh['a'=4,'b'=2], device_ids=(0,4,1,5,2,6,3,7) {'b'}", 2, "replica"),
        ("replica_groups={}", 8, "replica+fsdp"),
    ],
)
def test_groups_and_their_axis(written, group, axis):
    text = (
        f"ENTRY %main (p: f32[4]) -> f32[4] {{\n  %a = f32[4]{{0}} all-reduce(%p), {written}\n}}\n"
    )
    (found,) = collectives.find(text, {"replica": 2, "fsdp": 4})
    assert (found.group, found.axis, found.bytes) == (group, axis, 16)


@pytest.mark.parametrize(
    ("operation", "size"),
    [
        ("(f32[2]{0}, f32[16]{0}) all-gather-start(%p)", 64),
        ("(f32[2], s8[4], f32[16], s8[32]) all-gather-start(%p, %q)", 96),
        ("f32[16]{0} all-reduce-start(%p)", 64),
        ("f32[2]{0} reduce-scatter(%p)", 64),
        ("f8e4m3fn[16]{0} all-to-all(%p)", 16),
        ("pred[16]{0} all-gather(%p)", 16),
        ("f32[16]{0} all-gather-done(%p)", None),
    ],
)
def test_bytes_of_each_way_of_writing(operation, size):
    text = (
        f"ENTRY %main (p: f32[4]) -> f32[4] {{\n  %a = {operation}, replica_groups=[1,8]<=[8]\n}}\n"
    )
    assert [c.bytes for c in collectives.find(text, {"replica": 8})] == ([size] if size else [])


def compiled(function, *shapes_and_specs, out, fsdp):
    mesh = shard.make_mesh(fsdp)
    arguments = [
        jax.ShapeDtypeStruct(shape, jnp.float32, sharding=NamedSharding(mesh, spec))
        for shape, spec in shapes_and_specs
    ]
    function = jax.jit(function, out_shardings=NamedSharding(mesh, out))
    return collectives.find(function.lower(*arguments).compile().as_text(), dict(mesh.shape))


ALL = PartitionSpec(("replica", "fsdp"))


def test_programs_compiled_here():
    assert compiled(jnp.tanh, ((16, 4), ALL), out=ALL, fsdp=2) == []
    (found,) = compiled(jnp.tanh, ((16, 4), ALL), out=PartitionSpec(), fsdp=1)
    assert found == ("all-gather", "replica", 8, 1, 256, 224)
    (found,) = compiled(lambda x: x.sum(0), ((16, 6), ALL), out=PartitionSpec(), fsdp=8)
    assert found == ("all-reduce", "fsdp", 8, 1, 24, 42)
    weights = PartitionSpec("fsdp")
    (found,) = compiled(jnp.matmul, ((16, 8), ALL), ((8, 6), weights), out=ALL, fsdp=4)
    assert found == ("all-gather", "fsdp", 4, 1, 192, 144)


def test_a_loop_compiled_here_counts_its_steps():
    def loop(x):
        def step(total, _):
            return jnp.tanh(x * total[None]).sum(0), None

        return jax.lax.scan(step, x[0], None, length=5)[0]

    reduces = [
        c
        for c in compiled(loop, ((16, 6), ALL), out=PartitionSpec(), fsdp=1)
        if c.kind == "all-reduce"
    ]
    assert sum(c.count for c in reduces) in (5, 6)  # with the first row, or without
    assert sum(c.bytes for c in reduces) == 24 * sum(c.count for c in reduces)
