"""The answer of a run: whether to split before where, how sure, what next. Made here for every place that tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from splitjax import law
from splitjax.config import read_json
from splitjax.runs.plan_record import read_plan
from splitjax.runs.run_folder import RunFolder

from .judging import next_step
from .judging.best_split import Where, best_split, blame, missed
from .judging.measured_edges import champion, compute, edge, one_model, student
from .judging.next_step import Step
from .number_text import diverged, diverged_seeds, of_first_seed
from .router_table import name_of

Answer = Literal["split", "one_model", "no_difference", "unknown"]
ROUNDED = 0.01
"""A trained split that differs less from the planned one is the same."""
UNKNOWN = "Nothing can be said of splitting from this run."


@dataclass(frozen=True)
class Verdict:
    """What a run found out.

    Attributes:
        answer: whether splitting pays, at this size and budget.
        whether: the answer and the gain behind it, a sentence each.
        where: the best split, by law and by measurement.
        beside: what a reader must know beside it, a sentence each.
        terms: how it was measured, and what the noise is.
        next: what to do now, the first thing first.
        low, high: range of the best split, fractions of T; None where no law was asked.
    """

    answer: Answer
    whether: str
    where: str
    beside: tuple[str, ...]
    terms: str
    next: tuple[Step, ...]
    low: float | None = None
    high: float | None = None

    @property
    def text(self) -> str:
        """All but terms and what comes next, in one paragraph."""
        return " ".join([self.whether, self.where, *self.beside])

    @property
    def short(self) -> str:
        """The answer in a word or a few."""
        return self.whether.partition(". ")[0] + "."

    @property
    def why(self) -> str:
        """The gain behind it."""
        return self.whether.partition(". ")[2]

    def to_json(self) -> dict[str, Any]:
        """What `--json` prints as `verdict`."""
        return {
            "answer": self.answer, "text": self.text, "whether": self.whether, "where": self.where,
            "beside": list(self.beside), "terms": self.terms, "best_split": [self.low, self.high],
            "next": [step.to_json() for step in self.next],
        }


def verdict(folder: RunFolder) -> Verdict:
    """Of an evaluated run, from its plan, its results and its law.

    Raises:
        UserError: there are none, or they are of another config.
    """
    plan, results = read_plan(folder), read_json(folder.results)
    fitted = law.LawFit.load(folder.law) if folder.belongs("fit") and folder.law.exists() else None
    return judge(plan, results, fitted, run=str(folder.path))


def judge(
    plan: Mapping[str, Any], results: Mapping[str, Any], fitted: law.LawFit | None = None, *, run: str = "RUN"
) -> Verdict:
    """The verdict of plain values.

    Args:
        fitted: the run's law, to name the next small run by; None: none is named.
        run: folder of the run, for the commands.
    """
    results = _as_planned(plan, results)
    best, rival = champion(results), one_model(results)
    answer, whether = _whether(results, best, rival)
    where = best_split(plan, results, pays=answer == "split")
    beside = [*blame(plan, results), *_lost(results)]
    steps = _steps(plan, results, fitted, answer, rival if answer == "one_model" else best or "planned", where, run)
    whole = " ".join([whether, *_beside_gain(results, best, rival)])
    return Verdict(answer, whole, where.text, tuple(beside), _terms(results), steps, where.low, where.high)


def _as_planned(plan: Mapping[str, Any], results: Mapping[str, Any]) -> Mapping[str, Any]:
    """The planned model at the fraction that the plan says: whole steps may round to another per cent."""
    told, models = plan["split_fraction"], results["models"]
    made = models["planned"]["fraction"]
    if {told, made} & {0, 1} or abs(made - told) > ROUNDED:
        return results
    return {**results, "models": {**models, "planned": models["planned"] | {"fraction": told}}}


def _whether(results: Mapping[str, Any], best: str, rival: str) -> tuple[Answer, str]:
    planned, found = results["models"]["planned"], edge(results, best, rival) if best else None
    if found is None:
        return "unknown", f"{UNKNOWN} The experts and one model cannot be compared."
    terms, other = compute(results, best, rival), _habit(results, best)
    who = "Experts" if best == "planned" else f"Experts split at {100 * results['models'][best]['fraction']:.0f} %"
    if found.clear > 0:
        return "split", f"Split. {who} beat one model by {found} perplexity {terms}{other}."
    if found.clear < 0 and planned["fraction"] == 1:
        back = edge(results, rival, best) or found
        name = "the 80/20 split" if best == "80/20" else f"the best measured split, {100 * _at(results, best):.0f} %,"
        return "one_model", f"Do not split: train one model. It beats {name} by {back} perplexity {terms}."
    if found.clear < 0:
        return "one_model", f"Do not split: train one model. {who} lose to it by {found} perplexity {terms}{other}."
    side = "better" if found.value > 0 else "worse"
    return "no_difference", (
        f"Split or not: no difference shows. {who} are {side} than one model by {found} perplexity {terms}, which is "
        f"within the noise{other}."
    )


def _at(results: Mapping[str, Any], name: str) -> float:
    return float(results["models"][name]["fraction"])


def _habit(results: Mapping[str, Any], best: str) -> str:
    """The same against the customary split, as the rest of a sentence."""
    found = edge(results, best, "80/20") if best != "80/20" else None
    if found is None or not found.value:
        return ""
    verb = "better" if found.value > 0 else "worse"
    return f"; they are {verb} than the customary 80/20 split by {found}"


def _beside_gain(results: Mapping[str, Any], best: str, rival: str) -> list[str]:
    """Under `per_model`: the model with the tokens of one expert, and so with less compute, named as that."""
    found = edge(results, best, "dense") if best and rival != "dense" else None
    if found is None or not found.value:
        return []
    side = "better" if found.value > 0 else "worse"
    return [f"Beside one model of as many tokens as one expert saw they are {side} by {found}, "
            f"{compute(results, best, 'dense')}."]


def _lost(results: Mapping[str, Any]) -> list[str]:
    """Models whose loss is no number, by name."""
    told = [f"{name} on {', '.join(domains)}" for name, domains in diverged(results).items()]
    told += diverged_seeds(results)
    return [f"Diverged: {'; '.join(told)}."] if told else []


def _terms(results: Mapping[str, Any]) -> str:
    """How the figures were measured."""
    router = results["models"]["planned"]["after_prefix"]["router"]
    by = "" if router in (None, "prefix") else f"{name_of(router)} of "
    told, windows = results.get("seeds"), f"{results['windows']} test windows a domain"
    noise = f"± is one standard error over {windows}, of one training seed."
    if told:
        count = len(told["seeds"])
        noise = (
            f"± is one standard error, over {windows} and over {count} training seeds, whose means the figures are. "
            f"Noise is 2 of the first and {student(count):.1f} of the second (Student's t), added as squares."
        )
    return (
        f"Test text, routed by {by}a {results['prefix']}-token prefix and scored after it; accounting "
        f"{results['budget']['accounting']}. {noise}"
    )


def _steps(
    plan: Mapping[str, Any], results: Mapping[str, Any], fitted: law.LawFit | None, answer: Answer, model: str,
    where: Where, run: str,
) -> tuple[Step, ...]:
    if answer == "unknown" or diverged(results) or diverged_seeds(results):
        return (next_step.mend(),)
    found = [next_step.repeat(results, run)]
    if answer != "no_difference":
        found = [next_step.use(answer, model, run, _at(results, model), of_first_seed(results))]
    if missed(plan, results):
        found.append(next_step.learn(run))
    wide = where.low is not None and where.high is not None and where.high - where.low > next_step.WIDE
    if fitted is not None and wide and (further := next_step.narrow(fitted, plan, results)):
        found.append(further)
    return tuple(found)
