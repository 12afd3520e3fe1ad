"""Cells of the page's tables beside figures worked out by hand: two domains, models of unequal losses and tokens."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from splitjax.reporting import model_table, plan_evidence, router_table, tables, task_table
from splitjax.reporting.sections import Section

from . import made_up


def told(section: Section | None) -> dict[str, list[str]]:
    """Name of each row → its cells; of rows of one name the last."""
    assert section is not None
    return {row.name: [cell.text for cell in row.cells] for row in section.rows}


def best(section: Section, name: str) -> list[bool]:
    return [cell.best for row in section.rows if row.name == name for cell in row.cells]


def losses(*domains: float) -> dict[str, Any]:
    mean = sum(domains) / len(domains)
    return {"mean": mean, "domains": list(domains), "perplexity": math.exp(mean)}


def model(test: tuple[float, float], after: float, tokens: int, **more: Any) -> dict[str, Any]:
    """Routed it is 0.1 worse than with the label known."""
    routed = {"oracle": losses(after, after), "routed": losses(after + 0.1, after + 0.1), "router": None,
              "routing_accuracy": None}
    return {"test": losses(*test), "validation": losses(*test), "bits_per_byte": [1.0, 1.5], "after_prefix": routed,
            "tokens": tokens, "experts": 1, "epochs": [0.3, 1.25], "fraction": 1.0} | more


@pytest.fixture
def results() -> dict[str, Any]:
    made = made_up.results() | {"domains": ["sea", "law"]}
    planned = model((3.0, 2.5), 2.7, 6000, fraction=0.25, experts=2)
    planned["after_prefix"] |= {"router": "prefix", "routing_accuracy": [0.5, 0.9]}
    seed = model((4.0, 3.5), 3.8, 1)
    del seed["tokens"], seed["fraction"]
    made["models"] = {"planned": planned, "dense": model((3.2, 2.4), 2.8, 1500),
                      "80/20": model((3.1, 2.9), 2.9, 2400, fraction=0.8), "seed": seed}
    values = {"routed": 4.0, "oracle_after_prefix": -5.0, "oracle": 6.0}
    made["gains"] = {"planned_vs_dense": {kind: made_up.gain(value, 0.25) for kind, value in values.items()}}
    made["costs"] |= {"planned_tokens": 6000, "planned_flops": 3e9,
                      "sweep": {"tokens": 900, "tokens_unshared": 1200, "flops": 6e8}}
    return made


def test_losses_by_domain_and_their_means(results: dict[str, Any]) -> None:
    section = tables.domains(results)
    assert section.head == ("domain", "seed", "dense", "80/20", "planned")
    found = told(section)
    assert found["sea"] == ["4.000", "3.200", "3.100", "3.000"]
    assert best(section, "law") == [False, True, False, False]
    assert found["mean"] == ["3.750", "2.800", "3.000", "2.750"]
    assert found["bits a byte"] == ["1.250"] * 4
    assert found["mean, label known"] == ["3.800", "2.800", "2.900", "2.700"]
    assert found["mean, routed"] == ["3.900", "2.900", "3.000", "2.800"]
    assert found["perplexity, routed"] == [f"{math.exp(x):.2f}" for x in (3.9, 2.9, 3.0, 2.8)]
    assert found["tokens trained, all models"] == ["–", "1.5k", "2.4k", "6k"]
    terminal = model_table.losses(results)
    assert [str(cell) for cell in terminal.columns[-1].cells] == [
        "3.000", "2.500", "2.750", "2.700", "2.800", f"{math.exp(2.8):.2f}", "6k"]


def test_gains_and_what_was_spent(results: dict[str, Any]) -> None:
    assert told(tables.gains(results)) == {"planned against dense": ["+4.0 ± 0.2", "-5.0 ± 0.2", "+6.0 ± 0.2"]}
    # 3e9 FLOPs for 6,000 tokens: 500,000 a token; the sweep's own.
    assert told(plan_evidence.costs(results)) == {
        "sweep": ["900", "6e+08"], "planned": ["6k", "3e+09"], "dense": ["1.5k", "7.5e+08"],
        "80/20": ["2.4k", "1.2e+09"]}
    facts = " ".join(tables.facts(made_up.plan(), results).items)
    assert "900 tokens, 6e+08 FLOPs, 0.2 times the main run's (shared trunks saved 25.0 % of its tokens)" in facts
    assert "2 × 2M parameters stored, 2M at work" in facts
    assert "at most 1.2 epochs" in " ".join(tables.caveats(made_up.plan(), results).items)


def test_promised_and_measured(results: dict[str, Any]) -> None:
    base = {"family": "hernandez", "predicted_loss": 2.9}
    plan = made_up.plan(predicted_loss=2.6, baselines={
        "dense": base, "split_at_0": base | {"predicted_loss": None}, "80/20": base | {"beyond": True}})
    assert told(tables.outcome(plan, results)) == {
        "planned": ["2.600", "2.750", "-0.150", "combined"], "dense": ["2.900", "2.800", "+0.100", "hernandez"],
        "split at 0 %": ["–", "–", "–", "hernandez"], "80/20": ["–", "3.000", "–", "hernandez"]}


def test_families_and_experts(results: dict[str, Any]) -> None:
    fitted = {"weights": {"additive": 0.625}, "notes": [], "families": [
        {"family": "additive", "mre": 0.0123, "heldout": {"mre": 0.104, "n": 12}},
        {"family": "hernandez", "mre": 0.2, "heldout": None}]}
    assert told(tables.families(fitted)) == {"additive": ["62%", "1.2 %", "10.4 %", "12"],
                                             "hernandez": ["–", "20.0 %", "–", "–"]}
    results["expert_tables"]["planned"] = [[3.0, 4.0], [3.5, 2.5]]
    section = tables.experts(results, "planned")
    assert told(section) == {"sea": ["3.000", "4.000"], "law": ["3.500", "2.500"]}
    assert (best(section, "sea"), best(section, "law")) == ([True, False], [False, True])
    assert section.note.startswith("70.0 % of the windows")


def test_routers_beside_the_label_and_the_dense_model(results: dict[str, Any]) -> None:
    row = {"experts_a_token": 1, "accuracy": [0.5, 0.75], "validation": 2.75, "perplexity": 9.0,
           "settings": {"top": 1, "reads_losses": False}}
    results["routing"] = {"planned": {"chosen": "prefix", "experts": 2, "left_out": {}, "rows": [
        {"router": "label", **row, "accuracy": None, "test": 2.5}, {"router": "prefix", **row, "test": 2.75}]}}
    label, prefix = router_table.rows(results, "planned")
    assert label == (False, ["domain label (oracle)", "1", "–", "2.5000", "–", "9.00",
                             f"{100 * (1 - math.exp(2.5 - 2.8)):+.1f}", "2.7500"])
    assert prefix == (True, ["prefix likelihood", "1", "62.5", "2.7500", "+10.00", "9.00",
                             f"{100 * (1 - math.exp(2.75 - 2.8)):+.1f}", "2.7500"])


def test_the_terminal_has_all_but_the_last_column_of_the_page(results: dict[str, Any]) -> None:
    """Under the router's own name; a diverged router or dense model leaves no comparison."""
    row = {"experts_a_token": 2, "accuracy": None, "validation": 2.9, "perplexity": 9.5, "test": 2.75}
    results["routing"] = {"planned": {"chosen": "bayes", "experts": 2, "left_out": {}, "rows": [
        {"router": "label", **row, "test": 2.5}, {"router": "bayes", **row},
        {"router": "average", **row, "test": None}]}}
    made = router_table.terminal(results)
    assert made is not None
    assert made.title == "Routers of planned, K = 2, after 32 tokens"
    assert [(str(column.header), column.justify) for column in made.columns] == [("router", "left"), *(
        (word, "right") for word in ("experts", "right", "loss", "over label", "ppl", "under dense"))]
    _, bayes, average = zip(*(column.cells for column in made.columns), strict=True)
    under = f"{100 * (1 - math.exp(2.75 - 2.8)):+.1f}"
    assert bayes == ("bayes", "2", "–", "2.7500", "+10.00", "9.50", under)
    assert average == ("average", "2", "–", "diverged", "diverged", "9.50", "diverged")
    assert [row.style for row in made.rows] == [None, "bold", None]
    results["models"]["dense"]["after_prefix"]["oracle"]["mean"] = None
    assert [cells[6] for _, cells in router_table.rows(results, "planned")] == ["diverged"] * 3
    assert router_table.terminal(results | {"routing": {}}) is None
    assert router_table.section(results | {"routing": {}}) is None


def test_accuracies_are_per_cent_with_their_errors() -> None:
    one = {"accuracy": 0.625, "accuracy_error": 0.031, "accuracy_by_byte": 0.5, "accuracy_by_byte_error": 0.04}
    told = {"zero_shot": {"tasks": {"piqa": {}}, "models": {"a": {"piqa": one}}, "commonsense_missing": [],
                          "commonsense_average": {"a": 0.4321}}}
    assert list(task_table.rows(told, ["a"])) == [
        ["piqa", "62.5 ± 3.1"], ["piqa / byte", "50.0 ± 4.0"], ["mean of eight", "43.2"]]


@pytest.mark.parametrize(("missing", "note"), [
    (["BoolQ", "PIQA"], "the items. No mean over the eight commonsense tasks: BoolQ, PIQA missing."),
    ([], "the items."),
])
def test_tasks_that_are_missing_from_the_mean_are_named(missing: list[str], note: str) -> None:
    told = {"zero_shot": {"tasks": {}, "models": {}, "commonsense_missing": missing,
                          "commonsense_average": {"a": 0.5}}}
    section = task_table.section(told, ["a"])
    assert section is not None
    assert section.note.endswith(f"± one standard error over {note}")
    assert section.head == ("task", "a")
    assert [row.name for row in section.rows] == ([] if missing else ["mean of eight"])


def test_the_evidence_of_a_plan_is_told_by_family() -> None:
    view = {"weight": 0.625, "split_fraction": 0.354, "interval": [0.216, 0.489], "predicted_loss": 3.14159}
    plan = made_up.plan(by_family={"additive": view, "adapting": view | {"weight": 0.0, "interval": None}},
                        held_out={"mre": 0.01234}, law={"hash": "0123456789abcdef"})
    section = plan_evidence.evidence(plan)
    assert told(section) == {"additive": ["62%", "35 %", "22–49 %", "3.142"], "adapting": ["0%", "35 %", "–", "3.142"]}
    assert section is not None
    assert section.note == ("Fixed today, before the main run, by combined (off by 1.2 % on larger runs held out); law "
                            "0123456789ab.")
    section = plan_evidence.evidence(plan | {"held_out": None})
    assert section is not None
    assert "(not held out)" in section.note
    del plan["law"]
    assert plan_evidence.evidence(plan) is None


def test_budget_and_cost_in_words(results: dict[str, Any]) -> None:
    plan = made_up.plan(outside_fit={"n_params": 2.14, "tokens": 1.36, "d_special": 0.72},
                        sweep={"of_main": 0.31, "of_main_time": 0.42, "topology": "v5e-4", "further": "One more."})
    results["routing"]["planned"]["chosen"] = "top2_posterior"
    results["routing"]["planned"]["rows"][3]["settings"] = {"top": 2, "reads_losses": True}
    size, outside, swept, serve = tables.facts(plan, results).items
    assert size.startswith("N = 1M without embeddings (2M with), T = 100M tokens, K = 4 domains, accounting total: T =")
    assert outside == ("Extrapolated: N is 2.1× the largest fitted, T is 1.4× the longest fitted path, D' is 0.7× the "
                       "largest fitted")
    assert swept == ("The sweep is not in T: 900 tokens, 6e+08 FLOPs, 0.31 times the main run's, 0.42 times its time "
                     "on v5e-4 (shared trunks saved 25.0 % of its tokens); it pays for larger N and T. One more")
    assert serve == ("To serve: 2 × 2M parameters stored, 2M at work on a token once routed; 2 experts run on every "
                     "token; this router runs all 4 over the prefix")
    results["routing"]["planned"]["chosen"] = "centroid"
    results["routing"]["planned"]["rows"][2]["settings"] = {"top": 1, "reads_losses": False}
    assert tables.facts(plan, results).items[3].endswith("once routed")
    results["models"]["planned"]["experts"], results["costs"]["sweep"]["tokens"] = 1, 0
    assert tables.facts(plan, results).items == (size, outside)


@pytest.mark.parametrize(("share", "shown"), [
    (None, "–"), (0.0, "0 %"), (0.01234, "1.2 %"), (0.0994, "9.9 %"), (0.1, "10.0 %"), (0.104, "10.4 %"),
    (1.0, "100.0 %"),
])
def test_small_shares_have_two_digits(share: float | None, shown: str) -> None:
    assert tables._percent(share) == shown


def test_a_mean_is_of_all_or_there_is_none() -> None:
    assert tables._mean([1.0, 2.5, 4.0]) == 2.5
    assert tables._mean([1.0, None]) is None


def test_routers_in_words_and_those_that_could_not_be_made(results: dict[str, Any]) -> None:
    assert [router_table.name_of(name) for name in ("top2_posterior", "top10_centroid", "bayes", "own")] == [
        "top 2 by posterior", "top 10 by centroid", "Bayes mixture, causal", "own"]
    routing = results["routing"]
    results["routing"] = {"split at 60 %": routing["80/20"], "80/20": routing["80/20"] | {
        "left_out": {"centroid": "no words"}}}
    section = router_table.section(results)
    assert section is not None
    assert [row.name for row in section.rows if row.kind == "part"] == ["80/20, K = 4", "split at 60 %, K = 4"]
    assert section.note.endswith(" Left out: centroid (no words).")
    assert [row.name for row in section.rows if row.kind == "mean"] == ["prefix likelihood"] * 2
    assert router_table.shown({"routing": {"planned": 1, "80/20": 2}}) == "planned"


def test_the_law_before_and_after_is_held_beside_the_measured_losses(results: dict[str, Any]) -> None:
    """Straight curves: 3 nats at 0.25, 2.8 at 1 and 2.8533 at 0.8, against 2.75, 2.8 and 3.0; the median of three."""
    plan = made_up.plan(interval=[0.123, 0.456], flat_region=[0.1, 0.9], split_fraction=0.5, law_split_fraction=0.25)
    plan["curve"] = {"fraction": [0.0, 0.25, 1.0], "loss": [None, 3.0, 2.8]}
    found = told(plan_evidence.before_and_after(plan, results, plan | {"law_split_fraction": None}))
    assert found["best split"] == ["25 %", "50 %"]
    assert found["90 % interval"] == ["12 to 46 %"] * 2
    off = np.median(np.abs([3.0 / 2.75 - 1, 0.0, (3.0 - 0.2 * 0.55 / 0.75) / 3.0 - 1]))
    assert found["off from the measured losses, in the median"] == [f"{100 * off:.2f} % of 3 models"] * 2


def test_goodput_is_a_share_of_the_wall() -> None:
    seconds = {"steps": 30.0, "redone": 5.0, "compile": 10.0, "data": 2.5, "checkpoint": 0.0, "evaluation": 1.5,
               "other": 1.0}
    section = plan_evidence.goodput({"wall": 50.0, "share": 0.6, "seconds": seconds})
    assert section is not None
    assert section.title.startswith("Goodput: 60% of")
    assert told(section)["waiting for data"] == ["2.5", "5.0%"]
    assert told(section)["compiling"] == ["10.0", "20.0%"]
