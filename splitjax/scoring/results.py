"""results.json: every main model on the test split, and what splitting was worth."""

from __future__ import annotations

import dataclasses
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from splitjax import evaluate as scoring
from splitjax.config import read_json
from splitjax.model import flops_per_token, n_params, n_params_total
from splitjax.parallel import hosts
from splitjax.planning.run_costs import passes_of, sweep_cost
from splitjax.runs import provenance
from splitjax.runs.cells import mixture_shares, over_seeds
from splitjax.runs.executor import Executor
from splitjax.runs.job import Job
from splitjax.runs.model_places import Place, places
from splitjax.runs.phase_tree import Cell
from splitjax.runs.plan_record import main_tree, read_plan
from splitjax.runs.run_folder import FORMAT

from . import seed_noise
from .router_choice import Measured, Routing
from .zero_shot import ZeroShot


def evaluate(job: Job) -> dict[str, Any]:
    """Score every main model, and the seed of the planned split, on the test windows."""
    plan, executor = hosts.from_first(lambda: read_plan(job.folder)), job.executor()
    cells, routing, zero_shot = main_tree(job), Routing(job, executor), ZeroShot(job)
    if any(cell.special for cell in cells.values()):
        routing.make_routers()
    bytes_M = job.corpus.tokenizer.target_bytes(routing.test.tokens_MWT).sum((1, 2))
    measured, paths = _measure_all(job, executor, cells, routing, zero_shot)
    noise = _over_seeds(job, executor, cells, routing, measured)
    scores = {name: one.scores for name, one in measured.items()}
    hosts.from_first(lambda: _save_routers(job, cells, measured))
    models = {name: _losses(one, bytes_M) for name, one in measured.items()}
    validation = hosts.from_first(lambda: read_json(job.folder.main))["models"]
    for name, cell in cells.items():
        models[name] |= _spent(job, cell, paths[name])
        models[name]["validation"] = scoring.by_domain(_numbers(validation[name], job.corpus.domains))
    return {
        "format": FORMAT,
        "domains": list(job.corpus.domains),
        "budget": {"tokens": plan["tokens"], "accounting": plan["accounting"], "experts": plan["experts"]},
        "prefix": job.config.evaluate.prefix,
        "windows": job.config.evaluate.windows,
        "unigram_entropy": job.corpus.unigram_entropy("test"),
        "models": models,
        "expert_tables": {name: scores[name].table_KM().tolist() for name in cells if scores[name].experts > 1},
        "routing": {name: measured[name].table for name in cells if measured[name].table},
        "zero_shot": zero_shot.summary({name: one.answers for name, one in measured.items()}),
        "gains": {
            f"planned_vs_{name}": _gains(measured["planned"], measured[name]) for name in cells if name != "planned"
        },
        **noise,
        "costs": _costs(job, cells["planned"]),
        "provenance": provenance.of(job.command) | {"attention": _attention(job, executor)},
    }


def _attention(job: Job, executor: Executor) -> str:
    """Which attention the main run's model had here."""
    train = job.config.train
    return executor.model(job.config.model).attention_words(train.part_size, train.seq_len)


def _numbers(losses: Mapping[str, float | None], domains: Sequence[str]) -> np.ndarray:
    """Losses in the order of the domains; JSON's null is the NaN of a model that diverged."""
    return np.array([losses[domain] for domain in domains], float)


def _measure_all(
    job: Job, executor: Executor, cells: Mapping[str, Cell], routing: Routing, zero_shot: ZeroShot
) -> tuple[dict[str, Measured], dict[str, list[int]]]:
    """Every model by name, and the path tokens of each; "seed" is what the planned split starts from."""
    found: dict[Place, Measured] = {}
    seen: dict[Place, list[int]] = {}
    where = places(job, cells)
    for name, place in where.items():
        if place not in found:
            job.reporter.now(name)
            job.reporter.progress(_share(job, found, where) / job.config.train.seeds)
            model, stack = executor.model(place.phase.model), executor.stack_at(place.phase, place.step)
            one = routing.measure(model, stack)
            answers = zero_shot.answer(model, stack, one.router.router if one.router else None)
            found[place] = dataclasses.replace(one, answers=answers)
            seen[place] = executor.seen(place.phase, stack)
    return {name: found[place] for name, place in where.items()}, {name: seen[place] for name, place in where.items()}


def _share(job: Job, done: Iterable[Place], where: Mapping[str, Place]) -> float:
    """How much of the scoring of these places is done: a set of experts takes many times what one model takes."""

    def passes(places: Iterable[Place]) -> int:
        return sum(passes_of(place.phase.stack_size(job.clock.experts)) for place in places)

    return passes(done) / passes(set(where.values()))


def _over_seeds(
    job: Job, executor: Executor, cells: Mapping[str, Cell], routing: Routing, measured: Mapping[str, Measured]
) -> dict[str, Any]:
    """The further seeds on the same windows, each with a router of its own, beside the first; {} where there is one."""
    by_seed = over_seeds(job.config, cells)
    if len(by_seed) == 1:
        return {}
    kept: dict[int, dict[str, seed_noise.Losses]] = {
        job.config.seed: {name: seed_noise.losses_of(one) for name, one in measured.items()}
    }
    for number, (seed, own) in enumerate(by_seed.items()):
        if seed in kept:
            continue
        scored: dict[Place, seed_noise.Losses] = {}
        where = places(job, own)
        for name, place in where.items():
            if place not in scored:
                job.reporter.now(f"{name}, seed {seed}")
                job.reporter.progress((number + _share(job, scored, where)) / len(by_seed))
                model, stack = executor.model(place.phase.model), executor.stack_at(place.phase, place.step)
                scored[place] = seed_noise.losses_of(routing.measure(model, stack))
        kept[seed] = {name: scored[place] for name, place in where.items()}
    share = job.clock.share
    at = {name: cell.pretrain / (cell.pretrain + share * cell.special) for name, cell in cells.items()}
    at.pop("dense_equal_compute", None)
    found = seed_noise.over_seeds(kept, at)
    validation = hosts.from_first(lambda: read_json(job.folder.main))["seeds"]
    for name in cells:
        each = [_numbers(models[name], job.corpus.domains).mean() for models in validation.values()]
        found["models"][name]["validation"] = seed_noise.spread(each)
    return {"seeds": found}


def _save_routers(job: Job, cells: Mapping[str, Cell], measured: Mapping[str, Measured]) -> None:
    """The router of each set of experts beside results.json; none where one model is left."""
    shutil.rmtree(job.folder.router, ignore_errors=True)
    for name, cell in cells.items():
        if router := measured[name].router:
            router.save(job.folder.router_of(None if name == "planned" else cell.id))


def _losses(measured: Measured, bytes_M: np.ndarray) -> dict[str, Any]:
    score = measured.scores
    whole_MW = score.oracle_MW()
    nats_M = whole_MW.sum(1) * (score.prefix + score.rest)
    return {
        "experts": score.experts,
        "test": scoring.by_domain(whole_MW.mean(1)),
        "bits_per_byte": (nats_M / math.log(2) / np.maximum(bytes_M, 1)).tolist(),
        "after_prefix": {
            "oracle": scoring.by_domain(score.oracle_MW(whole=False).mean(1)),
            "routed": scoring.by_domain(measured.routed.loss_MW.mean(1)),
            "router": measured.router.router.name if measured.router else None,
            "routing_accuracy": measured.routed.accuracy_M().tolist() if score.experts > 1 else None,
        },
    }


def _spent(job: Job, cell: Cell, seen: Sequence[int]) -> dict[str, Any]:
    """D, D', what all models together were trained on, and how often the text was repeated.

    Args:
        seen: path tokens of each model; fewer than D + D' where it stopped early.
    """
    quantum, sizes = job.clock.tokens_per_step, job.corpus.manifest.sizes
    shares = mixture_shares(job.config, job.corpus.manifest.sizes_by_domain, job.corpus.manifest.weights)
    d_pretrain, d_special = cell.pretrain * quantum, cell.special * quantum
    return {
        "cell": cell.id,
        "d_pretrain": d_pretrain,
        "d_special": d_special,
        "tokens": seen[0] if len(seen) == 1 else d_pretrain + sum(tokens - d_pretrain for tokens in seen),
        "stopped_early": {
            domain: tokens for domain, tokens in zip(job.corpus.domains, seen, strict=False)
            if tokens < cell.path * quantum
        },
        "fraction": cell.pretrain / (cell.pretrain + job.clock.share * cell.special),
        # An expert's domain has given its share of the mixture before it gives the expert's own stream.
        "epochs": [
            (d_pretrain * share + d_special) / size for share, size in zip(shares.values(), sizes, strict=True)
        ],
    }


def _gains(planned: Measured, rival: Measured) -> dict[str, Any]:
    own, other = planned.scores, rival.scores

    def of_domains(pairs: Iterable[tuple[np.ndarray, np.ndarray]]) -> list[dict[str, float]]:
        return [scoring.gain(a[None], b[None]).to_json() for a, b in pairs]

    return {
        "routed": scoring.gain(planned.routed.loss_MW, rival.routed.loss_MW).to_json(),
        "oracle_after_prefix": scoring.gain(own.oracle_MW(whole=False), other.oracle_MW(whole=False)).to_json(),
        "oracle": scoring.gain(own.oracle_MW(), other.oracle_MW()).to_json(),
        "oracle_by_domain": of_domains(zip(own.oracle_MW(), other.oracle_MW(), strict=True)),
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
