"""What prepared data adds to the price of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitjax import stages
from splitjax.config import format_count, from_dict
from splitjax.model import flops_per_token, n_params_total
from splitjax.planning import pricing
from splitjax.planning.run_costs import rest_of, seeds_note, sweep_list, sweep_tables, whole_work
from splitjax.runs.cells import Clock, main_cells
from splitjax.runs.job import Job
from splitjax.runs.phase_tree import Cell, grow, tokens_trained
from splitjax.runs.phase_work import disk_of
from splitjax.runs.reporter import Reporter
from splitjax.runs.run_folder import RunFolder
from splitjax.runs.telling.time_left import Load
from tests.tiny import tiny_tree


def test_domains_that_are_read_more_than_once_are_named(corpus_file: Path, tmp_path: Path) -> None:
    """The experts of the data that is there, and D' over what each domain has."""
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": 0.2}
    tree.pop("sweep", None)
    config = from_dict(tree)
    summary = stages.prepare(config)
    found = pricing.price(config, "v5e:2x2", analytic=True)
    experts = next(part for part in found.parts if part.name == "experts")
    assert experts.experts == len(summary["domains"]["sizes"])
    sizes = dict(zip(found.epochs, summary["domains"]["sizes"], strict=True))
    for name, times in found.epochs.items():
        assert times == pytest.approx(experts.tokens / experts.experts / sizes[name])
    more = pricing.price(from_dict(tree | {"budget": {"tokens": "100M"}}), "v5e:2x2", analytic=True)
    assert all(times > 1 for times in more.epochs.values())
    assert "Tokens are short" in str(pricing.tables(more, config)[0].caption)
    assert "Tokens are short" not in str(pricing.tables(found, config)[0].caption) or max(found.epochs.values()) > 1


def test_a_schedule_without_a_shared_trunk_is_priced_as_it_trains(corpus_file: Path, tmp_path: Path) -> None:
    """Under cosine every length of path is trained from step 0; under wsd planned, dense and 80/20 share a trunk."""
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": 0.2}
    tree.pop("sweep")
    tree["data"]["domains"] = {"method": "label", "k": 3}

    def priced(schedule: str) -> int:
        config = from_dict(tree | {"train": tree["train"] | {"schedule": schedule}})
        return sum(part.tokens for part in pricing.price(config, "v5e:2x2", analytic=True).parts)

    config = from_dict(tree)
    clock = Clock.of(config, 3)
    alone = sum(cell.steps(3) for cell in main_cells(config, clock, 0.2).values()) * clock.tokens_per_step
    assert priced("cosine") == alone
    assert priced("wsd") < alone


def test_before_a_law_has_picked_a_guess_is_priced_and_said(tmp_path: Path) -> None:
    """And a sweep that chooses its cells is priced at the most that it may cost."""
    tree = {
        "name": "priced", "run_dir": str(tmp_path / "run"),
        "data": {"sources": [{"type": "text", "path": "x"}], "tokenizer": {"vocab_size": 4096}, "domains": {"k": 4}},
        "model": "310M", "train": {"seq_len": 1024, "batch_size": 16, "precision": "bfloat16"},
        "budget": {"tokens": "1B"}, "sweep": {"auto": 0.5},
    }
    found = pricing.price(from_dict(tree), "v5e:2x2", analytic=True)
    assert (found.split_fraction, found.assumed) == (0.5, True)
    (told,) = [part for part in found.parts if part.name == "sweep, at most"]
    main = sum(part.device_hours for part in found.parts if part.name in ("seed", "experts"))
    timed = pricing.price(from_dict(tree | {"topology": "v5e:2x2"}), "v5e:2x2", analytic=True)
    (most,) = [part for part in timed.parts if part.name == "sweep, at most"]
    assert most.device_hours == pytest.approx(0.5 * main, rel=1e-3), "the share of its time"
    assert told.device_hours > 0.6 * main, "of its FLOPs: the small models use the chips less well"
    known = pricing.price(from_dict(tree | {"split": 0.3, "sweep": None}), "v5e:2x2", analytic=True)
    assert (known.split_fraction, known.assumed) == (0.3, False)
    (table, *_) = pricing.tables(found, from_dict(tree))
    assert "a guess until the law has picked" in str(table.title)


def test_the_disk_that_a_run_will_need(corpus_file: Path, tmp_path: Path) -> None:
    """By hand: trunk and decays of one model, experts of K; 12 bytes a parameter for each mark, each regular one up to
    keep_last, and once more for the one to resume from."""
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": 0.5}
    tree.pop("sweep")
    tree["data"]["domains"] = {"method": "label", "k": 3}
    config, cell = from_dict(tree), Cell(from_dict(tree).model, 10, 5)
    phases = grow([cell], config.train.decay_share)
    one = 12 * n_params_total(config.model, 300)
    marks = sum(phase.stack_size(3) * len({*phase.save_at, phase.stop}) for phase in phases)
    assert disk_of(phases, config, 3, 300) == one * (marks + 3)
    step = Clock.of(config, 3).tokens_per_step
    keeping = from_dict(tree | {"train": tree["train"] | {"keep_every": step, "keep_last": 2}})
    regular = sum(phase.stack_size(3) * min(2, phase.stop - phase.start) for phase in phases)
    assert disk_of(phases, keeping, 3, 300) == one * (marks + regular + 3)
    found = pricing.price(config, "v5e:2x2", analytic=True)
    assert found.to_json()["disk_bytes"] > 0
    assert f"Checkpoints take {found.disk_bytes / 1e6:.1f} MB on disk" in str(pricing.tables(found, config)[0].caption)


def test_every_seed_of_the_main_run_is_paid_for(corpus_file: Path, tmp_path: Path) -> None:
    """Three seeds cost three times one, but for the sweep; what a command tells of the main run counts them all."""
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": 0.25}
    tree["data"]["domains"] = {"method": "label", "k": 3}
    once, thrice = (from_dict(tree | {"train": tree["train"] | {"seeds": seeds}}) for seeds in (1, 3))
    of_one, of_three = ({part.name: part for part in pricing.price(config, "v5e:2x2", analytic=True).parts}
                        for config in (once, thrice))
    for name in ("seed", "experts", "baselines"):
        assert of_three[name].tokens == 3 * of_one[name].tokens > 0
        assert of_three[name].device_hours == pytest.approx(3 * of_one[name].device_hours)
    assert of_three["sweep"] == of_one["sweep"]
    assert "3 training seeds" in str(pricing.tables(pricing.price(thrice, "v5e:2x2", analytic=True), thrice)[0].title)
    one, three = (Job(config, RunFolder(config.folder), Reporter()) for config in (once, thrice))
    told = sweep_list(three)
    assert "main" not in sweep_list(one)
    trained = sum(of_three[name].tokens for name in ("seed", "experts", "baselines"))
    assert told["main"] | {"flops": 0} == {"seeds": 3, "models": 3, "tokens": trained, "flops": 0}
    per_token = flops_per_token(once.model, once.data.tokenizer.vocab_size, once.train.seq_len)
    assert told["main"]["flops"] == pytest.approx(trained * per_token)
    assert "the main run trains 3 models with each of 3 seeds" in str(list(sweep_tables(told))[-1].title)


def test_time_and_disk_count_every_seed(corpus_file: Path, tmp_path: Path) -> None:
    tree = tiny_tree(corpus_file, tmp_path / "run") | {"split": 0.25, "sweep": None}
    stages.prepare(from_dict(tree))
    one, three = (
        Job(config, RunFolder(config.folder), Reporter())
        for config in (from_dict(tree | {"train": tree["train"] | {"seeds": seeds}}) for seeds in (1, 3))
    )
    load = whole_work(one)
    assert whole_work(three) == Load(pytest.approx(3 * load.work), 3 * load.starts, load.programs)
    assert rest_of(three)["evaluate"].work == pytest.approx(3 * rest_of(one)["evaluate"].work)
    cells = main_cells(three.config, three.clock, 0.25)
    tokens = format_count(3 * tokens_trained(one.phases(cells.values()), 3, three.clock.tokens_per_step))
    assert f"3 models with each of 3 seeds: {tokens} tokens, " in seeds_note(three, cells)
