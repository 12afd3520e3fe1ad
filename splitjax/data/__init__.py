"""Floor 2: sources → documents → tokens → domains → shards → streams."""

from .corpus import Corpus
from .manifest import Manifest
from .prefetch import prefetch
from .prepare import prepare
from .streams import Stacked, Stream, stack
from .tokenizer import Tokenizer

__all__ = ["Corpus", "Manifest", "Stacked", "Stream", "Tokenizer", "prefetch", "prepare", "stack"]
