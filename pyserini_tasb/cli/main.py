"""The `tasb` command: parse, call the function of the verb's name, print its result or its error."""

from __future__ import annotations

import argparse
import contextlib
import logging
import signal
import sys
import traceback
from typing import TYPE_CHECKING, Any

from pyserini_tasb import __version__
from pyserini_tasb.cli.check import VERBS as CHECK
from pyserini_tasb.cli.data import VERBS as DATA
from pyserini_tasb.cli.encode import VERBS as ENCODE
from pyserini_tasb.cli.evaluate import VERBS as EVALUATE
from pyserini_tasb.cli.parser import USAGE_ERROR, Parser
from pyserini_tasb.cli.retrieve import VERBS as RETRIEVE
from pyserini_tasb.cli.signals import InterruptedBySignals
from pyserini_tasb.cli.streams import UnwritableError, above_bars, standard_streams
from pyserini_tasb.cli.train import VERBS as TRAIN
from pyserini_tasb.environment.processor import request_reproducibility, request_short_waits
from pyserini_tasb.errors import Argument, FailedError, Interruption, TasbError, printable, shown
from pyserini_tasb.plugin.startup import register_encoders
from pyserini_tasb.registry import trusting

if TYPE_CHECKING:
    from collections.abc import Container, Iterator, Sequence

    from pyserini_tasb.cli.verbs import Verb

FAILED, SIGNALLED, PIPE_CLOSED = 1, 128, 141  # SIGNALLED: plus the signal, as in a shell
GROUPS = {
    "retrieve": (*ENCODE, *RETRIEVE),
    "train": (*DATA, *TRAIN),
    "fuse and evaluate": EVALUATE,
    "check": CHECK,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one `tasb` verb; return the process's exit status."""
    status = FAILED
    with standard_streams() as output:
        with contextlib.suppress(UnwritableError):
            try:
                status = _run(sys.argv[1:] if argv is None else argv)
            finally:
                sys.stdout.flush()
        if not output.failure:
            return status
        if isinstance(output.failure, BrokenPipeError):  # `tasb … | head` has seen enough
            return PIPE_CLOSED
        print(f"tasb: cannot write to standard output: {output.failure.strerror}", file=sys.stderr)
        return FAILED


def _run(words: Sequence[str]) -> int:
    parser = build_parser(words)
    if not words:
        parser.print_help(sys.stderr)
        return USAGE_ERROR
    options = parser.parse_args(words)
    verb: Verb = options.called
    request_reproducibility()  # before any verb imports torch; worker processes inherit it
    request_short_waits()  # before any verb imports torch or Faiss
    register_encoders()  # for a checkout that is not installed: no start-up hook there
    with _log_on_stderr(verb, options.verbosity):
        try:
            with trusting(*options.trust), InterruptedBySignals():
                return verb.run(options)
        except TasbError as error:
            if options.verbosity > 0 and error.__cause__:  # what a parser raised, for who looks for a fault in it or us
                traceback.print_exception(error.__cause__)
            if not error.told_elsewhere:
                text = error.worded(verb.option)
                print(f"tasb {verb.name}:", text, sep=" " if error.where else "\n", file=sys.stderr)
            return USAGE_ERROR
        except FailedError as error:
            if not error.told_elsewhere:
                print(f"\ntasb {verb.name}: {error}", file=sys.stderr)
            return FAILED
        except OSError as error:  # of a path that no check has looked at
            if error.filename is None or options.verbosity > 0:
                raise
            print(f"tasb {verb.name}: {shown(error.filename)}: {error.strerror}", file=sys.stderr)
            return FAILED
        except KeyboardInterrupt as interruption:
            verb.interrupted(interruption, options)
            return SIGNALLED + (interruption.number if isinstance(interruption, Interruption) else signal.SIGINT)


def build_parser(words: Container[str] | None = None) -> Parser:
    """The parser of all verbs. It imports nothing that only one of them needs.

    Args:
        words: the words that the user typed; only verbs among them get their options. By default, all do.
    """
    width = max(len(verb.name) for group in GROUPS.values() for verb in group)
    lines = []
    for title, group in GROUPS.items():
        lines += [f"{title}:", *(f"  {verb.name:<{width}}  {verb.summary}" for verb in group), ""]
    parser = Parser(
        prog="tasb",
        usage="tasb [-h] [--version] [--print-completion {bash,zsh}] VERB …",
        description="TAS-B dense retrieval for Pyserini. `tasb VERB --help` explains a verb and its options.",
        epilog="\n".join(lines),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"pyserini-tasb {__version__}", help="Print the version."
    )
    parser.add_argument(
        "--print-completion",
        action=_PrintCompletion,
        choices=("bash", "zsh"),
        dest=argparse.SUPPRESS,
        help="Print a script that completes verbs and options in a shell. For bash, add this line to ~/.bashrc: "
        'eval "$(tasb --print-completion bash)".',
    )
    verbs = parser.add_subparsers(dest="verb", metavar="VERB", prog="tasb", required=True, help=argparse.SUPPRESS)
    for group in GROUPS.values():
        for verb in group:
            if words is None or verb.name in words:
                verb.add_to(verbs)
            else:
                verbs.add_parser(verb.name)  # for the message that lists the verbs
    return parser


class _PrintCompletion(argparse.Action):
    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        option_string: str | None = None,
    ) -> None:
        from pyserini_tasb.cli.completion import completion

        print(completion(build_parser(), "zsh" if values == "zsh" else "bash"))
        parser.exit()


@contextlib.contextmanager
def _log_on_stderr(verb: Verb, verbosity: int) -> Iterator[None]:
    """Print what the package logs: warnings, notes unless the user wants quiet, more if the user wants it."""
    log = logging.getLogger("pyserini_tasb")
    before = log.handlers, log.level, log.propagate
    log.setLevel({-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}[verbosity])
    log.handlers = [_Stderr(verb)]  # not beside the one for stock Pyserini commands
    log.propagate = False  # Pyserini's searches set up the root logger, which would print it all a second time
    try:
        yield
    finally:
        log.handlers, _, log.propagate = before
        log.setLevel(before[1])


class _Stderr(logging.Handler):
    """Prints `tasb VERB: warning: …`, with arguments as options."""

    def __init__(self, verb: Verb) -> None:
        super().__init__()
        self._verb = verb

    def emit(self, record: logging.LogRecord) -> None:
        arguments = record.args if isinstance(record.args, tuple) else ()
        words = tuple(map(self._worded, arguments))
        kind = "warning" if record.levelno >= logging.WARNING else "note"
        text = record.msg % words if words else str(record.msg)
        with above_bars():
            print(f"tasb {self._verb.name}: {kind}: {printable(text)}", file=sys.stderr)  # the one that is stderr now

    def _worded(self, value: object) -> object:
        if isinstance(value, Argument):
            return self._verb.option(value)
        return value.worded(self._verb.option) if isinstance(value, TasbError) else value
