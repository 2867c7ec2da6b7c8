"""The Java that Pyserini would use, a better one if that one is unsuitable, and the command that installs one.

The start-up hook imports this just before Pyserini starts its JVM: standard library only, nothing heavy at the top.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


OLDEST = 21  # Anserini's class files are of this version
VECTOR_MODULE = "jdk.incubator.vector"  # Pyserini starts its JVM with --add-modules of it


@dataclass(frozen=True)
class Java:
    """A Java installation.

    Args:
        home: its folder, symbolic links resolved.
        version: the feature release, e.g. 21.
        has_vector_module: None where its `release` file does not list modules.
        source: how it was found: the variable's name, `PATH`, `conda` or `system`.
    """

    home: Path
    version: int
    has_vector_module: bool | None
    source: str

    @property
    def shortfall(self) -> str | None:
        """Why Pyserini cannot run on it; None where it can."""
        if self.version < OLDEST:
            return f"is Java {self.version}, Pyserini needs {OLDEST} or newer"
        if self.has_vector_module is False:
            return f"lacks the module {VECTOR_MODULE}"
        if not any((self.home / "lib" / "server" / name).is_file() for name in ("libjvm.so", "libjvm.dylib")):
            return "has no lib/server/libjvm"
        return None

    @property
    def suitable(self) -> bool:
        """True if Pyserini can run on it."""
        return self.shortfall is None

    def __str__(self) -> str:
        return f"Java {self.version} in {self.home}"


def read_home(home: Path, source: str) -> Java | None:
    """The Java in a folder; None if the folder has none."""
    home = home.resolve()
    command = home / "bin" / "java"
    if not os.access(command, os.X_OK):
        return None
    try:
        release = (home / "release").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return _ask(command, source)
    values = dict(re.findall(r'^(\w+)="?(.*?)"?\s*$', release, flags=re.MULTILINE))
    version = _feature_release(values.get("JAVA_VERSION", ""))
    if version is None:
        return _ask(command, source)
    modules = values.get("MODULES", "").split()
    return Java(home, version, VECTOR_MODULE in modules if modules else None, source)


def read_command(command: Path, source: str) -> Java | None:
    """The Java that a `java` command starts; None where it does not work."""
    real = command.resolve()  # Debian: /usr/bin/java → /etc/alternatives/java → /usr/lib/jvm/…/bin/java
    home = real.parent.parent
    return read_home(home, source) if (home / "release").is_file() else _ask(command, source)


def _ask(command: Path, source: str) -> Java | None:
    """Run `java` to learn about it: no `release` file, or a launcher (jenv, asdf, macOS) that starts another `java`."""
    shown = _output(command, "-XshowSettings:properties", "-version")
    values = dict(re.findall(r"^\s*([\w.]+) = (.*?)\s*$", shown, flags=re.MULTILINE))
    version = _feature_release(values.get("java.specification.version", ""))
    if version is None or "java.home" not in values:
        return None
    has_module = VECTOR_MODULE in _output(command, "--list-modules") if version >= OLDEST else None
    return Java(Path(values["java.home"]).resolve(), version, has_module, source)


def _output(command: Path, *arguments: str) -> str:
    import subprocess

    try:
        done = subprocess.run([command, *arguments], capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr


def _feature_release(version: str) -> int | None:
    match = re.match(r"(?:1\.)?(\d+)", version)  # 1.8.0_392 is Java 8
    return int(match[1]) if match else None


CONDA = "conda install -c conda-forge 'openjdk>=21'"
HOMEBREW = (
    "brew install openjdk@21 && "
    'export JAVA_HOME="$(brew --prefix openjdk@21)/libexec/openjdk.jdk/Contents/Home" PATH="$JAVA_HOME/bin:$PATH"'
)
APT = "sudo apt install openjdk-21-jdk-headless"
# Needs no root, and ~/.jdks is among the folders we search. Debian 12 has Java 17 only, in its backports as well.
TEMURIN = (
    "mkdir -p ~/.jdks && curl -fL "
    "https://api.adoptium.net/v3/binary/latest/21/ga/linux/{machine}/jdk/hotspot/normal/eclipse | tar xz -C ~/.jdks"
)
FIRST_DEBIAN = 13


def install_advice() -> str:
    """One command per line, any of which is enough; the first suits this machine best."""
    if os.environ.get("CONDA_PREFIX") or Path(sys.prefix, "conda-meta").is_dir():
        return CONDA
    if platform.system() == "Darwin":
        return HOMEBREW
    temurin = TEMURIN.format(machine={"x86_64": "x64"}.get(platform.machine(), platform.machine()))
    return f"{APT}\n{temurin}" if _apt_has_it() else temurin


def _apt_has_it() -> bool:
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return False
    if "ubuntu" in (system["ID"], *system.get("ID_LIKE", "").split()):
        return True
    version = system.get("VERSION_ID", "")  # testing and unstable have none
    return system["ID"] == "debian" and (not version.isdigit() or int(version) >= FIRST_DEBIAN)


SWITCH = "PYSERINI_TASB_JAVA"
HOME_VARIABLES = ("JAVA_HOME", "JDK_HOME", "JRE_HOME")  # in the order in which pyjnius reads them
_ELSE = "/usr/libexec/java_home" if sys.platform == "darwin" else "`javac` on PATH"  # and what it asks after them
SYSTEM_FOLDERS = (
    "/usr/lib/jvm/*",
    "/usr/lib64/jvm/*",
    "/usr/java/*",
    "/opt/java*",
    "/opt/java/*",
    "/opt/jdk*",
    "~/.sdkman/candidates/java/*",
    "~/.jdks/*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "~/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "/opt/homebrew/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
    "/usr/local/opt/openjdk*/libexec/openjdk.jdk/Contents/Home",
)


def candidates(system_folders: Iterable[str] = SYSTEM_FOLDERS) -> list[Java]:
    """Every Java found, each once: the environment variables', PATH's, conda's, then the system's.

    The system's are sorted by version, lowest first, then by folder: Anserini is compiled for and tested with
    Java 21, and a later one may drop the incubating module.

    Args:
        system_folders: glob patterns of folders that may be a Java home.
    """
    found: dict[Path, Java] = {}
    in_system = filter(None, (read_home(home, "system") for home in _folders(system_folders)))
    by_version = sorted(in_system, key=lambda java: (java.version, str(java.home)))
    for java in (*_from_environment(), *by_version):
        found.setdefault(java.home, java)
    return list(found.values())


def find_java(system_folders: Iterable[str] = SYSTEM_FOLDERS) -> Java | None:
    """The first of `candidates` that Pyserini can run on."""
    return next((java for java in candidates(system_folders) if java.suitable), None)


def required_java() -> Java:
    """The first of `candidates` that Pyserini can run on.

    Raises:
        TasbError: there is none; says what was found, and how to install one.
    """
    from pyserini_tasb.errors import TasbError

    java = find_java()
    if java is None:
        raise TasbError(
            expected="a Java 21 or newer that can run Pyserini",
            found="; ".join(f"{java} {java.shortfall}" for java in candidates()) or "no Java",
            do=install_advice(),
        )
    return java


def pyserini_java() -> Java:
    """The Java that pyjnius, and so Pyserini, would start: asked of pyjnius itself, which starts nothing yet.

    Raises:
        LookupError: there is none; the message says why.
    """
    try:
        from jnius_config.env import get_java_setup
    except ImportError:
        raise LookupError("pyjnius, which Pyserini brings along, is not installed") from None
    variable = next((name for name in HOME_VARIABLES if os.environ.get(name)), None)
    try:
        setup = get_java_setup()
        library = Path(setup.get_jnius_lib_location()).resolve()  # $JVM_PATH where that is set
    except Exception:  # noqa: BLE001 - pyjnius raises bare ones, and trips over itself where `javac` is missing
        if variable:
            raise LookupError(f"{variable} is {os.environ[variable]}, which contains no Java") from None
        raise LookupError(f"JAVA_HOME is not set, and {_ELSE} leads to no Java") from None
    if os.environ.get("JVM_PATH"):
        source, homes = "JVM_PATH", list(library.parents)
    else:
        source, homes = variable or _ELSE, [Path(setup.get_javahome())]
    java = next(filter(None, (read_home(home, source) for home in homes)), None)
    if java is None or not library.is_file():
        raise LookupError(f"{source} leads to {library}, which is not part of a working Java")
    return java


def variable_java(variable: str) -> Java | None:
    """The Java in the folder that an environment variable names; like pyjnius, forgives a `bin` at its end."""
    value = os.environ.get(variable)
    if not value:
        return None
    home = Path(value)
    return read_home(home.parent if home.name == "bin" else home, variable)


def path_java() -> Java | None:
    """The Java whose `java` is first on PATH; `pyserini.eval.trec_eval` runs that one."""
    from shutil import which

    command = which("java")
    return read_command(Path(command), "PATH") if command else None


def would_fail() -> str | None:
    """Why Pyserini cannot run with the Java it would pick; None where it can."""
    try:
        java = pyserini_java()
    except LookupError as error:
        return f"Pyserini finds no Java: {error}"
    return f"Pyserini's Java ({java.home}, from {java.source}) {java.shortfall}" if java.shortfall else None


def path_would_fail() -> str | None:
    """Why `pyserini.eval.trec_eval`, which runs `java` from PATH, cannot run; None where it can."""
    java = path_java()
    if java is None:
        return "trec_eval finds no `java` on PATH"
    # It needs neither the vector module nor libjvm.
    return f"trec_eval's Java ({java.home}, from PATH) {java.shortfall}" if java.version < OLDEST else None


def java_environment(java: Java) -> dict[str, str]:
    """The variables that make a process and its children use `java`: JAVA_HOME, and PATH with its bin in front."""
    path = os.environ.get("PATH", os.defpath)
    return {"JAVA_HOME": str(java.home), "PATH": os.pathsep.join((str(java.home / "bin"), path))}


_spoke = False


def ensure_java(needs_path_java: bool = False, system_folders: Sequence[str] = SYSTEM_FOLDERS) -> None:
    """Give this process a Java that runs Pyserini, where the one it would get does not. For the start-up hook.

    Sets JAVA_HOME and PATH in `os.environ` and says so in one line on stderr, once per process; without a suitable
    Java that line is what to type. Silent where nothing is wrong or `PYSERINI_TASB_JAVA=0`. Never raises.

    Args:
        needs_path_java: the module about to be imported runs `java` from PATH.
        system_folders: see `candidates`.
    """
    global _spoke  # noqa: PLW0603 - "once per process" is a fact about the process
    if _spoke or os.environ.get(SWITCH) == "0":
        return
    try:
        line = _fix(needs_path_java, system_folders)
    except Exception as error:  # noqa: BLE001 - somebody is importing Pyserini right now
        line = f"looking for a Java failed: {error!r}"
    if line:
        _spoke = True
        if sys.stderr is not None:  # where it is, print() would take stdout
            with suppress(OSError):
                print(f"pyserini-tasb: {line} ({SWITCH}=0 switches this off)", file=sys.stderr)


# Signals stay with this process: Java would end it at once, whatever it is writing.
OWN_SIGNALS = "-Xrs"
# Java warns of what Lucene does, which no user can change. Pyserini 2 sets some of these itself, and the same variable
# brings the warnings back.
VERBOSE = "PYSERINI_VERBOSE_JVM"
QUIET = (
    f"-Djava.util.logging.config.file={Path(__file__).with_name('quiet-java.properties')}",
    "-Dslf4j.internal.verbosity=WARN",
    "-Dsun.misc.unsafe.memory.access=allow",
    "--enable-native-access=ALL-UNNAMED",
)


def prepare_java() -> None:
    """`ensure_java` for our own functions: their JVM leaves signals to Python, and is quiet about Lucene's inside."""
    ensure_java()
    wanted = (OWN_SIGNALS, *(() if os.environ.get(VERBOSE) else QUIET))
    with suppress(ImportError):
        import jnius_config

        if not jnius_config.vm_running:
            jnius_config.add_options(*(option for option in wanted if option not in jnius_config.options))


def _fix(needs_path_java: bool, system_folders: Sequence[str]) -> str | None:
    jvm_runs = getattr(sys.modules.get("jnius_config"), "vm_running", False)
    of_jvm = None if jvm_runs else would_fail()
    reason = of_jvm or (path_would_fail() if needs_path_java else None)
    if reason is None:
        return None
    if of_jvm and os.environ.get("JVM_PATH"):  # pyjnius prefers it to JAVA_HOME, and somebody set it on purpose
        return f"{reason}; type: unset JVM_PATH"
    java = find_java(system_folders)
    if java is None:
        advice = install_advice().splitlines()[0]
        return f"{reason}; this machine has no other Java for it (`tasb doctor` says more); type: {advice}"
    os.environ.update(java_environment(java))
    return f"{reason}; using {java} instead"


def _from_environment() -> Iterator[Java]:
    yield from filter(None, map(variable_java, HOME_VARIABLES))
    yield from filter(None, [path_java()])
    # A Jupyter kernel or a cron job runs an environment's Python without activating the environment.
    for prefix in filter(None, (os.environ.get("CONDA_PREFIX"), sys.prefix)):
        yield from filter(None, (read_home(home, "conda") for home in (Path(prefix, "lib", "jvm"), Path(prefix))))


def _folders(patterns: Iterable[str]) -> list[Path]:
    from glob import glob

    return [Path(folder) for pattern in patterns for folder in glob(os.path.expanduser(pattern))]  # noqa: PTH111, PTH207
