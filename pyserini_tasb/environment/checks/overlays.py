"""faiss and onnxruntime: one module each, which a CPU and a GPU distribution both bring.

pip knows no conflict between the two: whichever it unpacked last is the module. See docs/gpu.md.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import packages_distributions, version

from pyserini_tasb.environment.finding import Finding, ok, problem, warning


def check_faiss() -> list[Finding]:
    """Which build of faiss, and whether two distributions lie over each other."""
    owners = distributions_of("faiss")
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
    return [kind("faiss", f"{found}; {' and '.join(owners)} lie over each other", _install_faiss(owners))]


def check_onnxruntime() -> list[Finding]:
    """Which build of onnxruntime, and whether the CPU's lies over the GPU's."""
    owners = distributions_of("onnxruntime")
    gpu_version = owners.get("onnxruntime-gpu")
    try:
        onnxruntime = import_module("onnxruntime")
        providers = onnxruntime.get_available_providers()
        found = f"{onnxruntime.__version__}, {', '.join(name.removesuffix('ExecutionProvider') for name in providers)}"
    except Exception as error:  # noqa: BLE001 - whatever a broken install raises is the finding
        return [problem("onnxruntime", f"cannot be imported: {error!r}", _install_onnxruntime(owners))]
    if gpu_version and "CUDAExecutionProvider" not in providers:
        found = f"{found}: the CPU build lies over onnxruntime-gpu {gpu_version}, so ONNX models run on the CPU"
        return [problem("onnxruntime", found, _install_onnxruntime(owners))]
    if gpu_version and "onnxruntime" not in owners:
        found = f"{found}; onnxruntime-gpu alone: the next `pip install pyserini` unpacks the CPU build over it"
        return [warning("onnxruntime", found, _install_onnxruntime(owners))]
    return [ok("onnxruntime", found)]


def distributions_of(module: str) -> dict[str, str]:
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
