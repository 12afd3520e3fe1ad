"""Texts → clusters: TF-IDF, SVD, unit length, nearest centroid plus its price. Saved, and able to route new text."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Domains, UserError, write_atomic

from .kmeans import assign, balance, kmeans

FILE = "clusterer.npz"
VERSION = 1
# Prices are fitted on a sample and meet the whole: half of the slack is left for the difference.
_SLACK = 0.5


class Clusterer:
    """A fitted clustering. `assign` is the rule that made the domains and that routes text later.

    Args:
        terms: TF-IDF vocabulary, in column order.
        idf_F: its inverse document frequencies.
        components_DF: right singular vectors of the sample.
        centroids_KD: cluster centres among unit vectors.
        prices_K: added to the squared distance; all 0 for plain k-means.
    """

    def __init__(
        self,
        terms: Sequence[str],
        idf_F: NDArray[np.float32],
        components_DF: NDArray[np.float32],
        centroids_KD: NDArray[np.float32],
        prices_K: NDArray[np.float32],
    ) -> None:
        self.terms, self.idf_F, self.components_DF = list(terms), idf_F, components_DF
        self.centroids_KD, self.prices_K = centroids_KD, prices_K
        self._vectorizer = _vectorizer(vocabulary={term: index for index, term in enumerate(self.terms)})
        self._vectorizer.idf_ = idf_F

    @property
    def k(self) -> int:
        return len(self.centroids_KD)

    def vectors(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """x_ND of unit length (zero for a text without a known term)."""
        return _unit(self._vectorizer.transform(texts) @ self.components_DF.T)

    def assign(self, texts: Sequence[str]) -> NDArray[np.int64]:
        """The cluster of each text."""
        return assign(self.vectors(texts), self.centroids_KD, self.prices_K)

    def describe(self, texts: Sequence[str], terms: int = 12, documents: int = 3) -> list[dict[str, Any]]:
        """For each cluster its heaviest terms and the openings of the texts nearest to its centre."""
        weight_KF = self.centroids_KD @ self.components_DF
        x_ND = self.vectors(texts)
        distance_KN = (self.centroids_KD**2).sum(1)[:, None] - 2 * self.centroids_KD @ x_ND.T  # up to ‖x‖²
        return [
            {
                "terms": [self.terms[index] for index in np.argsort(-weight_F)[:terms]],
                "nearest": [texts[index][:200] for index in np.argsort(distance_N)[:documents]],
            }
            for weight_F, distance_N in zip(weight_KF, distance_KN, strict=True)
        ]

    def save(self, folder: Path) -> None:
        buffer = io.BytesIO()
        np.savez(
            buffer, version=np.int64(VERSION), terms=np.array(self.terms, np.str_), idf=self.idf_F,
            components=self.components_DF, centroids=self.centroids_KD, prices=self.prices_K,
        )
        write_atomic(folder / FILE, buffer.getvalue())

    @classmethod
    def load(cls, folder: Path) -> Clusterer:
        """Read ``folder/clusterer.npz``.

        Raises:
            UserError: missing, damaged or of another version.
        """
        path = Path(folder) / FILE
        try:
            with np.load(path, allow_pickle=False) as saved:
                if (version := int(saved["version"])) != VERSION:
                    raise ValueError(f"version {version}; this splitjax reads {VERSION}")
                names = ("idf", "components", "centroids", "prices")
                return cls(saved["terms"].tolist(), *(saved[name] for name in names))
        except FileNotFoundError:
            raise UserError("no such file", where=str(path), mend="Only clustered domains have one.") from None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise UserError(f"not a clusterer ({error})", where=str(path), mend="Run prepare again.") from None


def fit(texts: Sequence[str], tokens_N: NDArray[np.int64], domains: Domains, seed: int) -> Clusterer:
    """Fit on a sample of train documents, each weighing as many as its tokens.

    Raises:
        UserError: fewer documents than clusters, or no vocabulary in them.
    """
    k = domains.k or 0
    if len(texts) < k:
        raise UserError(f"{k} clusters asked of {len(texts)} documents", where="data.domains.k", mend="Lower k.")
    vectorizer = _vectorizer(max_features=domains.features, min_df=2 if len(texts) > 1000 else 1)
    try:
        tfidf_NF = vectorizer.fit_transform(texts)
    except ValueError as error:
        raise UserError(f"the documents hold no words to cluster by ({error})", where="data.domains.method") from None
    components_DF = _components(tfidf_NF, domains.dims, seed)
    x_ND = _unit(tfidf_NF @ components_DF.T)
    weight_N = (tokens_N / tokens_N.mean()).astype(np.float32)
    if domains.method == "balanced":
        centroids_KD, prices_K = balance(x_ND, weight_N, k, 1 + _SLACK * (domains.cap - 1), seed)
    else:
        centroids_KD, prices_K = kmeans(x_ND, weight_N, k, seed), np.zeros(k, np.float32)
    terms = vectorizer.get_feature_names_out().tolist()
    return Clusterer(terms, vectorizer.idf_.astype(np.float32), components_DF, centroids_KD, prices_K)


def _vectorizer(**options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **options)


def _components(tfidf_NF: Any, dims: int, seed: int) -> NDArray[np.float32]:
    from sklearn.decomposition import TruncatedSVD

    dims = max(1, min(dims, min(tfidf_NF.shape) - 1))
    return TruncatedSVD(dims, random_state=seed).fit(tfidf_NF).components_.astype(np.float32)


def _unit(x_ND: NDArray[np.floating]) -> NDArray[np.float32]:
    norm_N1 = np.linalg.norm(x_ND, axis=1, keepdims=True)
    return (x_ND / np.maximum(norm_N1, 1e-12)).astype(np.float32)
