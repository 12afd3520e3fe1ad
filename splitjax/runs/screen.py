"""A terminal that shows text and obeys none of it, and whose end is told to whoever writes."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from splitjax.config import shown


class Screen(Console):
    """Rich's console, for names and messages that came with data: no markup, no emoji, no escape sequences in them.

    What is to be bold or red is a `Text` with a style.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False} | options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Rich calls it for every string that it shows."""
        return super().render_str(shown(text, lines=True), **options)

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's; a full disk or a terminal that has gone is a broken pipe as well."""
        try:
            super().print(*objects, **options)
        except OSError as error:
            raise BrokenPipeError from error

    def on_broken_pipe(self) -> None:
        """Nobody reads: rich would end the process, which is for its caller to say."""
        raise BrokenPipeError
