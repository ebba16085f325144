"""Charts as SVG, for light and dark screens, with names on the lines.

Colours are those of Okabe and Ito, which colour-blind people tell apart; each
line has a dash pattern of its own as well.
"""
import html
import math

WIDTH, HEIGHT = 760, 420
LEFT, TOP, BOTTOM = 70, 46, 56
RIGHT = 230                     # for the names of the lines
ROW = 20                        # of a bar

# On white, and on black
COLORS = (("#0072b2", "#56b4e9"), ("#d55e00", "#e69f00"),
          ("#007a5a", "#00c795"), ("#666666", "#aaaaaa"),
          ("#a34e80", "#cc79a7"))
DASHES = ("", "7 3", "2 3", "9 3 2 3", "4 2")

STYLE = """<style>
text { font: 13px sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: bold }
.back { fill: #ffffff } .grid { stroke: #d8dee4 } .axis { stroke: #59636e }
""" + "".join(f".c{i} {{ stroke: {light} }} .f{i} {{ fill: {light} }}\n"
              for i, (light, _) in enumerate(COLORS)) + \
    """@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 }
.back { fill: #0d1117 } .grid { stroke: #30363d } .axis { stroke: #9198a1 }
""" + "".join(f".c{i} {{ stroke: {dark} }} .f{i} {{ fill: {dark} }}\n"
              for i, (_, dark) in enumerate(COLORS)) + "}\n</style>"


def text(x, y, what, **more):
    attributes = "".join(f' {name.replace("_", "-")}="{value}"'
                         for name, value in more.items())
    attributes = attributes.replace("css-class", "class")
    return (f'<text x="{x:.1f}" y="{y:.1f}"{attributes}>'
            f'{html.escape(what, quote=False)}</text>')


def write(path, title, height, parts):
    with open(path, "w", encoding="utf-8") as file:
        file.write(
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" '
            f'height="{height}" viewBox="0 0 {WIDTH} {height}" role="img">\n'
            f"<title>{html.escape(title)}</title>\n{STYLE}\n"
            f'<rect class="back" width="{WIDTH}" height="{height}"/>\n' +
            text(12, 24, title, css_class="title") + "\n" +
            "\n".join(parts) + "\n</svg>\n")


def number(value):
    return f"{value:,.0f}" if value >= 10 or value == int(value) else \
        f"{value:g}"


def ticks(low, high, log):
    if log:
        return [10.0 ** power for power in
                range(math.floor(math.log10(low)),
                      math.ceil(math.log10(high)) + 1)]
    step = 10.0 ** math.floor(math.log10(high or 1))
    step = next(step / part for part in (1, 2, 5) if high / step * part >= 4
                or part == 5)
    return [step * i for i in range(math.ceil(high / step) + 1)]


def place(value, marks, log, begin, end):
    if log:
        value, low, high = (math.log10(v) for v in
                            (value, marks[0], marks[-1]))
    else:
        low, high = marks[0], marks[-1]
    return begin + (end - begin) * (value - low) / (high - low)


def lines(path, title, x_title, y_title, series, log_x=True, log_y=True):
    """series: (name, [(x, y)])"""
    points = [point for _, line in series for point in line]
    xs = ticks(min(x for x, _ in points), max(x for x, _ in points), log_x)
    ys = ticks(min(y for _, y in points), max(y for _, y in points), log_y)
    right, bottom = WIDTH - RIGHT, HEIGHT - BOTTOM

    def at(x, y):
        return (place(x, xs, log_x, LEFT, right),
                place(y, ys, log_y, bottom, TOP))

    parts = []
    for x in xs:
        at_x = at(x, ys[0])[0]
        parts.append(f'<path class="grid" d="M{at_x:.1f} {TOP}V{bottom}"/>')
        parts.append(text(at_x, bottom + 18, number(x), text_anchor="middle"))
    for y in ys:
        at_y = at(xs[0], y)[1]
        parts.append(f'<path class="grid" d="M{LEFT} {at_y:.1f}H{right}"/>')
        parts.append(text(LEFT - 6, at_y + 4, number(y), text_anchor="end"))
    parts.append(f'<path class="axis" fill="none" '
                 f'd="M{LEFT} {TOP}V{bottom}H{right}"/>')
    parts.append(text((LEFT + right) / 2, HEIGHT - 14, x_title,
                      text_anchor="middle"))
    parts.append(text(LEFT, TOP - 6, y_title))
    names = []
    for i, (name, line) in enumerate(series):
        path_of = "L".join("{:.1f} {:.1f}".format(*at(*point))
                           for point in line)
        parts.append(f'<path class="c{i}" fill="none" stroke-width="2.5" '
                     f'stroke-dasharray="{DASHES[i]}" d="M{path_of}"/>')
        names.append([at(*line[-1])[1], *at(*line[-1]), i, name])
    last = -1000
    for name in sorted(names):
        name[0] = last = max(name[0], last + 17)
    for wanted, x, y, i, name in names:
        parts.append(f'<path class="c{i}" d="M{x:.1f} {y:.1f}'
                     f'L{right + 12} {wanted:.1f}"/>')
        parts.append(text(right + 16, wanted + 4, name, css_class=f"f{i}"))
    write(path, title, HEIGHT, parts)


def bars(path, title, unit, groups):
    """groups: (name, [(name, value, colour)]), a bar each, unit after it"""
    most = max(value for _, rows in groups for _, value, _ in rows)
    left = 250
    y = TOP
    parts = []
    for name, rows in groups:
        parts.append(text(12, y + 14, name, font_weight="bold"))
        y += 22
        for label, value, color in rows:
            length = max(1, (WIDTH - left - 90) * value / most)
            parts.append(text(left - 6, y + 14, label, text_anchor="end"))
            parts.append(f'<rect class="f{color}" x="{left}" y="{y + 3}" '
                         f'width="{length:.1f}" height="{ROW - 6}"/>')
            parts.append(text(left + length + 6, y + 14,
                              f"{value:.2f} {unit}".strip()))
            y += ROW
        y += 8
    write(path, title, y + 8, parts)
