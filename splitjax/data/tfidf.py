"""Text → vectors: TF-IDF and its leading singular directions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitjax.config import Domains, UserError

Rows = NDArray[np.float32]


class TfIdf:
    """A fitted vectoriser.

    Args:
        terms: vocabulary, in column order.
        idf_F: inverse document frequency of each term.
        components_DF: right singular vectors of the sample.
    """

    def __init__(self, terms: Sequence[str], idf_F: Rows, components_DF: Rows) -> None:
        self.terms, self.idf_F, self.components_DF = list(terms), idf_F, components_DF
        self._vectorizer = _vectorizer(vocabulary={term: index for index, term in enumerate(self.terms)})
        self._vectorizer.idf_ = idf_F

    @classmethod
    def fit(cls, texts: Sequence[str], domains: Domains, seed: int) -> TfIdf:
        """Fit vocabulary and directions.

        Raises:
            UserError: no words in the texts.
        """
        from sklearn.decomposition import TruncatedSVD

        vectorizer = _vectorizer(max_features=domains.features, min_df=2 if len(texts) > 1000 else 1)
        try:
            tfidf_NF = vectorizer.fit_transform(texts)
        except ValueError as error:
            raise UserError(f"the documents hold no words ({error})", where="data.domains.method") from None
        dims = max(1, min(domains.dims, min(tfidf_NF.shape) - 1))
        components_DF = TruncatedSVD(dims, random_state=seed).fit(tfidf_NF).components_.astype(np.float32)
        return cls(vectorizer.get_feature_names_out().tolist(), vectorizer.idf_.astype(np.float32), components_DF)

    def vectors(self, texts: Sequence[str]) -> Rows:
        """x_ND (zeros for a text without a known term); the clusterer brings it to unit length."""
        return np.asarray(self._vectorizer.transform(texts) @ self.components_DF.T, np.float32)

    def terms_of(self, centroids_KD: Rows, count: int) -> list[list[str]]:
        """The heaviest terms of each centre."""
        weight_KF = centroids_KD @ self.components_DF
        return [[self.terms[index] for index in np.argsort(-weight_F)[:count]] for weight_F in weight_KF]

    def arrays(self) -> dict[str, Any]:
        """What `of_arrays` takes."""
        return {"terms": np.array(self.terms, np.str_), "idf": self.idf_F, "components": self.components_DF}

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, Any]) -> TfIdf:
        return cls(arrays["terms"].tolist(), arrays["idf"], arrays["components"])


def _vectorizer(**options: Any) -> Any:
    from sklearn.feature_extraction.text import TfidfVectorizer

    return TfidfVectorizer(sublinear_tf=True, dtype=np.float32, **options)
