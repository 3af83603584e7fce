"""What a compiled program executes, against closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

from dast_jax.planning.hlo import executed

ROWS, WIDTH, DEEP = 32, 64, 48


def compiled(function, *shapes, **settings):
    return jax.jit(function, **settings).lower(*shapes).compile()


def shape(*lengths, **settings):
    return jax.ShapeDtypeStruct(lengths, jnp.float32, **settings)


def layers(x, weights):
    """Two products for each of the stacked layers."""
    return jax.lax.scan(lambda x, w: (jnp.sin(jnp.sin(x @ w) @ w.T), None), x, weights)[0]


@pytest.mark.parametrize("count", [3, 7])
def test_a_loop_of_known_length_is_multiplied(count):
    program = compiled(layers, shape(ROWS, WIDTH), shape(count, WIDTH, DEEP))
    found = executed(program.as_text())
    assert found.flops == count * 2 * 2 * ROWS * WIDTH * DEEP
    assert found.uncounted == ()
    # The compiler counts the body once, and elementwise operations besides.
    once = executed(program.as_text(), lambda where: 1.0).flops
    assert once <= program.cost_analysis()["flops"] < 1.5 * once


def test_loops_within_loops_are_multiplied():
    def nested(x, weights):
        return jax.lax.fori_loop(0, 5, lambda _, x: layers(x, weights), x)

    found = executed(compiled(nested, shape(ROWS, WIDTH), shape(3, WIDTH, DEEP)).as_text())
    assert found.flops == 5 * 3 * 2 * 2 * ROWS * WIDTH * DEEP


@pytest.mark.parametrize(("limit", "stride", "count"), [(8, 1, 8), (8, 2, 4), (7, 2, 4), (9, 3, 3)])
def test_a_loop_ends_after_its_limit_over_its_stride(limit, stride, count):
    def strided(x, w):
        def turn(state):
            return state[0] + stride, jnp.sin(state[1] @ w)

        return jax.lax.while_loop(lambda state: state[0] < limit, turn, (0, x))[1]

    found = executed(compiled(strided, shape(ROWS, WIDTH), shape(WIDTH, WIDTH)).as_text())
    assert found.flops == count * 2 * ROWS * WIDTH * WIDTH
    assert found.uncounted == ()


def test_a_loop_that_follows_the_data_takes_the_number_of_its_scope():
    def repeated(x, w, count):
        with jax.named_scope("chunks"):
            return jax.lax.fori_loop(0, count, lambda _, x: jnp.sin(x @ w), x)

    text = compiled(
        repeated, shape(ROWS, WIDTH), shape(WIDTH, WIDTH), jax.ShapeDtypeStruct((), np.int32)
    ).as_text()
    product = 2 * ROWS * WIDTH * WIDTH
    assert executed(text, lambda where: 9.0 if "chunks" in where else None).flops == 9 * product
    unknown = executed(text)
    assert unknown.flops == product
    assert ["chunks" in where for where in unknown.uncounted] == [True]


def test_gradients_and_rematerialization_are_counted():
    def loss(weights, x):
        body = jax.checkpoint(lambda x, w: (jnp.sin(x @ w), None), prevent_cse=False)
        return jax.lax.scan(body, x, weights)[0].sum()

    shapes = shape(4, WIDTH, WIDTH), shape(ROWS, WIDTH)
    found = executed(compiled(jax.grad(loss), *shapes).as_text())
    product = 2 * ROWS * WIDTH * WIDTH
    # forward, again, and two for the gradients, of which the first layer needs one
    assert found.flops in (4 * 4 * product, (4 * 4 - 1) * product)


def test_memory_traffic_of_one_operation():
    size = 4 * 1024 * 1024
    found = executed(compiled(lambda x: x * 2 + 1, shape(1024, 1024)).as_text())
    assert found.memory == 2 * size


def test_a_slice_of_a_stack_is_read_and_not_the_stack():
    text = compiled(lambda x, i: x[i] * 2, shape(64, 1024), jax.ShapeDtypeStruct((), np.int32)).as_text()
    assert executed(text).memory < 4 * 4 * 1024


@pytest.fixture(scope="module")
def mesh():
    return jax.make_mesh((4,), ("x",), axis_types=(AxisType.Auto,))


@pytest.mark.parametrize(
    ("collective", "kind", "sent"),
    [
        (functools.partial(jax.lax.psum, axis_name="x"), "all-reduce", 2 * 3 / 4),
        (functools.partial(jax.lax.all_gather, axis_name="x"), "all-gather", 3),
        (functools.partial(jax.lax.psum_scatter, axis_name="x"), "reduce-scatter", 3 / 4),
    ],
)
def test_bytes_over_the_interconnect(mesh, collective, kind, sent):
    def body(x):
        step = lambda total, _: (total + collective(x + total).sum(), None)  # noqa: E731
        return jax.lax.scan(step, jnp.float32(0), None, length=6)[0][None]

    program = jax.shard_map(body, mesh=mesh, in_specs=P("x"), out_specs=P("x"), check_vma=False)
    text = compiled(program, shape(4 * 4, 256, sharding=NamedSharding(mesh, P("x")))).as_text()
    found = executed(text)
    if kind not in found.collectives:
        pytest.skip(f"this compiler writes {sorted(found.collectives)} instead of {kind}")
    assert found.collectives[kind] == 6
    assert found.interconnect == pytest.approx(6 * sent * 4 * 4 * 256)


TPU = """\
HloModule step, is_scheduled=true

%fused (p: bf16[512,1024], w: bf16[1024,8,128]) -> bf16[512,8,128] {
  %p = bf16[512,1024]{1,0:T(8,128)(2,1)} parameter(0)
  %w = bf16[1024,8,128]{2,0,1:T(8,128)(2,1)} parameter(1)
  %a = bf16[512,1,1024]{2,0,1:T(8,128)(2,1)} reshape(%p)
  ROOT %conv = bf16[512,8,128]{2,0,1} convolution(%a, %w), window={size=8 pad=7_7 rhs_reversal=1}, dim_labels=b0f_i0o->b0f
}

%body (state: (s32[], bf16[512,8,128])) -> (s32[], bf16[512,8,128]) {
  %state = (s32[]{:T(128)}, bf16[512,8,128]{2,0,1}) parameter(0)
  %i = s32[]{:T(128)} get-tuple-element(%state), index=0
  %x = bf16[512,1024]{1,0:T(8,128)(2,1)S(1)} constant({...})
  %k = bf16[1024,8,128]{2,0,1:T(8,128)(2,1)} constant({...})
  %fusion = bf16[512,8,128]{2,0,1} fusion(%x, %k), kind=kOutput, calls=%fused
  %g = bf16[512,8,128]{2,0,1} all-reduce(%fusion), channel_id=1, replica_groups=mesh['a'=4,'b'=2] {'a'}, to_apply=%add
  ROOT %out = (s32[]{:T(128)}, bf16[512,8,128]{2,0,1}) tuple(%i, %g)
}

%condition (state: (s32[], bf16[512,8,128])) -> pred[] {
  %state.1 = (s32[]{:T(128)}, bf16[512,8,128]{2,0,1}) parameter(0)
  %limit = s32[]{:T(128)} constant(12)
  %i.1 = s32[]{:T(128)} get-tuple-element(%state.1), index=0
  ROOT %lt = pred[]{:T(512)} compare(%i.1, %limit), direction=LT
}

ENTRY %main (start: (s32[], bf16[512,8,128])) -> (s32[], bf16[512,8,128]) {
  %start = (s32[]{:T(128)}, bf16[512,8,128]{2,0,1}) parameter(0)
  %q = bf16[8,512,128]{2,1,0} constant({...})
  %segments = s32[512,128]{1,0} constant({...})
  %splash_mha_fwd_segmented_residuals.2 = bf16[8,512,128]{2,1,0} custom-call(%segments, %q, %q, %q), custom_call_target="tpu_custom_call"
  ROOT %while = (s32[]{:T(128)}, bf16[512,8,128]{2,0,1}) while(%start), condition=%condition, body=%body
}
"""  # noqa: E501


def test_the_text_of_the_tpu_compiler():
    """A product written as a convolution over heads, a kernel, and a mesh axis as a group; 12 times each."""
    found = executed(TPU)
    product = 2 * 512 * 1024 * 8 * 128
    kernel = 2 * 2 * 8 * 128 * 512 * 512  # one block, so no half of it is left out
    assert found.flops == 12 * product + kernel
    assert found.collectives == {"all-reduce": 12}
    assert found.interconnect == 12 * 2 * 3 / 4 * 2 * 512 * 8 * 128
    # In the loop: the weights are read, the product written, read and written by the sum; x is on the chip.
    loop = 12 * 2 * (1024 * 8 * 128 + 3 * 512 * 8 * 128)
    once = 4 * 2 * 8 * 512 * 128 + 4 * 512 * 128
    assert found.memory == pytest.approx(loop + once, rel=1e-5)  # and the numbers that the condition compares


def test_a_fusion_reads_the_slices_that_fusions_within_it_take():
    """Of 8 MB of weights a layer's 1 MB; a matrix that a fusion only turns is read whole by the product."""
    text = """
HloModule m

%layer (p.1: f32[8,512,512]) -> f32[512,512] {
  %p.1 = f32[8,512,512]{2,1,0} parameter(0)
  %b.1 = f32[8,512,512]{2,1,0} bitcast(%p.1)
  %s.1 = f32[1,512,512]{2,1,0} slice(%b.1), slice={[3:4], [0:512], [0:512]}
  ROOT %b.2 = f32[512,512]{1,0} bitcast(%s.1)
}

%turned (p.2: f32[512,512]) -> f32[512,512] {
  %p.2 = f32[512,512]{1,0} parameter(0)
  ROOT %b.3 = f32[512,512]{0,1} bitcast(%p.2)
}

%product (x: f32[8,512,512], y: f32[512,512]) -> f32[512,512] {
  %x = f32[8,512,512]{2,1,0} parameter(0)
  %y = f32[512,512]{1,0} parameter(1)
  %f.1 = f32[512,512]{1,0} fusion(%x), kind=kLoop, calls=%layer
  %f.2 = f32[512,512]{0,1} fusion(%y), kind=kLoop, calls=%turned
  ROOT %d = f32[512,512]{1,0} dot(%f.1, %f.2), lhs_contracting_dims={1}, rhs_contracting_dims={0}
}

ENTRY %main (a: f32[8,512,512], b: f32[512,512]) -> f32[512,512] {
  %a = f32[8,512,512]{2,1,0} parameter(0)
  %b = f32[512,512]{1,0} parameter(1)
  ROOT %r = f32[512,512]{1,0} fusion(%a, %b), kind=kOutput, calls=%product
}
"""
    assert executed(text).memory == 3 * 512 * 512 * 4


def test_a_collective_in_several_fusions_is_counted_once():
    """Begun before a loop that computes beside it, and ended after: 3 of 4 parts are received, once."""
    text = """
HloModule m

%begun (p: bf16[64,256]) -> (bf16[64,256], bf16[64,1024], u32[]) {
  %p = bf16[64,256]{1,0} parameter(0)
  %g.1 = bf16[64,1024]{1,0} all-gather(%p), channel_id=4, replica_groups={{0,1,2,3}}, dimensions={1}
  ROOT %c.1 = (bf16[64,256]{1,0}, bf16[64,1024]{1,0}, u32[]) custom-call(%g.1), custom_call_target="AsyncCollectiveStart"
}

%beside (q: bf16[64,256], r: bf16[64,1024], x: f32[512,512], s: u32[]) -> (f32[512,512], bf16[64,256], bf16[64,1024], bf16[64,1024], u32[]) {
  %x = f32[512,512]{1,0} parameter(2)
  %d = f32[512,512]{1,0} dot(%x, %x), lhs_contracting_dims={1}, rhs_contracting_dims={0}
  %q = bf16[64,256]{1,0} parameter(0)
  %r = bf16[64,1024]{1,0} parameter(1)
  %s = u32[] parameter(3)
  %g.2 = bf16[64,1024]{1,0} all-gather(%q), channel_id=4, replica_groups={{0,1,2,3}}, dimensions={1}
  ROOT %t = (f32[512,512]{1,0}, bf16[64,256]{1,0}, bf16[64,1024]{1,0}, bf16[64,1024]{1,0}, u32[]) tuple(%d, %q, %r, %g.2, %s)
}

%ended (u: bf16[64,256], v: bf16[64,1024], w: u32[]) -> bf16[64,1024] {
  %u = bf16[64,256]{1,0} parameter(0)
  %v = bf16[64,1024]{1,0} parameter(1)
  %w = u32[]{:S(2)} parameter(2)
  %g.3 = bf16[64,1024]{1,0} all-gather(%u), channel_id=4, replica_groups={{0,1,2,3}}, dimensions={1}
  ROOT %c.2 = bf16[64,1024]{1,0} custom-call(%g.3, %u, %v, %w), custom_call_target="AsyncCollectiveDone"
}

%body (state: (s32[], f32[512,512], bf16[64,256], bf16[64,1024], u32[])) -> (s32[], f32[512,512], bf16[64,256], bf16[64,1024], u32[]) {
  %state = (s32[], f32[512,512]{1,0}, bf16[64,256]{1,0}, bf16[64,1024]{1,0}, u32[]{:S(2)}) parameter(0)
  %i = s32[]{:S(2)} get-tuple-element(%state), index=0
  %y = f32[512,512]{1,0} get-tuple-element(%state), index=1
  %l = bf16[64,256]{1,0} get-tuple-element(%state), index=2
  %m = bf16[64,1024]{1,0} get-tuple-element(%state), index=3
  %n = u32[]{:S(2)} get-tuple-element(%state), index=4
  %f = (f32[512,512]{1,0}, bf16[64,256]{1,0}, bf16[64,1024]{1,0}, bf16[64,1024]{1,0}, u32[]{:S(2)}) fusion(%l, %m, %y, %n), kind=kCustom, calls=%beside
  %z = f32[512,512]{1,0} get-tuple-element(%f), index=0
  ROOT %o = (s32[], f32[512,512]{1,0}, bf16[64,256]{1,0}, bf16[64,1024]{1,0}, u32[]{:S(2)}) tuple(%i, %z, %l, %m, %n)
}

%condition (state.1: (s32[], f32[512,512], bf16[64,256], bf16[64,1024], u32[])) -> pred[] {
  %state.1 = (s32[], f32[512,512]{1,0}, bf16[64,256]{1,0}, bf16[64,1024]{1,0}, u32[]{:S(2)}) parameter(0)
  %limit = s32[]{:S(2)} constant(12)
  %i.1 = s32[]{:S(2)} get-tuple-element(%state.1), index=0
  ROOT %lt = pred[]{:S(2)} compare(%i.1, %limit), direction=LT
}

ENTRY %main (a: bf16[64,256], b: f32[512,512]) -> bf16[64,1024] {
  %a = bf16[64,256]{1,0} parameter(0)
  %b = f32[512,512]{1,0} parameter(1)
  %zero = s32[]{:S(2)} constant(0)
  %start = (bf16[64,256]{1,0}, bf16[64,1024]{1,0}, u32[]{:S(2)}) fusion(%a), kind=kCustom, calls=%begun
  %e = bf16[64,256]{1,0} get-tuple-element(%start), index=0
  %h = bf16[64,1024]{1,0} get-tuple-element(%start), index=1
  %j = u32[]{:S(2)} get-tuple-element(%start), index=2
  %k = (s32[], f32[512,512]{1,0}, bf16[64,256]{1,0}, bf16[64,1024]{1,0}, u32[]{:S(2)}) tuple(%zero, %b, %e, %h, %j)
  %while = (s32[], f32[512,512]{1,0}, bf16[64,256]{1,0}, bf16[64,1024]{1,0}, u32[]{:S(2)}) while(%k), condition=%condition, body=%body
  %aa = bf16[64,256]{1,0} get-tuple-element(%while), index=2
  %bb = bf16[64,1024]{1,0} get-tuple-element(%while), index=3
  %cc = u32[]{:S(2)} get-tuple-element(%while), index=4
  ROOT %done = bf16[64,1024]{1,0} fusion(%aa, %bb, %cc), kind=kCustom, calls=%ended
}
"""  # noqa: E501
    found = executed(text)
    part = 2 * 64 * 256
    assert found.collectives == {"all-gather": 1}
    assert found.interconnect == 3 * part
    assert found.flops == 12 * 2 * 512**3
    assert found.memory == part + 4 * part + 12 * 2 * 4 * 512**2  # the parts, the whole; a matrix in and out
