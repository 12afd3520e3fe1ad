"""What to do after a run, and what it costs: use what was made, tell gain from noise, or narrow the split."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from splitjax import law
from splitjax.config import UserError, format_count

WIDE = 0.2
"""An interval of the split, as a share of T, from which on a further small run is named."""
PRICE = 0.25
"""What that run may cost, as a share of the planned model."""
MORE = 2
"""Seeds to add: with two in all Student's t asks for 12.7 standard errors, with three for 4.3."""


@dataclass(frozen=True)
class Step:
    """One thing to do.

    Attributes:
        what: in a sentence.
        price: what it costs, in words.
        command: that does it; "" where there is none.
    """

    what: str
    price: str
    command: str = ""

    def to_json(self) -> dict[str, str]:
        """Plain values."""
        return asdict(self)

    def __str__(self) -> str:
        return f"{self.what} ({self.price})"


def use(answer: str, model: str, run: str, fraction: float, seed: str = "") -> Step:
    """Take away what the run has made: the model of this name, split at this fraction of the budget.

    Args:
        seed: see `number_text.of_first_seed`.
    """
    chosen = "" if model == "planned" else f" --model {shlex.quote(model)}"
    what = f"Take the experts split at {100 * fraction:.0f} % and their router{seed}."
    if answer == "one_model":
        what = f"Take the one model{seed}."
    return Step(what, "no training", f"splitjax export {shlex.quote(run)} --out models{chosen}")


def repeat(results: Mapping[str, Any], run: str) -> Step:
    """Two training seeds more: the noise that test windows do not show. What is trained stays."""
    costs, seeds = results["costs"], len(results.get("seeds", {}).get("seeds", (0,)))
    tokens = MORE * sum(each["tokens"] for each in results["models"].values() if "tokens" in each)
    flops = tokens * costs["planned_flops"] / costs["planned_tokens"]
    words = ["splitjax", "run", run, f"train.seeds={seeds + MORE}", "--redo", "train"]
    what = "Train it with two more seeds, to tell gain from noise; what is trained stays."
    return Step(what, f"{flops:.2g} FLOPs, {flops / costs['planned_flops']:.1f} times the planned model",
                shlex.join(words))


def learn(run: str) -> Step:
    """After a split did better than the law's: let it learn from what was measured."""
    return Step("Let the law learn from the splits that were measured, and see where it puts the split then.",
                "no training", f"splitjax fit {shlex.quote(run)} --with-results")


def mend() -> Step:
    """After a divergence."""
    what = "Lower train.learning_rate, or the rate of the expert that diverged, and run again in another run_dir."
    return Step(what, "the whole run again")


def narrow(fitted: law.LawFit, plan: Mapping[str, Any], results: Mapping[str, Any]) -> Step | None:
    """The small run that narrows the split most for its price; None where no run of the law's grid does.

    Args:
        plan: with the pick of a law.
    """
    flops = results["costs"]["planned_flops"]
    budget = law.Budget(plan["n_params"], plan["tokens"], plan["experts"], plan["accounting"],
                        before=plan.get("before", 0))
    try:
        found = law.next_run(fitted, budget, PRICE * flops)
    except UserError:
        return None
    if not found.sd_before or found.sd_after > 0.9 * found.sd_before:
        return None
    cell = found.cell
    size, d, s = map(format_count, (cell.n_params, cell.d_pretrain, cell.d_special))
    what = (
        f"One more small run narrows where: N = {size}, D = {d}, D′ = {s}; the standard deviation of the split falls "
        f"from {100 * found.sd_before:.0f} to {100 * found.sd_after:.0f} % of the budget."
    )
    return Step(what, f"{found.flops:.2g} FLOPs, {found.flops / flops:.0%} of the planned model")
