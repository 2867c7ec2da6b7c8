"""`tasb export`: a card's model as a folder for ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pyserini_tasb.encode.export.packages import require_packages
from pyserini_tasb.recipes import encoder_card
from pyserini_tasb.texts.new_folder import new_folder, refuse_occupied

if TYPE_CHECKING:
    import argparse


def run(arguments: argparse.Namespace) -> int:
    """Write `arguments.output`, a new folder, and print what was lost; 0.

    Raises:
        TasbError: packages are missing, no such encoder, a folder in the way, or too much was lost.
    """
    output = Path(arguments.output)
    require_packages()
    refuse_occupied(output, overwrite=False)
    card = encoder_card(arguments.encoder)
    from pyserini_tasb.encode.export.accuracy import describe
    from pyserini_tasb.encode.export.folder import card_file, export_model
    from pyserini_tasb.encode.export.sample import built_in_sample, read_sample

    sample = read_sample(Path(arguments.sample[0]), arguments.sample[1]) if arguments.sample else built_in_sample()
    with new_folder(output) as folder:
        about = export_model(card, folder, arguments.precision, sample, force=arguments.force)
    fused = f"{about.attention_fused} of {about.attention_layers} layers"
    whole = about.attention_fused == about.attention_layers
    print(
        f"{output}: {card.model} in {about.precision}; attention of all tokens fused in {fused}"
        f"{'' if whole else ', the others are right but slow'}\n"
        f"  beside torch in fp32: {describe(about.accuracy)}\n"
        f"  use it: --encoder tasb:{card_file(output)}"
    )
    return 0
