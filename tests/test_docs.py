"""What the README and docs/ say is so: commands parse, keys exist, the pages build, and the cheap commands run."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import random
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import splitjax
from splitjax import cli
from splitjax.config import Config, UserError, load

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
ROOMS = (
    "config", "parallel", "law", "data", "model", "train", "evaluate", "runs", "planning", "scoring", "reporting",
    "serving", "launching", "stages",
)


@dataclass(frozen=True)
class Command:
    """One `splitjax …` of a page."""

    page: str
    line: int
    text: str
    hardware: str
    """What it needs that a test has not; from `<!-- hardware: … -->` before its block."""

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def words(self) -> list[str]:
        return shlex.split(self.text, comments=True)[1:]

    @property
    def is_a_form(self) -> bool:
        """Whether it shows the form of a command: COMMAND, CONFIG.yaml, an ellipsis."""
        return bool(re.search(r"…|\.\.\.|\b[A-Z][A-Z_]{3,}\b", self.text))


def commands_of(page: Path) -> Iterator[Command]:
    """Commands in the fenced blocks of a page; `$ ` before one and a backslash at the end of a line are a shell's."""
    hardware, fenced, block = "", False, ""
    lines = page.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines, 1):
        if line.startswith("```"):
            fenced = not fenced
            hardware = hardware if fenced else ""
        elif not fenced:
            found = re.fullmatch(r"<!-- hardware: (.+) -->", line)
            hardware = found[1] if found else hardware if not line.strip() else ""
        else:
            block = f"{block} {line.strip()}" if block else line.strip().removeprefix("$ ")
            if block.endswith("\\"):
                block = block[:-1].rstrip()
                continue
            if block.startswith("splitjax "):
                yield Command(page.name, number, block, hardware)
            block = ""


COMMANDS = [command for page in PAGES for command in commands_of(page)]
SPANS = [
    Command(page.name, page.read_text(encoding="utf-8")[: found.start()].count("\n") + 1, found[1], "")
    for page in PAGES
    for found in re.finditer(r"(?<!`)`(splitjax [a-z][^`]*)`(?!`)", page.read_text(encoding="utf-8"))
]


def test_there_are_commands_to_check() -> None:
    assert len(COMMANDS) > 20
    assert len({command.page for command in COMMANDS}) > 5


def check(words: list[str], cwd: Path) -> None:
    """Parse a command as the command line would, and load its config with its overrides.

    Raises:
        UserError: it would be refused.
    """
    _, parser = cli.command(words[0])
    args = parser.parse_intermixed_args(words[1:])
    path = getattr(args, "config", None)
    if path and (cwd / path).is_file() and path.endswith(".yaml"):
        load(cwd / path, args.overrides)
    elif getattr(args, "data", None):
        return  # a folder of models that an earlier command makes
    elif path and not path.startswith(("runs/", "REGISTRY")) and not path.endswith(".csv"):
        raise UserError("no such config", where=path)


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_a_command_of_a_block_is_one(command: Command) -> None:
    check(command.words, ROOT)


@pytest.mark.parametrize("command", SPANS, ids=str)
def test_a_command_in_a_sentence_is_one(command: Command) -> None:
    words = " ".join(command.text.split()).split()
    _, parser = cli.command(words[1])
    known = {option for action in parser._actions for option in action.option_strings}
    used = {word.partition("=")[0] for word in words if re.match(r"--[a-z]", word)}
    assert used <= known
    if not command.is_a_form and len(words) > 2:
        check(command.words, ROOT)


@pytest.mark.parametrize(
    "words",
    [
        ["rnu", "configs/demo.yaml"],
        ["run", "configs/nowhere.yaml"],
        ["run", "configs/demo.yaml", "--nonsense"],
        ["run", "configs/demo.yaml", "train.bath_size=3"],
        ["run", "configs/demo.yaml", "train.batch_size=x"],
    ],
)
def test_a_command_that_is_none_is_caught(words: list[str]) -> None:
    with pytest.raises(UserError):
        check(words, ROOT)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_keys_and_functions_that_a_page_names_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    named = set(re.findall(rf"`((?:{'|'.join(Config.model_fields)}|{'|'.join(ROOMS)})(?:\.\w+)+)", text))
    assert not sorted(name for name in named if not (is_key(name) or is_attribute(name) or is_file(name)))


def is_key(name: str) -> bool:
    from splitjax.config.explain import _section

    *section, last = name.split(".")
    found = _section(tuple(section), Config) if section else Config
    return found is not None and last in found.model_fields


def is_attribute(name: str) -> bool:
    """`train.run_expert`: something in a room, or in a module of one."""
    room, *rest = name.split(".")
    if room not in ROOMS:
        return False
    found: object = importlib.import_module(f"splitjax.{room}")
    for index, part in enumerate(rest):
        if not hasattr(found, part):
            try:
                found = importlib.import_module(f"splitjax.{room}.{'.'.join(rest[: index + 1])}")
                continue
            except ImportError:
                return False
        found = getattr(found, part)
    return True


def is_file(name: str) -> bool:
    """`plan.json`, `data/manifest.json`: what a run folder holds."""
    return name.endswith((".json", ".yaml", ".csv", ".py"))


def test_every_public_name_is_what_it_says() -> None:
    """`import splitjax.train` puts the room where a function of that name would be."""
    for room in ROOMS:
        importlib.import_module(f"splitjax.{room}")
    for name in splitjax.__all__:
        assert name == "__version__" or callable(getattr(splitjax, name)), name


@pytest.mark.skipif(importlib.util.find_spec("sphinx") is None, reason="the docs extra is not installed")
def test_the_pages_build_without_a_warning(tmp_path: Path) -> None:
    source = tmp_path / "docs"
    shutil.copytree(ROOT / "docs", source, ignore=shutil.ignore_patterns("_build", "generated"))
    (tmp_path / "splitjax").symlink_to(ROOT / "splitjax")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "-b", "html"]
    done = subprocess.run([*command, source, tmp_path / "html"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    keys = (tmp_path / "html" / "generated" / "config_keys.html").read_text(encoding="utf-8")
    assert "train.batch_size" in keys
    functions = (tmp_path / "html" / "generated" / "python_api.html").read_text(encoding="utf-8")
    assert all(f"splitjax.{name}" in functions for name in splitjax.__all__ if name != "__version__")
    assert "dotted.key=value" in functions, "docstrings are in it"


# What a command of the docs is run with here: the same command, on little text and few tokens.
SMALL = [
    "data.tokenizer.vocab_size=300", "data.validation=0.2", "data.test=0.2", "train.seq_len=32", "train.batch_size=4",
    "train.warmup=256", "budget.tokens=12k", "evaluate.windows=8", "evaluate.prefix=8", "law.bootstrap=10",
    "model={d_model: 16, n_layers: 1, n_heads: 2}",
]
SMALL_SWEEP = [
    "sweep.models=[{d_model: 8, n_layers: 1, n_heads: 2}, {d_model: 12, n_layers: 1, n_heads: 2}, "
    "{d_model: 16, n_layers: 1, n_heads: 2}]",
    "sweep.d_pretrain=[0, 512, 2k]", "sweep.d_special=[0, 512]", "sweep.exclude=[]",
]


@pytest.fixture
def workplace(tmp_path: Path) -> Path:
    """A folder like a checkout in which the demo was run: a corpus, a table of runs, data prepared for demo_quick."""
    folder = tmp_path
    shutil.copytree(ROOT / "configs", folder / "configs")
    (folder / "corpus").mkdir()
    rng = random.Random(0)
    with gzip.open(folder / "corpus" / "docs.jsonl.gz", "wt", encoding="utf-8") as file:
        for number in range(400):
            domain = ("law", "code", "tales")[number % 3]
            text = " ".join(rng.choices([f"{domain}{n}" for n in range(200)], k=120))
            file.write(json.dumps({"text": text, "domain": domain}) + "\n")
    for table, scale in ((folder / "runs.csv", 3e8), (folder / "runs" / "demo" / "observations.csv", 4e4)):
        table.parent.mkdir(parents=True, exist_ok=True)
        table.write_text(runs_about(scale), encoding="utf-8")
    splitjax_in(folder, "prepare", "configs/demo_quick.yaml", *SMALL, *SMALL_SWEEP)
    return folder


def runs_about(scale: float) -> str:
    """A table of runs whose sizes lie about `scale` parameters, at 5 to 80 tokens each."""
    lines = ["n_params,d_pretrain,d_special,loss"]
    for n in (scale / 9, scale / 3, scale, scale * 3):
        for d in (5 * scale, 20 * scale, 80 * scale):
            for special in (scale, 5 * scale, 20 * scale):
                loss = 1.5 + (n / scale) ** -0.35 + ((special + 2 * d * (d / scale) ** -0.1) / scale) ** -0.4
                lines.append(f"{n:.0f},{d:.0f},{special:.0f},{loss:.5f}")
    return "\n".join(lines) + "\n"


def splitjax_in(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "splitjax", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=900)


def shrunk(command: Command) -> list[str]:
    """The words to run: small where a demo's config says what to train; nothing that waits for the end of another."""
    words = [word for word in command.words if word != "--watch"]
    args = cli.command(words[0])[1].parse_intermixed_args(words[1:])
    path = getattr(args, "config", None) or ""
    if words[0] in ("config", "data", "report", "status") or not path.startswith("configs/demo"):
        return words
    own = {override.partition("=")[0] for override in args.overrides}
    extra = SMALL + ([] if "sweep" in own else SMALL_SWEEP)
    dry = ["--dry-run"] if words[0] == "launch" and "--dry-run" not in words else []
    return [*words, *dry, *(each for each in extra if each.partition("=")[0] not in own)]


# Pages whose commands build on one another run in order, in one folder.
@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("page", sorted({command.page for command in COMMANDS}))
def test_the_commands_of_a_page_run(page: str, workplace: Path) -> None:
    for command in COMMANDS:
        if command.page != page or (command.hardware and command.words[0] != "launch"):
            continue
        done = splitjax_in(workplace, *shrunk(command))
        assert done.returncode == 0, f"{command}: {command.text}\n{done.stderr[-2000:]}"
