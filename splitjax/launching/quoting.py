"""Words that leave this program: each as the language that reads it next takes it for that very word.

Rules, read 2026-11-26: sbatch(1) and `_get_argument` of src/sbatch/opt.c (a backslash takes the meaning of any
character, `#` begins a comment), "filename pattern" of sbatch(1) (`%%` is a percent sign), and
third_party/forked/golang/expansion of Kubernetes (`$$` is a dollar). YAML is written by PyYAML itself.
"""

from __future__ import annotations

import re
import shlex
from typing import Literal

from splitjax.config import UserError, control_character

Reader = Literal["bash", "bash script", "sbatch", "sbatch path", "kubernetes"]


class Raw(str):
    """A piece of bash that stays as it is, such as a variable."""

    __slots__ = ()


def quote(word: str, reader: Reader = "bash") -> str:
    """`word` for bash (a script of several lines too), for a line of `#SBATCH`, for a path in one, or for the command
    of a container.

    Raises:
        UserError: it holds a control character: a line's end would end the line.
    """
    if isinstance(word, Raw):
        return word
    if reader == "bash script":
        return shlex.quote(word)
    if (found := control_character(word)) is not None:
        raise UserError(f"{word!r} holds {found}, which no name may", where="splitjax launch", mend="Rename it.")
    if reader == "bash":
        return shlex.quote(word)
    if reader == "kubernetes":
        return word.replace("$", "$$")
    return re.sub(r"([\s\\'\"#])", r"\\\1", word.replace("%", "%%") if reader == "sbatch path" else word)
