"""The picture: which queries it shows, and that it shows them."""

from __future__ import annotations

import dataclasses
import warnings

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.image import imread

from pyserini_tasb.data.cluster_picture import (
    COLOURS,
    NOT_DRAWABLE,
    OPACITY,
    SampleCluster,
    draw_clusters,
    sample_clusters,
    typeface_for,
)
from pyserini_tasb.data.kmeans import kmeans
from pyserini_tasb.errors import TasbError

TITLES = {"title": "8 of 12 clusters", "subtitle": "of planted vectors"}


@pytest.fixture(scope="module")
def planted():
    generator = np.random.default_rng(0)
    centres = generator.integers(12, size=300)
    vectors = 4 * np.eye(16, dtype=np.float32)[centres] + generator.standard_normal((300, 16), dtype=np.float32)
    return kmeans(vectors, 12), vectors, [f"query {row} of {centre}" for row, centre in enumerate(centres)]


def test_eight_clusters_each_with_the_three_queries_nearest_its_centroid(planted):
    found, vectors, texts = planted
    samples = sample_clusters(found, vectors, texts, seed=1)
    assert len(samples) == len({sample.line for sample in samples}) == 8
    lines = [np.flatnonzero(found.assignment == cluster) for cluster in np.unique(found.assignment)]
    for sample in samples:
        rows = lines[sample.line - 1]
        assert sample.rows.tolist() == rows.tolist()
        assert sample.size == len(rows)
        centroid = found.centroids[found.assignment[rows[0]]]
        cosines = vectors[rows] @ centroid / np.linalg.norm(vectors[rows], axis=1)
        assert sample.examples == tuple(texts[row] for row in rows[np.argsort(-cosines)[:3]])
    assert [s.line for s in samples] != [s.line for s in sample_clusters(found, vectors, texts, seed=2)]


def test_examples_of_euclidean_clusters_are_near_in_space(planted):
    _, vectors, texts = planted
    found = kmeans(vectors, 12, metric="euclidean")
    sample = sample_clusters(found, vectors, texts, seed=1)[0]
    first = texts.index(sample.examples[0])
    centroid = found.centroids[found.assignment[first]]
    distances = np.linalg.norm(vectors[sample.rows] - centroid, axis=1)
    assert first == sample.rows[distances.argmin()]


def test_examples_differ_and_large_clusters_are_sampled():
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((900, 4), dtype=np.float32)
    texts = ["What is BM25?" if row % 2 else "what is bm25" for row in range(900)]
    texts[7] = "tf idf"
    samples = sample_clusters(kmeans(vectors, 2), vectors, texts, seed=0)
    assert [len(sample.rows) for sample in samples] == [250, 250]
    assert sum(sample.size for sample in samples) == 900
    assert sorted(len(sample.examples) for sample in samples) == [1, 2]


@pytest.fixture(scope="module")
def picture(planted, tmp_path_factory):
    found, vectors, texts = planted
    samples = sample_clusters(found, vectors, texts, seed=1)
    paths = [tmp_path_factory.mktemp("pictures") / name for name in ("a.png", "b.png")]
    for path in paths:
        draw_clusters(path, samples, vectors, metric=found.metric, seed=1, **TITLES)
    return paths


def test_every_cluster_has_its_colour_in_the_map_and_in_the_legend(picture):
    image = imread(picture[0])
    assert image.shape[:2] == (1080, 1950)
    assert 0.7 < np.mean(image[..., :3].min(axis=2) > 0.99) < 0.97  # mostly white, and yet not blank
    plane, legend = image[:, :1056, :3], image[:, 1060:, :3]
    for colour in map(np.array, map(to_rgb, COLOURS)):
        on_white = OPACITY * colour + (1 - OPACITY)
        assert (np.abs(plane - on_white).max(axis=2) < 0.02).sum() > 100
        assert (np.abs(legend - colour).max(axis=2) < 0.02).sum() > 50


def test_same_seed_same_picture(picture):
    assert picture[0].read_bytes() == picture[1].read_bytes()


def text_columns(path, line):
    """Where the columns of the right side have ink in the given line of examples (from 0) of the first cluster."""
    top = 1080 - round((0.885 - 0.855 * (0.18 + 0.23 * (line + 1)) / 8) * 1080)
    strip = imread(path)[top - 9 : top + 9, 1190:, :3]
    return np.flatnonzero(strip.min(axis=(0, 2)) < 0.6)


def test_any_text_is_drawn_inside_the_picture(planted, tmp_path):
    found, vectors, texts = planted
    samples = sample_clusters(found, vectors, texts, seed=1)
    examples = (r"costs $5 \frac or $10", "WWW " * 100, "天気 \x07 \ue000")
    samples[0] = dataclasses.replace(samples[0], examples=examples)
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns of characters that no font has
        draw_clusters(tmp_path / "clusters.png", samples, vectors, metric="euclidean", seed=1, **TITLES)
    for line in range(3):
        columns = text_columns(tmp_path / "clusters.png", line)
        assert len(columns) > 30
        assert columns[-1] < 750  # short of the right edge, at 760


def test_users_settings_of_matplotlib_do_not_matter(planted, picture, tmp_path):
    import matplotlib as mpl

    found, vectors, texts = planted
    with mpl.rc_context({"text.usetex": True, "font.size": 30, "savefig.dpi": 20, "lines.linewidth": 9}):
        samples = sample_clusters(found, vectors, texts, seed=1)
        draw_clusters(tmp_path / "clusters.png", samples, vectors, metric=found.metric, seed=1, **TITLES)
    assert (tmp_path / "clusters.png").read_bytes() == picture[0].read_bytes()


def test_too_few_queries_for_a_picture(tmp_path):
    samples = [SampleCluster(1, 3, np.arange(3), ("a", "b", "c"))]
    with pytest.raises(TasbError, match="leave out picture=True"):
        draw_clusters(
            tmp_path / "clusters.png", samples, np.eye(3, dtype=np.float32), metric="spherical", seed=1, **TITLES
        )
    assert not list(tmp_path.iterdir())


def test_typeface_has_a_square_for_what_no_font_has():
    typeface = typeface_for(["naïve ł", "\ue000\x07"])
    assert typeface.families == ("DejaVu Sans",)
    assert typeface.drawable("naïve \ue000\x07") == f"naïve {NOT_DRAWABLE}{NOT_DRAWABLE}"
