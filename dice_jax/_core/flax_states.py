"""`flax.serialization` learns a dataclass, once Flax has been imported."""

from __future__ import annotations

import dataclasses
import sys
from typing import Any

__all__ = ["register_with_flax"]

_registered: set[type] = set()


def register_with_flax(kind: type) -> None:
    """Let ``flax.serialization`` save and restore a dataclass of arrays, if Flax is imported.

    The library does not import Flax, so this is asked again whenever an instance is made.

    Args:
        kind: a frozen dataclass. Fields whose metadata says ``static`` are not saved: they come
            from the instance that is restored into.
    """
    serialization: Any = sys.modules.get("flax.serialization")
    if kind in _registered or serialization is None:
        return
    _registered.add(kind)
    fields: Any = dataclasses.fields(kind)
    names = [field.name for field in fields if not field.metadata.get("static")]

    def to_state(x: Any) -> dict[str, Any]:
        return {name: serialization.to_state_dict(getattr(x, name)) for name in names}

    def from_state(x: Any, state: dict[str, Any]) -> Any:
        restored = {
            name: serialization.from_state_dict(getattr(x, name), state[name], name=name)
            for name in names
        }
        return dataclasses.replace(x, **restored)

    serialization.register_serialization_state(kind, to_state, from_state)
