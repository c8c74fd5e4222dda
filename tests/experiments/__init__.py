"""Tests of experiments; skipped where Flax is missing."""

import pytest

from tests.support import WITHOUT_EXTRA

pytest.importorskip("flax", reason=WITHOUT_EXTRA)
