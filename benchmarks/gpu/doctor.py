"""The lines of `tasb doctor` that matter to a GPU, and the GPUs that torch finds.

    python benchmarks/gpu/doctor.py

It fails no machine: what is missing there is a finding.
"""

from __future__ import annotations

import sys

import checkout  # noqa: F401 - before the imports of ours
from measuring import Options, Results

from pyserini_tasb.environment.checks import (
    check_faiss,
    check_onnxruntime,
    check_python,
    check_torch,
    check_transformers,
)
from pyserini_tasb.environment.doctor import as_text, examine

CHECKS = {
    "Python": check_python,
    "transformers": check_transformers,
    "torch": check_torch,
    "faiss": check_faiss,
    "onnxruntime": check_onnxruntime,
}
COLUMNS = {"memory GiB": ".1f", "free GiB": ".1f", "capability": ".1f", "multiprocessors": "d", "bf16": "d"}


def main() -> int:
    """Note the findings; a row for each GPU."""
    results = Results(Options(__file__, __doc__, quick={}).parse_args(), COLUMNS)
    for finding in examine(CHECKS).findings:
        results.note(as_text(finding).replace(sys.executable, "python"))
    add_gpus(results)
    return results.finish()


def add_gpus(results: Results) -> None:
    """A row for each GPU."""
    import torch

    for number in range(torch.cuda.device_count()):
        about = torch.cuda.get_device_properties(number)
        with torch.cuda.device(number):
            free, _ = torch.cuda.mem_get_info()
            bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
        results.rows[f"GPU {number}: {about.name}"] = {
            "memory GiB": about.total_memory / 2**30,
            "free GiB": free / 2**30,
            "capability": about.major + about.minor / 10,
            "multiprocessors": about.multi_processor_count,
            "bf16": int(bf16),
        }
    if not torch.cuda.device_count():
        results.note("torch finds no GPU")


if __name__ == "__main__":
    sys.exit(main())
