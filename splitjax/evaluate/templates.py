"""Templates of task files, rendered in a sandbox in a child process; lm-eval would render them with all of Python."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from splitjax.config import UserError, did_you_mean

SECONDS = 10
"""That a template may take."""
_CHILD = Path(__file__).with_name("template_child.py")


class Renderer:
    """A child that renders; one for all templates of a call.

    Args:
        where: the files that the templates are from, for messages.
        fields: settings that name a field or are a template; lm-eval takes a name that is no field for a text.
    """

    def __init__(self, where: str, seconds: int = SECONDS, fields: frozenset[str] = frozenset()) -> None:
        self.where, self._seconds, self._fields = where, seconds, fields
        # -P: the folder of the script holds modules with common names.
        self._child = subprocess.Popen(
            [sys.executable, "-P", str(_CHILD), str(seconds)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        self._read = b""

    def __call__(self, template: str, doc: Mapping[str, Any]) -> str:
        """The text of a template for an item.

        Raises:
            UserError: it is no template but the name of a field that the item lacks, reaches for what it may not, or
                takes too long or too much.
        """
        if template in self._fields and template.isidentifier() and template not in doc:
            mend = f"{did_you_mean(template, [str(name) for name in doc])} A text is written {{{{'{template}'}}}}."
            raise UserError(f"its data have no field '{template}'", where=self.where, mend=mend)
        try:
            answer = self._ask(json.dumps({"template": template, "doc": dict(doc)}, default=str).encode())
        except (OSError, EOFError):
            answer = {"error": "it took more memory or time than it may"}
        except TimeoutError:
            answer = {"error": f"it took more than {self._seconds} s"}
        if "error" in answer:
            self.close()
            shown = " ".join(template.split())
            raise UserError(f"the template '{shown[:60]}{'…' * (len(shown) > 60)}' cannot be rendered "
                            f"({answer['error'][:200]})", where=self.where)
        return str(answer["text"])

    def close(self) -> None:
        self._child.kill()
        self._child.wait()
        for pipe in (self._child.stdin, self._child.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()

    def _ask(self, question: bytes) -> dict[str, Any]:
        assert self._child.stdin is not None
        assert self._child.stdout is not None
        self._child.stdin.write(question + b"\n")
        self._child.stdin.flush()
        until = time.monotonic() + self._seconds
        with selectors.DefaultSelector() as select:
            select.register(self._child.stdout, selectors.EVENT_READ)
            while b"\n" not in self._read:
                if not select.select(max(until - time.monotonic(), 0.0)):
                    raise TimeoutError
                if not (chunk := os.read(self._child.stdout.fileno(), 1 << 16)):
                    raise EOFError
                self._read += chunk
        line, _, self._read = self._read.partition(b"\n")
        told = json.loads(line)
        return told if isinstance(told, dict) else {"error": "no answer"}


@contextlib.contextmanager
def sandboxed(files: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """While this lasts lm-eval renders every template in the sandbox, those of its own tasks too.

    Args:
        files: of tasks, with the settings of each; with none of them lm-eval stays as it is.

    Raises:
        UserError: this lm-eval renders in another way.
    """
    if not files:
        yield
        return
    from lm_eval import utils

    if not callable(getattr(utils, "apply_template", None)) or not hasattr(utils, "env"):
        raise UserError("this lm-eval renders templates in a way that is not known to be safe", where=next(iter(files)),
                        mend="Take lm-eval 0.4.13.")
    before = utils.apply_template, utils.env
    fields = [told.get(key) for told in files.values() for key in ("doc_to_text", "doc_to_target", "doc_to_choice")]
    renderer = Renderer(", ".join(files), fields=frozenset(one for one in fields if isinstance(one, str)))
    utils.apply_template, utils.env = renderer, None
    try:
        yield
    finally:
        utils.apply_template, utils.env = before
        renderer.close()
