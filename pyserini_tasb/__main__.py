"""The process of `tasb`, which is `python -m pyserini_tasb`."""

import signal
import sys

# Verbs that compute with a model for many texts, or can.
COMPUTING = frozenset({"adapt", "cluster", "encode", "expand", "mine", "rerank", "score", "study", "teach", "train"})


def run() -> None:
    """Run a verb as a process. Before and after it, Ctrl-C ends the process without a traceback of what is imported."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    if COMPUTING.intersection(sys.argv[1:2]):
        from pyserini_tasb.environment.processor import restart_with_huge_pages

        restart_with_huge_pages()
    from pyserini_tasb.cli.main import main

    sys.exit(main())


if __name__ == "__main__":
    run()
