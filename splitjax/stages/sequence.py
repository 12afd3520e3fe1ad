"""The stages of a run. Each is done once, recorded with hashes of what went in and came out."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from splitjax import law
from splitjax.config import Config, UserError, format_count, write_json, write_record
from splitjax.data.small import check
from splitjax.evaluate.folders import ModelFolder
from splitjax.parallel import hosts
from splitjax.planning import auto_rounds, auto_sweep
from splitjax.planning.main_plan import ask, make_plan
from splitjax.planning.run_costs import (
    disk_note,
    load_of,
    main_work,
    seeds_note,
    sweep_told,
    sweep_told_words,
    sweep_work,
)
from splitjax.runs.cells import all_cells, main_cells, mixture_shares, over_seeds, seed_tokens
from splitjax.runs.job import Job
from splitjax.runs.model_places import places
from splitjax.runs.phase_record import Losses
from splitjax.runs.phase_tree import Cell, Phase, part_of, tokens_trained
from splitjax.runs.phase_work import work_of
from splitjax.runs.plan_record import main_tree, plan_note
from splitjax.runs.run_folder import FORMAT, LAW_AFTER
from splitjax.runs.sweeping import law_splits, observations
from splitjax.runs.telling.time_left import Rest
from splitjax.runs.workers.attempts import Ledger, run_here
from splitjax.runs.workers.pool import run_in_workers
from splitjax.scoring import recall, results, zero_shot

from . import preparation, separate


def by_first(stage: Callable[..., None]) -> Callable[..., None]:
    """A stage that one process does while the others wait."""

    @functools.wraps(stage)
    def alone(*args: Any, **options: Any) -> None:
        hosts.from_first(lambda: stage(*args, **options))

    return alone


@by_first
def run_prepare(job: Job, in_child: bool = True) -> None:
    """Sources → prepared data. In a child process where training follows, so that TensorFlow never stays."""
    inputs = preparation.inputs_of(job.config)
    if job.skip_if_done("prepare", inputs):
        check(job.corpus.manifest, job.config.data.domains, preparation.windows_of(job.config))
        return
    if job.config.seed_from is not None:
        # Its ids must be those of the weights, which are not read before training.
        _ = ModelFolder(Path(job.config.seed_from.path), job.config.data.tokenizer.end_token).tokenizer
    job.reporter.stage("prepare", "reading sources")
    anew = job.redo == "prepare"
    if in_child:
        preparation.in_child(job.config, job.folder.data, job.reporter, job.folder.locks, anew)
    else:
        preparation.here(job.config, job.folder.data, job.reporter, anew)
    job._corpus = None
    corpus = job.corpus
    tokens = sum(corpus.manifest.sizes)
    note = f"{len(corpus.domains)} domains, {format_count(tokens)} train tokens, vocabulary {corpus.vocab_size}"
    for line in corpus.manifest.notes():
        job.reporter.say(line)
    job.finish("prepare", inputs, [job.folder.data / "manifest.json"], note)


def run_sweep(job: Job, jobs: int = 1) -> None:
    """The small runs that feed the law → observations.csv, which grows as cells end.

    Raises:
        SweepError: some cells failed for good; the others are done.
    """
    if job.config.sweep is None:
        return
    inputs = _data_inputs(job) | job.part("sweep", "train", "seed") | {"windows": job.config.evaluate.windows}
    if job.config.sweep.counts_tokens:
        inputs["accounting"] = job.config.budget.accounting
    if job.config.sweep.auto:
        inputs |= job.part("model", "budget")
    if picked_by := hosts.from_first(lambda: law_splits.fix(job.config, job.clock, job.folder)):
        inputs["law"] = picked_by
    if job.skip_if_done("sweep", inputs):
        job.reporter.done_before(sweep_work(job, jobs))
        job.reporter.leave("rounds")
        return
    tokens = _in_rounds(job, jobs) if job.config.sweep.auto else _train_tree(job, job.sweep_phases, jobs, _grown(job))
    chosen = [job.folder.rounds] if job.config.sweep.auto else []
    cells = job.sweep_cells
    sizes = len({cell.model for cell in cells})
    rows = len(cells) * len(job.corpus.domains)
    note = f"{rows} observations of {len(cells)} cells over {sizes} sizes, {format_count(tokens)} tokens"
    picked = [job.folder.splits] if job.folder.splits.exists() else []
    outputs = [job.folder.observations, *chosen, *_answers(job)]
    job.finish("sweep", inputs, outputs, note, read=[_manifest(job), *picked])


def _grown(job: Job) -> Callable[[Losses], None]:
    """Writes observations.csv whenever cells have ended."""
    cells = {cell.id: cell for cell in job.sweep_cells}

    def write(losses: Losses) -> None:
        rows = [row for cell, by_domain in losses.items() for row in observed(job, cells[cell], by_domain)]
        hosts.from_first(lambda: observations.write(job.folder.observations, rows))

    return write


def _in_rounds(job: Job, jobs: int) -> int:
    """Train the rounds of a sweep that chooses its cells, until it ends; returns their tokens."""
    auto_rounds.begin(job)
    while True:
        tokens = _train_tree(job, job.sweep_phases, jobs, _grown(job))
        assumed, began = sweep_work(job, jobs), time.monotonic()
        job.reporter.now("fitting the law so far, to see what more runs would tell")
        more = auto_sweep.go_on(job, lambda: fit_table(law.Table.read(job.folder.observations), job.config))
        job.reporter.replan(sweep_work(job, jobs) - assumed)
        a_fit, fits = time.monotonic() - began, auto_rounds.fits_to_come(job.config, job.rounds)
        job.reporter.plan_rest({"fit": Rest(0.0, a_fit), "rounds": Rest(0.0, fits * a_fit)})
        if not more:
            return tokens


def run_part(job: Job, part: int, parts: int, jobs: int = 1) -> None:
    """The trees of one part of the sweep; `run_sweep` gathers the parts into observations.csv.

    Raises:
        SweepError: some of its cells failed for good.
    """

    def work(phase: Phase) -> float:
        return work_of([phase], job.config, job.clock.experts, job.vocab_size)

    phases, told = part_of(job.sweep_phases, part, parts, work), f" of part {part}/{parts}"
    job.reporter.plan_work(load_of(job, phases, jobs, told))
    tokens = _train_tree(job, phases, jobs, lambda losses: None, told)
    job.reporter.finish(f"part {part}/{parts}: {sum(len(p.ends) for p in phases)} cells, {format_count(tokens)} tokens")


def _train_tree(job: Job, phases: list[Phase], jobs: int, grown: Callable[[Losses], None], part: str = "") -> int:
    """Train these phases; returns their tokens."""
    tokens = tokens_trained(phases, job.clock.experts, job.clock.tokens_per_step)
    count = sum(len(phase.ends) for phase in phases)
    note = f"{count} cells{part} in {len(phases)} phases, {format_count(tokens)} tokens"
    job.reporter.stage("sweep", note, len(phases))
    ledger = Ledger(phases, job.folder.phase, job.reporter, grown)
    if jobs > 1:
        run_in_workers(ledger, job, jobs)
    else:
        executor = job.sweep_executor()
        run_here(ledger, executor, job.lane_groups(phases, part) if executor.together else ())
    ledger.told(part)
    return tokens


@by_first
def run_fit(job: Job) -> None:
    """observations.csv → law.json."""
    if job.config.sweep is None:
        return
    if job.folder.done("sweep") is None:
        raise UserError("the sweep has not ended", where=str(job.folder.path), mend="Run 'splitjax sweep' first.")
    inputs = {"observations": job.folder.hash_of(job.folder.observations, "sweep")} | job.part("law", "seed")
    if job.skip_if_done("fit", inputs):
        return
    job.reporter.stage("fit", "comparing families by held-out prediction")

    def told(done: int, total: int, what: str) -> None:
        job.reporter.now(what)
        job.reporter.progress(done / total)

    fitted = fit_table(law.Table.read(job.folder.observations), job.config, told)
    fitted.save(job.folder.law)
    job.finish("fit", inputs, [job.folder.law], _fit_note(fitted), read=[job.folder.observations])


def fit_table(table: law.Table, config: Config, told: Callable[[int, int, str], None] | None = None) -> law.LawFit:
    """Fit a law as the config asks; `told` hears of each family."""
    settings = config.law
    families = settings.families[0] if len(settings.families) == 1 else list(settings.families)
    return law.fit(
        table, family=families, loss=settings.loss, bootstrap=settings.bootstrap, seed=config.seed, progress=told
    )


@by_first
def run_plan(job: Job) -> None:
    """law.json + budget → plan.json; an explicit `split` needs no law."""
    inputs = _data_inputs(job) | job.part("model", "budget", "split", "train")
    if job.config.sweep is not None:
        inputs["law"] = job.folder.hash_of(job.folder.law, "fit")
    if job.skip_if_done("plan", inputs):
        return
    job.reporter.stage("plan", "choosing the split")
    manifest, fitted = job.corpus.manifest, job.folder.law if job.config.sweep else None
    plan = make_plan(job.config, job.clock, manifest.sizes_by_domain, fitted, manifest.weights)
    if fitted is not None:
        plan["sweep"] = sweep_told(job, law.LawFit.load(fitted))
    write_record(job.folder.plan, plan)
    job.finish("plan", inputs, [job.folder.plan], plan_note(plan), read=[_manifest(job), *_law(job)])
    if "sweep" in plan:
        whose = "the main run's" if job.config.train.seeds == 1 else "one planned model's"
        job.reporter.say(sweep_told_words(plan["sweep"], whose))
    cells = main_cells(job.config, job.clock, plan["split_fraction"])
    if job.config.train.seeds > 1:
        job.reporter.say(seeds_note(job, cells))
    job.reporter.say(disk_note(job, all_cells(job.config, cells)))


def run_train(job: Job) -> None:
    """The planned model and its baselines, all cells of one tree; and the same again for each further seed."""
    inputs = hosts.from_first(lambda: _train_inputs(job))
    if job.skip_if_done("train", inputs):
        job.reporter.done_before(main_work(job))
        return
    by_seed = over_seeds(job.config, main_tree(job))
    job.reporter.replan(main_work(job, by_seed[job.config.seed]) - main_work(job))
    phases = job.phases(cell for cells in by_seed.values() for cell in cells.values())
    tokens = format_count(tokens_trained(phases, job.clock.experts, job.clock.tokens_per_step))
    models = f"{len(by_seed[job.config.seed])} models{_of_seeds(job)}"
    job.reporter.stage("train", f"{models} in {len(phases)} phases, {tokens} tokens", len(phases))
    executor = job.main_executor()
    losses = separate.train_or_join(executor, phases) if executor.apart else executor.run(phases)
    validation = {
        str(seed): {name: losses[cell.id] for name, cell in cells.items()} for seed, cells in by_seed.items()
    }
    told = {"format": FORMAT, "models": validation[str(job.config.seed)]}
    hosts.from_first(lambda: write_json(job.folder.main, told | ({"seeds": validation} if len(by_seed) > 1 else {})))
    found = [place for cells in by_seed.values() for place in places(job, cells).values()]
    job.finish(
        "train", inputs, [job.folder.main], f"{models}, {tokens} tokens",
        read=[_manifest(job), job.folder.plan, *_law(job)],
        weights={place.checkpoint(job) / "checkpoint.json" for place in found},
    )


def _of_seeds(job: Job) -> str:
    """How often the models of the main run are trained, as the rest of a phrase; "" once."""
    return f" of {job.config.train.seeds} seeds" if job.config.train.seeds > 1 else ""


def run_evaluate(job: Job) -> None:
    """Every main model on the test split → results.json."""
    main = hosts.from_first(lambda: job.folder.hash_of(job.folder.main, "train"))
    inputs = _data_inputs(job) | {"main": main} | job.part("evaluate", "seed")
    if job.config.evaluate.tasks:
        inputs["tasks"] = zero_shot.inputs(job.config)
    if job.skip_if_done("evaluate", inputs):
        return
    job.reporter.stage("evaluate", "scoring every model on the test windows")
    found = results.evaluate(job)
    hosts.from_first(lambda: write_json(job.folder.results, found))
    job.finish(
        "evaluate",
        inputs,
        [job.folder.results, *sorted(path for path in job.folder.router.rglob("*") if path.is_file())],
        f"{len(found['models'])} models{_of_seeds(job)} on {len(found['domains'])} domains",
        read=[_manifest(job), job.folder.plan, job.folder.main],
    )


@by_first
def run_report(job: Job) -> None:
    """results.json and the rest of the folder → report.html."""
    from splitjax.reporting import page

    folder = job.folder
    inputs = {"results": folder.hash_of(folder.results, "evaluate"), "plan": folder.hash_of(folder.plan, "plan")}
    if job.config.sweep is not None:
        inputs |= {"law": folder.hash_of(folder.law, "fit")}
        inputs |= {"observations": folder.hash_of(folder.observations, "sweep")}
    after = [folder.law_after] if folder.belongs(LAW_AFTER) else []
    if after:
        inputs |= {LAW_AFTER: folder.hash_of(folder.law_after, LAW_AFTER)}
    if job.skip_if_done("report", inputs):
        return
    job.reporter.stage("report", "drawing")
    page.write(folder, job.config, ask_of(job, law.LawFit.load(after[0])) if after else None)
    read = [folder.results, folder.plan, *_law(job), *([folder.observations] if _law(job) else []), *after]
    job.finish("report", inputs, [folder.report], str(folder.report), read=read)


def ask_of(job: Job, fitted: law.LawFit) -> dict[str, Any]:
    """What a law says of the main run's budget."""
    manifest = job.corpus.manifest
    return ask(job.config, job.clock, manifest.sizes_by_domain, fitted, manifest.weights)


def _answers(job: Job) -> list[Path]:
    """answers.csv: what the cells of the sweep know of what the corpus asks; [] where it asks nothing."""
    if job.corpus.questions is None:
        return []
    rows = [
        row | told for cell, by_domain in recall.of_sweep(job).items()
        for row, told in zip(observed(job, cell, dict.fromkeys(by_domain, 0.0)), by_domain.values(), strict=True)
    ]
    hosts.from_first(lambda: observations.write(job.folder.answers, rows, observations.ANSWERS))
    return [job.folder.answers]


def observed(job: Job, cell: Cell, losses: dict[str, float]) -> list[dict[str, object]]:
    """The rows of observations.csv of one cell."""
    sizes, declared = job.corpus.manifest.sizes_by_domain, job.corpus.manifest.weights
    shares = mixture_shares(job.config, sizes, declared) if job.config.train.mixture or declared else None
    return observations.rows_of(
        cell, losses, tokens_per_step=job.clock.tokens_per_step, sizes=sizes, shares=shares,
        vocab_size=job.vocab_size, seed=job.config.seed if cell.seed is None else cell.seed,
        before=seed_tokens(job.config),
    )


def _fit_note(fitted: law.LawFit) -> str:
    held_out = fitted.heldout
    error = f", {100 * held_out.mre:.2f} % on held-out larger runs" if held_out else ""
    return f"{fitted.family}: off by {100 * fitted.chosen.mre:.2f} % on the rows fitted{error}"


def _manifest(job: Job) -> Path:
    return job.folder.data / "manifest.json"


def _law(job: Job) -> list[Path]:
    """law.json, where a sweep feeds one."""
    return [job.folder.law] if job.config.sweep is not None else []


def _data_inputs(job: Job) -> dict[str, Any]:
    seed = {"seed_from": [job.seed.hash, seed_tokens(job.config)]} if job.seed else {}
    return {"manifest": job.corpus.manifest.hash} | seed


def _train_inputs(job: Job) -> dict[str, Any]:
    inputs = _data_inputs(job) | job.part("model", "budget", "train", "seed")
    inputs |= {"plan": job.folder.hash_of(job.folder.plan, "plan"), "compare": list(job.config.evaluate.compare)}
    if job.config.sweep is not None:
        inputs["law"] = job.folder.hash_of(job.folder.law, "fit")
    if job.config.train.seeds > 1:
        inputs["seeds"] = job.config.train.seeds
    return inputs
