"""`splitjax compile` and `splitjax plan --topology`: every option, and one real compilation for four chips."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from splitjax.cli import main
from splitjax.parallel import has_compiler
from splitjax.planning import compiled_step

TINY = """
name: tiny
data: {sources: [{type: phonebook}], tokenizer: {vocab_size: 512}, domains: {k: 4}}
model: {d_model: 128, n_layers: 3, n_heads: 1, d_ff: 256}
train: {seq_len: 128, batch_size: 4, precision: bfloat16, layers: scan, remat: full}
budget: {tokens: 20x}
split: 0.5
"""


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return str(path)


def said(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    assert main([*words, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


@pytest.mark.skipif(not has_compiler(), reason="libtpu is not installed (pip install splitjax[tpu])")
def test_a_step_is_compiled_for_four_chips_once(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """FLOPs are counted to the last product; the estimate of the rest is near."""
    monkeypatch.setenv("SPLITJAX_CACHE", str(tmp_path / "cache"))
    found = said(capsys, "compile", tiny, "--topology", "v5e:2x2", "data.domains.k=2")
    guess = said(capsys, "compile", tiny, "--topology", "v5e:2x2", "data.domains.k=2", "--estimate")
    assert (found["source"], guess["source"]) == ("compiled", "estimate")
    assert found["fits"]
    assert found["mesh"] == {"expert": 2, "data": 1, "fsdp": 2, "tensor": 1}
    assert found["collectives"].keys() == {"fsdp"}, "nothing crosses the expert axis"
    assert found["kernels"] == guess["kernels"] == 3 * 4, "splash attention is in the program"
    assert found["executed_flops"] == pytest.approx(guess["executed_flops"], rel=1e-6)
    assert found["flops"] == guess["flops"] < found["executed_flops"]
    assert found["bytes_moved"] > 0
    assert 0 < found["mfu"] < 1
    assert found["step_time"] > 0

    def again(*words: str) -> dict:
        return said(capsys, "compile", tiny, "--topology", "v5e:2x2", "data.domains.k=2", *words)

    def compiler(*anything: object) -> None:
        raise RuntimeError("compiled again")

    monkeypatch.setattr(compiled_step, "compile_to_text", compiler)
    assert again() == found
    with pytest.raises(RuntimeError, match="compiled again"):
        again("train.batch_size=8")
    for remembered in (tmp_path / "cache").rglob("*.json"):
        remembered.write_text("{}")
    with pytest.raises(RuntimeError, match="compiled again"):
        again()


def test_the_table_says_what_fits_and_why(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compile", tiny, "--topology", "v5e:2x2", "--estimate"]) == 0
    out = capsys.readouterr().out
    for words in ("expert 4", "fits", "predicted MFU", "91% of the chip's published peaks", "async_gather"):
        assert words in out


def test_the_experts_are_those_of_the_run_unless_said(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("compile", tiny, "--topology", "v5e:2x2", "--estimate")
    assert said(capsys, *words)["experts"] == 4
    seed = said(capsys, *words, "--experts", "1")
    assert (seed["experts"], seed["mesh"]["expert"]) == (1, 1)
    assert main([*words, "data.domains.k=null"]) == 2
    assert "Give --experts" in capsys.readouterr().err


def test_a_topology_decides_room_and_time(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    small = said(capsys, "compile", tiny, "--topology", "v5e:2x2", "--estimate")
    large = said(capsys, "compile", tiny, "--topology", "8xv6e:2x2", "--estimate", "train.batch_size=8")
    gpus = said(capsys, "compile", tiny, "--topology", "h100:8", "--estimate")
    assert (small["devices"], large["devices"], gpus["devices"]) == (4, 32, 8)
    assert gpus["kernels"] == 0
    assert main(["compile", tiny, "--topology", "h100:8"]) == 2
    assert "--estimate" in capsys.readouterr().err
    assert not said(capsys, "compile", tiny, "--topology", "v5e:2x2", "--estimate", "model=7B")["fits"]


def test_a_search_ranks_layouts(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("compile", tiny, "--topology", "v5e:4x4", "--experts", "1", "--estimate")
    found = said(capsys, *words, "--search", "model=1.3B", "train.seq_len=4096")
    rows = found["layouts"]
    assert {row["remat"] for row in rows} == {"none", "dots_no_batch", "full"}
    assert len({str(row["mesh"]) for row in rows}) > 3
    assert len({row["batch_size"] for row in rows}) > 3
    assert all(row["fits"] for row in rows)
    assert found["tokens_per_s"] > max(row["tokens_per_s"] for row in rows) / 1.03
    assert main([*words, "--search", "model=7B", "train.seq_len=131072"]) == 2
    assert "fit in no layout" in capsys.readouterr().err


def test_plan_prices_a_run_without_data_or_devices(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("plan", tiny, "--topology", "v5e:2x2", "--estimate")
    found = said(capsys, *words)
    parts = {part["name"]: part for part in found["parts"]}
    assert parts.keys() == {"seed", "experts", "baselines"}
    assert parts["seed"]["step"]["experts"] == 1
    assert parts["experts"]["step"]["experts"] == 4
    assert parts["seed"]["tokens"] == pytest.approx(parts["experts"]["tokens"], rel=0.02), "split: 0.5"
    for part in parts.values():
        assert part["device_hours"] == pytest.approx(part["wall_s"] * 4 / 3600)
    assert found["source"] == "estimate"
    assert found["stacked_fits"] > 4
    assert (found["placement"], parts["experts"]["placement"], found["other"]["placement"]) == (
        "stacked", "stacked", "serial",
    )
    assert found["other"]["tokens"] == parts["experts"]["tokens"]
    assert said(capsys, *words, "split=0.25")["parts"][0]["tokens"] < parts["seed"]["tokens"]
    assert main(words) == 0
    assert "device-hours" in capsys.readouterr().out


def test_plan_says_which_placement_fits(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Eight models of 310M on one card of 24 GB: not at once."""
    words = ("plan", tiny, "--topology", "rtx4090:1", "--estimate", "model=310M", "data.domains.k=8")
    found = said(capsys, *words)
    assert found["placement"] == "serial"
    assert 1 <= found["stacked_fits"] < 8
    experts = next(part for part in found["parts"] if part["name"] == "experts")
    assert experts["placement"] == "serial"
    assert experts["step"]["fits"]
    assert found["other"]["placement"] == "stacked"
    assert not found["other"]["step"]["fits"]
    assert main(words) == 0
    assert "set train.placement=serial" in " ".join(capsys.readouterr().out.split())
    assert said(capsys, *words, "model=10M")["placement"] == "stacked"
    assert said(capsys, *words, "model=10M", "train.placement=serial")["placement"] == "serial"


def test_plan_prices_the_sweep_of_the_law(tiny: str, capsys: pytest.CaptureFixture[str]) -> None:
    sweep = "sweep={models: [{d_model: 64, n_layers: 2, n_heads: 1}], d_pretrain: [0, 1M], d_special: [1M]}"
    found = said(capsys, "plan", tiny, "--topology", "v5e:2x2", "--estimate", sweep)
    assert found["parts"][-1]["name"] == "sweep"
    assert 0 < found["sweep_share"] < 1


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["plan", "TINY", "--estimate"], "--estimate without --topology"),
        (["plan", "--law", "law.json", "--topology", "v5e:2x2"], "not with --law"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    words: list[str], error: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([tiny if word == "TINY" else word for word in words]) == 2
    assert error in capsys.readouterr().err
