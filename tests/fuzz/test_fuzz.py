"""No input makes a traceback: every reader takes it, or refuses it in one line (2,000 of each in the slow tests)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from splitjax import cli
from splitjax.config import Data, UserError, hash_json, load, write_record
from splitjax.data import Manifest, sources
from splitjax.law import LawFit, Table, fit
from splitjax.runs.phase_record import read_phase
from splitjax.runs.plan_record import parse_plan
from splitjax.runs.run_folder import FORMAT, RunFolder
from splitjax.train import checkpoint, read_metrics
from splitjax.train.metrics import MetricsLog
from tests.train.helpers import make_trainer
from tools.faults.world import tiny_tree, write_corpus

from . import foreign
from .inputs import as_json, changed, spoiled, trees


@dataclasses.dataclass
class Parser:
    """A reader of files.

    Attributes:
        path: the file it reads.
        valid: what lies there.
        read: reads it, and uses what it read as its callers do.
        kind: "record" (JSON with its own hash), "yaml", or "text".
        command: the words of a command line that reads it, if there is one.
    """

    path: Path
    valid: bytes
    read: Callable[[], object]
    kind: str = "text"
    command: tuple[str, ...] = ()


@pytest.fixture(scope="module")
def parsers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Parser]:
    home = tmp_path_factory.mktemp("fuzz")
    corpus = write_corpus(home / "docs.jsonl", 30)
    found = {"config": _config(home, corpus), "overrides": _overrides(home, corpus), "jsonl": _jsonl(home)}
    found |= {"table of lines": _table_of_lines(home), "parquet": _parquet(home)}
    found |= {"table": _table(home), "law": _law(home), "plan": _plan(home), "stage record": _stage(home)}
    found |= {"phase record": _phase(home), "manifest": _manifest(home)}
    found |= {"checkpoint record": _checkpoint(home), "metrics": _metrics(home)}
    return found | {name: Parser(*made) for name, made in foreign.readers(home).items()}


NAMES = (
    "config", "overrides", "jsonl", "table", "law", "plan", "stage record", "phase record", "manifest",
    "checkpoint record", "metrics", "table of lines", "parquet", "export.json", "router.json", "model config",
    "weights index", "generation config", "tokenizer config", "clusterer", "task yaml", "task items",
    "parquet documents",
)


@pytest.mark.parametrize("name", NAMES)
def test_a_hundred_inputs_are_taken_or_refused(parsers: dict[str, Parser], name: str) -> None:
    _try(parsers[name], 100, _by_reader)


@pytest.mark.slow
@pytest.mark.timeout(3600)  # what is taken loads a model, every time
@pytest.mark.parametrize("name", NAMES)
def test_two_thousand_inputs_are_taken_or_refused(parsers: dict[str, Parser], name: str) -> None:
    _try(parsers[name], 2000, _by_reader)


@pytest.mark.parametrize("name", ["config", "overrides", "table", "law", "plan", "manifest", "router.json"])
def test_fifty_inputs_through_the_command_line(
    parsers: dict[str, Parser], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def by_command(parser: Parser) -> None:
        if _by_reader(parser):
            capsys.readouterr()
            words = parser.command or ("status", str(parser.path), *parser.path.read_text("utf-8").split("\n"))
            assert cli.main(list(words)) == 2
            said = capsys.readouterr().err.splitlines()
            assert len(said) == 1, said
            assert said[0].startswith("splitjax: ")

    _try(parsers[name], 50, by_command)


def _by_reader(parser: Parser) -> bool:
    """Whether the reader refuses the file; anything but a refusal in one line is raised."""
    refusal = ""
    try:
        parser.read()
    except UserError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert len(refusal) < 2000
    return bool(refusal)


def _try(parser: Parser, count: int, check: Callable[[Parser], object]) -> None:
    tree = yaml.safe_load(parser.valid) if parser.kind in ("yaml", "record") else None

    @settings(max_examples=count, database=None, deadline=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def one(data: st.DataObject) -> None:
        ways = ["spoiled", "bytes", "tree"] + ["changed", "changed", "changed"] * (tree is not None)
        way = data.draw(st.sampled_from(ways))
        if way == "changed":
            _write(parser, data.draw(changed(tree)))
        else:
            text = {"spoiled": spoiled(parser.valid), "bytes": st.binary(max_size=60), "tree": trees.map(as_json)}[way]
            parser.path.write_bytes(data.draw(text))
        check(parser)

    try:
        one()
    finally:
        parser.path.write_bytes(parser.valid)


def _write(parser: Parser, tree: Any) -> None:
    """A changed tree; a record gets the hash that fits, as a forger would give it."""
    if parser.kind == "record" and isinstance(tree, dict):
        with contextlib.suppress(UnicodeEncodeError):
            write_record(parser.path, {key: value for key, value in tree.items() if key != "hash"})
            return
    parser.path.write_bytes(as_json(tree))


def _config(home: Path, corpus: Path) -> Parser:
    path = home / "c.yaml"
    text = yaml.safe_dump(tiny_tree(corpus, home / "run")).encode()
    path.write_bytes(text)
    return Parser(path, text, lambda: load(path).resolved(), "yaml", ("run", str(path)))


def _overrides(home: Path, corpus: Path) -> Parser:
    path, lines = home / "base.yaml", home / "overrides"
    path.write_text(yaml.safe_dump(tiny_tree(corpus, home / "run")))
    valid = b"train.batch_size=3\nsweep.models.0.d_model=16\ndata.sources.0.path=x\nsplit=0.5"

    def words() -> list[str]:
        return lines.read_bytes().decode("utf-8", "replace").split("\n")

    lines.write_bytes(valid)
    return Parser(lines, valid, lambda: load(path, words()), "text", _Words(lambda: ("run", str(path), "--", *words())))


class _Words(tuple):
    """A command line that is read anew each time."""

    def __new__(cls, make: Callable[[], tuple[str, ...]]) -> _Words:
        found = super().__new__(cls, ("x",))
        found.make = make
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.make())


def _jsonl(home: Path) -> Parser:
    path = home / "d.jsonl"
    valid = b'{"text": "some words", "domain": "a"}\n{"text": "more", "domain": 3}\n'
    source = Data.model_validate({"sources": [{"type": "jsonl", "path": str(path)}]}).sources[0]
    return Parser(path, valid, lambda: list(sources.read(source, str(path))))


def _rows() -> list[dict[str, float]]:
    rng = np.random.default_rng(0)
    grid = [(n, d, s) for n in (1e5, 1e6, 1e7) for d in (1e6, 1e7, 1e8) for s in (1e5, 1e6)]
    return [
        {"n_params": n, "d_pretrain": d, "d_special": s,
         "loss": 1.5 + 40 / n**0.3 + 90 / (d + 3 * s) ** 0.3 + rng.normal(0, 1e-3)}
        for n, d, s in grid
    ]


def _table(home: Path) -> Parser:
    path, rows = home / "t.csv", _rows()
    lines = [",".join(rows[0])] + [",".join(map(repr, map(float, row.values()))) for row in rows]
    valid = "\n".join(lines).encode()
    return Parser(path, valid, lambda: Table.read(path).hash, "text", ("fit", str(path)))


def _table_of_lines(home: Path) -> Parser:
    path = home / "t.jsonl"
    valid = "".join(json.dumps(row) + "\n" for row in _rows()).encode()
    return Parser(path, valid, lambda: Table.read(path).hash, "text", ("fit", str(path)))


def _parquet(home: Path) -> Parser:
    path = home / "t.parquet"
    parquet.write_table(pa.Table.from_pylist(_rows()), path)
    return Parser(path, path.read_bytes(), lambda: Table.read(path).hash, "text", ("fit", str(path)))


def _law(home: Path) -> Parser:
    path = home / "law.json"
    fit(Table.from_rows(_rows()), family="effective_data", bootstrap=10).save(path)

    def read() -> None:
        law = LawFit.load(path)
        law.summary()
        law.predict(1e6, 1e7, 1e6)

    words = ("plan", "--law", str(path), "--params", "1M", "--tokens", "20M", "--experts", "4")
    return Parser(path, path.read_bytes(), read, "record", words)


def _plan(home: Path) -> Parser:
    folder = RunFolder(home / "planned")
    folder.path.mkdir()
    tree = tiny_tree(home / "docs.jsonl", folder.path)
    folder.config.write_text(yaml.safe_dump(tree))
    plan = {"format": FORMAT, "split_fraction": 0.5, "decision": "explicit", "tokens": 6000, "experts": 3,
            "accounting": "total", "n_params": 100, "d_pretrain": 1, "d_special": 1}
    write_record(folder.plan, plan)
    return Parser(
        folder.plan, folder.plan.read_bytes(), lambda: parse_plan(folder), "record", ("status", str(folder.path))
    )


def _stage(home: Path) -> Parser:
    folder = RunFolder(home / "staged")
    folder.observations.parent.mkdir()
    folder.observations.write_text("a")
    folder.mark_done("sweep", {}, [folder.observations])
    path = folder.path / "done" / "sweep.json"

    def read() -> None:
        folder.is_done("sweep", {})
        folder.hash_of(folder.observations, "sweep")

    return Parser(path, path.read_bytes(), read, "record")


def _phase(home: Path) -> Parser:
    folder = home / "phase"
    write_record(folder / "phase.json", {"format": 3, "identity": "x", "phase": {"parent": None, "ends": []}})
    path = folder / "phase.json"
    return Parser(path, path.read_bytes(), lambda: read_phase(folder), "record")


def _manifest(home: Path) -> Parser:
    from splitjax.data import prepare

    write_corpus(home / "more.jsonl", 120)
    tree = tiny_tree(home / "more.jsonl", home / "shown")
    (home / "shown").mkdir()
    (home / "shown" / "config.yaml").write_text(yaml.safe_dump(tree))
    data = Data.model_validate(tree["data"])
    prepare(data, home / "shown" / "data", seed=0)
    path = home / "shown" / "data" / "manifest.json"

    def read() -> None:
        found = Manifest.load(path.parent)
        found.verify(path.parent)
        found.summary()

    return Parser(path, path.read_bytes(), read, "record", ("data", "show", str(home / "shown"), "--n", "1"))


def _checkpoint(home: Path) -> Parser:
    folder = checkpoint.save(home / "checkpoints", 16, make_trainer().init([0, 1]), {"note": 1})
    path = folder / "checkpoint.json"
    return Parser(path, path.read_bytes(), lambda: checkpoint.restore(folder), "record")


def _metrics(home: Path) -> Parser:
    path = home / "metrics.jsonl"
    with MetricsLog(path, 0, {"experts": 1}) as log:
        for tokens in (10, 20):
            log.write({"tokens": tokens, "loss": [1.0], "skipped": [0]})

    def read() -> None:
        read_metrics(path)
        shutil.copy(path, path.with_name("resumed.jsonl"))
        with MetricsLog(path.with_name("resumed.jsonl"), 10, {}):
            pass

    return Parser(path, path.read_bytes(), read)


def test_the_valid_inputs_are_taken(parsers: dict[str, Parser]) -> None:
    for name, parser in parsers.items():
        parser.path.write_bytes(parser.valid)
        assert not _by_reader(parser) or name == "overrides", name
    assert json.loads(parsers["law"].valid)["hash"] == hash_json(
        {key: value for key, value in json.loads(parsers["law"].valid).items() if key != "hash"}
    )
