"""Small line charts side by side as one SVG, readable on light and dark ground."""

import dataclasses
import html
import math

PANEL_WIDTH, PANEL_HEIGHT = 230, 190
LEFT, RIGHT, TOP, BOTTOM = 46, 10, 26, 34  # around the plot within a panel
STYLE = """text{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,'DejaVu Sans Mono',monospace}
text{fill:#7b828c}
.measured{fill:none;stroke:#3b82f6;stroke-width:2}
.formula{fill:none;stroke:#d97706;stroke-width:1.5;stroke-dasharray:5 3}
.point{fill:#3b82f6}
.axis{fill:none;stroke:#808890;stroke-opacity:.45}
.middle{text-anchor:middle}
.end{text-anchor:end}"""


@dataclasses.dataclass(frozen=True)
class Panel:
    title: str
    x_label: str
    xs: tuple
    measured: tuple
    formula: tuple


def step_of(largest, lines=4):
    """The smallest of 1, 2, 5 times a power of ten of which `lines` reach `largest`."""
    power = 10.0 ** math.floor(math.log10(largest / lines))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor * lines >= largest)


def short(value):
    return f"{value / 1000:g}k" if value >= 1000 else f"{value:g}"


def path(name, points):
    return f'<path class="{name}" d="M' + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + '"/>'


def draw_panel(panel):
    """Points lie by the logarithm of x; y starts at 0."""
    width, height = PANEL_WIDTH - LEFT - RIGHT, PANEL_HEIGHT - TOP - BOTTOM
    largest = max(panel.measured + panel.formula)
    step = step_of(largest)
    top = step * math.ceil(largest / step)
    low, high = math.log(panel.xs[0]), math.log(panel.xs[-1])

    def place(x, y):
        return (LEFT + width * (math.log(x) - low) / (high - low),
                TOP + height * (1 - y / top))

    parts = [f'<text x="{LEFT}" y="14">{html.escape(panel.title)}</text>']
    for line in range(round(top / step) + 1):
        _, y = place(panel.xs[0], line * step)
        parts.append(f'<path class="axis" d="M{LEFT} {y:.1f}h{width}"/>')
        parts.append(f'<text class="end" x="{LEFT - 5}" y="{y + 4:.1f}">'
                     f"{short(line * step)}</text>")
    for x in panel.xs:
        parts.append(f'<text class="middle" x="{place(x, 0)[0]:.1f}" '
                     f'y="{TOP + height + 15}">{x}</text>')
    parts.append(f'<text class="middle" x="{LEFT + width / 2:.1f}" y="{TOP + height + 30}">'
                 f'{html.escape(panel.x_label)}</text>')
    parts.append(path("formula", [place(x, y) for x, y in zip(panel.xs, panel.formula)]))
    measured = [place(x, y) for x, y in zip(panel.xs, panel.measured)]
    parts.append(path("measured", measured))
    parts += [f'<circle class="point" cx="{x:.1f}" cy="{y:.1f}" r="3"/>' for x, y in measured]
    return "\n".join(parts)


def draw(title, rows):
    """`rows` are lists of panels; a legend is below them."""
    width = PANEL_WIDTH * max(map(len, rows))
    height = PANEL_HEIGHT * len(rows) + 24
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
             f'viewBox="0 0 {width} {height}" role="img">',
             f"<title>{html.escape(title)}</title>", f"<style>\n{STYLE}\n</style>"]
    for row, panels in enumerate(rows):
        for column, panel in enumerate(panels):
            parts.append(f'<g transform="translate({column * PANEL_WIDTH} {row * PANEL_HEIGHT})">\n'
                         f"{draw_panel(panel)}\n</g>")
    y = height - 12
    parts.append(f'<path class="measured" d="M{LEFT} {y - 4}h24"/><text x="{LEFT + 30}" y="{y}">'
                 f'measured</text><path class="formula" d="M{LEFT + 120} {y - 4}h24"/>'
                 f'<text x="{LEFT + 150}" y="{y}">formula, scaled to the common point</text></svg>')
    return "\n".join(parts) + "\n"
