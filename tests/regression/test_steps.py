"""The step runner, with commands that leave a trace each time they run."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import textwrap
import time
from dataclasses import replace

import pytest

from pyserini_tasb import artifacts
from pyserini_tasb.errors import TasbError
from pyserini_tasb.regression.steps import Pipeline, Step, StepFailedError

COUNT = "open('{name}.count', 'a').write('x')"


def python(name: str, code: str, **fields: object) -> Step:
    program = f"{COUNT.format(name=name)}\n{textwrap.dedent(code)}"
    return Step(name=name, summary=f"does {name}", arguments=("-c", program), **fields)


def copying(name: str, source: str, target: str) -> Step:
    code = f"open('{target}', 'w').write(open('{source}').read())"
    return python(name, code, inputs=(source,), outputs=(target,))


FIRST = python("first", "open('made/a', 'w').write('a')", outputs=("made/a",))
SECOND = copying("second", "made/a", "made/b")


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


def run(folder, *pipeline: Step) -> dict[str, float]:
    return Pipeline(folder, {}).run(pipeline)


def counts(folder) -> dict[str, int]:
    return {path.stem: path.stat().st_size for path in folder.glob("*.count")}


def test_a_finished_step_is_skipped_and_its_time_remembered(folder, caplog):
    caplog.set_level("INFO")
    seconds = run(folder, FIRST, SECOND)
    assert run(folder, FIRST, SECOND) == seconds
    assert counts(folder) == {"first": 1, "second": 1}
    assert caplog.text.count("done before") == 2


def test_the_command_is_printed_as_one_would_type_it(folder, caplog):
    caplog.set_level("INFO")
    spaced = Step("s", "", ("-c", "print('a b')"), stdout="results/s.txt")
    run(folder, spaced)
    assert f"$ {spaced.command}\n" in caplog.text
    (folder / "results" / "s.txt").unlink()
    command = spaced.command.replace("python", sys.executable, 1)
    subprocess.run(["sh", "-c", command], cwd=folder, check=True)
    assert (folder / "results" / "s.txt").read_text() == "a b\n"


def test_what_is_worth_seeing_is_shown_at_once(folder, caplog):
    caplog.set_level("INFO")
    table = Step("table", "", ("-c", "print('a table')"), stdout="results/table.txt", shown=True)
    run(folder, table, FIRST)
    shown, later = caplog.text.index("results/table.txt\n\na table\n"), caplog.text.index(FIRST.command)
    assert shown < later


@pytest.mark.parametrize(
    ("times", "about"), [(90, ""), (120, "; about 12 s"), (899, "; about 90 s"), (1_200, "; about 2.0 minutes")]
)
def test_a_long_step_says_beforehand_how_long_it_will_take(folder, caplog, times, about):
    caplog.set_level("INFO")
    stamped = run(folder, FIRST)
    stamp = folder / ".tasb-steps" / "first.json"
    stamp.write_text(stamp.read_text().replace(f'"seconds": {stamped["first"]}', '"seconds": 0.1'))
    run(folder, FIRST, replace(SECOND, like=("first", times)))
    assert f"] does second{about}\n$ " in caplog.text


def test_another_command_runs_again(folder):
    run(folder, FIRST)
    run(folder, python("first", "open('made/a', 'w').write('other')", outputs=("made/a",)))
    assert counts(folder) == {"first": 2}


def test_other_versions_run_again(folder, monkeypatch):
    run(folder, FIRST)
    monkeypatch.setattr(artifacts, "__version__", "another")
    run(folder, FIRST)
    assert counts(folder) == {"first": 2}


@pytest.mark.parametrize("change", ["unlink", "write_text"])
def test_a_lost_or_changed_output_is_made_again(folder, change):
    run(folder, FIRST, SECOND)
    getattr((folder / "made" / "a"), change)(*(["damaged"] if change == "write_text" else []))
    run(folder, FIRST, SECOND)
    assert (folder / "made" / "a").read_text() == "a"
    assert counts(folder) == {"first": 2, "second": 1}  # what is made of the same bytes is the same


def test_what_depends_on_an_output_that_comes_out_otherwise_is_made_again(folder):
    counting = python("first", "import os; open('made/a', 'w').write(str(os.stat('first.count')))", outputs=("made/a",))
    run(folder, counting, SECOND)
    (folder / "made" / "a").unlink()
    run(folder, counting, SECOND)
    assert counts(folder) == {"first": 2, "second": 2}
    assert (folder / "made" / "b").read_text() == (folder / "made" / "a").read_text()


def test_a_failure_shows_the_end_of_the_log_and_leaves_no_stamp(folder):
    failing = python(
        "failing",
        """
        import os, sys
        os.mkdir('half'); open('half/file', 'w').write('x')
        print(*range(100), sep='\\n'); print('bar 1%\\rbar 2%', file=sys.stderr); sys.exit('no luck')
        """,
        outputs=("half",),
    )
    with pytest.raises(StepFailedError, match=r"(?s)failing exited with status 1.*failing\.log:\n  82\n.*") as error:
        run(folder, FIRST, failing)
    assert str(error.value).endswith("  99\n  bar 2%\n  no luck")
    assert (folder / "half" / "file").exists()
    # The next run removes the half-finished folder (os.mkdir would fail), and does not repeat what had finished.
    with pytest.raises(StepFailedError, match="no luck"):
        run(folder, FIRST, failing)
    assert counts(folder) == {"first": 1, "failing": 2}


def test_a_step_that_continues_finds_what_it_left(folder):
    # Each run adds a letter; three are enough.
    code = """
        import os, sys
        os.makedirs('made', exist_ok=True)
        open('made/letters', 'a').write(open('first.txt').read())
        sys.exit(os.path.getsize('made/letters') < 3)
    """
    continuing = python("continuing", code, inputs=("first.txt",), outputs=("made",), continues=True)
    folder.mkdir()
    (folder / ".tasb-steps").mkdir()
    (folder / "first.txt").write_text("x")
    for _ in range(2):
        with pytest.raises(StepFailedError):
            run(folder, continuing)
    run(folder, continuing)
    assert (folder / "made" / "letters").read_text() == "xxx"
    run(folder, continuing)
    assert counts(folder) == {"continuing": 3}
    # Of another input, what is there is of no use.
    (folder / "first.txt").write_text("y")
    with pytest.raises(StepFailedError):
        run(folder, continuing)
    assert (folder / "made" / "letters").read_text() == "y"


def test_success_without_the_output_is_a_failure(folder):
    with pytest.raises(StepFailedError, match="did not make made/a"):
        run(folder, python("first", "", outputs=("made/a",)))


def test_the_environment_reaches_the_command_and_standard_input_is_closed(folder):
    code = "import os, sys; print(os.environ['TASB_TEST'], repr(sys.stdin.read()))"
    Pipeline(folder, {"TASB_TEST": "here"}).run([Step("s", "", ("-c", code), stdout="s.txt")])
    assert (folder / "s.txt").read_text() == "here ''\n"


def test_on_a_terminal_the_latest_line_shows_in_place(folder):
    # Five seconds: on a busy machine the screen may stand still for one or two.
    program = f"""
        import logging
        from pathlib import Path
        from pyserini_tasb.regression.steps import Pipeline, Step
        logging.basicConfig(level="INFO")
        code = "import time; print('1%', end='\\\\r2%', flush=True); time.sleep(5)"
        Pipeline(Path({str(folder)!r}), {{}}).run([Step("slow", "", ("-c", code))])
    """
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    with subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # how Linux says that the other end is closed
            while data := os.read(ours, 1000):
                shown += data
    os.close(ours)
    assert process.returncode == 0, shown
    assert re.search(rb"\r  00:0\d  2%.*\r *\r.*done in", shown, re.DOTALL), shown


def test_ctrl_c_ends_the_command_and_leaves_a_resumable_state(folder):
    # Started in the background of a script, the tests have SIGINT ignored, and so would the child.
    program = f"""
        import signal
        from pathlib import Path
        from tests.regression.test_steps import FIRST, python
        from pyserini_tasb.regression.steps import Pipeline
        signal.signal(signal.SIGINT, signal.default_int_handler)
        slow = python("slow", "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)")
        Pipeline(Path({str(folder)!r}), {{}}).run([FIRST, slow])
    """
    process = subprocess.Popen([sys.executable, "-c", textwrap.dedent(program)], stderr=subprocess.PIPE)
    pid = folder / "pid"
    wait_until(lambda: pid.exists() and pid.read_text())
    process.send_signal(signal.SIGINT)
    assert b"KeyboardInterrupt" in process.communicate(timeout=20)[1]
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    run(folder, FIRST, python("slow", ""))
    assert counts(folder) == {"first": 1, "slow": 2}


def wait_until(condition) -> None:
    for _ in range(300):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail("did not happen within 30 s")


def test_somebody_elses_folder_is_refused(folder):
    folder.mkdir()
    (folder / "thesis.tex").write_text("precious")
    with pytest.raises(TasbError, match="an earlier run of the same command"):
        Pipeline(folder, {})
    assert [path.name for path in folder.iterdir()] == ["thesis.tex"]


def test_a_file_in_place_of_the_folder(folder):
    folder.write_text("")
    with pytest.raises(TasbError, match="a folder that can be written"):
        Pipeline(folder, {})
