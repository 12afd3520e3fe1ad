"""Clusters against the labels behind them, against scikit-learn, and against their own balance."""

import os
import random
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from splitjax.config import Domains, UserError
from splitjax.data import Corpus, kmeans, prepare
from splitjax.data.clusterer import Clusterer, fit, unit
from splitjax.data.terms import characters, terms_for
from splitjax.data.tfidf import TfIdf

from .conftest import WORDS, rows_of, settings, write_jsonl


def blobs(seed: int, shares: tuple[float, ...] = (0.6, 0.25, 0.1, 0.05)) -> tuple[np.ndarray, np.ndarray]:
    """Unit vectors around four directions of unequal weight, and token counts."""
    rng = np.random.default_rng(seed)
    which = rng.choice(4, 800, p=shares)
    x_ND = np.eye(4, 12)[which] + 0.15 * rng.standard_normal((800, 12))
    return (x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)).astype(np.float32), rng.integers(1, 100, 800)


def fitted_on(texts: list[str], tokens_N: np.ndarray, domains: Domains) -> Clusterer:
    tfidf = TfIdf.fit(texts, domains, 0)
    return fit(unit(tfidf.vectors(texts)), tokens_N, domains, 0, tfidf)


def inertia(x_ND: np.ndarray, weight_N: np.ndarray, centroids_KD: np.ndarray) -> float:
    return float((((x_ND[:, None] - centroids_KD) ** 2).sum(-1).min(1) * weight_N).sum())


@pytest.mark.parametrize("k", [1, 3, 4])
def test_kmeans_is_as_good_as_scikit_learn(k: int) -> None:
    from sklearn.cluster import KMeans

    x_ND, tokens_N = blobs(0)
    weight_N = tokens_N.astype(np.float32)
    ours = min(inertia(x_ND, weight_N, kmeans.kmeans(x_ND, weight_N, k, seed)) for seed in range(3))
    theirs = KMeans(k, n_init=3, random_state=0).fit(x_ND, sample_weight=weight_N)
    assert ours <= 1.001 * inertia(x_ND, weight_N, theirs.cluster_centers_)


@pytest.mark.parametrize(("cap", "seed"), [(1.02, 0), (1.02, 1), (1.3, 0)])
def test_balance_keeps_every_load_under_the_cap_by_its_prices(cap: float, seed: int) -> None:
    x_ND, tokens_N = blobs(1)
    weight_N = tokens_N.astype(np.float32)
    plain_K = np.bincount(kmeans.assign(x_ND, kmeans.kmeans(x_ND, weight_N, 4, 0), np.zeros(4)), weight_N, minlength=4)
    assert plain_K.max() / plain_K.mean() > 1.5
    centroids_KD, prices_K = kmeans.balance(x_ND, weight_N, 4, cap, seed)
    load_K = np.bincount(kmeans.assign(x_ND, centroids_KD, prices_K), weight_N, minlength=4)
    assert load_K.max() / load_K.mean() <= cap + 1e-3


DEVICES = """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=4"
import sys
import numpy as np
from splitjax.data import kmeans
given = np.load(sys.argv[1])
x, w = given["x"], given["w"]
np.savez(sys.argv[2], plain=kmeans.kmeans(x, w, 4, 0), balanced=kmeans.balance(x, w, 4, 1.05, 0)[0])
"""


def test_rows_sharded_over_devices_give_the_same_clusters(tmp_path: Path) -> None:
    x_ND, tokens_N = blobs(1)
    x_ND, weight_N = x_ND[:799], tokens_N[:799].astype(np.float32)  # not a multiple of the devices
    np.savez(tmp_path / "in.npz", x=x_ND, w=weight_N)
    command = [sys.executable, "-c", DEVICES, str(tmp_path / "in.npz"), str(tmp_path / "out.npz")]
    subprocess.run(command, check=True, env=os.environ | {"JAX_PLATFORMS": "cpu"})
    with np.load(tmp_path / "out.npz") as found:
        ours = inertia(x_ND, weight_N, kmeans.kmeans(x_ND, weight_N, 4, 0))
        assert inertia(x_ND, weight_N, found["plain"]) == pytest.approx(ours, rel=1e-3)
        balanced = inertia(x_ND, weight_N, kmeans.balance(x_ND, weight_N, 4, 1.05, 0)[0])
        assert inertia(x_ND, weight_N, found["balanced"]) == pytest.approx(balanced, rel=2e-2)


def test_where_clusters_are_balanced_already_prices_are_nothing() -> None:
    x_ND, _ = blobs(2, (0.25, 0.25, 0.25, 0.25))
    weight_N = np.ones(800, np.float32)
    centroids_KD, prices_K = kmeans.balance(x_ND, weight_N, 4, 1.3, 0)
    assert prices_K.tolist() == [0, 0, 0, 0]
    plain_KD = kmeans.kmeans(x_ND, weight_N, 4, 0)
    assert inertia(x_ND, weight_N, centroids_KD) == pytest.approx(inertia(x_ND, weight_N, plain_KD), rel=1e-4)


def test_a_saved_clusterer_routes_as_the_fitted_one(tmp_path: Path) -> None:
    texts = [row["text"] for row in rows_of(40)]
    fitted = fitted_on(texts, np.full(120, 50), Domains(method="balanced", k=3, dims=8))
    fitted.save(tmp_path)
    loaded = Clusterer.load(tmp_path)
    new = ["the wave and the anchor of a ship", "an appeal of the court", "protein of a cell", "", "qqq zzz"]
    assert np.array_equal(fitted.assign(texts), loaded.assign(texts))
    assert np.array_equal(fitted.assign(new), loaded.assign(new))
    assert len(set(loaded.assign(new)[:3])) == 3
    (tmp_path / "clusterer.npz").write_bytes(b"PK\x03\x04 no")
    with pytest.raises(UserError, match=r"clusterer.npz: not a clusterer"):
        Clusterer.load(tmp_path)


@pytest.mark.parametrize("method", ["kmeans", "balanced"])
def test_prepared_clusters_find_the_labels_that_they_never_saw(method: str, tiny_jsonl: Path, tmp_path: Path) -> None:
    # The labels differ in tokens: a tighter cap would have to mix them.
    domains = {"method": method, "k": 3, "dims": 8, "cap": 2.0}
    manifest = prepare(settings(tiny_jsonl, domains=domains, shards=2), tmp_path / "out", seed=0)
    assert manifest.purity is not None
    assert manifest.purity > 0.99
    assert manifest.domains == ("cluster_0", "cluster_1", "cluster_2")
    corpus = Corpus.open(tmp_path / "out")
    router = Clusterer.load(tmp_path / "out")
    for index, domain in enumerate(corpus.domains):
        assert set(router.assign(corpus.show(domain, 20, "test")).tolist()) == {index}
        words = set(" ".join(corpus.show(domain, 20)).split())
        assert sum(bool(words & set(WORDS[label])) for label in WORDS) == 1


@pytest.mark.parametrize("change", [{"dims": 4}, {"features": 16}, {"sample_docs": 30}, {"cap": 1.5}])
def test_each_setting_of_the_clusterer_is_used(change: dict[str, float]) -> None:
    texts = [row["text"] for row in rows_of(40)][: change.get("sample_docs", 120)]  # type: ignore[misc]
    tokens_N = np.arange(1, len(texts) + 1)
    base = {"method": "balanced", "k": 3, "dims": 8}
    one = fitted_on(texts, tokens_N, Domains.model_validate(base | change))
    assert one.tfidf is not None
    if "dims" in change:
        assert one.tfidf.components_DF.shape[0] == 4
    elif "features" in change:
        assert len(one.tfidf.terms) == 16
    elif "cap" in change:
        strict = fitted_on(texts, tokens_N, Domains.model_validate(base | {"cap": 1.0}))
        assert not np.array_equal(one.prices_K, strict.prices_K)


def test_sample_docs_bounds_what_the_clusterer_sees(tiny_jsonl: Path, tmp_path: Path) -> None:
    few = {"method": "kmeans", "k": 3, "dims": 8, "sample_docs": 12}
    prepare(settings(tiny_jsonl, domains=few), tmp_path / "few", seed=0)
    prepare(settings(tiny_jsonl, domains=few | {"sample_docs": 100}), tmp_path / "all", seed=0)
    few_terms, all_terms = (Clusterer.load(tmp_path / name).tfidf for name in ("few", "all"))
    assert few_terms is not None
    assert all_terms is not None
    assert len(few_terms.terms) < len(all_terms.terms)


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_given_embeddings_make_the_clusters_and_route(kind: str, tmp_path: Path) -> None:
    """Embeddings that say something else than the words do."""
    rng, rows = np.random.default_rng(0), rows_of(60)
    centres = 3 * np.eye(2, 6)
    side = {row["text"]: index % 2 for index, row in enumerate(rows)}
    given = [row | {"e": (centres[side[row["text"]]] + 0.1 * rng.standard_normal(6)).tolist()} for row in rows]
    given += given[:20]  # duplicates, dropped before anything is fitted
    if kind == "jsonl":
        path = write_jsonl(tmp_path / "d.jsonl", given)
    else:
        parquet.write_table(pa.Table.from_pylist(given), path := tmp_path / "d.parquet")
    source = {"type": kind, "path": str(path), "vector_field": "e"}
    domains = {"method": "balanced", "k": 2, "vectors": "given", "cap": 1.5}
    prepare(settings("", sources=[source], domains=domains), tmp_path / "out", seed=0)
    corpus, router = Corpus.open(tmp_path / "out"), Clusterer.load(tmp_path / "out")
    for index, domain in enumerate(corpus.domains):
        sides = {side[text] for text in corpus.show(domain, 999)}
        assert len(sides) == 1
        assert router.assign_vectors(centres[list(sides)]).tolist() == [index]
    with pytest.raises(UserError, match="fitted on given embeddings"):
        router.assign(["text"])
    with pytest.raises(UserError, match="not every document has an embedding"):
        prepare(settings("", sources=[source | {"vector_field": None}], domains=domains), tmp_path / "o", seed=0)
    with pytest.raises(UserError, match=r"d\.\w+:1: field 'domain' is no list of numbers"):
        prepare(settings("", sources=[source | {"vector_field": "domain"}], domains=domains), tmp_path / "o", seed=0)


def test_more_clusters_than_documents_is_refused(tiny_jsonl: Path, tmp_path: Path) -> None:
    data = settings(tiny_jsonl, domains={"method": "kmeans", "k": 500})
    with pytest.raises(UserError, match=r"data.domains.k: 500 clusters asked of \d+ train documents"):
        prepare(data, tmp_path / "out", seed=0)
    with pytest.raises(UserError, match=r"data.domains.k: is 5, but there are 3 labels: lab, law, sea"):
        prepare(settings(tiny_jsonl, domains={"k": 5}), tmp_path / "out", seed=0)


def unspaced(seed: int, first: int, documents: int = 40) -> list[str]:
    """Chinese-like text: sentences of words of one to three characters out of 300 that begin at `first`, no spaces."""
    rng = random.Random(seed)
    letters = [chr(first + index) for index in range(300)]
    words = ["".join(rng.choices(letters, k=rng.choice([1, 2, 2, 3]))) for _ in range(200)]
    return ["。".join("".join(rng.choices(words, k=12)) for _ in range(8)) for _ in range(documents)]


def test_text_without_spaces_is_clustered_by_its_characters(tmp_path: Path) -> None:
    labels = {"one": unspaced(1, 0x4E00), "two": unspaced(2, 0x6000)}
    rows = [{"text": text, "domain": label} for label, texts in labels.items() for text in texts]
    source = write_jsonl(tmp_path / "d.jsonl", rows)
    domains = {"method": "kmeans", "k": 2}
    manifest = prepare(settings(source, domains=domains, tokenizer={"type": "bytes"}), tmp_path / "out", seed=0)
    assert manifest.purity == 1.0
    assert manifest.terms == "characters"
    assert any("pairs of them" in line for line in manifest.notes())
    clusterer = Clusterer.load(tmp_path / "out")
    assert len(set(clusterer.assign(labels["one"]).tolist())) == 1
    assert set(clusterer.assign(labels["one"]).tolist()) != set(clusterer.assign(labels["two"]).tolist())
    assert clusterer.assign(["ship wave salt"]).shape == (1,)


def test_words_stay_words_and_their_file_is_what_it_was(tmp_path: Path) -> None:
    texts = [row["text"] + " 素数 x" for row in rows_of(30)]
    assert terms_for(texts) == "words"
    fitted_on(texts, np.ones(len(texts)), Domains(method="kmeans", k=3)).save(tmp_path)
    with np.load(tmp_path / "clusterer.npz") as saved:
        assert int(saved["version"]) == 1
        assert "kind" not in saved
    mixed = [*texts, *unspaced(1, 0x4E00, 10)]
    assert terms_for(mixed) == "characters"
    assert characters("The SHIP 素数は a_b") == ["the", "ship", "素", "数", "は", "素数", "数は", "a_b"]


@pytest.mark.parametrize(("centroids", "prices", "wide", "told"), [
    ((3, 5), 3, 5, None), ((3, 4), 3, 5, "shapes"), ((3, 5), 2, 5, "shapes"), ((3,), 3, 5, "shapes"),
    ((3, 4), 3, None, None), ((3, 4), 4, None, "shapes"),
])
def test_arrays_that_do_not_belong_together_are_refused(
    centroids: tuple[int, ...], prices: int, wide: int | None, told: str | None
) -> None:
    """Centroids as wide as the embedding of text, where there is one, and a price for each."""
    tfidf: Any = None if wide is None else SimpleNamespace(components_DF=np.ones((wide, 9), np.float32))
    made = Clusterer(np.ones(centroids, np.float32), np.zeros(prices, np.float32), tfidf)
    if told is None:
        made.check()
        made.prices_K[0] = np.inf
        told = "no finite numbers"
    with pytest.raises(ValueError, match=told):
        made.check()
