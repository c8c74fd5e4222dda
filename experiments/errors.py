"""The one error that is the user's to mend."""

from __future__ import annotations

__all__ = ["ConfigError"]


class ConfigError(ValueError):
    """A study that cannot be run as asked; the message is one line that says what to change."""
