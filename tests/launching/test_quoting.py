"""Every word reaches the program that reads it as that very word; values of variables stand in no script."""

from __future__ import annotations

import base64
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from splitjax import launching
from splitjax.config import UserError, control_character, from_dict
from splitjax.launching import Options, Request, shell
from splitjax.launching.gke import config_map, job_set
from splitjax.launching.quoting import Raw, quote
from splitjax.launching.slurm import batch

from .test_tpu_vm import program

words = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12) | st.sampled_from(
    ["a b", "%j", "'", '"', "$HOME", "$(id)", "`id`", "\\", "#x", "a;b", "*", "~", "@TASK@", "@K@", "$$", "-n", "x\\ y"]
)
plain = words.filter(lambda word: control_character(word) is None)
SECRET = "s3cr3t $HOME '\"\\ `id`"


@settings(max_examples=60, deadline=None)
@given(st.lists(plain, min_size=1, max_size=6))
def test_bash_gives_each_word_back(given_words: list[str]) -> None:
    done = subprocess.run(["bash", "-c", f"printf '%s\\0' {shell.line(given_words)}"], capture_output=True, check=True)
    assert done.stdout.decode().split("\0")[:-1] == given_words


@given(words)
def test_what_would_end_a_line_is_refused_and_nothing_else(word: str) -> None:
    if control_character(word) is None:
        quote(word)
        return
    with pytest.raises(UserError, match="which no name may"):
        quote(word)


def sbatch_words(line: str) -> list[str]:
    """As `_get_argument` of Slurm's src/sbatch/opt.c reads the rest of a line of #SBATCH."""
    found: list[str] = []
    word, quoted, inside, escaped = "", "", False, False
    for letter in line:
        if escaped:
            word, inside, escaped = word + letter, True, False
        elif letter == "\\":
            escaped = True
        elif quoted:
            word, quoted = (word, "") if letter == quoted else (word + letter, quoted)
        elif letter in "'\"":
            quoted, inside = letter, True
        elif letter == "#":
            break
        elif letter.isspace():
            found, word, inside = [*found, word] if inside else found, "", False
        else:
            word, inside = word + letter, True
    return [*found, word] if inside else found


@given(plain)
def test_sbatch_reads_one_word_and_no_pattern(word: str) -> None:
    assert sbatch_words(f"--comment={quote(word, 'sbatch')} --x") == [f"--comment={word}", "--x"]
    (path,) = sbatch_words(f"--output={quote(word, 'sbatch path')}")
    assert re.sub(r"%(.)", lambda found: "%" if found[1] == "%" else "PATTERN", path) == f"--output={word}"


@given(plain)
def test_a_pod_expands_nothing(word: str) -> None:
    """$$ is a dollar, $(NAME) a variable, any other dollar itself."""
    read = re.sub(r"\$(\$|\([^)]*\))", lambda found: "$" if found[1] == "$" else "VALUE", quote(word, "kubernetes"))
    assert read == word


@settings(max_examples=40, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=30), override=plain)
@example(text="a: |\n  b\t \n\x85 \u2028", override="a.b=$(id) #")
def test_a_manifest_holds_the_config_and_the_words(
    tmp_path_factory: pytest.TempPathFactory, text: str, override: str
) -> None:
    path = tmp_path_factory.mktemp("m") / "c.yaml"
    path.write_text(text, encoding="utf-8", newline="")
    request = ask(path, override, topology="v5e:2x2", image="i", bucket="b")
    from splitjax.launching.gke import _yaml

    assert yaml.safe_load(_yaml(config_map(request)))["data"]["config.yaml"] == path.read_text(encoding="utf-8")
    container = job_set(request)["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]
    assert yaml.safe_load(_yaml(container))["command"][-1] == override.replace("$", "$$")


def ask(path: Path, override: str = "a=b", run_dir: str = "/runs/x", **options: object) -> Request:
    tree = {"data": {"sources": [{"type": "phonebook"}]}, "budget": {"tokens": 1000}, "split": 0.5, "run_dir": run_dir}
    return Request(str(path), (override,), from_dict(tree), Options(**options))  # type: ignore[arg-type]


@settings(max_examples=30, deadline=None)
@given(name=plain.filter(lambda name: "/" not in name))
def test_a_run_dir_of_any_name_stays_one_word_of_a_batch_script(name: str) -> None:
    text = batch(ask(Path("c.yaml"), run_dir=f"/runs/{name}"), "run")
    output = next(line for line in text.splitlines() if line.startswith("#SBATCH --output="))
    (path,) = sbatch_words(output.removeprefix("#SBATCH "))
    assert path.replace("%%", "%") == f"--output=/runs/{name}/logs/slurm-%j.log"
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_a_raw_piece_stays_and_marks_in_names_are_names() -> None:
    assert shell.line(["echo", Raw("$k"), "@K@"]) == "echo $k @K@"
    request = ask(Path("@K@ @TASK@.yaml"))
    assert "'@K@ @TASK@.yaml'" in batch(request, "sweep", "--part", Raw("$x/3"))


@pytest.mark.parametrize("name", ["a\nb", "a\x1bb", "a\0b", "a\u2028b"])
@pytest.mark.parametrize("key", ["run_dir", "data.sources.0.path", "train.experts"])
def test_no_name_of_a_config_holds_a_control_character(name: str, key: str) -> None:
    tree = {"data": {"sources": [{"type": "jsonl", "path": "x"}]}, "budget": {"tokens": 1000}, "split": 0.5}
    if key == "run_dir":
        tree["run_dir"] = name
    elif key == "train.experts":
        tree["train"] = {"experts": {name: {"rate": 0.5}}}
    else:
        tree["data"]["sources"][0]["path"] = name  # type: ignore[index]
    with pytest.raises(UserError, match=r"which no name may") as caught:
        from_dict(tree)
    assert "\n" not in str(caught.value)


PLACES = {
    "slurm": {}, "tpu-vm": {"topology": "v5p:2x2x2", "zone": "z", "bucket": "b"},
    "gke": {"topology": "v5p:2x2x2", "image": "i", "bucket": "b"},
}


@pytest.mark.parametrize("on", PLACES)
def test_the_value_of_a_key_stands_in_no_script(
    script: Callable[..., str], monkeypatch: pytest.MonkeyPatch, on: str
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    text = script(on, env=("WANDB_API_KEY",), **PLACES[on])
    assert "WANDB_API_KEY" in text
    assert "s3cr3t" not in text
    for name in ("A-B", "x=1", "NOT_SET_HERE"):
        with pytest.raises(UserError, match="--env"):
            script(on, env=(name,), **PLACES[on])


def test_it_reaches_the_pods_through_a_secret(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: Callable[..., str]
) -> None:
    """The real kubectl renders the secret; what would be applied is written down."""
    monkeypatch.setenv("WANDB_API_KEY", SECRET)
    real = subprocess.run(["which", "kubectl"], capture_output=True, text=True).stdout.strip()
    if not real:
        pytest.skip("no kubectl here")
    body = f'echo "$@" >>"{tmp_path}/calls"; case $1 in apply) cat >>"{tmp_path}/in"; echo --- >>"{tmp_path}/in";; ' \
           f'get) ;; *) exec {real} "$@" ;; esac'
    program(tmp_path, "kubectl", body)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert launching.launch(str(config), on="gke", env=("WANDB_API_KEY",), **PLACES["gke"]) == 0
    secret, *_, jobs = [each for each in yaml.safe_load_all((tmp_path / "in").read_text()) if each]
    assert base64.b64decode(secret["data"]["WANDB_API_KEY"]).decode() == SECRET
    container = jobs["spec"]["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]["containers"][0]
    assert container["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
    assert secret["metadata"]["labels"] == jobs["metadata"]["labels"]
    assert "s3cr3t" not in (tmp_path / "calls").read_text()
    assert "secret" in script("gke", action="delete", **PLACES["gke"])
