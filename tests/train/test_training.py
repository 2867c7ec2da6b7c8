import json
from tests.conftest import run_module

def test_smoke(training_set, tmp_path):
    config = training_set.config(tmp_path)
    done = run_module("pyserini_tasb", "train", config)
    print(done.stdout, done.stderr)
    print((tmp_path/"run"/"metrics.jsonl").read_text())
    assert 0
