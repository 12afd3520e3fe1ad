"""Floor 2: sources → documents → tokens → domains → shards → streams.

Enters: whatever reads text, turns it into tokens, parts it into domains and gives batches as pure functions of their
number; seqio, Beam and tokenizers only here. Does not enter: a model, or when and how long a stream is trained on.
"""

from .corpus import Corpus
from .manifest import Manifest
from .prefetch import prefetch
from .prepare import as_prepared, changed_sources, prepare
from .streams import Stacked, Stream, stack
from .tokenizing.tokenizer import Tokenizer

__all__ = [
    "Corpus", "Manifest", "Stacked", "Stream", "Tokenizer", "as_prepared", "changed_sources", "prefetch", "prepare",
    "stack",
]
