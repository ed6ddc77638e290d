"""Figures over commits, with their intervals."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from pipeline.comparing.past import Recorded
from pipeline.comparing.revisions import SHORT
from pipeline.console import printable
from pipeline.scoring.names import HEADLINE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NAMED = 40  # commits on the axis; of more, every second, third ... is named


def history_plot(entries: Sequence[Recorded]) -> bytes:
    """Draw the figures of commits as PNG.

    Args:
        entries: Newest first.
    """
    content = BytesIO()
    drawn(entries).savefig(content, format="png", dpi=110, metadata={"Software": None})
    return content.getvalue()


def drawn(entries: Sequence[Recorded]) -> Figure:
    """Draw a panel a metric, oldest commit left.

    A dashed line stands where the number of test images changed: figures of
    other test images are no measure of the model.

    Args:
        entries: Newest first.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # noqa: PLC0415
    from matplotlib.figure import Figure  # noqa: PLC0415

    shown = list(reversed(entries))
    names = [name for name in HEADLINE if any(name in entry.figures for entry in shown)]
    rows = -(-len(names) // 2)
    figure = Figure(figsize=(11, 1 + 2.6 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(rows, 2, sharex=True, squeeze=False).flat
    breaks = [
        number - 0.5
        for number in range(1, len(shown))
        if shown[number].figures["images"] != shown[number - 1].figures["images"]
    ]
    for panel, name in zip(panels, names, strict=False):
        places = [number for number, entry in enumerate(shown) if name in entry.figures]
        values = [shown[number].figures[name] for number in places]
        ends = [
            [shown[number].figures.get(f"{name}_{end}", value) for end in ("low", "high")]
            for number, value in zip(places, values, strict=True)
        ]
        panel.vlines(places, *zip(*ends, strict=True), color="#9bb7d4", linewidth=3)
        panel.plot(places, values, "o-", color="#1f4e79", markersize=4, linewidth=1)
        for place in breaks:
            panel.axvline(place, color="#999999", linestyle="--", linewidth=1)
        panel.set_title(HEADLINE[name], fontsize=10)
        panel.grid(axis="y", color="#eeeeee")
    step = -(-len(shown) // NAMED)
    ticks = list(range(0, len(shown), step))
    labels = [printable(shown[number].commit[:SHORT]) for number in ticks]
    for panel in figure.axes:
        panel.set_xticks(ticks, labels, rotation=90, fontsize=7)
        panel.tick_params(labelbottom=True)
    for panel in figure.axes[len(names) :]:
        panel.set_axis_off()
    return figure
