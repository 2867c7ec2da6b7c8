"""The checks of `tasb doctor`. Each returns its lines, and imports a heavy package only inside itself."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
import shlex
import shutil
import site
import sys
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, distribution, packages_distributions, version
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pyserini_tasb.commands import run_short_command
from pyserini_tasb.environment.java import (
    OLDEST,
    SWITCH,
    SYSTEM_FOLDERS,
    VECTOR_MODULE,
    Java,
    candidates,
    find_java,
    install_advice,
    path_java,
    path_would_fail,
    pyserini_java,
    variable_java,
    would_fail,
)
from pyserini_tasb.environment.processor import SETTING, VARIABLE, products_depend_on_alignment
from pyserini_tasb.folders import at_home

if TYPE_CHECKING:
    from collections.abc import Sequence


Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """A finding of a check.

    Args:
        name: the name of the check.
        status: `ok`; `warning` for something that works, or may be intended; or `problem` for something that fails.
        found: what the check found.
        remedy: a command to type. If there are several lines, any one of them is enough.
    """

    name: str
    status: Status
    found: str
    remedy: str | None = None


def ok(name: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(name, "ok", found)


def warning(name: str, found: str, remedy: str) -> Finding:
    """Works, with something to know."""
    return Finding(name, "warning", found, remedy)


def problem(name: str, found: str, remedy: str) -> Finding:
    """Does not work."""
    return Finding(name, "problem", found, remedy)


# As in pyproject.toml.
PYTHON = (3, 11)
PYSERINI, NOT_PYSERINI = (1, 6), (3,)
TRANSFORMERS = (4, 57)
OPENAI_REFUSING_EMPTY_KEYS = (2, 34)
PYSERINI_WITHOUT_EMPTY_KEY = (2, 1)
INSTALL_PYSERINI = "pip install 'pyserini>=1.6,<3,!=2.4.0'"
PYSERINI_METADATA = "https://raw.githubusercontent.com"  # where 2.4.0 downloads from while it is imported


def check_python() -> list[Finding]:
    """Python's version, and which Python it is."""
    found = f"{platform.python_version()} ({sys.executable})"
    if sys.version_info < PYTHON:
        return [problem("Python", found, "conda create -n tasb python=3.12")]
    return [ok("Python", found)]


def check_pyserini() -> list[Finding]:
    """Pyserini's version, and the two releases that cannot be imported everywhere."""
    found = installed("pyserini")
    if found is None:
        return [problem("Pyserini", "not installed", INSTALL_PYSERINI)]
    if not PYSERINI <= release(found) < NOT_PYSERINI:
        return [problem("Pyserini", f"{found}; we need 1.6 or newer, below 3", INSTALL_PYSERINI)]
    if release(found) == (2, 4, 0):
        return [_check_pyserini_2_4_0()]
    if release(found) < PYSERINI_WITHOUT_EMPTY_KEY:
        return [ok("Pyserini", found), _check_openai(found)]
    return [ok("Pyserini", found)]


def check_transformers() -> list[Finding]:
    """The version of transformers."""
    found = installed("transformers")
    if found is None or release(found) < TRANSFORMERS:
        found = f"{found or 'not installed'}; we need 4.57 or newer"
        return [problem("transformers", found, "pip install 'transformers>=4.57'")]
    return [ok("transformers", found)]


def check_torch() -> list[Finding]:
    """The version of torch, and what it can compute on."""
    remedy = "pip install " + ("--no-deps --force-reinstall " if installed("torch") else "") + "'torch>=2.9'"
    try:
        import torch

        devices = [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())]
        if torch.backends.mps.is_available():
            devices.append("MPS")
        has_bf16 = {True: "yes", False: "emulated, slow", None: "unknown"}[_cpu_has_bf16()]
        found = f"{torch.__version__}; GPU: {', '.join(devices) or 'none'}; bf16 on the CPU: {has_bf16}"
    except Exception as error:  # noqa: BLE001 - whatever a broken install raises is the finding
        return [problem("torch", f"cannot be imported: {error!r}", remedy)]
    return [ok("torch", found), _check_reproducibility()]


def installed(distribution: str) -> str | None:
    """The installed version of a distribution; None where it is not installed."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def release(version: str) -> tuple[int, ...]:
    """`2.14.1+cpu` → (2, 14, 1)."""
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])


def _check_pyserini_2_4_0() -> Finding:
    found = "2.4.0, which downloads index metadata whenever it is imported"
    if answers(PYSERINI_METADATA):
        return ok("Pyserini", f"{found}: it does not work offline")
    return warning(
        "Pyserini", f"{found}, and {PYSERINI_METADATA} does not answer: it cannot be imported", INSTALL_PYSERINI
    )


def _check_openai(pyserini: str) -> Finding:
    found = installed("openai")
    if found is None:
        return problem("openai", f"not installed; Pyserini {pyserini} imports it", "pip install 'openai<2.34'")
    if release(found) < OPENAI_REFUSING_EMPTY_KEYS:
        return ok("openai", found)
    if os.environ.get("OPENAI_API_KEY"):
        return ok("openai", f"{found}; Pyserini {pyserini} can be imported only while OPENAI_API_KEY is set, as it is")
    clash = f"{found}: `import pyserini.encode` of Pyserini {pyserini} fails with openai 2.34 and newer"
    return problem("openai", clash, "pip install 'openai<2.34'")


def _check_reproducibility() -> Finding:
    name, set_to = "reproducibility", f"{VARIABLE}={os.environ.get(VARIABLE, '')}"
    if products_depend_on_alignment():
        found = f"the last bits of torch's products depend on memory addresses ({set_to})"
        return warning(name, found, f"export {VARIABLE}={SETTING}")
    found = f"torch's products have the same bytes at any memory address ({set_to})"
    return ok(name, f"{found}; set it for programs that use torch before they load our encoders")


def _cpu_has_bf16() -> bool | None:
    try:
        cpu = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return None
    return re.search(r"\b(avx512_bf16|amx_bf16|bf16)\b", cpu) is not None


def check_faiss() -> list[Finding]:
    """Which build of faiss, and whether two distributions overwrite each other's files.

    A CPU and a GPU distribution bring one module, and pip knows no conflict between them: whichever it unpacked last is
    the module. See docs/gpu.md.
    """
    owners = distributions_with("faiss")
    try:
        import faiss

        is_gpu_build = hasattr(faiss, "StandardGpuResources")
        build = f"GPU build, {faiss.get_num_gpus()} GPUs" if is_gpu_build else "CPU build"
        found = f"{faiss.__version__}, {build}"
    except Exception as error:  # noqa: BLE001 - whatever a broken install raises is the finding
        return [problem("faiss", f"cannot be imported: {error!r}", _install_faiss(owners))]
    if len(owners) < 2:
        return [ok("faiss", found)]
    kind = warning if is_gpu_build else problem  # who installed the GPU's wants the GPU's
    return [kind("faiss", f"{found}; {' and '.join(owners)} overwrite each other's files", _install_faiss(owners))]


def check_onnxruntime() -> list[Finding]:
    """Which build of onnxruntime, and whether the CPU's lies over the GPU's."""
    owners = distributions_with("onnxruntime")
    gpu_version = owners.get("onnxruntime-gpu")
    try:
        onnxruntime = import_module("onnxruntime")
        providers = onnxruntime.get_available_providers()
        found = f"{onnxruntime.__version__}, {', '.join(name.removesuffix('ExecutionProvider') for name in providers)}"
    except Exception as error:  # noqa: BLE001 - whatever a broken install raises is the finding
        return [problem("onnxruntime", f"cannot be imported: {error!r}", _install_onnxruntime(owners))]
    if gpu_version and "CUDAExecutionProvider" not in providers:
        found = f"{found}: the CPU build has overwritten onnxruntime-gpu {gpu_version}, so ONNX models run on the CPU"
        return [problem("onnxruntime", found, _install_onnxruntime(owners))]
    if gpu_version and "onnxruntime" not in owners:
        found = f"{found}; only onnxruntime-gpu: the next `pip install pyserini` overwrites it with the CPU build"
        return [warning("onnxruntime", found, _install_onnxruntime(owners))]
    return [ok("onnxruntime", found)]


def distributions_with(module: str) -> dict[str, str]:
    """The installed distributions that bring a module, with their versions, sorted by name."""
    return {name: version(name) for name in sorted(set(packages_distributions().get(module, ())))}


def _install_faiss(owners: dict[str, str]) -> str:
    if not owners:
        return "pip install faiss-cpu"
    keep = next((name for name in owners if "gpu" in name or "cuda" in name), next(iter(owners)))
    return f"pip uninstall -y {' '.join(owners)} && pip install {keep}=={owners[keep]}"


def _install_onnxruntime(owners: dict[str, str]) -> str:
    if wanted := owners.get("onnxruntime-gpu"):
        # Uninstalling one of the two removes files of the other, so both go; Pyserini requires the CPU's name.
        return (
            "pip uninstall -y onnxruntime onnxruntime-gpu && "
            f"pip install --no-deps onnxruntime=={wanted} && pip install --no-deps onnxruntime-gpu=={wanted}"
        )
    return f"pip install {'--no-deps --force-reinstall ' if owners else ''}onnxruntime"


HOOK_NAME = "start-up hook"
# Of pyserini_tasb.plugin, by name only: the plugin imports this package, not the other way round.
AUTOLOAD_SWITCH = "PYSERINI_TASB_AUTOLOAD"
START_FILE = "pyserini_tasb.pth"
REGISTER = "import pyserini_tasb; pyserini_tasb.register_encoders()"
LOOK = """
import sys
names = [f"{type(finder).__module__}.{type(finder).__qualname__}" for finder in sys.meta_path]
sys.exit("pyserini_tasb.plugin.startup.PyseriniFinder" not in names)
"""


def check_startup_hook() -> list[Finding]:
    """Start a Python as a user would and look for our finder."""
    if os.environ.get(AUTOLOAD_SWITCH) == "0":
        return [warning(HOOK_NAME, f"switched off: {AUTOLOAD_SWITCH}=0", f"unset {AUTOLOAD_SWITCH}")]
    if sys.flags.no_site:
        return [problem(HOOK_NAME, "this Python runs with -S and reads no start-up files", REGISTER)]
    live = run_short_command([sys.executable, "-c", LOOK], seconds=60).returncode == 0
    if live:
        return [ok(HOOK_NAME, "active: `python -m pyserini.search.faiss` and similar commands know `--encoder tasb`")]
    if any(Path(folder, START_FILE).is_file() for folder in _site_folders()):
        return [
            problem(
                HOOK_NAME,
                f"{START_FILE} exists but did not run",
                reinstall_command(),
            )
        ]
    package = Path(__file__).parents[1]
    if (package.parent / "pyproject.toml").is_file():
        found = f"not installed: running from the checkout {package.parent}, where only `tasb` works"
        return [problem(HOOK_NAME, found, f"pip install -e {package.parent}")]
    found = f"{package.parent} is no site-packages folder of this Python, so start-up files in it are not read"
    return [problem(HOOK_NAME, found, REGISTER)]


def reinstall_command() -> str:
    """The command that installs this package again from its source: a clone, as pip notes (PEP 610), or an index."""
    try:
        noted = distribution("pyserini-tasb").read_text("direct_url.json")
    except PackageNotFoundError:
        return f"pip install -e {shlex.quote(str(Path(__file__).parents[2]))}"
    came = json.loads(noted or "{}")
    url = came.get("url", "pyserini-tasb")
    source = urllib.request.url2pathname(url.removeprefix("file://")) if url.startswith("file://") else url
    editable = "-e " if came.get("dir_info", {}).get("editable") else ""
    return f"pip install --force-reinstall --no-deps {editable}{shlex.quote(source)}"


def _site_folders() -> list[str]:
    return site.getsitepackages() + ([site.getusersitepackages()] if site.ENABLE_USER_SITE else [])


def check_java(system_folders: Sequence[str] = SYSTEM_FOLDERS) -> list[Finding]:
    """JAVA_HOME, `java` on PATH, the Java that will be used, and its vector module."""
    chosen = find_java(system_folders)
    # Without a suitable one, one that is new enough and lacks the module is worth a line of its own.
    newest = max(candidates(system_folders), key=lambda java: java.version, default=None)
    return [_java_home(chosen), _on_path(chosen), _used(chosen), *_vector_module(chosen or newest)]


def _java_home(chosen: Java | None) -> Finding:
    value = os.environ.get("JAVA_HOME")
    if not value:
        return ok("JAVA_HOME", "not set")
    java = variable_java("JAVA_HOME")
    if java is None:
        return _amiss("JAVA_HOME", f"{value}, which contains no Java", chosen)
    return _amiss("JAVA_HOME", f"{value} {java.shortfall}", chosen) if java.shortfall else ok("JAVA_HOME", str(java))


def _on_path(chosen: Java | None) -> Finding:
    reason = path_would_fail()
    return _amiss("Java on PATH", reason, chosen) if reason else ok("Java on PATH", str(path_java()))


def _used(chosen: Java | None) -> Finding:
    name = "Java for Pyserini"
    reason = would_fail()
    if reason is None:
        java = pyserini_java()
        return ok(name, f"{java}, from {java.source}")
    if os.environ.get("JVM_PATH"):
        return problem(name, reason, "unset JVM_PATH")
    if chosen is None:
        return problem(name, reason, install_advice())
    if _switched_off():
        return problem(name, f"{reason}; {chosen} is not used: {SWITCH}=0", f"unset {SWITCH}")
    return ok(name, f"{chosen}, from {chosen.source}: `tasb` and the start-up hook set it")


def _vector_module(java: Java | None) -> list[Finding]:
    if java is None or java.version < OLDEST:
        return []
    if java.has_vector_module is False:
        return [problem(VECTOR_MODULE, f"not in {java}, a reduced runtime", install_advice())]
    listed = "in" if java.has_vector_module else "its module list is missing; assumed to be in"
    return [ok(VECTOR_MODULE, f"{listed} {java}")]


def _amiss(name: str, found: str, chosen: Java | None) -> Finding:
    """A problem, or only a warning if our start-up hook can help."""
    if chosen is None:
        return problem(name, found, install_advice())
    home = shlex.quote(str(chosen.home))
    export = f'export JAVA_HOME={home} PATH={home}/bin:"$PATH"'
    return problem(name, found, export) if _switched_off() else warning(name, found, export)


def _switched_off() -> bool:
    return os.environ.get(SWITCH) == "0"


PATIENCE = 3.0  # seconds


def check_hub() -> list[Finding]:
    """The connection to the hub. It is never a problem by itself, because cached models need no hub."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return [ok("Hugging Face hub", "offline because of HF_HUB_OFFLINE: only cached models work")]
    if answers(constants.ENDPOINT):
        return [ok("Hugging Face hub", f"{constants.ENDPOINT} answers")]
    return [
        warning(
            "Hugging Face hub",
            f"{constants.ENDPOINT} does not answer: only cached models work",
            "export HF_HUB_OFFLINE=1",
        )
    ]


def answers(url: str, patience: float = PATIENCE) -> bool:
    """True if an HTTP server sends any answer within `patience` seconds."""
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(Exception):  # a thread's exceptions would be printed
            try:
                with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=patience):  # noqa: S310
                    answered.set()
            except urllib.error.HTTPError:
                answered.set()

    # In a thread, for no timeout reaches the resolver: a dead name server would hold us for a minute.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(patience)
    return answered.is_set()


ENOUGH = 2 * 1024**3  # bytes: TAS-B's weights take 0.3 GB, Pyserini's topics and a small index the rest


def check_caches() -> list[Finding]:
    """Pyserini's cache, Hugging Face's, and the folder of the user's own recipes."""
    from huggingface_hub import constants

    from pyserini_tasb.recipes.lookup import broken_recipes, user_folder

    return [
        _pyserini(at_home(os.environ.get("PYSERINI_CACHE") or "~/.cache/pyserini")),
        _folder("Hugging Face cache", Path(constants.HF_HUB_CACHE), "HF_HUB_CACHE"),
        _folder("your recipes", user_folder("encoders").parent, "PYSERINI_TASB_HOME"),
        *(
            problem(
                name,
                f"{fault.where or path}: {fault.found}",
                shlex.join(["mv", str(path), f"{path}.broken"]),
            )
            for name, path, fault in broken_recipes()
        ),
    ]


def _pyserini(folder: Path) -> Finding:
    finding = _folder("Pyserini cache", folder, "PYSERINI_CACHE")
    java_folder = Path(".cache/pyserini")
    if not java_folder.parent.is_dir() or java_folder.resolve() == folder.resolve():
        return finding
    found = f"{finding.found}; but what Java downloads goes to {java_folder.resolve()}, because ./.cache exists"
    return warning(finding.name, found, f"ln -s {shlex.quote(str(folder))} .cache/pyserini")


def _folder(name: str, folder: Path, variable: str) -> Finding:
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    found = f"{folder}{'' if existing == folder else ' (does not exist yet)'}, {free / 1024**3:.1f} GiB free"
    elsewhere = f"export {variable}=/a/folder/with/room"
    if not os.access(existing, os.W_OK | os.X_OK):
        return warning(name, f"{found}, not writable: nothing new can be stored", elsewhere)
    return warning(name, f"{found}: little", elsewhere) if free < ENOUGH else ok(name, found)
