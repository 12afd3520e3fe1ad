"""The one exception a user may cause, and text from anywhere made fit to be shown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

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


class UserError(Exception):
    """A mistake in a config, a file or an argument, told in one line.

    The command line prints it and exits with code 2; a notebook sees an ordinary exception.

    Args:
        what: what is wrong, in a few words.
        where: the file, line or key at fault ("" where there is none to name).
        mend: what the user can do about it.
    """

    def __init__(self, what: str, *, where: str = "", mend: str = "") -> None:
        self.what, self.where, self.mend = what, where, mend
        what, where, mend = _short(what, 800), _short(where, 700), _short(mend, 400)
        head = f"{where}: {what}" if where else what
        super().__init__(shown(" ".join((f"{head}. {mend}" if mend else head).split())))


def _short(text: str, most: int) -> str:
    """Both ends of a text that somebody made long: one line is to be read."""
    return text if len(text) <= most else f"{text[: most // 2]} … {text[-most // 2 :]}"


class ReadError(UserError):
    """A file is there and the system does not give it out (I/O, permission): it may be whole, so nothing takes its
    place."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "did you mean 'x'?" for the closest known word, else the list of known words."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(known)}."
