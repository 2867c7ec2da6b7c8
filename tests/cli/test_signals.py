"""Where in a verb a signal is raised, and what a second one does."""

from __future__ import annotations

import signal
import sys
import textwrap

import pytest

from pyserini_tasb.cli.signals import InterruptedBySignals
from tests.processes import marked

MODULE = """
import time
print("importing", flush=True)
end = time.monotonic() + 2
while time.monotonic() < end:
    pass
whole = True
"""
PROGRAM = """
    import sys, time
    from pyserini_tasb.cli.signals import InterruptedBySignals

    sys.path.insert(0, {folder!r})
    try:
        with InterruptedBySignals():
            import takes_a_while
            time.sleep(1000)
    except KeyboardInterrupt as interruption:
        print(interruption.number, takes_a_while.whole)
"""


@pytest.fixture
def importing(tmp_path):
    """A process in the middle of an import."""
    (tmp_path / "takes_a_while.py").write_text(MODULE)
    with marked([sys.executable, "-c", textwrap.dedent(PROGRAM.format(folder=str(tmp_path)))]) as process:
        assert process.popen.stdout.readline() == "importing\n"
        yield process.popen


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_module_is_imported_whole(importing, number):
    importing.send_signal(number)
    assert importing.communicate() == (f"{int(number)} True\n", "")


def test_a_second_signal_ends_the_process_at_once_unless_it_is_sighup(importing):
    importing.send_signal(signal.SIGHUP)
    importing.send_signal(signal.SIGHUP)
    importing.send_signal(signal.SIGTERM)
    assert importing.communicate() == ("", "")
    assert importing.returncode == -signal.SIGTERM


def test_what_handled_signals_before_does_so_afterwards():
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)
    before = [signal.getsignal(number) for number in numbers]
    with pytest.raises(KeyboardInterrupt), InterruptedBySignals():
        signal.raise_signal(signal.SIGTERM)
    assert [signal.getsignal(number) for number in numbers] == before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


BESIDE_JAVA = """
    import sys, time
    from pyserini_tasb.cli.signals import InterruptedBySignals
    from pyserini_tasb.environment.java import prepare_java

    try:
        with InterruptedBySignals():
            prepare_java()
            from pyserini.pyclass import JString
            print(JString("started").toString(), flush=True)
            time.sleep(1000)
    except KeyboardInterrupt as interruption:
        print(interruption.number)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_java_in_the_process_leaves_signals_to_us(number):
    with marked([sys.executable, "-c", textwrap.dedent(BESIDE_JAVA)]) as process:
        assert process.popen.stdout.readline() == "started\n"
        process.popen.send_signal(number)
        assert process.popen.communicate()[0] == f"{int(number)}\n"
        assert process.popen.returncode == 0
