"""OpenAI's completions protocol: the same scores as in process, routed by what is not scored, many clients at once."""

from __future__ import annotations

import asyncio
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from splitjax import cli
from splitjax.config import Model
from splitjax.data.tokenizing.fast_tokenizer import bytes_tokenizer
from splitjax.evaluate import SavedRouter, harness, routers
from splitjax.model import LanguageModel
from splitjax.serving import answers, task_scores
from splitjax.serving.completions import Asked, Engine, Refused, engine, scores
from splitjax.serving.loaded_models import Loaded

NAMES, WINDOW, PREFIX = ("sea", "law", "lab"), 64, 8
TEXT = "the court and the harbour of 1853, by an assay"


def made(names: tuple[str, ...]) -> Loaded:
    """Experts at random, sharp enough to be told apart."""
    tokenizer = bytes_tokenizer()
    model = LanguageModel(Model(d_model=16, n_layers=1, n_heads=2), tokenizer.vocab_size, end_id=tokenizer.end_id)
    trees = [model.init(jax.random.key(seed)) for seed in range(len(names))]
    stack = jax.tree.map(lambda *leaves: 2 * jnp.stack(leaves), *trees)
    prefix = routers.make("prefix", [1.0] * len(names), None)  # type: ignore[arg-type]
    router = SavedRouter(prefix, names, PREFIX, tokenizer.hash) if len(names) > 1 else None
    return Loaded(names, model, stack, tokenizer, WINDOW, router)


@pytest.fixture(scope="module")
def loaded() -> Loaded:
    return made(NAMES)


@pytest.fixture(scope="module")
def served(loaded: Loaded) -> Engine:
    return engine(loaded, {"dense": made(("dense",))})


def answered(served: Engine, **body: Any) -> dict[str, Any]:
    asked = Asked(**body)
    served.check(asked)
    return served.choice(asked, asked.prompts[0], 0)[0]


def scoring(model: str, prompt: Any = TEXT, **more: Any) -> dict[str, Any]:
    return {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "logprobs": 1, "echo": True, **more}


@pytest.mark.parametrize(
    ("name", "text", "cut"), [("expert/law", TEXT, 20), ("dense", TEXT, 20), ("expert/sea", 4 * TEXT, 0)]
)
def test_scores_are_those_in_process(served: Engine, name: str, text: str, cut: int) -> None:
    """Also of a text that is longer than the window, scored from its beginning."""
    told = answered(served, **scoring(name, text))["logprobs"]
    models, index = served.models[name]
    context, rest = text[:cut], text[cut:]
    inside = task_scores.served(models)
    pair = inside.encode_pair(context, rest)
    (nats, greedy), = inside.likelihoods([pair], [index or 0])
    after = slice(len(pair[0]) - 1, -1)
    assert sum(told["token_logprobs"][after]) == pytest.approx(nats, abs=1e-3)
    tops = zip(told["token_logprobs"][after], told["top_logprobs"][after], strict=True)
    assert greedy == all(own == max(top.values()) for own, top in tops)
    assert "".join(told["tokens"]).startswith(text)
    assert told["text_offset"][:3] == [0, 1, 2]


def test_routed_scores_leave_out_what_the_router_read(served: Engine, loaded: Loaded) -> None:
    told = answered(served, **scoring("routed"))
    expert = loaded.names[loaded.chooser.choose(TEXT[:PREFIX]).expert]
    assert told["expert"] == expert
    own = answered(served, **scoring(f"expert/{expert}"))["logprobs"]["token_logprobs"]
    routed = told["logprobs"]["token_logprobs"]
    assert routed[:PREFIX] == [None] * PREFIX
    assert routed[PREFIX:-1] == pytest.approx(own[PREFIX:-1], abs=1e-4)
    for end in range(PREFIX, len(TEXT), 7):  # whatever follows, the same expert
        other = answered(served, **scoring("routed", TEXT[:end] + "zzzz"))
        assert other["expert"] == expert


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        (scoring("routed", TEXT[: PREFIX - 1]), "prompt", "at least the router's prefix, 8 tokens"),
        (scoring("routed", score_from=3), "score_from", "not at token 3"),
        (scoring("routed", TEXT[:PREFIX], max_tokens=0), "prompt", "no token is scored by a model chosen with sight"),
        (scoring("expert/sun"), "model", "there are routed, expert/sea"),
        ({"model": "dense", "prompt": [[999]]}, "prompt", "token ids lie between"),
        ({"model": "dense", "prompt": []}, "prompt", "no prompt"),
        ({"model": "dense", "stop": ""}, "stop", "an empty text"),
        ({"model": "dense", "stream": True, "logprobs": 1}, "logprobs", "whole answers"),
    ],
)
def test_what_is_refused_is_named(served: Engine, body: dict[str, Any], param: str, words: str) -> None:
    with pytest.raises(Refused, match=re.escape(words)) as refused:
        answered(served, **body)
    assert refused.value.param == param


def test_an_answer_is_what_generate_writes(served: Engine, loaded: Loaded) -> None:
    told = answered(served, model="routed", prompt=TEXT, max_tokens=9, temperature=0)
    same = answers.generate(loaded, TEXT, max_tokens=9).to_json()
    assert (told["text"], told["expert"]) == (same["text"], same["expert"])
    assert told["confidence"] == pytest.approx(same["confidence"], abs=1e-6)
    assert sum(same["weights"].values()) == pytest.approx(1)
    assert same["confidence"] == max(same["weights"].values())
    hot = {"model": "dense", "prompt": TEXT, "max_tokens": 9, "temperature": 2}
    assert answered(served, **hot, seed=1) == answered(served, **hot, seed=1)
    assert answered(served, **hot, seed=1)["text"] != answered(served, **hot, seed=2)["text"]
    stopped = answered(served, model="routed", prompt=TEXT, max_tokens=9, temperature=0, stop=told["text"][3:5])
    assert stopped["text"] == told["text"][: told["text"].index(told["text"][3:5])]
    assert (told["finish_reason"], stopped["finish_reason"]) == ("length", "stop")
    stop = ""
    while told["text"].count(stop := told["text"][-len(stop) - 1 :]) > 1:
        pass  # the shortest end that stands nowhere else: only the last token can bring it
    ends = answered(served, model="routed", prompt=TEXT, max_tokens=9, temperature=0, stop=stop)
    assert (ends["text"], ends["finish_reason"]) == (told["text"].removesuffix(stop), "stop")
    drawn = answered(served, model="dense", prompt=TEXT, max_tokens=5, temperature=0, logprobs=2)["logprobs"]
    assert [max(top.values()) for top in drawn["top_logprobs"]] == drawn["token_logprobs"]
    assert len(scores(loaded, 0, [0, 1, 2], 1, 2)[0]) == 2


@pytest.fixture(scope="module")
def address(served: Engine) -> Iterator[str]:
    pytest.importorskip("starlette", reason="the extra 'serve' is not installed")
    uvicorn = pytest.importorskip("uvicorn", reason="the extra 'serve' is not installed")
    from splitjax.serving import web_app

    with web_app._bound(0) as sock:
        server = uvicorn.Server(uvicorn.Config(web_app.app(served), log_level="error"))
        thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[sock])), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{sock.getsockname()[1]}/v1"
        server.should_exit = True
        thread.join(20)


def post(address: str, body: dict[str, Any], **headers: str) -> tuple[int, str]:
    request = urllib.request.Request(f"{address}/completions", json.dumps(body).encode(), headers)
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_a_hundred_requests_of_eight_clients_none_lost(address: str) -> None:
    def ask(number: int) -> tuple[str, int]:
        body = {"model": ("routed", "expert/sea", "dense")[number % 3], "prompt": f"{number} {TEXT[:20]}",
                "max_tokens": 4, "temperature": 0}
        code, text = post(address, body)
        told = json.loads(text)
        assert code == 200, text
        return told["choices"][0]["text"], told["usage"]["completion_tokens"]

    with ThreadPoolExecutor(8) as clients:
        told = list(clients.map(ask, range(100)))
    assert len(told) == 100
    assert told[3:6] == [ask(number) for number in range(3, 6)], "no answer is another's"


def test_over_http(address: str) -> None:
    code, text = post(address, {"model": "routed", "prompt": [TEXT, "ship"], "n": 2, "max_tokens": 3, "seed": 5})
    assert code == 200
    assert [choice["index"] for choice in json.loads(text)["choices"]] == [0, 1, 2, 3]
    code, text = post(address, {"model": "dense", "presence_penalty": 1})
    assert (code, json.loads(text)["error"]["param"]) == (400, "presence_penalty")
    code, text = post(address, {"model": "dense", "wisdom": 3})
    assert (code, json.loads(text)["error"]["param"]) == (400, "wisdom")
    assert post(address, {"model": "nobody"})[0] == 404
    assert post(address, {"model": "dense"}, Host="elsewhere.example")[0] == 400
    whole = json.loads(post(address, {"model": "routed", "prompt": TEXT, "max_tokens": 6, "temperature": 0})[1])
    code, text = post(address, {"model": "routed", "prompt": TEXT, "max_tokens": 6, "temperature": 0, "stream": True})
    events = [line.removeprefix("data: ") for line in text.splitlines() if line]
    assert events[-1] == "[DONE]"
    parts = [json.loads(event)["choices"][0] for event in events[:-1]]
    assert "".join(part["text"] for part in parts) == whole["choices"][0]["text"]
    assert [part["finish_reason"] for part in parts][-1] == "length"


def test_the_openai_client(address: str) -> None:
    openai = pytest.importorskip("openai", reason="openai is not installed (extra 'dev')")
    client = openai.OpenAI(base_url=address, api_key="none")
    assert [each.id for each in client.models.list()] == ["routed", *(f"expert/{name}" for name in NAMES), "dense"]
    asked = {"model": "routed", "prompt": TEXT, "max_tokens": 5, "temperature": 0}
    whole = client.completions.create(**asked).choices[0]
    assert "".join(part.choices[0].text for part in client.completions.create(**asked, stream=True)) == whole.text
    with pytest.raises(openai.BadRequestError, match="router's prefix"):
        client.completions.create(**scoring("routed", "ship"))


@pytest.mark.parametrize("name", ["expert/lab", "dense"])
def test_lm_evals_local_completions(address: str, served: Engine, name: str, tmp_path: Path) -> None:
    pytest.importorskip("lm_eval", reason="the extra 'eval' is not installed")
    pytest.importorskip("tenacity", reason="lm-eval's API models are not installed (extra 'eval')")
    pytest.importorskip("transformers", reason="the extra 'hf' is not installed")
    from lm_eval.api.instance import Instance
    from lm_eval.models.openai_completions import LocalCompletionsAPI

    from splitjax.data.tokenizing.tokenizer_files import transformers_files

    models, index = served.models[name]
    for file, text in transformers_files(models.tokenizer, WINDOW).items():
        (tmp_path / file).write_text(text)
    theirs = LocalCompletionsAPI(
        base_url=f"{address}/completions", model=name, tokenizer=str(tmp_path), tokenizer_backend="huggingface",
        num_concurrent=2, max_retries=1,
    )
    pairs = [(TEXT[:cut], TEXT[cut : cut + 6]) for cut in (5, 12, 20, 33)]
    asked = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    told = theirs.loglikelihood(asked)
    one = models if index is None else Loaded(
        (name,), models.model, jax.tree.map(lambda leaf: leaf[index : index + 1], models.params_K), models.tokenizer,
        WINDOW, None,
    )
    ours = harness.language_model(task_scores.served(one)).loglikelihood(asked)
    np.testing.assert_allclose([nats for nats, _ in told], [nats for nats, _ in ours], atol=1e-3)
    assert [greedy for _, greedy in told] == [greedy for _, greedy in ours]


class Keyboard:
    """Standard input that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_prompt_line_answers_until_its_end(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    loads = []
    monkeypatch.setattr(answers, "load", lambda source: loads.append(source) or loaded)
    (tmp_path / "export.json").write_text("{}")
    lines = iter([TEXT, "ship"])

    def typed(sign: str) -> str:
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("sys.stdin", Keyboard())
    monkeypatch.setattr("builtins.input", typed)
    assert cli.main(["generate", str(tmp_path), "--max-tokens", "4", "--json"]) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["prompt_tokens"] for each in told] == [len(TEXT) + 1, len("ship") + 1]
    assert len(loads) == 1
    (tmp_path / "p.jsonl").write_text('{"prompt": "ship"}\n{"prompt": "court\\nof"}\n')
    words = ["generate", str(tmp_path), "--max-tokens", "4", "--json"]
    assert cli.main([*words, "--file", str(tmp_path / "p.jsonl")]) == 0
    filed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert filed[0] == told[1]
    assert set(filed[1]["weights"]) == set(NAMES)
    (tmp_path / "bad.jsonl").write_text('{"prompt": 3}\n')
    assert cli.main(["generate", str(tmp_path), "--file", str(tmp_path / "bad.jsonl")]) == 2
    assert cli.main(["generate", str(tmp_path), "x", "--file", "y"]) == 2
