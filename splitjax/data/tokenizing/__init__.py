"""Text ↔ tokens: kinds of tokenizers, which of them a setting means, and their files for other libraries.

Enters: whatever turns a text into ids or back, and what a token is in bytes. Does not enter: where a text comes from,
or what is done with its tokens.
"""

from .choice import given, train
from .tokenizer import END_OF_TEXT, Tokenizer

__all__ = ["END_OF_TEXT", "Tokenizer", "given", "train"]
