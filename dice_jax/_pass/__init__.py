"""One pass over pixels: per-pixel terms, summed. It knows nothing of Dice.

A loss of this library reads an image once: it computes something of every pixel and sums it over
some axes. This folder does that. On one device and inside jax.shard_map it stores nothing of a
large image's size, forwards or backwards.

The life of a pass:

    called    api.sum_over_pixels(terms, operands, axes, …)
                types say how pixels are sharded (Explicit mesh) ─► explicit_mesh wraps it in
                                                                    jax.shard_map, and calls again
                few pixels, or symbolic sizes ─► terms and sums in plain jax.numpy: no primitive
                else ─► primitive binds an op.PixelOp: a function of one block, and what it sums
    traced    the derivative, the transpose and the batch of a PixelOp are PixelOps (op, primitive):
              one primitive is closed under jvp, vjp and vmap, to any order; results that nothing
              reads are left out
    lowered   now the platform is known, and primitive chooses an implementation (a user's choice,
              which is part of the key of JAX's caches, comes from `choice`):
                a CPU device               cpu_tiles.tiled: tiles that stay in a core's cache
                a TPU, many pixels         tpu_blocks.blocked: blocks that stay on the chip
                a TPU, if asked for        tpu_kernel.in_kernel: a Pallas kernel for any PixelOp
                GPU                        fused_xla.rematerialized: one expression behind a
                                           barrier, so that XLA stores nothing for the derivative;
                                           sums as `gpu_sums` says, so that they share little
                a matrix product inside    tpu_blocks.blocked on any platform, where a CPU does not
                                           tile: its result must not be stored for the image
                several devices under      fused_xla.fused: one expression, which the compiler
                plain jit                  spreads over devices (it would gather for a loop)
    run       the compiled program. Outside jit (jax.disable_jit, the search for a NaN) the pass
              runs as plain operations

A function of a block is told where trailing axes (the classes) lie: first in tiles of few classes,
so that vector registers are full of pixels, last elsewhere. The sizes of tiles are in `config`.
"""
