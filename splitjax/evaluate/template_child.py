"""Renders templates of files in a process of its own, which holds nothing and is given little time, memory and room.

Run as a script, not imported: a line of JSON {"template", "doc"} comes in, a line {"text"} or {"error"} goes out. The
sandbox keeps a template from reaching Python; the limits keep it from filling memory or going on for ever, which a
sandbox in the process that evaluates could not.
"""

from __future__ import annotations

import contextlib
import functools
import json
import re
import resource
import signal
import sys
from typing import Any

import jinja2
from jinja2.sandbox import ImmutableSandboxedEnvironment

CHARACTERS = 1_000_000
"""The most that a template may give."""
_MEMORY = 1 << 30
_GLOBALS = ("range", "dict", "namespace")


def environment() -> jinja2.Environment:
    """As lm-eval's own, in a sandbox: strict, with its one filter."""
    made = ImmutableSandboxedEnvironment(
        loader=jinja2.BaseLoader(), undefined=jinja2.StrictUndefined, keep_trailing_newline=True
    )
    made.globals = {name: made.globals[name] for name in _GLOBALS}
    made.filters["regex_replace"] = lambda text, pattern, other, count=0: re.sub(pattern, other, text, count=count)
    return made


def render(template: jinja2.Template, doc: dict[str, Any]) -> str:
    """The text, as long as it is not too long."""
    parts, length = [], 0
    for part in template.generate(doc):
        parts.append(part)
        length += len(part)
        if length > CHARACTERS:
            raise ValueError(f"more than {CHARACTERS:,} characters")
    return "".join(parts)


def _limit(seconds: int) -> None:
    """Should nobody be there to end this process, the system does."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    with contextlib.suppress(ValueError, OSError):
        soft = int(used.ru_utime + used.ru_stime) + 1 + seconds
        resource.setrlimit(resource.RLIMIT_CPU, (soft, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def main(seconds: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that asks
    for limit, most in ((resource.RLIMIT_AS, _MEMORY), (resource.RLIMIT_FSIZE, 0), (resource.RLIMIT_CORE, 0)):
        with contextlib.suppress(ValueError, OSError):  # not every system has each
            resource.setrlimit(limit, (most, most))
    template = functools.lru_cache(64)(environment().from_string)
    for line in sys.stdin:
        _limit(seconds)
        try:
            told = json.loads(line)
            answer = {"text": render(template(told["template"]), told["doc"])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"[:500]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
