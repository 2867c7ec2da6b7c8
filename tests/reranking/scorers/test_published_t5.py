"""What is known of published checkpoints by their names."""

from __future__ import annotations

import pytest

from pyserini_tasb.models.t5 import answers_of


@pytest.mark.parametrize(
    ("model", "answers"),
    [
        ("castorini/monot5-base-msmarco-10k", ("false", "true")),
        ("castorini/duot5-3b-msmarco", ("false", "true")),
        ("unicamp-dl/mt5-base-mmarco-v2", ("no", "yes")),
        ("/models/mt5-base-en-msmarco/", ("no", "yes")),
        ("unicamp-dl/ptt5-base-pt-msmarco-100k-v2", ("não", "sim")),
        ("unicamp-dl/mt5-3B-mmarco-en-pt", ("", "true")),
        ("unicamp-dl/mt5-13b-mmarco-100k", ("false", "true")),
        ("mine", ("false", "true")),
    ],
)
def test_answers(model, answers):
    assert answers_of(model) == answers
