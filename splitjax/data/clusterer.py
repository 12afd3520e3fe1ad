"""Documents → clusters: unit vectors, nearest centroid plus its price. Saved, and able to route new text."""

from __future__ import annotations

import io
import math
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Domains, UserError, write_atomic
from splitjax.config.paths import open_record

from .kmeans import Rows, assign, balance, costs, kmeans
from .tfidf import TfIdf

FILE = "clusterer.npz"
VERSION = 2
_READ = (1, VERSION)
# Prices are fitted on a sample and meet the whole: half of the slack is left for the difference.
_SLACK = 0.5


class Clusterer:
    """A fitted clustering. `assign` is the rule that made the domains and that routes text later.

    Args:
        centroids_KD: cluster centres among unit vectors.
        prices_K: added to the squared distance; all 0 for plain k-means.
        tfidf: text → vector; None where the embeddings were given with the documents.
    """

    def __init__(self, centroids_KD: Rows, prices_K: Rows, tfidf: TfIdf | None) -> None:
        self.centroids_KD, self.prices_K, self.tfidf = centroids_KD, prices_K, tfidf

    def check(self) -> None:
        """Raise ValueError where its arrays do not belong together."""
        wide = self.centroids_KD.shape[1:] if self.tfidf is None else (len(self.tfidf.components_DF),)
        arrays = (self.centroids_KD, self.prices_K)
        if self.centroids_KD.ndim != 2 or self.centroids_KD.shape[1:] != wide or self.prices_K.shape != (self.k,):
            raise ValueError("its arrays have shapes that do not fit")
        if not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in arrays):
            raise ValueError("its arrays are no finite numbers")

    @property
    def k(self) -> int:
        return len(self.centroids_KD)

    def assign(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The cluster of each text.

        Raises:
            UserError: fitted on given embeddings, so that text says nothing to it.
        """
        return self.assign_vectors(self._vectors(texts))

    def assign_vectors(self, x_ND: NDArray[np.floating]) -> NDArray[np.int64]:
        """The cluster of each embedding, of any length."""
        return assign(unit(x_ND), self.centroids_KD, self.prices_K)

    def distances(self, texts: Sequence[str]) -> Rows:
        """Squared distance of each text's unit vector to each centroid, prices added (N, K).

        A text without a known word lies nowhere: its row is of NaN.
        """
        x_ND = unit(self._vectors(texts))
        lies_N1 = (x_ND != 0).any(axis=1, keepdims=True)
        return np.where(lies_N1, 1 + costs(x_ND, self.centroids_KD, self.prices_K), np.nan).astype(np.float32)

    def _vectors(self, texts: Sequence[str]) -> Rows:
        if self.tfidf is None:
            raise UserError("fitted on given embeddings, it cannot read text", where=FILE, mend="Use assign_vectors.")
        return self.tfidf.vectors(texts)

    def describe(self, texts: Sequence[str], x_ND: Rows, terms: int = 12, documents: int = 3) -> list[dict[str, Any]]:
        """For each cluster its heaviest terms (of TF-IDF) and the openings of the texts nearest to its centre."""
        heavy = self.tfidf.terms_of(self.centroids_KD, terms) if self.tfidf else [[] for _ in range(self.k)]
        distance_KN = (self.centroids_KD**2).sum(1)[:, None] - 2 * self.centroids_KD @ x_ND.T  # up to ‖x‖²
        nearest = [[texts[index][:200] for index in np.argsort(row_N)[:documents]] for row_N in distance_KN]
        return [{"terms": one, "nearest": other} for one, other in zip(heavy, nearest, strict=True)]

    def save(self, folder: Path) -> None:
        """Write ``folder/clusterer.npz``, without pickle."""
        arrays = self.tfidf.arrays() if self.tfidf else {}
        buffer = io.BytesIO()
        version = VERSION if "kind" in arrays else 1  # version 1 knows words alone
        np.savez(buffer, version=np.int64(version), centroids=self.centroids_KD, prices=self.prices_K, **arrays)
        write_atomic(folder / FILE, buffer.getvalue())

    @classmethod
    def load(cls, folder: Path) -> Clusterer:
        """Read ``folder/clusterer.npz``.

        Raises:
            UserError: missing, damaged or of another version.
        """
        path = Path(folder) / FILE
        try:
            _refuse_packed(path)
            with np.load(path, allow_pickle=False) as saved:
                if (version := int(saved["version"])) not in _READ:
                    raise ValueError(f"version {version}; this splitjax reads {VERSION}")
                arrays = {name: saved[name] for name in saved.files}
                tfidf = TfIdf.of_arrays(arrays) if "terms" in arrays else None
                found = cls(arrays["centroids"], arrays["prices"], tfidf)
                found.check()
                return found
        except FileNotFoundError:
            raise UserError("no such file", where=str(path), mend="Only clustered domains have one.") from None
        except (OSError, ValueError, KeyError, EOFError, TypeError, MemoryError, OverflowError, NotImplementedError,
                SyntaxError, zipfile.BadZipFile, zlib.error) as error:
            raise UserError(f"not a clusterer ({error!s:.200})", where=str(path), mend="Run prepare again.") from None


def _refuse_packed(path: Path) -> None:
    """Raise ValueError where the arrays would take more memory than the file has bytes: ours are not compressed."""
    with open_record(path, 1 << 62) as file, zipfile.ZipFile(file) as packed:
        if sum(each.file_size for each in packed.infolist()) > path.stat().st_size:
            raise ValueError("its arrays are compressed, which ours are not")
        for each in packed.infolist():
            with packed.open(each) as array:
                _refuse_longer(array, each)


def _refuse_longer(file: Any, about: zipfile.ZipInfo) -> None:
    """Raise ValueError where the head of an array tells of more than follows: memory is asked for by the head."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(file)
    if math.prod(shape) * dtype.itemsize > about.file_size:
        raise ValueError(f"'{about.filename}' tells of more than it holds")


def fit(x_ND: Rows, tokens_N: NDArray[np.int64], domains: Domains, seed: int, tfidf: TfIdf | None) -> Clusterer:
    """Fit on unit vectors of a sample of train documents, each weighing as many as its tokens."""
    k, weight_N = domains.k or 0, (tokens_N / tokens_N.mean()).astype(np.float32)
    if domains.method == "balanced":
        centroids_KD, prices_K = balance(x_ND, weight_N, k, 1 + _SLACK * (domains.cap - 1), seed)
    else:
        centroids_KD, prices_K = kmeans(x_ND, weight_N, k, seed), np.zeros(k, np.float32)
    return Clusterer(centroids_KD, prices_K, tfidf)


def of_domains(texts_K: Sequence[Sequence[str]], domains: Domains, seed: int) -> Clusterer:
    """Domains that no clustering of text made, as one: the mean unit vector of each domain's texts is its centroid."""
    tfidf = TfIdf.fit([text for texts in texts_K for text in texts], domains, seed)
    centroids_KD = np.stack([unit(tfidf.vectors(texts)).mean(axis=0) for texts in texts_K])
    return Clusterer(centroids_KD, np.zeros(len(texts_K), np.float32), tfidf)


def unit(x_ND: NDArray[np.floating]) -> Rows:
    """Rows of length 1; a row of zeros stays one."""
    norm_N1 = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return (x_ND / np.maximum(norm_N1, 1e-12)).astype(np.float32)
