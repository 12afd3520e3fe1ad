"""Measurements in processes of their own that leave each other a card's memory."""

from __future__ import annotations

import os


def environment() -> dict[str, str]:
    """Variables for a process that measures: memory is taken as it is needed, up to nearly all of the card.

    JAX's own defaults take three quarters at once, for good, and never more: a second process has no room, and a model
    that would fit does not. What the user has set stands.
    """
    ours = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false", "XLA_PYTHON_CLIENT_MEM_FRACTION": "0.95"}
    return ours | os.environ
