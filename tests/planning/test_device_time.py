"""A sweep's price in device time: of stacks and single models on named hardware, and what a share of it buys."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from splitjax import cli
from splitjax.config import UserError, from_dict, load, write_record
from splitjax.model import n_params
from splitjax.parallel import Topology
from splitjax.planning import auto_sweep, estimate, run_costs
from splitjax.planning.auto_question import Question
from splitjax.planning.auto_rounds import FIRST, UnpaidError, first
from splitjax.planning.compiled_step import compile_step
from splitjax.planning.device_time import DeviceTime
from splitjax.runs.cells import Clock
from splitjax.runs.phase_tree import Cell, grow
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.sweeping.sweep_rounds import Round, Rounds

from .test_auto_sweep import SIZES, asked, measured

ROOT = Path(__file__).resolve().parents[2]
POD = str(ROOT / "configs/tpu/2.7B_x8_v5p.yaml")


def on(topology: str | None, tree: dict[str, Any] | None = None, **auto: Any) -> Question:
    """The question of test_auto_sweep.py with four experts, on hardware."""
    found = asked(experts=4, **auto)
    config = from_dict({**found.config.resolved(), "topology": topology, **(tree or {})})
    return Question(config, Clock.of(config, 4), 512)


def step_s(question: Question, models: int) -> float:
    config, four = question.config, Topology.parse("h100:4")
    mesh = estimate.mesh_for(config.train, models, 4, four)
    return compile_step(config, four, experts=models, mesh=mesh, analytic=True).step_time


def test_hours_are_steps_of_each_stack_times_devices() -> None:
    """A trunk of 100 steps of one model, and 50 of a stack of four: on four GPUs."""
    question = on("h100:4")
    phases = grow([Cell(question.config.model, 100, 50)], 0.2)
    expected = (100 * step_s(question, 1) + 50 * step_s(question, 4)) * 4 / 3600
    assert DeviceTime(question.config, 4, Topology.parse("h100:4")).hours(phases) == pytest.approx(expected)
    assert question.hours([Cell(question.config.model, 100, 50)]) == pytest.approx(expected)
    assert step_s(question, 4) != pytest.approx(4 * step_s(question, 1)), "or the stack would say nothing"


def test_time_is_of_the_vocabulary_that_was_prepared() -> None:
    """As FLOPs are: a tokenizer that was taken over, or ran out of merges, has other rows than were asked for."""
    asked_for = on("h100:4")
    data = asked_for.config.resolved()["data"]
    larger = on("h100:4", {"data": data | {"tokenizer": data["tokenizer"] | {"vocab_size": 8192}}})
    cells = asked_for.main
    prepared = Question(asked_for.config, asked_for.clock, 8192)
    assert prepared.hours(cells) == Question(larger.config, larger.clock, 8192).hours(cells)
    assert prepared.hours(cells) > 1.2 * asked_for.hours(cells)


@pytest.mark.parametrize("why", ["asked for", "too large"])
def test_what_is_no_stack_runs_in_turn(why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    question = on("h100:4", {"train": {**asked().config.resolved()["train"], "placement": "serial"}}
                  if why == "asked for" else {})
    alone = step_s(question, 1)
    if why == "too large":
        whole = compile_step

        def tight(*args: Any, experts: int, **rest: Any) -> Any:
            return dataclasses.replace(whole(*args, experts=experts, **rest), fits=experts == 1)

        monkeypatch.setattr("splitjax.planning.device_time.compile_step", tight)
    hours = question.hours([Cell(question.config.model, 100, 50)])
    assert hours == pytest.approx((100 + 4 * 50) * alone * 4 / 3600)


def test_the_share_counts_device_time_where_hardware_is_named() -> None:
    timed, counted = on("h100:4", share=6.0), on(None, share=6.0)
    assert counted.price(counted.main) == counted.main_flops
    assert counted.hours(counted.main) is None
    assert timed.main_price == timed.hours(timed.main)
    assert timed.limit == 6.0 * timed.main_price
    (one,), (other,) = first(timed).rounds, first(counted).rounds
    assert one.device_hours == pytest.approx(timed.hours(one.cells))
    assert one.device_hours <= FIRST * timed.limit
    assert one.flops == timed.flops(one.cells)
    assert other.device_hours is None
    assert "device-hours" in first(timed).told()


def test_a_share_of_time_buys_smaller_models_than_one_of_flops_on_a_pod() -> None:
    """Small models use a chip less well, so as large a share of its time pays for fewer FLOPs."""
    sizes = []
    for topology in ("v5p:4x4x4", None):
        config = load(POD, ["sweep={auto: 0.15}", f"topology={topology or 'null'}"])
        question = Question(config, Clock.of(config, 8), config.data.tokenizer.vocab_size)
        sizes.append([n_params(cell.model) for cell in first(question).cells])
    assert max(sizes[0]) < max(sizes[1])
    assert 1000 * max(sizes[0]) >= n_params(config.model), "a plan would refuse it"


def test_further_rounds_are_priced_and_told_in_time() -> None:
    question = on("h100:4", share=6.0, rounds=2)
    begun = first(question)
    fitted = measured(question, begun.cells, noise=0.02)
    known = auto_sweep.further(question, begun, fitted, SIZES, unigram=100.0)
    last, (before,) = known.rounds[-1], begun.rounds
    assert last.device_hours == pytest.approx((question.hours(known.cells) or 0) - (before.device_hours or 0))
    assert question.spent(known) == pytest.approx(question.hours(known.cells))
    assert question.spent(known) <= question.limit * 1.000001
    ended = auto_sweep.further(question, known, measured(question, known.cells, noise=0.02), SIZES, unigram=100.0)
    assert "for" not in (ended.ended or "") or "device-hours" in (ended.ended or "")


def test_rounds_keep_their_hours_and_older_ones_have_none(tmp_path: Path) -> None:
    cell = Cell(asked().config.model, 10, 5)
    Rounds((cell,), (Round((cell,), "why", 2.0, 0.4, 0.2, 1.5), Round((cell,), "more", 1.0, 0.2, 0.1))).save(
        tmp_path / "sweep.json")
    found = Rounds.load(tmp_path / "sweep.json")
    assert found is not None
    assert [each.device_hours for each in found.rounds] == [1.5, None]
    record = json.loads((tmp_path / "sweep.json").read_text())
    for each in record["rounds"]:
        del each["device_hours"]
    write_record(tmp_path / "sweep.json", {key: value for key, value in record.items() if key != "hash"})
    older = Rounds.load(tmp_path / "sweep.json")
    assert older is not None
    assert [each.device_hours for each in older.rounds] == [None, None]
    timed = on("h100:4")
    assert timed.spent(older) == timed.price(older.cells), "told by none, priced anew"
    assert timed.spent(Rounds((), (Round((), "", 9.0, 0.4, 0.2, 1.5), Round((), "", 9.0, 0.2, 0.1, 0.5)))) == 2.0


def test_a_share_that_pays_for_a_first_round_alone_is_taken() -> None:
    """FIRST of it pays for none: all of it does."""
    with pytest.raises(UnpaidError) as refused:
        first(asked(share=1e-3))
    (cheapest,) = refused.value.least.rounds
    share = 1.01 * cheapest.flops / asked().main_flops
    (one,) = first(asked(share=share)).rounds
    assert one.flops > FIRST * share * asked().main_flops
    assert one.flops <= share * asked().main_flops


def test_a_main_model_without_smaller_ones_of_its_kind_is_refused_by_name() -> None:
    tree = asked().config.resolved()
    tree["model"].update(d_model=16, n_layers=1, n_heads=2)
    config = from_dict(tree)
    with pytest.raises(UserError, match="model: there are no 3 smaller models of its kind"):
        first(Question(config, Clock.of(config, 2), 512))


@pytest.fixture
def dry(capsys: pytest.CaptureFixture[str]) -> Any:
    def told(*words: str) -> tuple[int, str, str]:
        code = cli.main(["sweep", POD, "data.domains.k=8", "--dry-run", *words])
        out, err = capsys.readouterr()
        return code, out, err

    return told


@pytest.mark.parametrize("share", ["0.15", "0.3"])
def test_a_dry_run_tells_flops_device_time_and_how_far_n_lies(dry: Any, share: str) -> None:
    """As JSON and, of the same, as tables."""
    code, out, _ = dry(f"sweep={{auto: {share}}}", "--json")
    assert code == 0
    told = json.loads(out)
    (one,) = told["rounds"]
    main = n_params(load(POD).model)
    assert told["main_n_params"] == main
    assert told["times_below"] == [main / one["n_params"][0], main / one["n_params"][-1]]
    assert told["device_hours"] == pytest.approx(one["device_hours"])
    assert one["share"] == pytest.approx(one["device_hours"] / told["main_device_hours"])
    assert one["share"] <= float(share)
    assert told["flops"] == pytest.approx(one["flops"])
    console = Console(width=200, record=True, file=io.StringIO())
    for table in run_costs.sweep_tables(told):
        console.print(table)
    words = " ".join(console.export_text().split())
    assert f"is {told['times_below'][1]:,.0f} times the largest here." in words
    assert f"On v5p:4x4x4 {told['device_hours']:,.3g} device-hours, {one['share']:.1%} of the main run's" in words


def test_a_dry_run_without_hardware_counts_flops_and_says_how_to_name_it(dry: Any) -> None:
    code, out, _ = dry("sweep={auto: 0.05}", "topology=null")
    words = " ".join(out.split())
    assert code == 0
    assert "Device time is told where 'topology' names the hardware" in words
    assert "device-hours" not in words


def test_a_dry_run_whose_share_pays_for_nothing_lists_the_cheapest_and_refuses(dry: Any) -> None:
    code, out, err = dry("sweep={auto: 0.05}")
    assert code == 2
    assert "The cheapest first round for the main run; share: of its device time" in " ".join(out.split())
    assert "sweep.auto.share: 0.05 of the main run's device time do not pay for 3 small models" in err
    assert len(err.strip().splitlines()) == 1
    code, out, again = dry("sweep={auto: 0.05}", "--json")
    told = json.loads(out)
    assert (code, again) == (2, err)
    assert told["refused"] in err
    enough = float(told["refused"].split("Give ")[1].split()[0])
    assert enough - 0.01 <= told["rounds"][0]["share"] <= enough


def test_hardware_that_there_is_none_of_is_refused_by_its_key(dry: Any) -> None:
    code, _, err = dry("topology=v9:4x4")
    assert code == 2
    assert err.startswith("splitjax: topology: no chip 'v9'")


def test_another_topology_asks_for_another_sweep_only_where_it_chose_the_cells(tmp_path: Path) -> None:
    tree = {**asked().config.resolved(), "run_dir": str(tmp_path / "run"), "topology": "h100:4"}
    begun = RunFolder(from_dict(tree).folder)
    begun.claim(from_dict(tree))
    begun.phases.mkdir()
    other = from_dict({**tree, "topology": "h100:8"})
    with pytest.raises(UserError, match=r"topology \(h100:4 → h100:8\).*--redo sweep"):
        RunFolder(other.folder).claim(other)
    alone = {**tree, "run_dir": str(tmp_path / "alone"), "sweep": None, "split": 0.5}
    begun = RunFolder(from_dict(alone).folder)
    begun.claim(from_dict(alone))
    begun.phases.mkdir()
    RunFolder(from_dict(alone).folder).claim(from_dict({**alone, "topology": None}))
