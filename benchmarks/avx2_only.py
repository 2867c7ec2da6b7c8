"""Run a Python script as on a processor with AVX2 and without AVX-512, VNNI and AMX, on one that has them.

    python benchmarks/avx2_only.py benchmarks/plain_onnx.py --corpus collection.tsv --topics queries.tsv

ONNX Runtime asks the processor what it has, by the instruction `cpuid`, and has no setting for it. So a copy of its
library, in a temporary folder, has an invalid instruction in each of these places, and what handles the signal answers
for the processor. All else runs as it is, at full speed: the kernels, and so how int8 saturates, are those of AVX2.
torch and its libraries are told by their own variables. Models are exported into the temporary folder.
Needs Linux on x86, `objdump` and a C compiler. /proc/cpuinfo, which `tasb` reads for its notes, still shows all; and a
JVM, which handles the signal itself, must not be started before ONNX Runtime is imported.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import onnxruntime

COMPILER, OBJDUMP = (shutil.which(name) or "" for name in ("cc", "objdump"))
CPUID, INVALID = b"\x0f\xa2", b"\x0f\x0b"  # `cpuid` and `ud2`, of the same length
# AVX-512, VNNI and AMX are bits of leaf 7 (Intel's and AMD's manuals).
ANSWERS = r"""
#define _GNU_SOURCE
#include <cpuid.h>
#include <signal.h>
#include <string.h>
#include <ucontext.h>

static void answer(int number, siginfo_t *information, void *context) {
  greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  if (memcmp((void *)registers[REG_RIP], "\x0f\x0b", 2)) { signal(number, SIG_DFL); return; }
  unsigned a, b, c, d, leaf = registers[REG_RAX], part = registers[REG_RCX];
  __cpuid_count(leaf, part, a, b, c, d);
  if (leaf == 7 && part == 0) { b &= ~0xdc230000u; c &= ~0x00005842u; d &= ~0x03c0010cu; }
  if (leaf == 7 && part == 1) { a &= ~0x00000030u; d = 0; }
  registers[REG_RAX] = a; registers[REG_RBX] = b; registers[REG_RCX] = c; registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

__attribute__((constructor)) static void start(void) {
  struct sigaction action = {.sa_sigaction = answer, .sa_flags = SA_SIGINFO | SA_NODEFER};
  sigaction(SIGILL, &action, 0);
}
"""
VARIABLES = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"}


def main() -> int:
    """Prepare a folder and run the script; its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what follows `python`: a script and its arguments")
    arguments = parser.parse_args()
    if not COMPILER or not OBJDUMP:
        parser.error("needs `cc` and `objdump`: apt-get install gcc")
    with tempfile.TemporaryDirectory() as name:
        environment = os.environ | VARIABLES | prepared(Path(name))
        return subprocess.run([sys.executable, *arguments.command], env=environment, check=False).returncode


def prepared(folder: Path) -> dict[str, str]:
    """Write the copy of ONNX Runtime, and the library that answers; the variables that make Python use both."""
    package = Path(onnxruntime.__file__).parent
    shutil.copytree(package, folder / package.name, ignore=shutil.ignore_patterns("transformers", "tools"))
    for part in ("transformers", "tools"):
        (folder / package.name / part).symlink_to(package / part)
    for library in (folder / package.name / "capi").glob("onnxruntime_pybind11_state*.so"):
        replace_questions(library)
    (folder / "answers.c").write_text(ANSWERS)
    subprocess.run([COMPILER, "-shared", "-fPIC", "answers.c", "-o", "answers.so"], cwd=folder, check=True)
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {
        "PYTHONPATH": os.pathsep.join(paths),
        "LD_PRELOAD": str(folder / "answers.so"),
        "XDG_CACHE_HOME": str(folder / "cache"),
    }


def replace_questions(library: Path) -> None:
    """Write an invalid instruction over each `cpuid` of a library."""
    headers, code = (
        subprocess.run([OBJDUMP, *options, str(library)], capture_output=True, text=True, check=True).stdout
        for options in (["-h", "-j", ".text"], ["-d", "-j", ".text", "--no-show-raw-insn"])
    )
    ((start, offset),) = (
        (int(start, 16), int(offset, 16)) for start, offset in re.findall(r"\.text +\w+ +(\w+) +\w+ +(\w+)", headers)
    )
    content = bytearray(library.read_bytes())
    for address in re.findall(r"^ *(\w+):\tcpuid", code, re.MULTILINE):
        place = int(address, 16) - start + offset
        content[place : place + 2] = content[place : place + 2].replace(CPUID, INVALID)
    library.write_bytes(content)


if __name__ == "__main__":
    sys.exit(main())
