"""results.json: every main model on the test split, and what splitting was worth."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from splitjax import evaluate as scoring
from splitjax.config import read_json
from splitjax.evaluate import Scores
from splitjax.model import flops_per_token, n_params, n_params_total
from splitjax.parallel import hosts

from . import provenance
from .costs import sweep_cost
from .execute import Executor
from .folder import FORMAT
from .job import Job
from .plan import main_tree, read_plan
from .tree import Cell, Phase


def evaluate(job: Job) -> dict[str, Any]:
    """Score every main model, and the seed of the planned split, on the test windows."""
    plan, executor = hosts.from_first(lambda: read_plan(job.folder)), job.executor()
    cells, tokens_MWT = main_tree(job), executor.held_out("test")
    bytes_M = job.corpus.token_bytes_V[tokens_MWT[..., 1:]].sum((1, 2))
    scores = _score_all(job, executor, cells, tokens_MWT)
    models = {name: _losses(score, bytes_M) for name, score in scores.items()}
    validation = hosts.from_first(lambda: read_json(job.folder.main))["models"]
    for name, cell in cells.items():
        models[name] |= _spent(job, cell)
        models[name]["validation"] = _by_domain(np.array([validation[name][d] for d in job.corpus.domains]))
    return {
        "format": FORMAT,
        "domains": list(job.corpus.domains),
        "budget": {"tokens": plan["tokens"], "accounting": plan["accounting"], "experts": plan["experts"]},
        "prefix": job.config.evaluate.prefix,
        "windows": job.config.evaluate.windows,
        "unigram_entropy": job.corpus.unigram_entropy("test"),
        "models": models,
        "expert_tables": {name: scores[name].table_KM().tolist() for name in cells if scores[name].experts > 1},
        "gains": {f"planned_vs_{name}": _gains(scores["planned"], scores[name]) for name in cells if name != "planned"},
        "costs": _costs(job, cells["planned"]),
        "provenance": provenance.of(job.command),
    }


def _score_all(job: Job, executor: Executor, cells: Mapping[str, Cell], tokens_MWT: np.ndarray) -> dict[str, Scores]:
    """Scores by model name; "seed" is the stack of one that the planned split starts from."""
    phases = {phase.name: phase for phase in job.phases(cells.values())}
    ends = {cell: phase for phase in phases.values() for cell in phase.ends}
    places = {name: (ends[cell], cell.path) for name, cell in cells.items()}
    if seed := _seed_of(ends[cells["planned"]], phases):
        places["seed"] = seed
    found: dict[tuple[str, int], Scores] = {}
    for phase, position in places.values():
        if (phase.name, position) not in found:
            job.reporter.now(phase.name)
            stack = executor.stack_at(phase, position)
            found[phase.name, position] = scoring.score(
                executor.model(phase.model), stack.params, tokens_MWT, job.config.evaluate.prefix,
                job.config.train.batch_size,
            )  # fmt: skip
    return {name: found[phase.name, position] for name, (phase, position) in places.items()}


def _seed_of(last: Phase, phases: Mapping[str, Phase]) -> tuple[Phase, int] | None:
    """Where the experts that end in `last` were one model; None where they never split."""
    while last.on == "domains":
        parent = phases[str(last.parent)]
        if last.splits:
            return parent, last.start
        last = parent
    return None


def _losses(score: Scores, bytes_M: np.ndarray) -> dict[str, Any]:
    whole_MW = score.oracle_MW()
    nats_M = whole_MW.sum(1) * (score.prefix + score.rest)
    return {
        "experts": score.experts,
        "test": _by_domain(whole_MW.mean(1)),
        "bits_per_byte": (nats_M / math.log(2) / np.maximum(bytes_M, 1)).tolist(),
        "after_prefix": {
            "oracle": _by_domain(score.oracle_MW(whole=False).mean(1)),
            "routed": _by_domain(score.routed_MW().mean(1)),
            "routing_accuracy": score.routing_accuracy_M().tolist() if score.experts > 1 else None,
        },
    }


def _spent(job: Job, cell: Cell) -> dict[str, Any]:
    """D, D', what all models together were trained on, and how often the text was repeated."""
    quantum, sizes = job.clock.tokens_per_step, job.corpus.manifest.sizes
    weights = job.corpus.manifest.weights or sizes
    d_pretrain, d_special = cell.pretrain * quantum, cell.special * quantum
    return {
        "cell": cell.id,
        "d_pretrain": d_pretrain,
        "d_special": d_special,
        "tokens": cell.steps(job.clock.experts) * quantum,
        "fraction": cell.pretrain / (cell.pretrain + job.clock.share * cell.special),
        # An expert's domain has given its share of the mixture before it gives the expert's own stream.
        "epochs": [
            (d_pretrain * weight / sum(weights) + d_special) / size for weight, size in zip(weights, sizes, strict=True)
        ],
    }


def _by_domain(loss_M: np.ndarray) -> dict[str, Any]:
    mean = float(loss_M.mean())
    return {"mean": mean, "perplexity": math.exp(mean), "domains": loss_M.tolist()}


def _gains(planned: Scores, rival: Scores) -> dict[str, Any]:
    def of_domains(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[dict[str, float]]:
        return [scoring.gain(a[None], b[None]).to_json() for a, b in pairs]

    return {
        "routed": scoring.gain(planned.routed_MW(), rival.routed_MW()).to_json(),
        "oracle_after_prefix": scoring.gain(planned.oracle_MW(whole=False), rival.oracle_MW(whole=False)).to_json(),
        "oracle": scoring.gain(planned.oracle_MW(), rival.oracle_MW()).to_json(),
        "oracle_by_domain": of_domains(zip(planned.oracle_MW(), rival.oracle_MW(), strict=True)),
    }


def _costs(job: Job, planned: Cell) -> dict[str, Any]:
    """Training FLOPs of the planned model and of the sweep, and the sweep as a share of both."""
    config, vocab = job.config, job.vocab_size
    tokens = planned.steps(job.clock.experts) * job.clock.tokens_per_step
    flops = float(tokens * flops_per_token(config.model, vocab, config.train.seq_len))
    sweep = sweep_cost(job)
    return {
        "n_params": n_params(config.model),
        "n_params_total": n_params_total(config.model, vocab),
        "planned_tokens": tokens,
        "planned_flops": flops,
        "sweep": sweep,
        "sweep_share": sweep["flops"] / (sweep["flops"] + flops),
    }
