"""Counts, tokens, weights and names of columns as they were typed."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterable
from typing import Any

from splitjax.config import PerParam, UserError, check_target, parse_count, tokens_of


def check_targets(*paths: str | None) -> None:
    """Refuse what cannot be written before anything is computed."""
    for path in paths:
        if path is not None:
            check_target(path)


def unique(args: argparse.Namespace, law: Any, n_params: float | None) -> dict[str, Any]:
    """Unique tokens of mixture and domain, where the law knows what a repeat is worth.

    Raises:
        UserError: it does not.
    """
    from splitjax.law import repeated

    known = repeated(law.table)
    found: dict[str, Any] = {}
    for option, text, half_life in (
        ("pretrain", args.unique_pretrain, "R_pretrain"), ("special", args.unique_special, "R_special"),
    ):
        where = f"--unique-{option}"
        found[f"u_{option}"] = tokens(text, where, n_params)
        if text is not None and half_life not in known:
            what = f"the law knows no repeats: no row of its table had u_{option} below d_{option}"
            raise UserError(what, where=where, mend="Leave it out.")
    return found


def count(text: str | None, where: str) -> float | None:
    """A positive number: a count such as 2.7B, or any float such as 3e21; None where it is absent.

    Raises:
        UserError: no such number.
    """
    value = _value(text, where)
    if isinstance(value, PerParam):
        raise UserError(f"{text} is tokens per parameter", where=where, mend="Give a count such as 2.7B.")
    return value


def tokens(text: str | None, where: str, n_params: float | None, *, or_none: bool = False) -> float | None:
    """The same for tokens, which may be given per parameter: 20x.

    Args:
        text: as it was typed.
        where: the option.
        n_params: N; None where it is not given.
        or_none: 0 is a number of tokens too.

    Raises:
        UserError: no such number, or per parameter without N.
    """
    if or_none and text is not None and text.strip() == "0":
        return 0.0
    value = _value(text, where)
    if not isinstance(value, PerParam):
        return value
    if n_params is None:
        raise UserError(f"{text} is tokens per parameter, and N is not given", where=where, mend="Give tokens.")
    return float(tokens_of(value, round(n_params)))


def _value(text: str | None, where: str) -> float | PerParam | None:
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        try:
            value = parse_count(text)
        except ValueError as error:
            raise UserError(str(error), where=where) from None
    if not 0 < value < math.inf:
        raise UserError(f"{text} is not a positive count", where=where)
    return value if isinstance(value, PerParam) else float(value)


def columns(renamed: str | None, given: Iterable[str]) -> dict[str, str]:
    """Our name → the file's, or arithmetic: of --columns OURS=THEIRS,… and of every --column OURS=EXPR.

    Raises:
        UserError: not such pairs, or a name that is given twice.
    """
    pairs = [_pair(part, "--columns", "n_params=N") for part in (renamed.split(",") if renamed else ())]
    pairs += [_pair(part, "--column", "loss=1-acc") for part in given]
    found: dict[str, str] = {}
    for name, value in pairs:
        if name in found:
            raise UserError(f"'{name}' is given twice", where="--column")
        found[name] = value
    return found


def weights(text: str | None) -> dict[str, float] | None:
    """Domain → weight.

    Raises:
        UserError: not such pairs.
    """
    if not text:
        return None
    out = {}
    for part in text.split(","):
        name, value = _pair(part, "--weights", "law=2")
        try:
            out[name] = float(value)
        except ValueError:
            raise UserError(f"'{value}' is not a number", where="--weights") from None
    return out


def _pair(part: str, where: str, example: str) -> tuple[str, str]:
    """The two sides of the first equals sign.

    Raises:
        UserError: there is none, or nothing on a side.
    """
    name, equals, value = (word.strip() for word in part.partition("="))
    if not (name and equals and value):
        raise UserError(f"'{part}' is not a pair such as {example}", where=where)
    return name, value


def drawn(figure: Any, path: str) -> bytes:
    """A picture in the format that its name ends with, before anything is written."""
    import io

    image, kind = io.BytesIO(), path.rpartition(".")[2] or "png"
    try:
        figure.savefig(image, format=kind, dpi=150)
    except ValueError:
        raise UserError(f"no pictures of the kind '{kind}'", where=path, mend="Known: png, svg, pdf.") from None
    return image.getvalue()
