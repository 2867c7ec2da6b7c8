"""Is there a way out to the hub?"""

from __future__ import annotations

import contextlib
import threading
import urllib.error
import urllib.request

from pyserini_tasb.environment.finding import Finding, ok, warning

PATIENCE = 3.0  # seconds


def check_hub() -> list[Finding]:
    """Whether models can be downloaded. Never a problem by itself: cached models need no hub."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return [ok("Hugging Face hub", "offline by HF_HUB_OFFLINE: cached models only")]
    if answers(constants.ENDPOINT):
        return [ok("Hugging Face hub", f"{constants.ENDPOINT} answers")]
    return [
        warning(
            "Hugging Face hub", f"{constants.ENDPOINT} does not answer: cached models only", "export HF_HUB_OFFLINE=1"
        )
    ]


def answers(url: str, patience: float = PATIENCE) -> bool:
    """Whether an HTTP server answers, whatever it says, within `patience` seconds."""
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
