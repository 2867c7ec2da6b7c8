"""Java and Ray in one process: a notebook that searches with Pyserini and then gives work to a cluster."""

from __future__ import annotations

import subprocess
import sys

# A null pointer is a fault of memory, which Java handles.
PROGRAM = """
from pyserini.search.lucene import LuceneSearcher  # starts Java
from jnius import JavaException, autoclass

from pyserini_tasb.ray_cluster.joining import connected


def point_nowhere():
    for _ in range(10):
        try:
            autoclass("java.util.TreeMap")().put(None, "")
        except JavaException:
            print("handled")


autoclass("java.util.TreeMap")
with connected("local"):
    point_nowhere()
point_nowhere()
"""


def test_java_handles_its_faults_with_ray_and_after_it():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-1000:]
    assert done.stdout.split() == ["handled"] * 20
