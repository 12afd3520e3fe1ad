"""`splitjax serve`: the engine of `completions` over HTTP on loopback, as OpenAI's clients speak it."""

from __future__ import annotations

import json
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from splitjax.config import Config, UserError
from splitjax.runs.model_places import places

from . import answers, loaded_models
from .completions import Asked, Engine, Refused, engine
from .export_set import open_run

HOST = "127.0.0.1"
_USUAL = 128
"""Tokens of an answer that the models are compiled for before the first request."""
BESIDE = ("dense", "80/20")
"""Further models of a run that are served if they are one model each."""


def serve(source: Config | Path, *, port: int = 8000, model: str = "planned") -> None:
    """Answer on http://127.0.0.1:PORT/v1 until interrupted.

    Args:
        source: a run, an exported set, or one Hugging Face folder.
        port: 0: any that is free; it is told.
        model: of a run: the one whose experts answer.

    Raises:
        UserError: no such run or model, the port is taken, or starlette or uvicorn is not installed.
    """
    try:
        import uvicorn
    except ImportError:
        raise UserError("needs starlette and uvicorn", where="splitjax serve",
                        mend="Install the extra: pip install 'splitjax[serve]'.") from None
    made = offered(source, model)
    for loaded in {id(each): each for each, _ in made.models.values()}.values():
        answers.warm(loaded, _USUAL)
    config = uvicorn.Config(app(made), host=HOST, port=port, log_level="warning")
    server = uvicorn.Server(config)
    try:
        sock = _bound(port)
    except OSError as error:
        what = f"port {port} cannot be used ({error.strerror})"
        raise UserError(what, where="--port", mend="Give another.") from None
    with sock:
        address = f"http://{HOST}:{sock.getsockname()[1]}/v1"
        print(f"serving {', '.join(made.models)} on {address}", file=sys.stderr, flush=True)
        server.run(sockets=[sock])


def _bound(port: int) -> Any:
    import socket

    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        made.bind((HOST, port))
        made.listen(128)  # clients that come before the server is up wait for it
    except (OSError, OverflowError) as error:
        made.close()
        raise error if isinstance(error, OSError) else OSError(0, "no such port") from None
    return made


def offered(source: Config | Path, model: str = "planned") -> Engine:
    """The models of a run or folder, in memory."""
    if isinstance(source, Path):
        if model != "planned":
            raise UserError("is for a run; an exported set is served as it is", where="--model", mend="Leave it out.")
        return engine(answers.load(source), {})
    with open_run(source) as job:
        loaded = loaded_models.of_run(job, model)
        here, others = places(job), {}
        for name in BESIDE:
            if name != model and name in here and here[name].phase.on != "domains":
                others[name] = loaded_models.of_run(job, name)
        return engine(loaded, others)


def app(made: Engine) -> Any:
    """The application: GET /v1/models, POST /v1/completions."""
    from starlette.applications import Starlette
    from starlette.concurrency import run_in_threadpool
    from starlette.middleware import Middleware
    from starlette.middleware.trustedhost import TrustedHostMiddleware
    from starlette.requests import Request
    from starlette.responses import JSONResponse, Response, StreamingResponse
    from starlette.routing import Route

    async def models(request: Request) -> Response:
        listed = [{"id": name, "object": "model", "created": 0, "owned_by": "splitjax"} for name in made.models]
        return JSONResponse({"object": "list", "data": listed})

    async def completions(request: Request) -> Response:
        try:
            asked = Asked.model_validate_json(await request.body())
            await run_in_threadpool(made.check, asked)
            if asked.stream:
                return StreamingResponse(_events(made, asked), media_type="text/event-stream")
            return JSONResponse(await run_in_threadpool(whole, made, asked))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"][:1])
            return _refusal(Refused(f"{where}: {first['msg']}", where or None))
        except Refused as refused:
            return _refusal(refused)

    def _refusal(refused: Refused) -> Response:
        told = {"message": refused.message, "type": "invalid_request_error", "param": refused.param, "code": None}
        return JSONResponse({"error": told}, status_code=refused.status)

    return Starlette(
        routes=[Route("/v1/models", models), Route("/v1/completions", completions, methods=["POST"])],
        # A page in a browser must not reach it by a name that it points here.
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])],
    )


def whole(made: Engine, asked: Asked) -> dict[str, Any]:
    """The answer to a request that is not streamed."""
    choices: list[dict[str, Any]] = []
    read = written = 0
    for prompt in asked.prompts:
        for nth in range(asked.n):
            told, one = made.choice(asked, prompt, nth)
            choices.append({"index": len(choices), **told})
            written += len(one.drawn)
        read += len(one.ids)
    usage = {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
    return _head(asked) | {"choices": choices, "usage": usage}


def _events(made: Engine, asked: Asked) -> Iterator[str]:
    """Server-sent events: text as it comes, answer after answer."""
    head, index = _head(asked), 0
    for prompt in asked.prompts:
        for nth in range(asked.n):
            written = made.begin(asked, prompt, nth)
            tell: Callable[..., str] = lambda text, finish=None, index=index, one=written: _event(  # noqa: E731
                head | {"choices": [{"index": index, "text": text, "logprobs": None, "finish_reason": finish,
                                     "expert": one.expert, "confidence": round(one.confidence, 6)}]}
            )
            if asked.echo:
                loaded = made.models[asked.model][0]
                yield tell(prompt if isinstance(prompt, str) else loaded.tokenizer.decode(written.ids))
            for piece in written.pieces:
                yield tell(piece)
            yield tell("", written.finish)
            index += 1
    yield "data: [DONE]\n\n"


def _event(told: dict[str, Any]) -> str:
    return f"data: {json.dumps(told, ensure_ascii=False)}\n\n"


def _head(asked: Asked) -> dict[str, Any]:
    return {"id": f"cmpl-{uuid.uuid4().hex}", "object": "text_completion", "created": int(time.time()),
            "model": asked.model}
