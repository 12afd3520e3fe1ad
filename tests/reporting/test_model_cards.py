"""What a model card says of an export, by hand: three experts of unlike domains, or one model alone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from splitjax.config import Model
from splitjax.reporting import model_cards
from splitjax.reporting.model_cards import Cards

SIZES = {"code": 8000, "law": 3200, "prose": 4800}
RESULTS: dict[str, Any] = {
    "domains": list(SIZES), "prefix": 32,
    "models": {"planned": {
        "test": {"domains": [3.0, 2.5, None], "mean": 2.75, "perplexity": 15.64}, "bits_per_byte": [1.25, 1.5, None],
        "after_prefix": {"routed": {"mean": 2.875}},
    }},
}
PLAN = {"decision": "split", "split_fraction": 0.4, "tokens": 64000, "interval": [0.3, 0.5], "accounting": "total",
        "family": "additive", "predicted_loss": 2.71828}


def cards(
    monkeypatch: pytest.MonkeyPatch, experts: int = 3, results: dict[str, Any] | None = None, split_at: int | None = 25,
    plan: dict[str, Any] = PLAN, about: dict[str, Any] | None = None,
) -> Cards:
    """Of a path of 40 steps of 640 tokens, split after 25 of them."""
    monkeypatch.setattr(model_cards, "read_plan", lambda folder: plan)
    monkeypatch.setattr(model_cards, "judge", lambda plan, results: SimpleNamespace(text="Split. It pays."))
    manifest = SimpleNamespace(domains=tuple(SIZES), sizes=tuple(SIZES.values()), method="label", hash="data",
                               tokenizer={"type": "bpe", "vocab_size": 3000, "hash": "words"})
    job: Any = SimpleNamespace(
        config=SimpleNamespace(name="run", train=SimpleNamespace(seq_len=128)), vocab_size=3000, seed=None,
        corpus=SimpleNamespace(manifest=manifest, tokenizer=None), clock=SimpleNamespace(tokens_per_step=640),
        folder=SimpleNamespace(evaluated=lambda: results),
    )
    place: Any = SimpleNamespace(step=40, phase=SimpleNamespace(model=Model(d_model=16, n_layers=1, n_heads=2),
                                                                split_at=split_at))
    names = list(SIZES)[:experts] if experts > 1 else ["model"]
    told = {"experts": [{"name": name, "folder": name} for name in names], "end_token": "<e`nd>", "end_id": 0,
            "dtype": "float32"}
    told_of = {"hash": "weights", "tokens": 25600, "splitjax": "1.2"} | (about or {})
    return Cards(job, "planned", place, told_of, told, None)


@pytest.mark.parametrize(("experts", "kind"), [
    (3, "The expert for `law` of a set of 3"), (2, "The expert for `law` of a set of 2"), (1, "One language model"),
])
def test_a_card_says_whether_there_are_others(experts: int, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = cards(monkeypatch, experts).expert(1 if experts > 1 else 0)
    assert f"\n{kind}, " in text
    assert "Context: 128 tokens." in text
    assert "began with `<e'nd>` (id 0); the tokenizer puts it before a text." in text


def test_a_card_is_about_its_own_domain_and_that_of_a_set_about_all(monkeypatch: pytest.MonkeyPatch) -> None:
    set_of = cards(monkeypatch, results=RESULTS)
    own, whole = set_of.expert(1), set_of.whole()
    assert "| `law` | 3,200 |" in own
    assert "| `law` | 2.5000 | 1.5000 |" in own
    for other in ("| `code` | 8,000 |", "| `code` | 3.0000", "Mean 2.75"):
        assert other not in own
        assert other in whole
    assert "| `prose` | diverged | diverged |" in whole
    assert "Mean 2.7500 (perplexity 15.64); routed by a 32-token prefix and scored after it 2.8750." in whole
    alone = cards(monkeypatch, 1, RESULTS).expert(0)
    for domain in SIZES:
        assert alone.count(f"| `{domain}` |") == 2, "one model is about every domain"
    assert "3 models, " in whole
    assert "1 model, " in cards(monkeypatch, 1).whole()
    assert "Not evaluated yet." in cards(monkeypatch).whole()
    assert "Not evaluated yet." in cards(monkeypatch, results=RESULTS | {"models": {}}).whole()


@pytest.mark.parametrize(("split_at", "told"), [
    (25, "D = 16,000 mixture tokens, D' = 9,600 domain tokens"), (None, "D = 25,600 mixture tokens, D' = 0 domain"),
])
def test_tokens_are_counted_before_and_after_the_split(
    split_at: int | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """25 and 15 steps of 640 tokens."""
    assert cards(monkeypatch, split_at=split_at)._law()[-1].startswith(f"This model: {told}")


def test_law_and_verdict_are_told_with_their_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second, third, fourth, _ = cards(monkeypatch, results=RESULTS | {"seeds": {"seeds": [4, 5, 6]}})._law()
    assert first == "split: D = 40 % of 64,000 tokens, 90 % interval 30–50 %; accounting total."
    assert second == "Family additive, predicted loss 2.718 nats a token."
    assert third == "Split. It pays."
    assert fourth == "Gains are means over 3 training seeds; these weights are of seed 4."
    explicit = {"decision": "explicit", "split_fraction": 0.4, "tokens": 64000, "accounting": "total"}
    assert len(cards(monkeypatch, plan=explicit)._law()) == 2


def test_lineage_goes_from_the_newest_step_to_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    source = {"path": "a`b", "tokens": None, "hash": "theirs"}
    first = {"operation": "imported", "source": source}
    middle = {"operation": "split", "experts": 3, "seed": 7, "parent": {"hash": "trunk", "tokens": 16000,
                                                                       "lineage": first}}
    lineage = {"operation": "cut", "seed": [1, 2], "plan": "of plan", "law": None, "parent": {
        "hash": "stack", "tokens": 25600, "lineage": middle}}
    assert cards(monkeypatch, about={"lineage": lineage})._lineage() == [
        "checkpoint `weights` at 25,600 tokens of its path, splitjax 1.2, weights saved as float32",
        "cut from `stack` at 25,600 tokens, seed 1, 2", "split into 3 experts from `trunk` at 16,000 tokens, seed 7",
        "imported from `a'b`, trained on unknown tokens; weights `theirs`", "plan `of plan`"]
    source["tokens"] = 10**9
    assert "trained on 1,000,000,000 tokens" in cards(monkeypatch, about={"lineage": lineage})._lineage()[3]
