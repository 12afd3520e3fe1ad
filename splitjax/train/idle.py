"""A phase that skipped every one of its steps learnt nothing: it has failed, and is not done."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from splitjax.config import UserError

from .phase import Phase
from .record import BEFORE
from .stack import Stack, path_tokens
from .step import Trainer


def refuse(trainer: Trainer, stack: Stack, phase: Phase, meta: Mapping[str, Any], folder: Path) -> None:
    """Refuse the end of a phase none of whose experts made a step; one that did is enough.

    Args:
        stack: at the end of the phase.
        meta: of its last checkpoint.

    Raises:
        UserError: nothing was learnt.
    """
    if BEFORE not in meta:
        return
    step_tokens = trainer.train.batch_size * trainer.train.seq_len
    steps_K = (path_tokens(stack, trainer.placement) - phase.start) // step_tokens
    skipped_K = np.array(trainer.placement.fetch(stack.skipped_K)) - np.array(meta[BEFORE])
    if steps_K.max() > 0 and (skipped_K >= steps_K)[steps_K > 0].all():
        raise UserError(
            f"skipped every one of its {steps_K.max()} steps: no loss or gradient was a number", where=str(folder),
            mend="Lower train.learning_rate, or look at the text and the tokenizer.",
        )
