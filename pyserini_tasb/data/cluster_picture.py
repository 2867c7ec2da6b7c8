"""A t-SNE picture of sample clusters with example queries, as the paper's Figure 1, in any script."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyserini_tasb import plots
from pyserini_tasb.data.kmeans import members
from pyserini_tasb.errors import TasbError, argument
from pyserini_tasb.outputs import opened

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from pyserini_tasb.data.kmeans import KMeans, Metric
    from pyserini_tasb.outputs import NewFile


# Each cluster has a shape and a number besides.
COLOURS = (*plots.COLOURS, "#F0E442", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
OPACITY = 0.85
INCHES, DOTS_PER_INCH = (13.0, 7.2), 150
LONGEST_EXAMPLE = 200  # characters; far more than fit
LARGE_CLUSTER = 80  # pixels: three times the height of its number
FEWEST_QUERIES = 5
OWN_FAMILY = "DejaVu Sans"
NOT_DRAWABLE = "\N{WHITE SQUARE}"
# It has a glyph for everything, which shows the block's name, not the character.
PLACEHOLDERS = "Last Resort"
CLUSTERS = 8  # as in Figure 1
POINTS = 250
EXAMPLES = 3


@dataclass(frozen=True)
class SampleCluster:
    """One cluster of the picture.

    Args:
        line: its line in the cluster file, from 1.
        size: how many queries it has.
        rows: the queries in the picture, ascending: all, or a sample.
        examples: texts of the queries nearest its centroid, nearest first; no two alike.
    """

    line: int
    size: int
    rows: NDArray[np.intp]
    examples: tuple[str, ...]


def draw_clusters(
    output: Path | NewFile,
    samples: Sequence[SampleCluster],
    vectors: NDArray[np.float32],
    *,
    metric: Metric,
    title: str,
    subtitle: str,
    seed: int,
) -> None:
    """Write the picture (PNG).

    Args:
        output: the file.
        samples: the clusters to draw, 8 at most.
        vectors: [queries, dimension] of all queries.
        metric: what the clusters were made with; t-SNE takes distances that go with it.
        title: the headline.
        subtitle: the line below.
        seed: decides where t-SNE begins.

    Raises:
        TasbError: too few queries for a picture, or the file cannot be written.

    Source: arXiv:2104.06967, Figure 1.
    """
    import matplotlib.style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    typeface = typeface_for([title, subtitle, *(example for sample in samples for example in sample.examples)])
    points = _t_sne(vectors, samples, metric, seed)
    with matplotlib.style.context("default"), matplotlib.rc_context({"font.family": list(typeface.families)}):
        figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH)
        FigureCanvasAgg(figure)  # measures texts
        figure.text(0.02, 0.955, title, size=15, weight="bold", va="center", parse_math=False)
        figure.text(0.02, 0.915, subtitle, size=10.5, color="#444444", va="center", parse_math=False)
        _draw_map(figure.add_axes((0.02, 0.03, 0.52, 0.855)), points)
        _draw_examples(figure.add_axes((0.555, 0.03, 0.435, 0.855)), samples, typeface)
        with opened(output) as file:
            figure.savefig(file, format="png", metadata={"Software": None})


def _t_sne(
    vectors: NDArray[np.float32], samples: Sequence[SampleCluster], metric: Metric, seed: int
) -> list[NDArray[np.float32]]:
    """Points [queries, 2] of each sample."""
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    rows = [sample.rows for sample in samples]
    count = sum(map(len, rows))
    if count < FEWEST_QUERIES:
        raise TasbError(
            expected=f"at least {FEWEST_QUERIES} queries in clusters of 3 or more, to draw",
            found=f"{count}",
            do=f"leave out {argument('picture', True)}",
        )
    with threadpool_limits(1):  # sums over several threads round differently from run to run
        tsne = TSNE(
            metric="cosine" if metric == "spherical" else "euclidean",
            perplexity=min(30.0, (count - 1) / 4),
            init="pca",
            random_state=seed,
        )
        points: NDArray[np.float32] = tsne.fit_transform(vectors[np.concatenate(rows)])
    return np.split(points, np.cumsum([len(drawn) for drawn in rows])[:-1])


def _draw_map(axes: Any, points: list[NDArray[np.float32]]) -> None:
    from matplotlib.patheffects import withStroke

    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_color("#BBBBBB")
    for cluster, colour, marker in zip(points, COLOURS, MARKERS, strict=False):
        axes.scatter(*cluster.T, s=20, c=colour, marker=marker, linewidths=0.3, edgecolors="#333333", alpha=OPACITY)
    axes.margins(0.06)
    axes.autoscale_view()
    halo = [withStroke(linewidth=4, foreground="white")]
    for number, cluster in enumerate(points, 1):
        x, y = np.median(cluster, axis=0)
        low, high = axes.transData.transform([(x, edge) for edge in np.quantile(cluster[:, 1], (0.1, 0.9))])[:, 1]
        label = {"s": str(number), "size": 16, "weight": "bold", "ha": "center", "path_effects": halo}
        if high - low > LARGE_CLUSTER:
            axes.text(x, y, va="center", **label)
        else:  # in the middle, it would hide the points
            axes.text(x, cluster[:, 1].max(), va="bottom", **label)


def _draw_examples(axes: Any, samples: Sequence[SampleCluster], typeface: Typeface) -> None:
    axes.set(xlim=(0, 1), ylim=(len(COLOURS), 0))
    axes.axis("off")
    for number, (sample, colour, marker) in enumerate(zip(samples, COLOURS, MARKERS, strict=False), 1):
        top = number - 0.95
        axes.scatter(0.02, top + 0.13, s=75, c=colour, marker=marker, linewidths=0.5, edgecolors="#333333")
        axes.text(0.05, top + 0.13, f"{number}", size=12, weight="bold", va="center")
        about = f"{sample.size:,} queries, line {sample.line} of the cluster file"
        axes.text(0.085, top + 0.13, about, size=9, color="#444444", va="center")
        for line, example in enumerate(sample.examples, 1):
            place = (0.085, top + 0.13 + 0.23 * line)
            text = axes.text(*place, typeface.drawable(example), size=10.5, va="center", parse_math=False)
            _cut_to_axes(text)


def _cut_to_axes(text: Any) -> None:
    """Cut a text that runs over the right edge of its axes, and end it with an ellipsis."""
    kept, edge = text.get_text()[:LONGEST_EXAMPLE], text.axes.bbox.x1
    while kept and text.get_window_extent().x1 > edge:
        kept = kept[:-1]
        text.set_text(kept.rstrip() + "…")


def sample_clusters(
    found: KMeans, vectors: NDArray[np.float32], texts: Sequence[str], *, seed: int
) -> list[SampleCluster]:
    """8 clusters drawn uniformly among those of at least 3 queries (all of them where there are fewer).

    Args:
        found: the clusters.
        vectors: [queries, dimension]
        texts: one for each query.
        seed: decides which clusters are drawn, and which queries of a cluster of more than 250.
    """
    generator = np.random.default_rng(seed)
    large = [(line, rows) for line, rows in enumerate(members(found.assignment), 1) if len(rows) >= EXAMPLES]
    chosen = np.sort(generator.choice(len(large), min(CLUSTERS, len(large)), replace=False))
    samples = []
    for line, rows in (large[number] for number in chosen):
        centroid = found.centroids[found.assignment[rows[0]]]
        nearest = rows[np.argsort(_distances(vectors[rows], centroid, found.metric), kind="stable")]
        drawn = generator.choice(rows, min(POINTS, len(rows)), replace=False)
        samples.append(SampleCluster(line, len(rows), np.sort(drawn), _different(texts, nearest)))
    return samples


def _distances(vectors: NDArray[np.float32], centroid: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Each vector's distance to the centroid: squared, or the negative cosine."""
    if metric == "euclidean":
        squared: NDArray[np.float32] = ((vectors - centroid) ** 2).sum(axis=1)
        return squared
    lengths = np.maximum(np.linalg.norm(vectors, axis=1), np.finfo(np.float32).tiny)
    cosine: NDArray[np.float32] = (vectors @ centroid) / lengths
    return -cosine


def _different(texts: Sequence[str], rows: NDArray[np.intp]) -> tuple[str, ...]:
    """The first few texts, without those that differ in case and punctuation only."""
    examples: dict[str, str] = {}
    for row in rows:
        words = "".join(character if character.isalnum() else " " for character in texts[row].casefold())
        examples.setdefault(" ".join(words.split()) or texts[row], texts[row])
        if len(examples) == EXAMPLES:
            break
    return tuple(examples.values())


@dataclass(frozen=True)
class Typeface:
    """Font families to try in turn, and the characters that none of them has."""

    families: tuple[str, ...]
    missing: frozenset[str]

    def drawable(self, text: str) -> str:
        """The text with a square for each character that cannot be drawn."""
        return "".join(NOT_DRAWABLE if character in self.missing else character for character in text)


def typeface_for(texts: Iterable[str]) -> Typeface:
    """The fewest font families found that together draw all characters of `texts`."""
    from matplotlib import font_manager

    characters = set().union(*texts)
    unprintable = {character for character in characters if not character.isprintable()}
    missing = characters - unprintable - _characters(font_manager.findfont(OWN_FAMILY))
    families = [OWN_FAMILY]
    for font in sorted(font_manager.fontManager.ttflist, key=lambda font: (font.name, font.fname)):
        if not missing:
            break
        if font.style == "normal" and PLACEHOLDERS not in font.name and font.name not in families:
            drawn = missing & _characters(font.fname)
            if drawn:
                families.append(font.name)
                missing -= drawn
    return Typeface(tuple(families), frozenset(missing | unprintable))


def _characters(font_file: str) -> set[str]:
    from matplotlib.ft2font import FT2Font

    try:
        charmap: Mapping[int, int] = FT2Font(font_file).get_charmap()
    except (OSError, RuntimeError):  # a damaged font
        return set()
    return {chr(code) for code in charmap}
