"""What a text is described by: its words, or pairs of characters where its script has no spaces between words."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from typing import Literal

Terms = Literal["words", "characters"]
_UNSPACED = (
    "\u0e00-\u0eff\u0f00-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff"
    "\uf900-\ufaff\U00020000-\U0003ffff"
)
"""Thai, Lao, Tibetan, Burmese, Khmer, kana and Han; Hangul has spaces."""
_RUN = re.compile(rf"[{_UNSPACED}]+|(?:(?![{_UNSPACED}])\w)+")
_HAN = re.compile(f"[{_UNSPACED}]")
_LONGEST_WORD = 30
_SHARE = 0.05
"""Of the sample's letters; below it words describe what there is."""


def terms_for(texts: Sequence[str]) -> Terms:
    """"characters" where a share of the letters stands in text without spaces, else "words"."""
    letters = unspaced = 0
    for text in texts:
        for run in _runs(text):
            letters += len(run)
            unspaced += len(run) if _without_words(run) else 0
    return "characters" if unspaced > _SHARE * letters else "words"


def characters(text: str) -> list[str]:
    """Words where there are any; single characters and pairs of them of what has no spaces."""
    found: list[str] = []
    for run in _runs(text.lower()):
        if _without_words(run):
            found += run
            found += map("".join, itertools.pairwise(run))
        elif len(run) > 1:
            found.append(run)
    return found


def _runs(text: str) -> list[str]:
    return _RUN.findall(text)


def _without_words(run: str) -> bool:
    return bool(_HAN.match(run)) or (len(run) > _LONGEST_WORD and not run.isascii())
