"""Quantiles of the teacher's margins in a pair store: where `sampling.highest_margin` can cut.

python benchmarks/ablation/quantiles.py STORE
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from pyserini_tasb.data.pair_store import open_pair_store

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store", type=Path)
    store = open_pair_store(parser.parse_args().store)
    margins = store.margins(np.arange(len(store)))
    found = np.quantile(margins, QUANTILES)
    print(f"{len(store):,} pairs of {len(store.queries):,} queries; margins with a deviation of {margins.std():.4f}")
    print(", ".join(f"{quantile:.0%}: {margin:.4f}" for quantile, margin in zip(QUANTILES, found, strict=True)))
    print(f"{(margins <= 0).mean():.1%} not above 0: the teacher scores the negative as high, or higher")


if __name__ == "__main__":
    main()
