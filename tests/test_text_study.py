"""The text study's command: what it reads, what it goes on from, and its figures on a law whose best split is known."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools")]

import text_study  # noqa: E402
from study import picks, verdict  # noqa: E402
from study.hindsight import best_split, regret  # noqa: E402
from study.rows import Rows, Sizes  # noqa: E402
from study.spec import Part, Study, read_spec  # noqa: E402

from splitjax import law  # noqa: E402
from splitjax.config import UserError  # noqa: E402
from splitjax.model import n_params  # noqa: E402
from splitjax.runs.sweeping.observations import rows_of  # noqa: E402
from splitjax.runs.workers.attempts import SweepError  # noqa: E402

NAMES = ("text_study", "text_study_quick")
DOMAINS = {"a": 1.0, "b": 1.2}
TINY = """
name: tiny
data: {sources: [{type: jsonl, path: corpus.jsonl}], tokenizer: {type: bytes}, domains: {k: 2}}
model: {d_model: 64, n_layers: 2, n_heads: 2}
train: {seq_len: 16, batch_size: 4, warmup: 256}
budget: {tokens: 200k}
evaluate: {windows: 4, prefix: 8}
sweep:
  models: [{d_model: 16, n_layers: 2, n_heads: 2}, {d_model: 24, n_layers: 2, n_heads: 2},
           {d_model: 40, n_layers: 2, n_heads: 2}]
  d_pretrain: [0, 4k, 16k, 64k]
  d_special: [0, 4k, 16k, 64k]
law: {bootstrap: 20, families: [effective_data]}
"""
SETTINGS = """
laws: {all: []}
settings:
  total: {law: all, accounting: total, tokens: 300k, seeds: [0, 1]}
  per_model: {law: all, accounting: per_model, tokens: 300k}
fractions: [0, 0.2, 0.5, 0.8, 1]
larger: {d_model: 96, n_layers: 2, n_heads: 2}
"""


def loss(size: float, d: float, s: float, scale: float) -> float:
    """effective_data with known parameters."""
    return 1.5 + 40 * size**-0.4 + scale * 60 / (s + 2.0 * d**0.85) ** 0.33


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "tiny.yaml").write_text(TINY)
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def study(place: Path) -> Study:
    return Study("tiny.yaml", [], read_spec(place / "settings.yaml"))


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study that was measured by the known law: its rows, and the picks made on the way."""
    folder = tmp_path_factory.mktemp("kept")
    (folder / "tiny.yaml").write_text(TINY)
    (folder / "settings.yaml").write_text(SETTINGS)
    complete(Study(str(folder / "tiny.yaml"), [f"run_dir={folder}/run"], read_spec(folder / "settings.yaml")), folder)
    return folder


def measured(part: Part, rows: Rows) -> None:
    """Rows of a part as training would give them, by the known law; seeds differ by their own shift."""
    quantum, found = part.clock.tokens_per_step, []
    for cell in part.cells:
        d, s = cell.pretrain * quantum, cell.special * quantum
        size, shift = n_params(cell.model), 0.01 * (cell.seed or 0)
        losses = {name: loss(size, d, s, scale) + shift for name, scale in DOMAINS.items()}
        found += rows_of(cell, losses, tokens_per_step=quantum, sizes=dict.fromkeys(DOMAINS, 10**7), vocab_size=257,
                         seed=cell.seed or 0)
    rows.replace(part.name, [{key: str(value) for key, value in row.items()} for row in found])


def complete(study: Study, folder: Path) -> None:
    rows = Rows()
    measured(study.law_part("all"), rows)
    told = picks.pick(study, "all", rows, folder)["settings"]
    for part in study.parts({name: each["split_fraction"] for name, each in told.items()}):
        measured(part, rows)
    rows.write(folder / "observations.csv")


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_settings_lie_beyond_what_is_fitted(name: str) -> None:
    study = Study(f"{ROOT}/configs/{name}.yaml", [], read_spec(ROOT / "docs" / "study" / name / "settings.yaml"))
    assert len(study.spec.settings) >= 4
    assert {setting.accounting for setting in study.spec.settings.values()} == {"total", "per_model"}
    for setting in study.spec.settings.values():
        part = study.law_part(setting.law)
        longest = max(cell.path for cell in part.cells) * part.clock.tokens_per_step
        assert int(setting.tokens) >= 2 * longest
        assert n_params(study.base.model) >= 2 * max(n_params(cell.model) for cell in part.cells)


def test_the_laws_of_the_blind_study_see_the_paths_of_their_settings() -> None:
    """D and D' of every split lie within the law's, at half of N or less, under the same accounting."""
    folder = ROOT / "docs" / "study" / "text_study_blind"
    study = Study(f"{ROOT}/configs/text_study_blind.yaml", [], read_spec(folder / "settings.yaml"))
    assert {setting.accounting for setting in study.spec.settings.values()} == {"total", "per_model"}
    for name, setting in study.spec.settings.items():
        part, asked = study.law_part(setting.law), study.setting_part(name, None)
        assert (part.clock, len(setting.seeds)) == (asked.clock, 2)
        for axis in ("pretrain", "special"):
            assert max(getattr(cell, axis) for cell in part.cells) == max(getattr(cell, axis) for cell in asked.cells)
        assert {cell.model for cell in asked.cells} == {study.model_of(name)}
        assert n_params(study.model_of(name)) >= 2 * max(n_params(cell.model) for cell in part.cells)


def test_a_law_that_is_right_passes_every_test(study: Study, kept: Path) -> None:
    rows = Rows.read(kept / "observations.csv")
    told = picks.pick(study, "all", rows, kept)["settings"]
    found = {name: verdict.curves(study, name, rows, told[name]) for name in study.spec.settings}
    assert all(found.values())
    for name, each in verdict.trials(study, found, told).items():  # type: ignore[arg-type]
        assert each.regret < 1e-3, name
        assert each.contained, name
    assert all(each.error < 2e-3 for each in found.values() if each)
    assert found["total"] is not None
    assert found["total"].measured.noise == pytest.approx(0, abs=1e-9)  # a whole seed's shift is no noise
    text = verdict.rival_table(study, found, told, rows)  # type: ignore[arg-type]
    assert "N = 221,856, " in text, "the larger dense model at equal FLOPs"


def test_a_setting_has_a_size_and_other_rules_of_its_own(place: Path, kept: Path) -> None:
    """Another rule's split is trained and judged; the size is that of the picks, the cells and the rivals."""
    asked = yaml.safe_load(SETTINGS)
    larger, smaller = ({"d_model": width, "n_layers": 2, "n_heads": 2} for width in (80, 48))
    asked["settings"]["total"] |= {"model": larger, "also": {"old": 0.9}}
    asked["settings"]["per_model"] |= {"model": smaller}
    (place / "settings.yaml").write_text(json.dumps(asked | {"fractions": [0, 0.2, 0.35, 0.5, 0.8, 1]}))
    study, rows = Study("tiny.yaml", [], read_spec(place / "settings.yaml")), Rows.read(kept / "observations.csv")
    told = picks.pick(study, "all", rows, place)["settings"]
    sizes = {name: n_params(study.model_of(name)) for name in told}
    assert sizes["total"] > n_params(study.base.model) > sizes["per_model"]
    assert {name: each["n_params"] for name, each in told.items()} == sizes
    assert study.rivals("per_model", 0.4)[0][0] == study.model_of("per_model")
    for name in told:
        measured(study.setting_part(name, told[name]["split_fraction"]), rows)
    found = {name: verdict.curves(study, name, rows, told[name]) for name in told}
    one = found["total"]
    assert one is not None
    assert one.measured.has(0.9)
    assert not found["per_model"].measured.has(0.9)  # type: ignore[union-attr]
    assert {int(row["n_params"]) for row in rows.of("total")} == {sizes["total"]}
    text = verdict.rule_table(study, found, told)  # type: ignore[arg-type]
    lines = {line.split(" | ")[0].removeprefix("| "): line for line in text.splitlines()}
    assert f"| {100 * one.measured.regret(0.9):.2f} % (90 %) |" in lines["total"]
    assert f"{100 * one.measured.regret(0.35):.2f} % (35 %)" in lines["total"]
    assert lines["per_model"].endswith("| – |"), "no other rule is named there"
    assert f"{100 * one.measured.regret(0.9):.2f} %" in lines["most"]


def test_hindsight_finds_the_split_of_a_family(study: Study, kept: Path) -> None:
    rows = Rows.read(kept / "observations.csv")
    told = picks.pick(study, "all", rows, kept)["settings"]
    fitted = law.LawFit.load(kept / "run" / "law.all.json")
    for name in study.spec.settings:
        split = best_split(study, name, fitted, "effective_data")
        assert split == pytest.approx(told[name]["split_fraction"], abs=0.003)
        curves = verdict.curves(study, name, rows, told[name])
        assert curves is not None
        assert regret(curves, split) < 1e-3
        assert regret(curves, 0.9) > 0.01


def test_rivals_cost_what_the_planned_experts_cost(study: Study) -> None:
    from splitjax.model import flops_per_token

    (same, tokens), (larger, fewer) = study.rivals("per_model", 0.4)
    assert tokens == pytest.approx(0.4 * 3e5 + 2 * 0.6 * 3e5, rel=0.01)
    assert same == study.base.model
    costs = [flops_per_token(model, 4096, 16) * count for model, count in ((same, tokens), (larger, fewer))]
    assert costs[0] == pytest.approx(costs[1], rel=1e-3)
    assert [model for model, _ in study.rivals("total", 0.4)] == [larger], "dense is a split of the setting's own"


def test_it_goes_on_from_a_table_and_trains_nothing_that_has_rows(
    place: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tiny.yaml", "--settings", "settings.yaml", "--from", str(kept / "observations.csv"), "--out", "again"]
    assert text_study.main(words) == 0
    told = capsys.readouterr().out
    assert "regret" in told
    assert "to train" not in told
    assert not (place / "runs").exists(), "a law was fitted or a model trained anew"
    assert (place / "again" / "curves.png").stat().st_size > 1000
    assert (place / "again" / "picks.all.json").read_bytes() == (kept / "picks.all.json").read_bytes()


def test_a_part_that_lacks_a_row_is_trained_again(study: Study, kept: Path) -> None:
    rows = Rows.read(kept / "observations.csv")
    every = [row for name in ("all", "total", "per_model", "against-all") for row in rows.of(name)]
    short = Rows([row for row in every if row is not rows.of("total")[0]])
    split = {name: each["split_fraction"] for name, each in picks.pick(study, "all", rows, kept)["settings"].items()}
    assert [part.name for part in study.parts(split) if not short.has(part)] == ["total"]
    assert all(rows.has(part) for part in study.parts(split))


def test_picks_are_made_once(study: Study, place: Path, kept: Path) -> None:
    rows = Rows.read(kept / "observations.csv")
    shutil.copy(kept / "picks.all.json", place)
    assert picks.pick(study, "all", rows, place)["hash"] == json.loads((kept / "picks.all.json").read_bytes())["hash"]
    changed = rows.of("all")
    changed[0] = changed[0] | {"loss": "9.9"}
    rows.replace("all", changed)
    with pytest.raises(UserError, match="rows changed since the law picked"):
        picks.pick(study, "all", rows, place)
    other = yaml.safe_load(SETTINGS)
    other["settings"]["total"]["tokens"] = "400k"
    (place / "settings.yaml").write_text(json.dumps(other))
    study, rows = Study("tiny.yaml", [], read_spec(place / "settings.yaml")), Rows.read(kept / "observations.csv")
    with pytest.raises(UserError, match="settings changed since the law picked"):
        picks.pick(study, "all", rows, place)


def test_a_setting_waits_for_its_law(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert text_study.main(["tiny.yaml", "--settings", "settings.yaml", "--part", "total"]) == 2
    assert "total waits for the picks of the law all" in capsys.readouterr().err
    assert not (place / "runs").exists()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"settings": {"x": {"law": "none", "accounting": "total", "tokens": "1k"}}}, "there is no law 'none'"),
        ({"fractions": [0, 0.5, 1]}, "0.8 and 1 are the rivals"),
        ({"settings": {"all": {"law": "all", "accounting": "total", "tokens": "1k"}}}, "no two alike"),
        ({"fraction": [0]}, "fraction"),
    ],
)
def test_settings_that_do_not_fit_are_refused(place: Path, change: dict[str, Any], words: str) -> None:
    (place / "settings.yaml").write_text(json.dumps(yaml.safe_load(SETTINGS) | change))
    with pytest.raises(UserError, match=words):
        read_spec(place / "settings.yaml")


def test_a_table_that_is_not_the_studys_is_refused(place: Path) -> None:
    (place / "x.csv").write_text("n_params,loss\n1,2\n")
    with pytest.raises(UserError, match="not the table of a study"):
        Rows.read(place / "x.csv")
    with pytest.raises(UserError, match="no table"):
        Rows.read(place / "none.csv")


def test_every_option_is_shown() -> None:
    done = subprocess.run([sys.executable, "tools/text_study.py", "--help"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0
    shown = set(done.stdout.replace("]", " ").split())
    assert {"--from", "--part", "--out", "--jobs", "--dry-run", "--hindsight", "--settings"} <= shown


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_whole_of_a_tiny_study(place: Path) -> None:
    rng = np.random.default_rng(0)
    with open("corpus.jsonl", "w", encoding="utf-8") as file:
        for number in range(1200):
            letters = "abcdef" if number % 2 else "uvwxyz"
            text = "".join(rng.choice(list(letters), 400))
            file.write(json.dumps({"text": text, "domain": "ab"[number % 2]}) + "\n")
    words = [sys.executable, str(ROOT / "tools" / "text_study.py"), "tiny.yaml", "--settings", "settings.yaml"]
    first = subprocess.run([*words, "--part", "all", "--dry-run"], capture_output=True, text=True)
    assert first.returncode == 0, first.stderr
    assert "to train" in first.stdout
    assert not Path("runs/tiny/observations.csv").exists()
    whole = subprocess.run([*words, "--jobs", "2"], capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    assert "gain of the best over dense" in whole.stdout
    shutil.rmtree("runs/tiny/all")
    again = subprocess.run([*words], capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert not Path("runs/tiny/all").exists(), "what has rows was trained again"


def test_cells_that_failed_are_one_line(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def failed(args: object) -> None:
        raise SweepError("2 of 3 cells failed: no room")

    monkeypatch.setattr(text_study, "_run", failed)
    assert text_study.main(["tiny.yaml", "--settings", "settings.yaml"]) == 1
    assert capsys.readouterr().err == "text_study: 2 of 3 cells failed: no room\n"


def test_an_ablation_weighs_domains_by_their_text(study: Study, place: Path) -> None:
    """Clusters of another K are other text: only a mean by text compares them."""
    sizes = Sizes(place / "sizes.json")
    assert sizes.of("all") == {}
    sizes.put("all", {"a": 300, "b": 100})
    sizes.put("other", {"c": 1})
    assert Sizes(place / "sizes.json").of("all") == {"a": 300, "b": 100}
    part, kept = study.setting_part("total", 0.5), Rows()
    measured(part, kept)
    by_domain = [verdict.measured_of(part, kept, {"a": a, "b": 1 - a}).mean for a in (1, 0)]
    weighted, plain = verdict.measured_of(part, kept, sizes.of("all")).mean, verdict.measured_of(part, kept).mean
    assert weighted == pytest.approx(0.75 * by_domain[0] + 0.25 * by_domain[1])
    assert plain == pytest.approx((by_domain[0] + by_domain[1]) / 2)
    assert (weighted < plain).all()
    (place / "sizes.json").write_text("{")
    with pytest.raises(UserError, match=r"sizes\.json: cannot be read"):
        sizes.of("all")
