"""A drawing in the formats of matplotlib."""

from __future__ import annotations

import io

from pycaffe_clr.draw.layout import Drawing
from pycaffe_clr.errors import ConfigError

_DPI = 72.0
# Raster formats cannot be larger than this many pixels either way.
_LIMIT = 32000.0


def picture(drawing: Drawing, ext: str) -> bytes:
    """The bytes of a picture file. Raises ConfigError for a format that matplotlib lacks."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Rectangle

    figure = Figure(figsize=(max(drawing.width, 1) / _DPI, max(drawing.height, 1) / _DPI))
    known = sorted(FigureCanvasAgg(figure).get_supported_filetypes())
    if ext not in known:
        raise ConfigError(f"no picture format {ext!r}; known: {', '.join(known)}")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, max(drawing.width, 1))
    axes.set_ylim(max(drawing.height, 1), 0)
    for arrow in drawing.arrows:
        ends = (arrow.x1, arrow.y1), (arrow.x0, arrow.y0)
        axes.annotate("", *ends, arrowprops={"arrowstyle": "-|>", "color": "black", "shrinkA": 0,
                                             "shrinkB": 0, "linewidth": 0.8})  # fmt: skip
        if arrow.text:
            middle = (arrow.x0 + arrow.x1) / 2, (arrow.y0 + arrow.y1) / 2 - 3
            axes.text(*middle, _plain(arrow.text), ha="center", va="bottom", fontsize=11)
    for box in drawing.boxes:
        left, top = box.x - box.width / 2, box.y - box.height / 2
        axes.add_patch(
            Rectangle((left, top), box.width, box.height, facecolor=box.node.color, edgecolor="k")
        )
        text = _plain("\n".join(box.node.lines))
        axes.text(box.x, box.y, text, ha="center", va="center", fontsize=11)
    file = io.BytesIO()
    dpi = min(_DPI, _DPI * _LIMIT / max(drawing.width, drawing.height, 1))
    figure.savefig(file, format=ext, dpi=dpi)
    return file.getvalue()


def _plain(text: str) -> str:
    """Text in which $ stands for itself."""
    return text.replace("$", r"\$")
