"""Text that came with data is shown and not obeyed: in terminals, on pages, on cards; JSON on stdout is JSON alone."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table

from splitjax import cli
from splitjax.cli import common
from splitjax.config import UserError, shown, to_yaml, write_json
from splitjax.reporting import rendering
from splitjax.reporting.rendering import code
from splitjax.runs.reporter import Reporter, Screen

EVIL = "[/b] [red]x \x1b[2J\x1b]0;title\x07 \r \u202e \ud800 \x9b :smile:"
SPELT = r"[/b] [red]x \x1b[2J\x1b]0;title\x07 \r \u202e \ud800 \x9b :smile:"


@given(st.text())
@example(EVIL)
def test_nothing_that_a_terminal_obeys_is_left(text: str) -> None:
    for lines in (True, False):
        found = shown(text, lines=lines)
        kinds = {unicodedata.category(letter) for letter in found}
        assert kinds & {"Cc", "Cs", "Zl", "Zp"} <= ({"Cc"} if lines else set())
        assert set(re.findall(r"[\x00-\x1f]", found)) <= ({"\n", "\t"} if lines else set())
        found.encode()
    if text.isprintable():
        assert shown(text) == text


def test_a_table_and_a_line_show_markup_and_escapes_as_they_are() -> None:
    out = io.StringIO()
    screen = Screen(file=out, width=200, force_terminal=True)
    table = Table(title=EVIL)
    table.add_column(EVIL)
    table.add_row(EVIL)
    screen.print(table)
    screen.print(EVIL, style="bold")
    plain = re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue())  # the styles are ours
    assert plain.count(SPELT) == 4
    assert set(re.findall(r"[\x00-\x1f\x7f-\x9f]", plain)) == {"\n"}


@pytest.mark.parametrize("make", [Console, Screen])
def test_progress_shows_them_too(make: type[Console]) -> None:
    out = io.StringIO()
    with Reporter(make(file=out, width=300)) as told:
        told.stage("prepare", EVIL)
        told.say(EVIL, "dim")
        told.finish(EVIL)
    assert out.getvalue().count(SPELT) == 3
    assert "\x1b" not in out.getvalue()


class _Gone(io.StringIO):
    def write(self, text: str) -> int:
        raise BrokenPipeError

    def flush(self) -> None:
        raise BrokenPipeError


@pytest.mark.parametrize("terminal", [True, False])
def test_a_run_whose_listener_goes_away_goes_on(terminal: bool) -> None:
    reporter = Reporter(Screen(file=_Gone(), force_terminal=terminal))
    reporter.say("lost")
    with reporter as told:
        told.stage("train")
        told.finish("done")


def test_an_error_is_one_line_that_a_terminal_can_show() -> None:
    told = str(UserError("no 'a\x1b[2Jb'", where="x\ry\n", mend="\ud800"))
    assert told == r"x y : no 'a\x1b[2Jb'. \ud800"


def test_a_page_and_a_card_show_them() -> None:
    """As every place of every template is filled."""
    made = rendering._environment()
    card = made.from_string("{{ name }}").render(name=EVIL)
    page = made.overlay(autoescape=True).from_string("{{ name }}").render(name=EVIL + "<script>")
    assert card == SPELT
    assert page == SPELT + "&lt;script&gt;"
    assert code("a\x1b`|\r\nb") == r"`a\x1b'/\r b`"


def test_half_a_surrogate_in_a_record_is_written_as_json_spells_it(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"é\ud800": "\ud800"})
    assert json.loads((tmp_path / "x.json").read_text("utf-8")) == {"é\ud800": "\ud800"}


@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_json_is_json_on_any_output(monkeypatch: pytest.MonkeyPatch, encoding: str) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding))
    told = {"é": EVIL, "–": ["日本", "\u2028"]}
    common.print_json(told)
    assert json.loads(raw.getvalue().decode(encoding)) == told
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]|\x9b", raw.getvalue().decode(encoding))


@pytest.fixture
def config(tmp_path: Path) -> Path:
    tree = {"data": {"sources": [{"type": "jsonl", "path": "日本.jsonl"}]}, "budget": {"tokens": "1k"}, "split": 0.5}
    (tmp_path / "c.yaml").write_text(to_yaml(tree), encoding="utf-8")
    return tmp_path / "c.yaml"


def run(words: str, config: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A shell line in which $S is the command line."""
    command = f"{sys.executable} -m splitjax"
    return subprocess.run(
        ["bash", "-c", words.replace("$S", command)], capture_output=True, cwd=config.parent,
        env=os.environ | environment,
    )


def test_an_ascii_output_takes_everything(config: Path) -> None:
    plain = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    told = run("$S config c.yaml", config, **plain)
    assert told.returncode == 0
    assert rb"\u65e5\u672c.jsonl" in told.stdout
    told = run("$S config c.yaml --json", config, **plain)
    assert "日本.jsonl" in str(json.loads(told.stdout))


@pytest.mark.parametrize(
    ("words", "code"),
    [("$S config c.yaml >&-", 0), ("$S config c.yaml >&- 2>&- <&-", 0), ("$S config c.yaml --json >&-", 0),
     ("$S config c.yaml >/dev/full", 141), ("$S config c.yaml --json >/dev/full", 141),
     ("set -o pipefail; $S config c.yaml | true", 141), ("$S config none.yaml 2>&-", 2)],
)
def test_an_output_that_is_closed_or_full_is_no_traceback(config: Path, words: str, code: int) -> None:
    done = run(words, config)
    assert (done.returncode, done.stderr) == (code, b"")


def test_what_a_library_prints_does_not_come_before_the_json(config: Path) -> None:
    noisy = (
        "import os, sys; from splitjax import cli; from splitjax.cli import common; tell = common.print_json\n"
        "def told(value): print('library'); os.write(1, b'in C\\n'); tell(value)\n"
        "common.print_json = told; sys.exit(cli.main(['config', 'c.yaml', '--json']))"
    )
    done = run(f"{sys.executable} -c \"{noisy}\"", config)
    assert json.loads(done.stdout)
    assert done.stderr.split() == [b"library", b"in", b"C"] or sorted(done.stderr.split()) == [b"C", b"in", b"library"]


def test_memory_that_is_not_there_is_a_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class JaxRuntimeError(RuntimeError):
        pass

    for error in (MemoryError("Unable to allocate 1 PiB"), JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory\nat …")):
        monkeypatch.setattr(cli, "_dispatch", lambda args, error=error: (_ for _ in ()).throw(error))
        assert cli.main([]) == 2
        said = capsys.readouterr().err.splitlines()
        assert len(said) == 1
        assert said[0].startswith("splitjax: not enough memory (")


def test_json_of_many_answers_is_a_line_each(capsys: pytest.CaptureFixture[str]) -> None:
    for told in ({"text": "a\nb\x1b"}, {"text": "é"}):
        common.print_json(told, line=True)
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [{"text": "a\nb\x1b"}, {"text": "é"}]


@pytest.mark.parametrize("command", ["", *cli.COMMANDS])
def test_help_fits_80_columns(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with contextlib.suppress(SystemExit):
        cli.main([*([command] if command else []), "--help"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 5
    assert not [line for line in lines if len(line) > 80]
