"""Text from anywhere, made fit to be shown: what a terminal, a page or a file name would obey is spelt out."""

from __future__ import annotations

import re

_OBEYED = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\u202a-\u202e\u2066-\u2069"
"""Control characters, ends of lines and of paragraphs, halves of surrogate pairs, and what turns the direction of
writing."""
_IN_LINES = re.compile(f"[{_OBEYED}]")
_IN_A_LINE = re.compile(f"[\t\n{_OBEYED}]")


def shown(text: str, *, lines: bool = False) -> str:
    r"""`text` with \x1b, \u202e, \ud800 … for what would be obeyed.

    Args:
        lines: leave tabs and the ends of lines as they are.
    """
    return (_IN_LINES if lines else _IN_A_LINE).sub(_spelt, text)


def control_character(text: str) -> str | None:
    """The first character that no name may hold, spelt out; None where there is none."""
    found = _IN_A_LINE.search(text)
    return _spelt(found) if found else None


def _spelt(found: re.Match[str]) -> str:
    code = ord(found[0])
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(found[0], f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}")
