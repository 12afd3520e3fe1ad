"""Text → vectors: TF-IDF of words or of pairs of characters, and its leading singular directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Domains, UserError

from .terms import Terms, characters, terms_for

Rows = NDArray[np.float32]


class TfIdf:
    """A fitted vectoriser.

    Args:
        terms: vocabulary, in column order.
        idf_F: inverse document frequency of each term.
        components_DF: right singular vectors of the sample.
        kind: of the terms.
    """

    def __init__(self, terms: Sequence[str], idf_F: Rows, components_DF: Rows, kind: Terms = "words") -> None:
        self.terms, self.idf_F, self.components_DF, self.kind = list(terms), idf_F, components_DF, kind
        self._vectorizer = _vectorizer(kind, vocabulary={term: index for index, term in enumerate(self.terms)})
        self._vectorizer.idf_ = idf_F

    @classmethod
    def fit(cls, texts: Sequence[str], domains: Domains, seed: int) -> TfIdf:
        """Fit vocabulary and directions; the texts themselves decide which kind of terms describes them.

        Raises:
            UserError: no words in the texts.
        """
        from sklearn.decomposition import TruncatedSVD

        kind = terms_for(texts)
        vectorizer = _vectorizer(kind, max_features=domains.features, min_df=2 if len(texts) > 1000 else 1)
        try:
            tfidf_NF = vectorizer.fit_transform(texts)
        except ValueError as error:
            raise UserError(f"the documents hold no words ({error})", where="data.domains.method") from None
        dims = max(1, min(domains.dims, min(tfidf_NF.shape) - 1))
        components_DF = TruncatedSVD(dims, random_state=seed).fit(tfidf_NF).components_.astype(np.float32)
        return cls(vectorizer.get_feature_names_out().tolist(), vectorizer.idf_.astype(np.float32), components_DF, kind)

    def vectors(self, texts: Sequence[str]) -> Rows:
        """x_ND (zeros for a text without a known term); the clusterer brings it to unit length."""
        return np.asarray(self._vectorizer.transform(texts) @ self.components_DF.T, np.float32)

    def terms_of(self, centroids_KD: Rows, count: int) -> list[list[str]]:
        """The heaviest terms of each centre."""
        weight_KF = centroids_KD @ self.components_DF
        return [[self.terms[index] for index in np.argsort(-weight_F)[:count]] for weight_F in weight_KF]

    def arrays(self) -> dict[str, Any]:
        """What `of_arrays` takes."""
        kind = {} if self.kind == "words" else {"kind": np.str_(self.kind)}
        return {"terms": np.array(self.terms, np.str_), "idf": self.idf_F, "components": self.components_DF} | kind

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Any]) -> TfIdf:
        """Raises ValueError where the arrays do not belong together."""
        terms, idf_F, components_DF = arrays["terms"], arrays["idf"], arrays["components"]
        if terms.ndim != 1 or idf_F.shape != terms.shape or components_DF.shape[1:] != terms.shape:
            raise ValueError("its arrays have shapes that do not fit")
        weights = (idf_F, components_DF)
        if terms.dtype.kind != "U" or not all(a.dtype.kind == "f" and np.isfinite(a).all() for a in weights):
            raise ValueError("its terms are no words, or its weights no finite numbers")
        if len(set(terms.tolist())) != len(terms):
            raise ValueError("a term stands in it twice")
        kind: Terms = "characters" if "kind" in arrays and str(arrays["kind"]) == "characters" else "words"
        return cls(arrays["terms"].tolist(), arrays["idf"], arrays["components"], kind)


def _vectorizer(kind: Terms, **options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    if kind == "characters":
        options["analyzer"] = characters
    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **options)
