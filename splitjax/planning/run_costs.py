"""What a run costs before it is paid: tokens, FLOPs, work."""

from __future__ import annotations

import glob
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich.table import Table

from splitjax import law
from splitjax.config import Config, UserError, format_bytes, format_count
from splitjax.model import n_params
from splitjax.runs.cells import all_cells, explicit_fraction, main_cells, over_seeds
from splitjax.runs.job import Job
from splitjax.runs.phase_tree import Cell, Phase, tokens_trained
from splitjax.runs.phase_work import disk_of, flops_of, work_of, work_of_step
from splitjax.runs.sweeping import law_splits
from splitjax.runs.sweeping.lane_groups import may_be_lanes
from splitjax.runs.telling.time_left import Load, Rest

from . import auto_rounds
from .auto_rounds import UnpaidError

_FIT_SPEED = 8000.0
"""Families × draws × rows that a law is fitted to in a second, about (two cores, demo: 9 × 200 × 130 in 30 s)."""
_CENTROID_SPEED = 4e5
"""Tokens of text that become centroids of domains in a second, about (two cores, demo: 2.7M in 7 s)."""
_SCORING = 2.0
"""Seconds until the first model is scored: programs to compile, texts to decode."""
_CHOOSING = 2.0
"""Seconds to choose the split by the law."""
_PAGE = 3.0
"""Seconds to draw the page."""


def whole_work(job: Job, jobs: int = 1) -> Load:
    """The training of all stages, for the time left; before the plan a split at half is assumed.

    Args:
        jobs: as for `sweep_work`.
    """
    return main_work(job) + (sweep_work(job, jobs) if job.config.sweep else Load())


def main_work(job: Job, cells: Mapping[str, Cell] | None = None) -> Load:
    """The same of the main run alone, all its seeds.

    Args:
        cells: its models by name; None: with the split assumed.
    """
    phases = job.phases(all_cells(job.config, _guessed(job) if cells is None else cells))
    return _load(job, [[phase] for phase in phases])


def _guessed(job: Job) -> dict[str, Cell]:
    """The models of the main run, split as the config says, or else at half."""
    fraction = explicit_fraction(job.config)
    return main_cells(job.config, job.clock, 0.5 if fraction is None else fraction)


def sweep_work(job: Job, jobs: int = 1) -> Load:
    """The same of the sweep alone.

    Args:
        jobs: phases that are trained at a time; where it is one at a time, several may be one stack.
    """
    load = load_of(job, job.sweep_phases, jobs)
    if auto_rounds.rounds_to_come(job.config, job.rounds):  # they cost what the price leaves
        assert job.rounds is not None
        asked = auto_rounds.question_of(job)
        more = max(1.0, asked.limit / asked.spent(job.rounds))
        return Load(more * load.work, more * load.starts, load.programs)
    return load


def load_of(job: Job, phases: list[Phase], jobs: int = 1, part: str = "") -> Load:
    """The same of some phases of the sweep; `part`: of those that are one."""
    together = jobs == 1 and may_be_lanes(job.config.train)
    return _load(job, job.lane_groups(phases, part, write=False) if together else [[phase] for phase in phases])


def _load(job: Job, groups: Sequence[Sequence[Phase]]) -> Load:
    """The same of groups that start together."""
    experts, one = job.clock.experts, job.expert_by_expert
    work = sum(work_of(group, job.config, experts, job.vocab_size) for group in groups)
    programs = {(group[0].model, 1 if one else sum(each.stack_size(experts) for each in group)) for group in groups}
    return Load(work, len(groups), len(programs))


def disk_note(job: Job, cells: Iterable[Cell]) -> str:
    """What the checkpoints of these cells take on disk, and what is free where they go, in words."""
    needed = disk_of(job.phases(cells), job.config, job.clock.experts, job.vocab_size)
    free = shutil.disk_usage(job.folder.path).free
    short = "" if free >= needed or not free else f", and there is less: {format_bytes(free)}"
    return f"checkpoints will take {format_bytes(needed)} on disk{short}"


def main_cost(job: Job, cells: Mapping[str, Cell]) -> dict[str, float]:
    """Training seeds, models a seed, tokens and FLOPs of the main run: all its seeds.

    Args:
        cells: its models by name.
    """
    phases, experts = job.phases(all_cells(job.config, cells)), job.clock.experts
    return {
        "seeds": job.config.train.seeds, "models": len(cells),
        "tokens": tokens_trained(phases, experts, job.clock.tokens_per_step),
        "flops": flops_of(phases, job.config, experts, auto_rounds.vocab_of(job)),
    }


def seeds_note(job: Job, cells: Mapping[str, Cell]) -> str:
    """What the main run costs with its seeds, in words."""
    return _seeds_told(main_cost(job, cells))


def _seeds_told(cost: Mapping[str, float]) -> str:
    return (f"the main run trains {cost['models']} models with each of {cost['seeds']} seeds: "
            f"{format_count(round(cost['tokens']))} tokens, {cost['flops']:.3g} FLOPs")


def rest_of(job: Job) -> dict[str, Rest]:
    """What the stages that train nothing are expected to take, for the time left."""
    config, clock = job.config, job.clock
    found = {"report": Rest(0.0, _PAGE)}
    cells = [cell for cells in over_seeds(config, main_cells(config, clock, 0.5)).values() for cell in cells.values()]
    passes = config.train.seeds + sum(passes_of(clock.experts if cell.special else 1) for cell in cells)  # and the seed
    tokens = passes * clock.experts * config.evaluate.windows * config.train.seq_len
    tokens += (len(main_cells(config, clock, 0.5)) + 1) * _task_tokens(config)  # of the first seed alone
    a_token = work_of_step(config.model, config, clock, job.vocab_size) / clock.tokens_per_step
    found["evaluate"] = Rest(tokens * a_token / 3, _SCORING)  # forward alone: a third of a step
    if config.data.domains.method == "label" and any("centroid" in name for name in config.evaluate.routers):
        found["routers"] = Rest(0.0, _sample_tokens(job) / _CENTROID_SPEED)
    if config.sweep is not None:
        found |= {"fit": Rest(0.0, fit_seconds(job)), "plan": Rest(0.0, _CHOOSING)}
        found["rounds"] = Rest(0.0, auto_rounds.fits_to_come(config, job.rounds) * fit_seconds(job))
    return found


def _task_tokens(config: Config) -> int:
    """Tokens that a model reads of the zero-shot tasks, about: a few bytes each, and every option with its question."""
    return sum(os.path.getsize(path) for pattern in config.evaluate.tasks for path in glob.glob(pattern))


def passes_of(experts: int) -> int:
    """How often a set of models reads windows in an evaluation: each expert test and validation, their mean too."""
    return 2 * experts + 2 if experts > 1 else 1


def fit_seconds(job: Job) -> float:
    """What a fit of the law is expected to take."""
    config = job.config
    families = len(law.FAMILIES) if config.law.families == ("auto",) else len(config.law.families)
    return 1.5 + families * config.law.bootstrap * len(job.sweep_cells) * job.clock.experts / _FIT_SPEED


def _sample_tokens(job: Job) -> float:
    """Tokens of the documents that centroids of the domains are made of."""
    shards = [shard for shard in job.corpus.manifest.shards if shard.split == "train"]
    documents = sum(shard.documents for shard in shards)
    return sum(shard.tokens for shard in shards) * min(1.0, job.config.data.domains.sample_docs / max(documents, 1))


def sweep_list(job: Job) -> dict[str, Any]:
    """What the sweep would train: every cell with tokens and FLOPs, the whole tree, and what a law picked.

    Where the price pays for no first round, the cheapest one, and why it is `refused`.
    """
    quantum, experts, refused = job.clock.tokens_per_step, job.clock.experts, None
    if job.config.sweep and job.config.sweep.auto:
        try:
            auto_rounds.begin(job, write=False)
        except UnpaidError as unpaid:
            refused, job.rounds = str(unpaid), unpaid.least
    vocab = auto_rounds.vocab_of(job)
    cells = [
        {
            "cell": cell.id,
            "n_params": n_params(cell.model),
            "seed": job.config.seed if cell.seed is None else cell.seed,
            "d_pretrain": cell.pretrain * quantum,
            "d_special": cell.special * quantum,
            "split_fraction": cell.pretrain / (cell.pretrain + job.clock.share * cell.special),
            "tokens": cell.steps(experts) * quantum,
            "flops": flops_of(job.phases([cell]), job.config, experts, vocab),
        }
        for cell in job.sweep_cells
    ]
    told: dict[str, Any] = {"cells": cells, "phases": len(job.sweep_phases), **sweep_cost(job), **_beside_main(job)}
    if refused:
        told["refused"] = refused
    if job.config.train.seeds > 1:
        told["main"] = main_cost(job, _guessed(job))
    if job.rounds is not None:
        told["rounds"] = auto_rounds.told(job)
    if job.config.sweep and job.config.sweep.asks_law:
        told["picks"] = law_splits.listed(job.config, job.clock, job.folder)
    return told


def _beside_main(job: Job) -> dict[str, Any]:
    """What the sweep is beside the main run: device-hours where the config names hardware, and how far N lies below.

    Returns:
        ``{main_n_params, times_below: of its N, those of the smallest and of the largest model; topology,
        device_hours, main_device_hours: of the planned model split at half}``, the last three None without hardware
    """
    asked, main = auto_rounds.question_of(job), n_params(job.config.model)
    sizes = [n_params(cell.model) for cell in job.sweep_cells]
    hours = None if asked.hardware is None else asked.hardware.hours(job.sweep_phases)
    return {
        "main_n_params": main, "times_below": [main / min(sizes), main / max(sizes)], "topology": job.config.topology,
        "device_hours": hours, "main_device_hours": asked.hours(asked.main),
    }


def sweep_tables(told: Mapping[str, Any]) -> Iterator[Table]:
    """`sweep_list` for people."""
    if "picks" in told:
        yield _table("Splits picked by the law", {
            "N": [format_count(row["n_params"]) for row in told["picks"]],
            "T": [format_count(row["tokens"]) for row in told["picks"]],
            "split": [f"{row['split_fraction']:.1%}" for row in told["picks"]],
            "90 % interval": ["{:.0%} to {:.0%}".format(*row["interval"]) for row in told["picks"]],
            "decision": [row["decision"] for row in told["picks"]],
        })
    if "rounds" in told:
        rows, timed = told["rounds"], told["topology"] is not None
        hours = {"device-hours": [f"{row['device_hours']:.3g}" for row in rows]} if timed else {}
        what = "The cheapest first round for the main run" if "refused" in told else "Rounds, chosen for the main run"
        yield _table(f"{what}; share: of its {'device time' if timed else 'FLOPs'}", {
            "round": [str(i + 1) for i in range(len(rows))], "cells": [str(row["cells"]) for row in rows],
            "FLOPs": [f"{row['flops']:.3g}" for row in rows], **hours,
            "share": [f"{row['share']:.1%}" for row in rows],
            "why": [row["reason"] for row in rows],
        })
    cells = told["cells"]
    saved = 1 - told["tokens"] / told["tokens_unshared"]
    title = (
        f"{len(cells)} cells in {told['phases']} phases: {format_count(told['tokens'])} tokens, {told['flops']:.3g} "
        f"FLOPs; shared trunks save {saved:.0%} of the tokens. {_beside_main_told(told)}"
    )
    if "main" in told:
        title += f" After them {_seeds_told(told['main'])}."
    counts = {"N": "n_params", "D": "d_pretrain", "D' an expert": "d_special", "tokens alone": "tokens"}
    yield _table(title, {
        "cell": [row["cell"] for row in cells],
        "seed": [str(row["seed"]) for row in cells],
        "split": [f"{row['split_fraction']:.0%}" for row in cells],
        **{name: [format_count(row[key]) for row in cells] for name, key in counts.items()},
        "FLOPs alone": [f"{row['flops']:.3g}" for row in cells],
    })


def _beside_main_told(told: Mapping[str, Any]) -> str:
    """The same in words."""
    _, near = told["times_below"]
    lies = f"{near:,.0f} times" if near >= 10 else f"{near:.2g} times"
    text = f"The main run's N, {format_count(told['main_n_params'])}, is {lies} the largest here."
    if told["topology"] is None:
        return f"{text} Device time is told where 'topology' names the hardware (v5p:4x4x4, h100:8)."
    hours, main = told["device_hours"], told["main_device_hours"]
    return (f"{text} On {told['topology']} {hours:,.3g} device-hours, {hours / main:.1%} of the main run's "
            f"{main:,.0f}: steps alone, by arithmetic.")


def _table(title: str, columns: Mapping[str, Sequence[str]]) -> Table:
    table = Table(title=title, title_justify="left")
    for name in columns:
        words = name in ("cell", "decision", "why")
        table.add_column(name, justify="left" if words else "right", no_wrap=name == "cell")
    for row in zip(*columns.values(), strict=True):
        table.add_row(*row)
    return table


def sweep_cost(job: Job) -> dict[str, float]:
    """Tokens and FLOPs of the sweep's tree, and of its cells without shared trunks."""
    tree, cells = (job.sweep_phases, job.sweep_cells) if job.config.sweep else ([], [])
    alone = [phase for cell in cells for phase in job.phases([cell])]
    experts, vocab, quantum = job.clock.experts, auto_rounds.vocab_of(job), job.clock.tokens_per_step
    return {
        "tokens": tokens_trained(tree, experts, quantum),
        "tokens_unshared": tokens_trained(alone, experts, quantum),
        "flops": flops_of(tree, job.config, experts, vocab),
    }


def sweep_told(job: Job, fitted: law.LawFit) -> dict[str, Any]:
    """What the sweep cost beside the main run, and what more runs would be worth.

    Returns:
        ``{flops, of_main: over those of the planned model split at half, further: a sentence; where the config names
        hardware topology and of_main_time: device time over that of the same, as predicted}``
    """
    asked = auto_rounds.question_of(job)
    flops, rounds = sweep_cost(job)["flops"], job.rounds_so_far
    ended = rounds.ended if job.config.sweep and job.config.sweep.auto else None
    manifest = job.corpus.manifest
    budget = asked.budget(manifest.sizes_by_domain, manifest.weights)
    further = rounds.told() if ended else _one_more(fitted, budget, asked.main_flops / 4)
    told = {"flops": flops, "of_main": flops / asked.main_flops, "further": further}
    if asked.hardware is None:
        return told
    of_main = asked.hardware.hours(job.sweep_phases) / asked.hardware.hours(job.phases(asked.main))
    return told | {"topology": job.config.topology, "of_main_time": of_main}


def sweep_told_words(told: Mapping[str, Any], whose: str) -> str:
    """The same in a sentence or two.

    Args:
        whose: FLOPs it is held against.
    """
    timed = ""
    if "topology" in told:
        timed = f", {told['of_main_time']:.2g} times its time on {told['topology']} as predicted"
    return f"The sweep cost {told['of_main']:.2g} times {whose} FLOPs{timed}. {told['further']}".rstrip()


def _one_more(fitted: law.LawFit, budget: law.Budget, flops: float) -> str:
    """The run for so many FLOPs, a quarter of the main run's, that would narrow the split most; "" without draws."""
    if not fitted.chosen.drawn:
        return ""
    try:
        best = law.next_run(fitted, budget, flops)
    except UserError:
        return "No run for a quarter of the main run's FLOPs would say more."
    told = ", ".join(f"{name} = {format_count(round(value))}" for name, value in (
        ("N", best.cell.n_params), ("D", best.cell.d_pretrain), ("D'", best.cell.d_special)))
    return (f"One more run ({told}; {best.flops:.2g} FLOPs) would narrow the split from {best.sd_before:.1%} to "
            f"{best.sd_after:.1%} of T (standard deviation).")
