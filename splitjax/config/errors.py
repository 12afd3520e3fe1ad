"""The one exception a user may cause."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from .shown import shown


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
        head = f"{where}: {what}" if where else what
        super().__init__(shown(" ".join((f"{head}. {mend}" if mend else head).split())))


class ReadError(UserError):
    """A file is there and the system does not give it out (I/O, permission): it may be whole, so nothing takes its
    place."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """ "did you mean 'x'?" for the closest known word, else the list of known words."""
    known = sorted(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    return f"Did you mean '{close[0]}'?" if close else f"Known: {', '.join(known)}."
