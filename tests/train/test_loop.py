from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.train import Interrupted, Phase, checkpoint, loop, path_tokens, pick, read_metrics, run_phase, starts
from splitjax.train.metrics import MetricsLog
from splitjax.train.phase import Speed
from splitjax.train.schedule import schedule

from .helpers import STEP, Batches, FirstTokens, Poisoned, make_trainer, recipe, same_bits

TRUNK = Phase(0, 10 * STEP, save_at=(0, 6 * STEP))


def rows_without_times(folder: Path) -> list[dict]:
    return [{key: value for key, value in row.items() if key != "tokens_per_s"} for row in read_metrics(folder)]


def stop_after(steps: int, number: int = signal.SIGTERM):
    seen = []

    def on_step(report):
        seen.append(report)
        if len(seen) == steps:
            os.kill(os.getpid(), number)

    return on_step


def test_a_phase_trains_saves_and_logs_every_step(trainer, tmp_path):
    heard = []
    stack = run_phase(
        trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path / "trunk", meta={"a": 1}, on_step=heard.append
    )
    assert path_tokens(stack).tolist() == [10 * STEP]
    assert checkpoint.saved(tmp_path / "trunk" / "checkpoints") == [0, 6 * STEP, 10 * STEP]
    rows = read_metrics(tmp_path / "trunk" / "metrics.jsonl")
    assert [row["tokens"] for row in rows] == [report.tokens for report in heard] == [STEP * t for t in range(1, 11)]
    assert [row["rate"][0] for row in rows] == pytest.approx(
        schedule(trainer.train, STEP * (np.arange(10) + 0.5)).tolist()
    )
    _, meta = checkpoint.restore(checkpoint.at(tmp_path / "trunk" / "checkpoints", 6 * STEP))
    assert meta["a"] == 1
    assert (meta["phase"], meta["tokens"]) == ("trunk", 6 * STEP)
    assert meta["train"] == trainer.train.model_dump(mode="json")
    assert meta["lineage"] == {"operation": "init", "seed": 0}


def test_it_learns(trainer, tmp_path):
    class Same(Batches):
        def batch(self, t, rows=None):
            return super().batch(0, rows)

    run_phase(trainer, starts.init(trainer, 0), Same(1), Phase(0, 100 * STEP), tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert rows[-1]["loss"][0] < rows[0]["loss"][0] - 2


def test_a_state_from_elsewhere_on_the_path_is_refused(trainer, tmp_path):
    with pytest.raises(ValueError, match="begins at"):
        run_phase(trainer, starts.init(trainer, 0), Batches(1), Phase(STEP, 2 * STEP), tmp_path)


def test_a_finished_phase_does_nothing_again(trainer, tmp_path):
    first = run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path)

    def never(_):
        raise AssertionError("a finished phase was begun again")

    heard = []
    again = run_phase(trainer, starts.Start(1, never), Batches(1), TRUNK, tmp_path, on_step=heard.append)
    assert same_bits(again, first)
    assert not heard


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_phase_goes_on_bit_for_bit(trainer, tmp_path, number, code):
    handler = signal.getsignal(number)
    whole = run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path / "whole" / "p")
    with pytest.raises(Interrupted) as stopped:
        run_phase(
            trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path / "p", on_step=stop_after(3, number)
        )
    assert stopped.value.exit_code == code
    assert signal.getsignal(number) is handler
    resumed = run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path / "p")
    assert same_bits(resumed, whole)
    assert rows_without_times(tmp_path / "p" / "metrics.jsonl") == rows_without_times(
        tmp_path / "whole" / "p" / "metrics.jsonl"
    )


KILLED = """
    import sys
    sys.path.insert(0, sys.argv[1])
    from pathlib import Path
    from tests.train.helpers import STEP, Batches, make_trainer
    from splitjax.train import Phase, run_phase, starts
    trainer = make_trainer(expert_loop="scan")
    phase = Phase(0, 4000 * STEP, save_at=tuple(range(0, 4000 * STEP, 20 * STEP)))
    print("begun", flush=True)
    run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, Path(sys.argv[2]))
"""


def test_a_killed_phase_goes_on_bit_for_bit(trainer, tmp_path):
    root = str(Path(__file__).parents[2])
    victim = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(KILLED), root, str(tmp_path / "p")], stdout=subprocess.PIPE
    )
    while len(checkpoint.saved(tmp_path / "p" / "checkpoints")) < 3:
        assert victim.poll() is None
        time.sleep(0.02)
    victim.kill()
    victim.wait()
    reached = checkpoint.saved(tmp_path / "p" / "checkpoints")[-1]
    phase = Phase(0, reached + 7 * STEP)
    resumed = run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, tmp_path / "p")
    whole = run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, tmp_path / "whole")
    assert same_bits(resumed, whole)
    assert rows_without_times(tmp_path / "p" / "metrics.jsonl") == rows_without_times(
        tmp_path / "whole" / "metrics.jsonl"
    )


def test_split_and_branch_go_on_where_the_trunk_left_off(trainer, tmp_path):
    run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path / "trunk")
    at = checkpoint.at(tmp_path / "trunk" / "checkpoints", 6 * STEP)
    straight = run_phase(
        trainer, starts.branch(trainer, at), Batches(1), Phase(6 * STEP, 10 * STEP), tmp_path / "branch"
    )
    trunk, _ = checkpoint.restore(checkpoint.at(tmp_path / "trunk" / "checkpoints", 10 * STEP))
    assert same_bits(straight, trunk)  # the same stream, from the trunk's origin
    split = Phase(6 * STEP, 9 * STEP, origin=6 * STEP, decay_from=7 * STEP, decay_to=9 * STEP)
    experts = run_phase(trainer, starts.split(trainer, at, 3), Batches(3), split, tmp_path / "experts")
    assert path_tokens(experts).tolist() == [9 * STEP] * 3
    assert experts.steps_K.tolist() == [9] * 3
    rates = [row["rate"] for row in read_metrics(tmp_path / "experts" / "metrics.jsonl")]
    assert rates[0] == pytest.approx([1e-2] * 3)
    assert rates[1:] == [pytest.approx([7.5e-3] * 3), pytest.approx([2.5e-3] * 3)]


def test_a_split_of_step_zero_and_a_phase_of_no_steps(trainer, tmp_path):
    run_phase(trainer, starts.init(trainer, 0), Batches(1), Phase(0, 0), tmp_path / "seed")
    assert checkpoint.saved(tmp_path / "seed" / "checkpoints") == [0]
    begin = starts.split(trainer, checkpoint.at(tmp_path / "seed" / "checkpoints", 0), 2)
    stack = run_phase(trainer, begin, Batches(2), Phase(0, 2 * STEP), tmp_path / "experts")
    assert path_tokens(stack).tolist() == [2 * STEP] * 2


def test_a_skip_is_logged_and_does_not_stop_the_phase(tmp_path):
    trainer = make_trainer(Poisoned(), expert_loop="scan")
    run_phase(trainer, starts.init(trainer, 0), FirstTokens(1, {(1, 0): 1}), Phase(0, 3 * STEP), tmp_path)
    rows = read_metrics(tmp_path / "metrics.jsonl")
    assert [row["skipped"] for row in rows] == [[0], [1], [1]]
    assert np.isnan(rows[1]["loss"][0])


def test_a_step_is_dispatched_before_the_metrics_of_the_one_before_are_read(trainer, tmp_path, monkeypatch):
    events, step, row = [], trainer.step, loop.row_of
    monkeypatch.setattr(trainer, "step", lambda *given: (events.append("step"), step(*given))[1])
    monkeypatch.setattr(loop, "row_of", lambda *given: (events.append("read"), row(*given))[1])
    run_phase(trainer, starts.init(trainer, 0), Batches(1), Phase(0, 4 * STEP), tmp_path)
    assert events == ["step", "step", "read", "step", "read", "step", "read", "read"]


def test_steps_make_no_implicit_transfer(trainer, tmp_path):
    begin = starts.init(trainer, 0)
    stack, lineage = begin()
    with jax.transfer_guard_host_to_device("disallow"), jax.transfer_guard_device_to_host("disallow"):
        run_phase(trainer, starts.Start(1, lambda _: (stack, lineage)), Batches(1), Phase(0, 5 * STEP), tmp_path)


@pytest.mark.parametrize(
    ("phase", "message"),
    [
        (Phase(0, 10 * STEP + 1), "whole number"),
        (Phase(0, 10 * STEP, save_at=(3,)), "whole number"),
        (Phase(STEP, 0), "backwards"),
        (Phase(0, STEP, origin=STEP), "backwards"),
    ],
)
def test_marks_that_make_no_sense_are_refused(trainer, tmp_path, phase, message):
    with pytest.raises(ValueError, match=message):
        run_phase(trainer, starts.init(trainer, 0), Batches(1), phase, tmp_path / "p")
    assert not (tmp_path / "p").exists()


def test_a_checkpoint_of_another_phase_is_refused(trainer, tmp_path):
    run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path)
    with pytest.raises(UserError, match="outside this phase"):
        run_phase(trainer, starts.init(trainer, 0), Batches(1), Phase(12 * STEP, 14 * STEP), tmp_path)


def test_a_mark_asked_for_later_is_gone_back_for(trainer, tmp_path):
    first = run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path)
    more = Phase(0, 12 * STEP, save_at=(0, 3 * STEP, 6 * STEP, 10 * STEP))
    run_phase(trainer, starts.init(trainer, 0), Batches(1), more, tmp_path)
    assert checkpoint.saved(tmp_path / "checkpoints") == [STEP * t for t in (0, 3, 6, 10, 12)]
    again, _ = checkpoint.restore(checkpoint.at(tmp_path / "checkpoints", 10 * STEP))
    assert same_bits(again, first)
    assert [row["tokens"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [STEP * t for t in range(1, 13)]


def test_experts_end_at_their_own_budgets_and_keep_their_state(trainer, tmp_path):
    seed = checkpoint.save(tmp_path / "seed", 0, trainer.init(0), {})
    stops = tuple(STEP * t for t in (3, 6, 2, 6))
    phase = Phase(0, stops, decay_from=tuple(end // 2 for end in stops), decay_to=stops, save_at=(4 * STEP,))
    begin = starts.split(trainer, seed, 4)
    stack = run_phase(trainer, begin, Batches(4), phase, tmp_path / "all")
    assert path_tokens(stack).tolist() == list(stops)
    for k, stop in enumerate(stops):  # each is what it would be alone
        alone = run_phase(
            trainer, starts.branch(trainer, seed), Batches([k]),
            Phase(0, stop, decay_from=stop // 2, decay_to=stop), tmp_path / f"{k}",
        )
        assert same_bits(pick(stack, [k]), alone)
    rows = read_metrics(tmp_path / "all" / "metrics.jsonl")
    assert [[loss is None for loss in row["loss"]] for row in rows[1:4]] == [
        [False, False, False, False], [False, False, True, False], [True, False, True, False]
    ]
    # Expert 2 idles for a step; when expert 0 ends too, half of the lanes would: they are taken out.
    assert [row["idle"] for row in rows] == [0, 0, 1, 0, 0, 0]
    assert '"event":"repack","lanes":[1,3]' in (tmp_path / "all" / "metrics.jsonl").read_text()
    at_four, _ = checkpoint.restore(checkpoint.at(tmp_path / "all" / "checkpoints", 4 * STEP))
    assert path_tokens(at_four).tolist() == [3 * STEP, 4 * STEP, 2 * STEP, 4 * STEP]


@pytest.mark.parametrize("steps", [1, 3])
def test_a_repacked_phase_resumes_bit_for_bit(trainer, tmp_path, steps):
    seed = checkpoint.save(tmp_path / "seed", 0, trainer.init(0), {})
    phase = Phase(0, tuple(STEP * t for t in (3, 6, 2, 6)))

    def go(folder: str, on_step=None):
        return run_phase(trainer, starts.split(trainer, seed, 4), Batches(4), phase, tmp_path / folder, on_step=on_step)

    with pytest.raises(Interrupted):
        go("p", stop_after(steps))
    assert same_bits(go("p"), go("q"))
    assert rows_without_times(tmp_path / "p" / "metrics.jsonl") == rows_without_times(tmp_path / "q" / "metrics.jsonl")
    events = [(tmp_path / folder / "metrics.jsonl").read_text().count('"repack"') for folder in "pq"]
    assert events == [1, 1]


def test_as_many_ends_as_experts(trainer, tmp_path):
    with pytest.raises(ValueError, match="2 ends for 1 experts"):
        run_phase(trainer, starts.init(trainer, 0), Batches(1), Phase(0, (STEP, STEP)), tmp_path)


def test_a_folder_that_cannot_be_written_is_named(trainer, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="file"):
        run_phase(trainer, starts.init(trainer, 0), Batches(1), Phase(0, STEP), tmp_path / "file" / "p")


def test_a_full_disk_is_told_when_the_log_is_closed(tmp_path):
    log = MetricsLog(tmp_path / "metrics.jsonl", 0, {})
    log._file.close()
    log._file = open("/dev/full", "w")  # noqa: SIM115
    with pytest.raises(UserError, match="No space left"), log:
        log.write({"tokens": 1})


def test_a_damaged_mark_is_made_anew_once_its_folder_is_removed(trainer, tmp_path):
    run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path)
    mark = checkpoint.at(tmp_path / "checkpoints", 6 * STEP)
    before, _ = checkpoint.restore(mark)
    victim = mark / "state" / "params.embedding" / "0.0.0"
    victim.write_bytes(b"\0" * victim.stat().st_size)
    with pytest.raises(UserError, match="Remove this checkpoint's folder"):
        checkpoint.restore(mark)
    shutil.rmtree(mark)
    run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path)
    assert same_bits(checkpoint.restore(mark)[0], before)


def test_the_error_of_a_batch_surfaces(trainer, tmp_path):
    class Broken(Batches):
        def batch(self, t, rows=None):
            if t == 2:
                raise UserError("shard is damaged", where="x")
            return super().batch(t, rows)

    with pytest.raises(UserError, match="damaged"):
        run_phase(trainer, starts.init(trainer, 0), Broken(1), TRUNK, tmp_path)


def test_the_log_is_cut_where_the_phase_resumes(tmp_path):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, 0, {}) as log:
        for tokens in (10, 20, 30):
            log.write({"tokens": tokens, "loss": [float("nan")]})
    with path.open("a") as file:
        file.write('{"tokens": 40, "lo')
    assert [row["tokens"] for row in read_metrics(path)] == [10, 20, 30]
    with MetricsLog(path, 20, {}) as log:
        log.write({"tokens": 25, "loss": [0.0]})
    assert [row["tokens"] for row in read_metrics(path)] == [10, 20, 25]


@pytest.mark.parametrize(
    ("text", "message"),
    [("", "not a splitjax metrics"), ('{"format":"splitjax.metrics","version":9}\n', "version 9"), ("[1]\n", "not a")],
)
def test_a_log_that_cannot_be_read_is_named(tmp_path, text, message):
    (tmp_path / "m.jsonl").write_text(text)
    with pytest.raises(UserError, match=message):
        read_metrics(tmp_path / "m.jsonl")


def test_a_damaged_row_is_refused_by_its_reader_and_dropped_by_name_on_resume(tmp_path, caplog):
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path, 0, {}) as log:
        for tokens in (10, 20, 30):
            log.write({"tokens": tokens, "loss": [1.25]})
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:2], lines[2].replace("1.25", "1.75"), lines[3]]))
    with pytest.raises(UserError, match=r"metrics\.jsonl:3: damaged row"):
        read_metrics(path)
    MetricsLog(path, 30, {}).__exit__(None, None, None)
    assert [row["tokens"] for row in read_metrics(path)] == [10, 30]
    assert f"{path}: damaged rows dropped (lines 3)" in caplog.text
    path.write_text("".join(lines[:3]))  # cut off at the end of a line
    MetricsLog(path, 30, {}).__exit__(None, None, None)
    assert f"{path}: the rows from 20 to 30 tokens are missing" in caplog.text


def test_a_log_damaged_after_the_last_checkpoint_is_told_and_mended(trainer, tmp_path, caplog):
    """The phase has no step left to make."""
    run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path)
    path = tmp_path / "metrics.jsonl"
    whole = path.read_text()
    run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path)
    assert path.read_text() == whole
    lines = whole.splitlines(keepends=True)
    path.write_text("".join([*lines[:4], lines[4][:7]]))
    run_phase(trainer, starts.init(trainer, 0), Batches(1), TRUNK, tmp_path)
    assert path.read_text() == "".join(lines[:4])
    assert f"{path}: the rows from {3 * STEP} to {10 * STEP} tokens are missing" in caplog.text


def test_speed_leaves_out_the_first_step():
    times = iter([100.0, 101.0, 102.0, 104.0])
    speed = Speed(clock=lambda: next(times), window=2)
    assert [speed.after(10) for _ in range(4)] == [0.0, 10.0, 10.0, pytest.approx(20 / 3)]


def test_recipe_of_the_tests_is_valid():
    assert recipe().batch_size * recipe().seq_len == STEP
