"""± over training seeds beside ± over windows: in the verdict, on the page, in the terminal, between runs."""

from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import pytest

from splitjax.config import read_json, write_json
from splitjax.evaluate import perplexity
from splitjax.reporting import first_screen, page, plan_evidence, router_table, tables, task_table
from splitjax.reporting.comparing import Seen
from splitjax.reporting.judging import next_step
from splitjax.reporting.judging.measured_edges import Edge, edge, routed_loss, student, validation_loss
from splitjax.reporting.model_table import losses
from splitjax.reporting.narrow import narrow
from splitjax.reporting.number_text import diverged_seeds, of_first_seed
from splitjax.reporting.pictures.plots import split_curve
from splitjax.reporting.results_view import Results
from splitjax.reporting.verdict import judge
from splitjax.runs.reporter import Screen
from splitjax.scoring.seed_noise import spread

from . import made_up

KINDS = ("routed", "oracle", "oracle_after_prefix")
GAINS = {"dense": [0.20, 0.05, 0.35], "80/20": [0.01, 0.02, 0.06], "split at 90 %": [0.3, 0.4, 0.5]}
LOSSES = {"planned": [4.0, 4.1, 4.5], "dense": [4.2, 4.15, 4.85], "80/20": [4.01, 4.12, 4.56],
          "split at 0 %": [4.3, 4.3, 4.3], "split at 90 %": [4.3, 4.5, 5.0], "seed": [5.0, 5.0, 5.3]}


def gain(nats: list[float], error: float) -> dict[str, Any]:
    mean, over_seeds = spread(nats)["mean"], spread(nats)["error"]
    ratio = math.exp(-mean)
    return {"nats": mean, "error": error, "perplexity": 100 * (1 - ratio), "perplexity_error": 100 * ratio * error,
            "by_seed": nats, "seeds_error": over_seeds, "perplexity_seeds_error": 100 * ratio * over_seeds}


def seeds(**gains: list[float]) -> dict[str, Any]:
    """Results of three seeds; the first is that of `made_up`, whose own gains say something else."""
    found = made_up.results(2)
    told = {"dense": GAINS["dense"], "80/20": GAINS["80/20"], "split at 0 %": GAINS["split at 90 %"],
            "split at 90 %": GAINS["split at 90 %"]} | gains
    found["seeds"] = {
        "seeds": [0, 1, 2],
        "models": {name: dict.fromkeys((*KINDS, "validation"), spread(each)) for name, each in LOSSES.items()},
        "gains": {f"planned_vs_{name}": dict.fromkeys(KINDS, gain(each, 0.01)) for name, each in told.items()},
        "best_split": spread([0.4, 0.4, 0.8]),
    }
    return found


def test_an_edge_is_the_mean_with_both_errors() -> None:
    """0.20, 0.05, 0.35: deviations 0, -0.15, 0.15, variance 0.0225, of the mean of three 0.0075."""
    over = edge(seeds(), "planned", "dense")
    assert over is not None
    ratio = math.exp(-0.2)
    assert (over.nats, over.seeds) == (pytest.approx(0.2), 3)
    assert over.value == pytest.approx(100 * (1 - ratio))
    assert over.error == pytest.approx(ratio)
    assert over.over_seeds == pytest.approx(100 * ratio * math.sqrt(0.0075))
    assert str(over) == "18.1 ± 0.8 (windows) ± 7.1 (seeds) %"


def test_models_that_were_not_planned_are_compared_seed_by_seed() -> None:
    """80/20 over dense: 0.19, 0.03, 0.29, so deviations 0.02, -0.14, 0.12: far from the two errors added up."""
    over = edge(seeds(), "80/20", "dense")
    back = edge(seeds(), "dense", "planned")
    assert over is not None
    assert back is not None
    assert (over.nats, over.seeds, back.seeds) == (pytest.approx(0.17), 3, 3)
    assert over.over_seeds == pytest.approx(100 * math.exp(-0.17) * math.sqrt((0.0004 + 0.0196 + 0.0144) / 2 / 3))
    assert back.over_seeds == pytest.approx(100 * math.exp(0.2) * math.sqrt(0.0075))


def test_noise_is_two_errors_over_windows_and_students_t_over_seeds() -> None:
    """From tables of t at 95 %: 12.706, 4.303, 2.776 at 1, 2, 4 degrees of freedom."""
    assert [student(n) for n in (2, 3, 5)] == pytest.approx([12.706, 4.303, 2.776], abs=1e-3)
    assert Edge(0.0, 5.0, 1.0).clear == 1
    assert Edge(0.0, 5.0, 1.0, 1.0, 2).clear == 0
    assert Edge(0.0, 5.0, 1.0, 1.0, 3).clear == 1, "√(4 + 18.5) = 4.74"
    assert Edge(0.0, -4.7, 1.0, 1.0, 3).clear == 0
    assert Edge(0.0, -3.5, 1.0, 1.0, 5).clear == -1, "√(4 + 7.7) = 3.4"


def test_a_gain_that_windows_call_clear_may_be_noise_of_seeds() -> None:
    found = judge(made_up.plan(), seeds())
    assert found.answer == "no_difference"
    assert "better than one model by 18.1 ± 0.8 (windows) ± 7.1 (seeds) % perplexity at equal compute" in found.whether
    assert "measured: 40 %, over seeds 53 ± 13 %" in found.where
    assert found.terms.endswith(
        "± is one standard error, over 64 test windows a domain and over 3 training seeds, whose means the figures "
        "are. Noise is 2 of the first and 4.3 of the second (Student's t), added as squares."
    )
    (step, *_) = found.next
    assert step.command == "splitjax run RUN train.seeds=5 --redo train"
    agreed = seeds()
    agreed["seeds"]["best_split"] = spread([0.4, 0.4, 0.4])
    assert "measured: 40 %, in each of 3 seeds)" in judge(made_up.plan(), agreed).where
    sure = judge(made_up.plan(), seeds(dense=[0.20, 0.19, 0.21]))
    assert sure.answer == "split"


def test_the_least_loss_is_that_of_all_seeds() -> None:
    """Where the first seed alone would name another split."""
    found = seeds()
    found["models"]["split at 90 %"]["after_prefix"]["routed"] = {"mean": 1.0}
    assert routed_loss(found, "split at 90 %") == pytest.approx(4.6)
    assert validation_loss(found, "planned") == pytest.approx(4.2)
    assert validation_loss(found, "absent") is None
    assert "measured: 40 %" in judge(made_up.plan(), found).where


def test_the_page_tells_both() -> None:
    plan, found = made_up.plan(), seeds()
    told = judge(plan, found)
    one = {fact.name: fact for fact in first_screen.facts(plan, found, told)}["Perplexity against one model"]
    assert one.value == "−18.1 ± 0.8 ± 7.1 %"
    assert one.note.endswith("; ± over windows, ± over seeds")
    section = tables.seeds(found)
    assert section is not None
    rows = {row.name: [cell.text for cell in row.cells] for row in section.rows}
    assert rows["planned"] == ["4.200 ± 0.153"] * 3 + ["4.000, 4.100, 4.500"]
    assert "40, 40, 80 %, in the mean 53 ± 13 %" in section.note
    (first, *_) = tables.gains(found).rows
    assert first.cells[0].text == "+18.1 ± 0.8 ± 7.1"
    assert "the second one over the seeds" in tables.gains(found).note
    assert "3 training seeds" in " ".join(tables.caveats(plan, found).items)
    assert "3 times what stands here" in plan_evidence.costs(found).note
    assert "times one planned model's (shared" in " ".join(tables.facts(plan, found).items)
    made = page.laid_out("r", plan, found, told, training=split_curve(plan, found), config="name: r\n")
    for words in ("Over 3 training seeds", "± one standard error over training seeds", "Of training seed 0, but"):
        assert words in made
    assert "0.153 over seeds measured" in made, "the points of the curve have bars"


def test_the_law_is_held_against_the_mean() -> None:
    plan, found = made_up.plan(), seeds()
    facts = {fact.name: fact for fact in first_screen.facts(plan, found, judge(plan, found))}
    assert facts["The law's error at its split"].note == "predicted 4.000, measured 4.200"
    plan["decision"] = "explicit"
    facts = {fact.name: fact for fact in first_screen.facts(plan, found, judge(plan, found))}
    assert facts["Test perplexity, routed"].value == f"{perplexity(4.2):.1f}"


def test_the_terminal_tells_both_within_80_columns() -> None:
    console = Screen(file=io.StringIO(), width=80)
    console.print(narrow(losses(seeds())))
    lines = console.file.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    shown = "\n".join(lines)
    for words in ("routed, 3 seeds", "± over seeds", "4.200", "0.153", "Of training seed 0, but where 3 are named."):
        assert words in shown


def test_what_is_measured_of_one_seed_says_of_which() -> None:
    """Routers, zero-shot tasks, and the experts to take away."""
    one = {"accuracy": 0.5, "accuracy_error": 0.1}
    for found, words in ((made_up.results(2), ""), (seeds(), ", training seed 0 of 3")):
        names = list(found["models"])
        found["zero_shot"] = {"tasks": {"piqa": {}}, "models": {name: {"piqa": one} for name in names},
                              "commonsense_missing": ["boolq"]}
        router, task = router_table.terminal(found), task_table.terminal(found, names)
        sections = (router_table.section(found), task_table.section(found, names))
        assert [str(each.title).endswith(words or ("tokens", "error")) for each in (router, task) if each] == [True] * 2
        assert [each.title for each in sections if each] == [f"Routers{words}", f"Zero-shot accuracy (%){words}"]
        use = next_step.use("split", "planned", "runs/a", 0.5, of_first_seed(found))
        assert use.what == f"Take the experts split at 50 % and their router{words}."


def test_a_notebook_has_them_as_columns() -> None:
    found = Results(seeds() | {"verdict": judge(made_up.plan(), seeds()).to_json()}, made_up.plan())
    columns = found._columns()
    at = columns["model"].index("planned")
    assert columns["routed_loss_of_seeds"][at] == pytest.approx(4.2)
    assert columns["seeds_error"][at] == pytest.approx(math.sqrt((0.04 + 0.01 + 0.09) / 2 / 3))


def test_runs_are_compared_by_their_means() -> None:
    found = seeds()
    one = Seen("r", {}, made_up.plan(), found, judge(made_up.plan(), found))
    assert one.figures["test loss, planned"] == pytest.approx(4.2)
    assert one.figures["experts against one model (%)"] == pytest.approx(-100 * (1 - math.exp(-0.2)))
    assert one.seed_errors["experts against one model (%)"] == pytest.approx(100 * math.exp(-0.2) * math.sqrt(0.0075))
    alone = made_up.results()
    assert Seen("r", {}, made_up.plan(), alone, judge(made_up.plan(), alone)).seed_errors == {}


def test_one_seed_is_told_as_before() -> None:
    plan, found = made_up.plan(), made_up.results()
    told = judge(plan, found)
    assert told.terms.endswith("over 64 test windows a domain, of one training seed.")
    assert tables.seeds(found) is None
    made = page.laid_out("r", plan, found, told, training=split_curve(plan, found), config="name: r\n")
    for words in ("Of training seed", "over training seeds", "second one over"):
        assert words not in made


def test_a_seed_that_diverged_is_named(tmp_path: Path) -> None:
    """As results.json has it, where NaN is null: no mean is made of what is left."""
    found = seeds(dense=[0.2, math.nan, 0.4])
    found["seeds"]["models"]["dense"] = dict.fromkeys((*KINDS, "validation"), spread([4.2, math.nan, 4.9]))
    assert diverged_seeds(found) == ["dense with seed 1"]
    first = found["seeds"]["models"] | {"dense": {"oracle": {"by_seed": [None, 4.2, None]}}}
    assert diverged_seeds({"seeds": {"seeds": [7, 8, 9], "models": first}}) == ["dense with seed 9"], (
        "what the first did is told by its own figures")
    write_json(tmp_path / "r.json", found)
    found, plan = read_json(tmp_path / "r.json"), made_up.plan()
    assert found["seeds"]["models"]["dense"]["oracle"] == {"by_seed": [4.2, None, 4.9], "mean": None, "error": None}
    told = judge(plan, found)
    assert told.answer == "unknown"
    assert "Diverged: dense with seed 1." in told.text
    assert told.next[0].what.startswith("Lower train.learning_rate")
    made = page.laid_out("r", plan, found, told, training=split_curve(plan, found), config="name: r\n")
    assert "4.200, diverged, 4.900" in made
    losses(found)
    nothing = spread([math.nan, math.nan, 4.0])
    found["seeds"]["best_split"] = nothing | {"mean": None, "error": None}
    assert "over seeds" not in judge(plan, found).where
