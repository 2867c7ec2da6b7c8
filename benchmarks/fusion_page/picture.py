"""Both measures against alpha, on both sets."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tuned import LINEAR

from pyserini_tasb.plots import COLOURS, INK, as_png, new_panels, style
from pyserini_tasb.recipes.lookup import fusion_recipe

if TYPE_CHECKING:
    from typing import Any

    from topic_set import TopicSet
    from tuned import Tuned


def drawn(sets: tuple[TopicSet, TopicSet]) -> bytes:
    figure, panels = new_panels(len(LINEAR), same_measure=False)
    chosen = [LINEAR[0].best(topics)[1] for topics in sets]
    shipped = fusion_recipe("tasb+bm25").inputs[1].weight
    for panel, linear in zip(panels, LINEAR, strict=True):
        for number, topics in enumerate(sets):
            draw_set(panel, topics, linear, chosen[number], chosen[1 - number], COLOURS[number])
        panel.axvline(shipped, color=INK, linewidth=0.8, label=f"tasb+bm25, {shipped:g}", zorder=1)
        panel.set_title(linear.measure, fontsize=11)
        panel.set_xlabel("alpha, the weight of BM25")
        style(panel)
    labelled = panels[0].get_legend_handles_labels()
    figure.legend(*labelled, frameon=False, fontsize=9, loc="outside lower center", ncols=5)
    return as_png(figure)


def draw_set(panel: Any, topics: TopicSet, linear: Tuned, own: float, other: float, colour: str) -> None:
    weights = linear.search.weights()
    alphas, values = weights[:, 1].tolist(), linear.per_query(topics)(weights).mean(axis=0)
    panel.plot(alphas, values, color=colour, linewidth=1.6, label=topics.title)
    panel.axhline(topics.tasb[linear.measure].mean(), color=colour, linewidth=1, linestyle=":", label="only TAS-B")
    for alpha, face, label in ((own, colour, f"tuned on {topics.title}"), (other, "white", "tuned on the other set")):
        value = values[alphas.index(alpha)]
        panel.plot([alpha], [value], "o", color=colour, markerfacecolor=face, markersize=7, label=label)
