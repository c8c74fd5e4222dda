"""Records what the other libraries give on every line: ``python -m tests.parity.record [PEER …]``.

Only the lines that the installed version is about are recorded; the others stay as they are. For
the lines about an older Optax: ``pip install --no-deps --target DIR optax==0.2.6``, then the same
with ``PYTHONPATH=DIR``.
"""

from __future__ import annotations

import json
import sys

import numpy as np

from tests.parity import pages, peers
from tests.parity.recorded import path, read


def record(peer: str) -> None:
    """Evaluate the peer's side of its lines and write them, dropping those that are no more."""
    every = {line.key: line for line in pages.lines() if line.peer == peer}
    kept = {key: entry for key, entry in read(peer).items() if key in every}
    for key, line in every.items():
        try:
            value, gradients = peers.there(line)
        except peers.Missing as reason:
            print(f"{line.id}: {reason}", file=sys.stderr)
            continue
        kept[key] = {
            "version": peers.version(peer),
            "value": _numbers(value),
            "gradient": [_numbers(g) for g in gradients],
        }
    ordered = {key: kept[key] for key in every if key in kept}
    rows = ",\n".join(f"{json.dumps(k)}: {json.dumps(v)}" for k, v in ordered.items())
    path(peer).write_text(f"{{\n{rows}\n}}\n")
    print(f"{path(peer).name}: {len(ordered)} of {len(every)} lines")


def _numbers(array: np.ndarray) -> list[float]:
    # Eight digits hold every float32.
    return [float(f"{x:.8g}") for x in np.asarray(array, np.float64).ravel().tolist()]


if __name__ == "__main__":
    for name in sys.argv[1:] or peers.PEERS:
        record(name)
