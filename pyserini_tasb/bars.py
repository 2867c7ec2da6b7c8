"""Progress bars of tqdm that are not drawn everywhere."""

from __future__ import annotations

import os


def hidden(otherwise: bool | None) -> bool | None:
    """The argument `disable` of a tqdm bar that has its own reason to be hidden.

    tqdm reads `TQDM_DISABLE` only if the argument is missing, so it is read here.

    Args:
        otherwise: the value without `TQDM_DISABLE`. None hides the bar outside a terminal, True everywhere.
    """
    return True if os.environ.get("TQDM_DISABLE") else otherwise
