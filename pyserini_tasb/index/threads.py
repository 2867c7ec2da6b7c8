"""How many threads Faiss uses."""

from __future__ import annotations

import os


def use_threads(asked: int | None) -> int:
    """Let Faiss use so many threads, by default as many as this process may use cores; the number.

    Faiss by itself takes every core of the machine, those of a container's neighbours too.
    """
    import faiss

    threads = asked or _usable_cores()
    faiss.omp_set_num_threads(threads)
    return threads


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS
