"""Documents, and the hashes that decide everything about them: duplicates, split, sample, order."""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SPLITS = ("train", "validation", "test")


class Document(NamedTuple):
    """One text and what its source gives with it: a label, ids where it is tokenised already, an embedding.

    Attributes:
        data: the text in UTF-8, which never takes more than a source's own file does.
    """

    data: bytes
    label: str | None = None
    ids: NDArray[np.integer] | None = None
    vector: NDArray[np.float32] | None = None

    @property
    def text(self) -> str:
        """The text."""
        return self.data.decode()


class Question(NamedTuple):
    """What may be asked of a domain, and the one right answer: a text and how it goes on."""

    domain: str
    context: str
    continuation: str


def digest(data: bytes) -> bytes:
    """128 bits that stand for a document's UTF-8 bytes."""
    return hashlib.blake2b(data, digest_size=16).digest()


def digests_array(digests: list[bytes]) -> NDArray[np.uint64]:
    """(n, 2) little-endian words, the same on every machine."""
    return np.frombuffer(b"".join(digests), dtype="<u8").reshape(-1, 2)


def mix(words: NDArray[np.uint64], salt: int) -> NDArray[np.uint64]:
    """A 64-bit hash of each word under `salt` (splitmix64 finaliser): uniform, independent between salts."""
    with np.errstate(over="ignore"):
        z = words ^ _finalise(np.uint64((salt * 0x9E3779B97F4A7C15 + 0x632BE59BD9B4E019) % 2**64))
        return _finalise(_finalise(z) + np.uint64(salt % 2**64))


def _finalise(z: NDArray[np.uint64] | np.uint64) -> NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return np.asarray(z ^ (z >> np.uint64(31)))


# Independent uses of one digest: distinct salts, or the sample would be the head of the order.
_SPLIT, _SAMPLE, _CAP, _ORDER = 1, 2, 3, 1 << 40


def split_ids(digests: NDArray[np.uint64], validation: float, test: float) -> NDArray[np.int8]:
    """0 train, 1 validation, 2 test: by document alone, so no seed or neighbour moves one across."""
    u = mix(digests[:, 0], _SPLIT) / 2.0**64
    return np.where(u < test, 2, np.where(u < test + validation, 1, 0)).astype(np.int8)


def sample_keys(digests: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sort by it and take a head: the hash-chosen sample."""
    return mix(digests[:, 1], _SAMPLE)


def cap_keys(digests: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Sort by it and take a head: what stays under `max_chars`."""
    return mix(digests[:, 1], _CAP)


def order_keys(digests: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """The one shuffle of documents: they lie in the shards in this order."""
    return mix(digests[:, 1], _ORDER + seed)


def take_chars(keys: NDArray[np.uint64], chars: NDArray[np.int64], limit: int) -> NDArray[np.int64]:
    """Indices of the longest head, in key order, that holds at most `limit` characters (at least one document)."""
    order = np.argsort(keys, kind="stable")
    count = int(np.searchsorted(np.cumsum(chars[order]), limit, side="right"))
    return order[: max(count, 1)]
