"""Names of columns: which of a file's mean what a law reads, and one clear line for those that are not there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from splitjax.config import UserError, did_you_mean

NUMBERS = ("n_params", "d_pretrain", "d_special", "loss", "weight", "u_pretrain", "u_special")
WORDS = ("domain", "run", "trunk", "seed")
OURS = (*NUMBERS, *WORDS)
APART = ("trunk", "seed")
"""They tell runs apart; nothing is fitted from them."""
POSITIVE = ("loss", "n_params")
"""Columns that may not be 0 either."""
_REQUIRED = ("n_params", "d_pretrain", "loss")
_BITS = ("bits", "bpb", "bpc", "bpt")
_IN_BITS = "column '{}' is in bits, a law is in nats per token"
_IN_BITS_MEND = "Read it with --loss-unit bits (nats = bits · ln 2)."


def meaning(header: Iterable[str], given: Mapping[str, str], unit: str, where: str) -> dict[str, str]:
    """Our name → the file's, or arithmetic over the file's columns; columns that are not given go by their own names.

    Args:
        header: the file's names.
        given: what the user says.
        unit: of the loss, "nats" or "bits".
        where: the file.

    Raises:
        UserError: a column that is missing, unknown or in another unit.
    """
    header = list(header)
    found = {**{name: name for name in OURS if name in header}, **given}
    if not header:
        raise UserError("the table is empty", where=where)
    for ours, theirs in found.items():
        if ours not in OURS:
            raise UserError(f"'{ours}' is not a column that a law knows", where="columns",
                            mend=did_you_mean(ours, OURS))
        if theirs not in header and (ours in WORDS or theirs.replace("_", "").isalnum()):
            raise UserError(f"no column '{theirs}'", where=where, mend=did_you_mean(theirs, header))
    for name in _REQUIRED:
        if name not in found:
            if name == "loss" and (bits := [h for h in header if _says_bits(h)]):
                raise UserError(_IN_BITS.format(bits[0]), where=where, mend=_IN_BITS_MEND)
            here = ", ".join(header[:30]) + (", …" if len(header) > 30 else "")
            mend = f"Columns here: {here}. Map one with --columns {name}=NAME, or compute it with --column."
            raise UserError(f"column '{name}' is missing", where=where, mend=mend)
    loss = found["loss"]  # arithmetic may well convert bits
    if unit == "nats" and loss in header and _says_bits(loss):
        raise UserError(_IN_BITS.format(loss), where=where, mend=_IN_BITS_MEND)
    return found


def _says_bits(name: str) -> bool:
    return any(word in _BITS for word in "".join(c if c.isalnum() else " " for c in name.lower()).split())
