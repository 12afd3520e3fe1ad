"""Floor 11: words on a command line → stages. `splitjax COMMAND CONFIG.yaml [dotted.key=value ...]`.

Enters: one module a command with its options, exit codes, and what is printed. Does not enter: anything that a notebook
could want too; that is a function of a room below.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import importlib
import os
import shutil
import signal
import sys
import textwrap
import traceback
from collections.abc import Sequence
from types import FrameType, ModuleType
from typing import NoReturn

from splitjax.config import UserError, shown
from splitjax.config.processes.stopping import end_with_launcher, heard, interrupt, watch

from .common import keep_json_alone, open_streams, say

COMMANDS = {
    "run": "every stage that is not done yet, in order, resumable: the main job",
    "prepare": "sources → tokenised, split into domains, sharded, with a manifest",
    "data": "show: documents of prepared data as a model sees them, decoded",
    "sweep": "the small runs that feed the law",
    "fit": "observations → law; also of any table: splitjax fit TABLE.csv",
    "plan": "law + budget → split with interval; also of any law: splitjax plan --law law.json",
    "predict": "law + N, D, D' → one loss with its interval",
    "train": "seed → split → experts, and the baselines, by the plan or an explicit split=",
    "evaluate": "loss per domain, routed, against dense, 80/20 and the seed",
    "compile": "one step compiled for a named topology, no TPU needed: memory, FLOPs, collectives, predicted time",
    "export": "experts as Hugging Face folders, with the router and model cards",
    "generate": "text from the expert that the router picks for a prompt",
    "serve": "the same over OpenAI's completions protocol, on this machine alone",
    "report": "one HTML page with plots and tables",
    "compare": "several runs side by side: settings, losses, gains, splits, costs, over seeds",
    "launch": "the same run elsewhere: several processes here, Slurm, TPU VMs, GKE",
    "status": "what is done, running, failed",
    "config": "a config resolved, with the origin of each value; its JSON schema",
    "bench": "tokens/s, MFU and memory of a config, beside the matmul ceiling of this machine",
}


_REFUSALS = frozenset({
    errno.ENAMETOOLONG, errno.ELOOP, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EROFS, errno.EIO, errno.ESTALE,
    errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE,
})
"""What a system answers that no program can mend; a file that is not there, where it should be, is a bug of ours."""


class _Parser(argparse.ArgumentParser):
    """Mistakes in arguments are one line too."""

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{self.prog}: {message}", mend=f"See '{self.prog} --help'.")


class _Help(argparse.RawDescriptionHelpFormatter):
    """Texts keep their lines, and long ones go on under their own beginning."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return "\n".join(_filled(line, width, indent) for line in text.splitlines())


def _filled(line: str, width: int, indent: str = "", hang: int = 2) -> str:
    """A line at this width; what does not fit goes on `hang` further to the right than it begins."""
    begins = indent + " " * (len(line) - len(line.lstrip()))
    return textwrap.fill(line.strip(), width, initial_indent=begins, subsequent_indent=begins + " " * hang,
                         break_long_words=False, break_on_hyphens=False)


class Terminated(BaseException):
    """SIGTERM arrived outside the training loop, which has its own handler; raised in the main thread."""

    exit_code = 143


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0, 1 where cells of a sweep failed, 2 for a mistake of the user's (told in one line), 130 after Ctrl-C, 143
        after SIGTERM; all of them in docs/reliability.md.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        open_streams()
        signal.signal(signal.SIGTERM, _terminate)
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, interrupt)
        watch()
        end_with_launcher()
        code = _dispatch(args)
        say("", end="")  # what is left in the buffer
        return code
    except UserError as error:
        if not _told_elsewhere(error):
            print(f"splitjax: {error}", file=sys.stderr)
        _end_if_others_wait(error, 2)
        return 2
    except KeyboardInterrupt as stop:
        code = _stopped(130)
        _end_if_others_wait(stop, code)
        return code
    except BrokenPipeError as error:
        return _unheard(error)
    except MemoryError as error:
        return _no_memory(error)
    except Terminated as stop:
        code = _stopped(stop.exit_code)
        _end_if_others_wait(stop, code)
        return code
    except BaseException as error:  # a stop that says its own code: ours, or the training loop's after its save
        own = getattr(error, "exit_code", None)
        if isinstance(error, OSError) and error.errno in _REFUSALS and isinstance(error.filename, str | bytes):
            return _refused_by_system(error)
        if own is None and type(error).__name__ == "JaxRuntimeError" and "RESOURCE_EXHAUSTED" in str(error):
            return _no_memory(error)
        if own is None:
            _end_if_others_wait(error, 1)
            raise
        return _stopped(own) if own > 128 else _failed(error, own)


def _refused_by_system(error: OSError) -> int:
    """A name too long, a folder of another user, a loop of links: the system's own word, with the file's name."""
    told = UserError(error.strerror or str(error), where=os.fsdecode(error.filename), mend="Look at this place.")
    print(f"splitjax: {told}", file=sys.stderr)
    _end_if_others_wait(told, 2)
    return 2


def _unheard(error: BaseException) -> int:
    """Nobody reads standard output, or its disk is full: what was done is done."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what is left of it goes there at the end of the process
    _end_if_others_wait(error, 141)
    return 141


def _no_memory(error: BaseException) -> int:
    """More memory was asked for than there is: a smaller step or another machine is the user's to choose."""
    first = (str(error).splitlines() or ["no reason given"])[0]
    told = UserError(f"not enough memory ({first:.200})", mend="Lower train.batch_size, raise train.microbatches, "
                     "set train.remat, or choose a smaller model or more devices.")
    print(f"splitjax: {told}", file=sys.stderr)
    _end_if_others_wait(told, 2)
    return 2


def _end_if_others_wait(error: BaseException, code: int) -> None:
    """End hard where this is one of several processes and the others do not end with it: at an orderly end JAX would
    wait for them, and they for this one."""
    if "splitjax.parallel.beats" not in sys.modules:
        return
    from splitjax.parallel import beats, hosts

    if not beats.joined() or (isinstance(error, UserError) and hosts.shared(error)):
        return
    if who := beats.lost(error):
        beats.give_up(f"lost touch: {who}")
    if code == 1:
        traceback.print_exc()
    beats.leave((str(error) or type(error).__name__).splitlines()[0], code)


def _told_elsewhere(error: UserError) -> bool:
    """Whether process 0 tells it; only a process that has used JAX can have heard it from there."""
    if "splitjax.parallel" not in sys.modules:
        return False
    from splitjax.parallel import hosts

    return hosts.told(error)


def _stopped(code: int) -> int:
    word = "interrupted" if code == 130 else "terminated"
    print(f"splitjax: {word}; the same command goes on from here", file=sys.stderr)
    return code


def _failed(error: BaseException, code: int) -> int:
    print(f"splitjax: {shown(str(error))}", file=sys.stderr)
    return code


def _dispatch(args: list[str]) -> int:
    if not args or args[0] in ("-h", "--help"):
        print(_overview())
        return 0
    if args[0] == "--version":
        from splitjax import __version__

        print(f"splitjax {__version__}")
        return 0
    module, parser = command(args[0])
    asked = parser.parse_intermixed_args(args[1:])
    if getattr(asked, "json", False):
        keep_json_alone()
    return int(module.run(asked) or 0)


def command(name: str) -> tuple[ModuleType, argparse.ArgumentParser]:
    """A command's module and its parser.

    Raises:
        UserError: no such command.
    """
    if name not in COMMANDS:
        from splitjax.config import did_you_mean

        raise UserError(f"unknown command '{name}'", mend=did_you_mean(name, COMMANDS))
    module = importlib.import_module(f"splitjax.cli.{name}")
    parser = _Parser(
        prog=f"splitjax {name}", description=f"{COMMANDS[name]}.", allow_abbrev=False,
        formatter_class=_Help,
    )
    module.add_arguments(parser)
    return module, parser


def _overview() -> str:
    width = max(map(len, COMMANDS))
    room = min(shutil.get_terminal_size().columns, 100)
    lines = "\n".join(_filled(f"  {name:<{width}}  {text}", room, hang=width + 2) for name, text in COMMANDS.items())
    return (
        "usage: splitjax COMMAND CONFIG.yaml [dotted.key=value ...]\n\n"
        "One corpus, one budget: train one model, or split it into experts, and when?\n\n"
        f"{lines}\n\nsplitjax COMMAND --help tells the options of one."
    )


def _terminate(signum: int, frame: FrameType | None) -> None:
    heard()
    raise Terminated
