"""Prompts as text: whatever arrives becomes something that a tokenizer and a vectoriser take."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from splitjax.data import Tokenizer

Prompt = str | bytes | Sequence[int]
_SURROGATES = re.compile("[\ud800-\udfff]")


def as_text(prompt: str | bytes) -> str:
    """The text; what is not UTF-8 (bytes, or bytes that the shell handed over as surrogates) becomes U+FFFD."""
    if isinstance(prompt, bytes):
        return prompt.decode("utf-8", "replace")
    return _SURROGATES.sub("�", prompt)


def read_as_text(tokenizer: Tokenizer, ids: Sequence[int]) -> str:
    """The text of a stretch of tokens; a line ends where a document does."""
    ends = np.flatnonzero(np.asarray(ids) == tokenizer.end_id)
    parts = [part[part != tokenizer.end_id] for part in np.split(np.asarray(ids, np.int64), ends)]
    return "\n".join(tokenizer.decode(part.tolist()) for part in parts if len(part))
