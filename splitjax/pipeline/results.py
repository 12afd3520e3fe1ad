"""results.json: every main model on the test split, and what splitting was worth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from splitjax import evaluate as scoring
from splitjax.config import read_json
from splitjax.evaluate import Scores
from splitjax.model import flops_per_token, n_params, n_params_total

from . import provenance
from .cells import Clock
from .costs import sweep_cost
from .folder import FORMAT
from .job import Job
from .plan import main_tree, read_plan
from .tree import Phase


def evaluate(job: Job) -> dict[str, Any]:
    """Score every main model, and the seed of the planned split, on the test windows."""
    main = read_json(job.folder.path / "main.json")["models"]
    plan = read_plan(job.folder)
    scored = _score_all(job, main)
    scores = {name: score for name, (score, _) in scored.items()}
    models = {name: _model_row(job, name, main, score) for name, score in scores.items()}
    rivals = [name for name in main if name != "planned"]
    return {
        "format": FORMAT,
        "domains": list(job.corpus.domains),
        "budget": {"tokens": plan["tokens"], "accounting": plan["accounting"], "experts": plan["experts"]},
        "prefix": job.config.evaluate.prefix,
        "windows": job.config.evaluate.windows,
        "unigram_entropy": job.corpus.unigram_entropy("test"),
        "models": models,
        "expert_table": scores["planned"].table_KM().tolist(),
        "gains": {f"planned_vs_{name}": _gains(scores["planned"], scores[name]) for name in rivals},
        "costs": _costs(job, main),
        "provenance": provenance.of(job.command),
    }


def _score_all(job: Job, main: dict[str, Any]) -> dict[str, tuple[Scores, Phase]]:
    """Scores by model name; "seed" is the stack of one that the planned split starts from."""
    cells = main_tree(job)
    phases = {phase.name: phase for phase in job.phases(cells.values())}
    ends = {cell.id: phase for phase in phases.values() for cell in phase.ends}
    executor = job.executor()
    tokens_MWT = executor.held_out("test")

    def score(phase: Phase, position: int) -> tuple[Scores, Phase]:
        job.reporter.now(phase.name)
        stack = executor.stack_at(phase, position)
        batch = job.config.train.batch_size
        return scoring.score(
            executor.model(phase.model), stack.params, tokens_MWT, job.config.evaluate.prefix, batch
        ), phase

    found = {name: score(ends[record["cell"]], ends[record["cell"]].stop) for name, record in main.items()}
    last = ends[main["planned"]["cell"]]
    while last.on == "domains" and not last.splits:
        last = phases[str(last.parent)]
    if last.on == "domains":
        found["seed"] = score(phases[str(last.parent)], last.start)
    return found


def _model_row(job: Job, name: str, main: dict[str, Any], score: Scores) -> dict[str, Any]:
    whole_MW, rest_MW, routed_MW = score.oracle_MW(), score.oracle_MW(whole=False), score.routed_MW()
    row: dict[str, Any] = {
        "experts": score.experts,
        "test": _by_domain(whole_MW.mean(-1)),
        "bits_per_byte": _bits_per_byte(job, whole_MW),
        "after_prefix": {
            "oracle": _by_domain(rest_MW.mean(-1)),
            "routed": _by_domain(routed_MW.mean(-1)),
            "routing_accuracy": score.routing_accuracy_M().tolist() if score.experts > 1 else None,
        },
    }
    if name in main:
        quantum = job.clock.tokens_per_step
        pretrain, special = main[name]["pretrain"], main[name]["special"]
        row |= {
            "cell": main[name]["cell"],
            "d_pretrain": pretrain * quantum,
            "d_special": special * quantum,
            "tokens": (pretrain + job.clock.experts * special) * quantum,
            "fraction": _fraction(job.clock, pretrain, special),
            "validation": _by_domain(np.array([main[name]["validation"][d] for d in job.corpus.domains])),
        }
    return row


def _fraction(clock: Clock, pretrain: int, special: int) -> float:
    """D / T as trained."""
    return pretrain / (pretrain + clock.share * special)


def _by_domain(loss_M: np.ndarray) -> dict[str, Any]:
    mean = float(loss_M.mean())
    return {"mean": mean, "perplexity": math.exp(mean), "domains": [float(x) for x in loss_M]}


def _bits_per_byte(job: Job, whole_MW: np.ndarray) -> list[float]:
    """Bits a byte of text by domain: total bits over the UTF-8 bytes of the predicted tokens."""
    executor_tokens_MWT = job.executor().held_out("test")
    bytes_MW = job.corpus.token_bytes_V[executor_tokens_MWT[..., 1:]].sum(-1)
    nats_M = (whole_MW * (executor_tokens_MWT.shape[-1] - 1)).sum(-1)
    return [float(x) for x in nats_M / np.maximum(bytes_MW.sum(-1), 1) / math.log(2)]


def _gains(planned: Scores, rival: Scores) -> dict[str, Any]:
    return {
        "routed": scoring.gain(planned.routed_MW(), rival.routed_MW()).to_json(),
        "oracle": scoring.gain(planned.oracle_MW(), rival.oracle_MW()).to_json(),
        "oracle_by_domain": [
            scoring.gain(a[None], b[None]).to_json()
            for a, b in zip(planned.oracle_MW(), rival.oracle_MW(), strict=True)
        ],
    }


def _costs(job: Job, main: dict[str, Any]) -> dict[str, Any]:
    """Training FLOPs of the planned model and of the sweep, and the sweep as a share of both."""
    config, clock = job.config, job.clock
    planned = main["planned"]
    steps = planned["pretrain"] + clock.experts * planned["special"]
    per_token = flops_per_token(config.model, job.corpus.vocab_size, config.train.seq_len)
    flops = float(steps * clock.tokens_per_step * per_token)
    sweep = sweep_cost(job) if config.sweep else {"tokens": 0, "tokens_unshared": 0, "flops": 0.0}
    return {
        "n_params": n_params(config.model),
        "n_params_total": n_params_total(config.model, job.corpus.vocab_size),
        "planned_tokens": steps * clock.tokens_per_step,
        "planned_flops": flops,
        "sweep": sweep,
        "sweep_share": sweep["flops"] / (sweep["flops"] + flops),
    }
