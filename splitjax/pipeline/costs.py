"""What a run costs before it is paid: tokens, FLOPs, work."""

from __future__ import annotations

from rich.table import Table

from splitjax.config import format_count
from splitjax.model import n_params

from .cells import explicit_fraction, main_cells, sweep_cells
from .execute import flops_of, work_of
from .job import Job
from .tree import tokens_trained


def whole_work(job: Job) -> tuple[float, int]:
    """Training work and phases of all stages, for the time left; before the plan a split at half is assumed."""
    vocab, experts = job.corpus.vocab_size, job.clock.experts
    fraction = explicit_fraction(job.config)
    main = main_cells(job.config, job.clock, 0.5 if fraction is None else fraction)
    trees = [job.phases(cells) for cells in (sweep_cells(job.config, job.clock), main.values())]
    return sum(work_of(tree, job.config, experts, vocab) for tree in trees), sum(map(len, trees))


def sweep_table(job: Job) -> Table:
    """What the sweep would train: cells, tokens, FLOPs."""
    cells = sweep_cells(job.config, job.clock)
    table = Table(title=f"Sweep of {job.config.name}: {len(cells)} cells")
    for column in ("cell", "N", "D", "D' an expert", "tokens alone", "FLOPs alone"):
        table.add_column(column, justify="left" if column == "cell" else "right")
    for cell in cells:
        alone = job.phases([cell])
        table.add_row(
            cell.id, format_count(n_params(cell.model)), format_count(cell.pretrain * job.clock.tokens_per_step),
            format_count(cell.special * job.clock.tokens_per_step),
            format_count(tokens_trained(alone, job.clock.experts, job.clock.tokens_per_step)),
            f"{flops_of(alone, job.config, job.clock.experts, job.corpus.vocab_size):.3g}",
        )  # fmt: skip
    return table


def sweep_cost(job: Job) -> dict[str, float]:
    """Tokens and FLOPs of the sweep's tree, and of its cells without shared trunks."""
    cells = sweep_cells(job.config, job.clock)
    tree = job.phases(cells)
    alone = [phase for cell in cells for phase in job.phases([cell])]
    experts, vocab, quantum = job.clock.experts, job.corpus.vocab_size, job.clock.tokens_per_step
    return {
        "tokens": tokens_trained(tree, experts, quantum),
        "tokens_unshared": tokens_trained(alone, experts, quantum),
        "flops": flops_of(tree, job.config, experts, vocab),
    }
