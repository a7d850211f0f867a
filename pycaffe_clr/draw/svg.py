"""A drawing as SVG."""

from __future__ import annotations

from xml.sax.saxutils import escape, quoteattr

from pycaffe_clr.draw.layout import LINE, Box, Drawing

_CORNER = 8.0


def svg(drawing: Drawing) -> str:
    """The text of an SVG file: text that can be searched, and a title for each box."""
    width, height = f"{drawing.width:.0f}", f"{drawing.height:.0f}"
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13" '
        'text-anchor="middle">',
        f"<title>{_text(drawing.name)}</title>",
        '<defs><marker id="head" markerWidth="9" markerHeight="7" refX="9" refY="3.5" '
        'orient="auto"><path d="M0 0L9 3.5L0 7z"/></marker></defs>',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for arrow in drawing.arrows:
        x0, y0, x1, y1 = (f"{v:.1f}" for v in (arrow.x0, arrow.y0, arrow.x1, arrow.y1))
        lines.append(f'<path d="M{x0} {y0}L{x1} {y1}" stroke="black" marker-end="url(#head)"/>')
        if arrow.text:
            x, y = (arrow.x0 + arrow.x1) / 2, (arrow.y0 + arrow.y1) / 2
            lines.append(f'<text x="{x:.1f}" y="{y - 3:.1f}">{_text(arrow.text)}</text>')
    for box in drawing.boxes:
        lines += _box(box)
    return "\n".join([*lines, "</svg>", ""])


def _text(text: str) -> str:
    """Without the characters that XML cannot hold."""
    return escape("".join(c if c >= " " and c not in "\ufffe\uffff" else "\ufffd" for c in text))


def _box(box: Box) -> list[str]:
    left, top = box.x - box.width / 2, box.y - box.height / 2
    right, bottom = left + box.width, top + box.height
    fill = quoteattr(box.node.color)
    if box.node.is_blob:
        c = _CORNER
        xs = [left + c, right - c, right, right, right - c, left + c, left, left]
        ys = [top, top, top + c, bottom - c, bottom, bottom, bottom - c, top + c]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(xs, ys, strict=True))
        shape = f'<polygon points="{points}" fill={fill} stroke="black"/>'
    else:
        shape = (
            f'<rect x="{left:.1f}" y="{top:.1f}" width="{box.width:.1f}" '
            f'height="{box.height:.1f}" fill={fill} stroke="black"/>'
        )
    lines = [f"<g><title>{_text(' '.join(box.node.lines))}</title>", shape]
    first = box.y - (len(box.node.lines) - 1) * LINE / 2 + 4.5
    for index, text in enumerate(box.node.lines):
        lines.append(f'<text x="{box.x:.1f}" y="{first + index * LINE:.1f}">{_text(text)}</text>')
    return [*lines, "</g>"]
