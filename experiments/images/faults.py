"""The faults of a folder of images, collected by kind, and written as one message."""

from __future__ import annotations

from experiments.errors import ConfigError

__all__ = ["Faults", "listed"]

# A message must fit on a screen.
_MOST_KINDS = 8
_SHOWN = 3


def listed(names: list[str], shown: int = _SHOWN) -> str:
    """Write the first names of a list, and how many more there are."""
    more = f" and {len(names) - shown} more" if len(names) > shown else ""
    return ", ".join(names[:shown]) + more


class Faults:
    """Collects what is wrong with a folder, so that a user meets all of it at once.

    Args:
        where: what the message begins with, such as the folder.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._kinds: dict[tuple[str, str], list[str]] = {}

    def add(self, kind: str, example: str = "", *, mend: str) -> None:
        """Note a fault.

        Args:
            kind: what is wrong, for all files of one kind; "{n}" stands for how many there are.
            example: the file, and what it holds.
            mend: what the user can write or do.
        """
        self._kinds.setdefault((kind, mend), []).append(example)

    def __bool__(self) -> bool:
        return bool(self._kinds)

    def check(self) -> None:
        """Raise the faults that were noted, if there are any.

        Raises:
            ConfigError: with one paragraph for each kind of fault.
        """
        if not self._kinds:
            return
        lines = [f"{self._where} cannot be used as it is:"]
        for (kind, mend), found in list(self._kinds.items())[:_MOST_KINDS]:
            examples = listed([example for example in found if example])
            said = kind.replace("{n}", str(len(found)))
            lines.append(f"- {said}{': ' if examples else ''}{examples}")
            lines.append(f"  {mend}")
        more = len(self._kinds) - _MOST_KINDS
        if more > 0:
            lines.append(f"- and {more} more kinds of faults")
        raise ConfigError("\n".join(lines))
