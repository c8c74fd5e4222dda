"""The bytes that a program moves, counted in small programs whose traffic is known by hand."""

import jax
import jax.numpy as jnp

from benchmarks.harness.traffic import traffic

KIB = 2**10
# A loop that reads a quarter of the image at each of 4 steps. Some arrays lie on the chip: S(1).
PROGRAM = """
HloModule by_hand

%slices (p0: f32[4,1024], p1: s32[]) -> f32[1,1024] {
  %p0 = f32[4,1024]{1,0} parameter(0)
  %p1 = s32[] parameter(1)
  %zero = s32[] constant(0)
  ROOT %part = f32[1,1024]{1,0} dynamic-slice(%p0, %p1, %zero), dynamic_slice_sizes={1,1024}
}

%body (state: (s32[], f32[4,1024])) -> (s32[], f32[4,1024]) {
  %state = (s32[], f32[4,1024]{1,0}) parameter(0)
  %count = s32[] get-tuple-element(%state), index=0
  %image = f32[4,1024]{1,0} get-tuple-element(%state), index=1
  %quarter = f32[1,1024]{1,0:S(1)} fusion(%image, %count), kind=kLoop, calls=%slices
  ROOT %next = (s32[], f32[4,1024]{1,0}) tuple(%count, %image)
}

%condition (state: (s32[], f32[4,1024])) -> pred[] {
  %state = (s32[], f32[4,1024]{1,0}) parameter(0)
  %count = s32[] get-tuple-element(%state), index=0
  %limit = s32[] constant(4)
  ROOT %less = pred[] compare(%count, %limit), direction=LT
}

%adds (a: f32[1024], b: f32[1024]) -> f32[1024] {
  %a = f32[1024]{0} parameter(0)
  %b = f32[1024]{0} parameter(1)
  ROOT %sum = f32[1024]{0} add(%a, %b)
}

ENTRY %main (image: f32[4,1024], row: f32[1024]) -> f32[1024] {
  %image = f32[4,1024]{1,0} parameter(0)
  %row = f32[1024]{0} parameter(1)
  %zero = s32[] constant(0)
  %start = (s32[], f32[4,1024]{1,0}) tuple(%zero, %image)
  %loop = (s32[], f32[4,1024]{1,0}) while(%start), condition=%condition, body=%body
  %kept = f32[1024]{0:S(1)} negate(%row)
  ROOT %out = f32[1024]{0} fusion(%row, %kept), kind=kLoop, calls=%adds
}
"""


def test_a_loop_counts_as_often_as_it_runs_and_a_slice_as_a_slice():
    # The four bytes are the loop's counter.
    assert traffic(PROGRAM)["quarter"] == 4 * (4 * KIB + 4)


def test_each_memory_space_counts_alone():
    in_memory, on_chip = traffic(PROGRAM), traffic(PROGRAM, space=1)
    assert (in_memory["kept"], in_memory["out"]) == (4 * KIB, 8 * KIB)
    assert on_chip == {"quarter": 4 * 4 * KIB, "kept": 4 * KIB, "out": 4 * KIB}


def test_padding_of_the_layout_counts():
    narrow = "ENTRY %main (x: f32[3,8]) -> f32[3,8] {\n  %x = f32[3,8]{1,0:T(8,128)} parameter(0)\n"
    narrow += "  ROOT %y = f32[3,8]{1,0:T(8,128)} negate(%x)\n}\n"
    assert traffic(narrow) == {"y": 2 * 8 * 128 * 4}


def test_a_compiled_program_is_read():
    """What XLA writes today is read: a copy of the pixels, there and back."""
    image = jax.ShapeDtypeStruct((64, 1024), jnp.float32)
    text = jax.jit(lambda x: x + 1).lower(image).compile().as_text()
    assert text is not None
    assert 2 * image.size * 4 <= sum(traffic(text).values()) <= 2 * image.size * 4 + 64
