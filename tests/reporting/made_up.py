"""Plan and results of a run that never was, as large as one likes."""

from __future__ import annotations

from typing import Any

import numpy as np

DOMAINS = ("docstrings", "library_code", "<b>& a name of a domain that is long", "readmes")


def gain(value: float, error: float = 0.5) -> dict[str, float]:
    return {"nats": value / 100, "error": error / 100, "perplexity": value, "perplexity_error": error}


def plan(**more: Any) -> dict[str, Any]:
    """A law's plan at 40 %."""
    x = np.linspace(0, 1, 201)
    loss = 4 + 0.5 * (x - 0.4) ** 2
    base = {"family": "combined", "predicted_loss": 4.1, "interval": [4.0, 4.2], "beaten": 0.97, "split_fraction": 1.0}
    return {
        "decision": "split", "split_fraction": 0.4, "interval": [0.3, 0.6], "flat_region": [0.25, 0.7],
        "baselines": dict.fromkeys(("dense", "80/20", "split_at_0"), base), "predicted_loss": 4.0,
        "family": "combined", "notes": ["N lies 2.1 times above the fitted range."], "n_params": 1e6, "tokens": 1e8,
        "experts": len(DOMAINS), "accounting": "total", "made": "today", "law": {"hash": "0" * 64},
        "outside_fit": {"n_params": 2.1, "tokens": 1.3, "d_special": 1.0}, "held_out": {"mre": 0.01},
        "by_family": {name: {"split_fraction": at, "weight": 0.5, "interval": [at - 0.1, at + 0.1],
                             "predicted_loss": 4.0} for name, at in (("additive", 0.35), ("adapting", 0.5))},
        "curve": {"fraction": x.tolist(), "loss": loss.tolist(), "low": (loss - 0.1).tolist(),
                  "high": (loss + 0.1).tolist()},
    } | more


def results(compared: int = 0) -> dict[str, Any]:
    """Results of planned, dense, 80/20 and so many further splits."""
    at = {"planned": 0.4, "dense": 1.0, "80/20": 0.8}
    at |= {f"split at {100 * f:.0f} %": f for f in np.linspace(0, 0.9, compared).round(2).tolist()}
    models = {name: model(4 + 0.5 * (f - 0.4) ** 2, f) for name, f in at.items()}
    seed = model(5.0, 1.0)
    models["seed"] = {key: seed[key] for key in ("experts", "test", "bits_per_byte", "after_prefix")}
    router = {"experts_a_token": 1, "accuracy": [0.9] * len(DOMAINS), "test": 4.02, "validation": 4.0,
              "perplexity": 55.7, "settings": {"top": 1, "reads_losses": True}}
    table = {"chosen": "prefix", "experts": len(DOMAINS), "left_out": {},
             "rows": [{"router": name, **router} for name in ("label", "prefix", "centroid", "top2_posterior")]}
    experts = [name for name in at if at[name] < 1]
    return {
        "domains": list(DOMAINS), "budget": {"tokens": 1e8, "accounting": "total", "experts": len(DOMAINS)},
        "prefix": 32, "windows": 64, "unigram_entropy": 6.1, "models": models,
        "expert_tables": {name: np.full((len(DOMAINS),) * 2, 4.25).tolist() for name in experts},
        "routing": dict.fromkeys(experts, table), "zero_shot": None,
        "gains": {f"planned_vs_{name}": {
            **dict.fromkeys(("routed", "oracle", "oracle_after_prefix"), gain(50 * (f - 0.4) ** 2 + 0.1)),
        } for name, f in at.items() if name != "planned"},
        "costs": {"n_params": 1e6, "n_params_total": 2e6, "planned_tokens": 1e8, "planned_flops": 1e15,
                  "sweep": {"tokens": 1e7, "tokens_unshared": 2e7, "flops": 1e14}, "sweep_share": 0.09},
        "provenance": {"command": "splitjax run configs/demo.yaml run_dir=runs/demo", "commit": "0123abc",
                       "made": "today", "hardware": "a machine", "devices": "one device", "python": "3.11",
                       "versions": {"jax": "0.1"}},
    }


def model(loss: float, fraction: float) -> dict[str, Any]:
    """One compared model."""
    each = {"mean": loss, "perplexity": float(np.exp(loss)), "domains": [loss] * len(DOMAINS)}
    return {
        "experts": 1 if fraction == 1 else len(DOMAINS), "test": each, "validation": each, "tokens": 10**8,
        "bits_per_byte": [2.1] * len(DOMAINS), "fraction": fraction, "epochs": [0.5] * len(DOMAINS),
        "after_prefix": {"oracle": each, "routed": each, "router": None if fraction == 1 else "prefix",
                         "routing_accuracy": None if fraction == 1 else [0.9] * len(DOMAINS)},
    }
