"""Shapes and text as SVG that serves light and dark pages: what tools/pictures.py draws with."""

from xml.sax.saxutils import escape

WIDTH = 860
SANS = "-apple-system, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"
MONO = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace"

# class -> the property that it sets, in light and in dark
COLOURS = {
    "page": ("fill", "#ffffff", "#0d1117"),
    "ink": ("fill", "#1f2328", "#e6edf3"),
    "soft": ("fill", "#59636e", "#9da7b1"),
    "strong": ("fill", "#0f766e", "#2dd4bf"),
    "ours": ("fill", "#14b8a6", "#14b8a6"),
    "theirs": ("fill", "#b6bfc9", "#59626d"),
    "room": ("fill", "#f3f5f8", "#161b22"),
    "own": ("fill", "#e3f6f3", "#10302f"),
    "edge": ("stroke", "#c8d1da", "#3d444d"),
    "arrow": ("stroke", "#7c8894", "#848d97"),
    "head": ("fill", "#7c8894", "#848d97"),
}
FIXED = f"""text {{ font-family: {SANS}; font-size: 13px; }}
.mono {{ font-family: {MONO}; }}
.bold {{ font-weight: 600; }}
.small {{ font-size: 11.5px; }}
.note {{ font-size: 12px; }}
.title {{ font-size: 16px; font-weight: 600; }}
.arrow {{ fill: none; }}
.arrow {{ stroke-width: 1.4; }}
.dashed {{ stroke-dasharray: 5 4; }}"""


class Picture:
    """An SVG under construction: shapes, then their text."""

    def __init__(self, title, told, theme=""):
        self.title, self.told, self.theme = title, told, theme
        self.parts = []

    def box(self, x, y, width, height, kind="room edge", radius=6):
        place = f'x="{n(x)}" y="{n(y)}" width="{n(width)}" height="{n(height)}"'
        self.parts.append(f'<rect {place} rx="{radius}" class="{kind}"/>')

    def text(self, x, y, words, kind="ink", anchor="start"):
        where = "" if anchor == "start" else f' text-anchor="{anchor}"'
        self.parts.append(f'<text x="{n(x)}" y="{n(y)}"{where} class="{kind}">{escape(words)}</text>')

    def shape(self, path, kind):
        self.parts.append(f'<path d="{path}" class="{kind}"/>')

    def arrow(self, *points, kind="arrow"):
        """A line through `points` with a head at its end."""
        (x0, y0), (x, y) = points[-2:]
        length = ((x - x0) ** 2 + (y - y0) ** 2) ** 0.5
        dx, dy = (x - x0) / length, (y - y0) / length
        foot = (x - 7 * dx, y - 7 * dy)
        line = " L ".join(f"{n(a)} {n(b)}" for a, b in (*points[:-1], foot))
        self.shape(f"M {line}", kind)
        sides = [(foot[0] - 4 * dy, foot[1] + 4 * dx), (foot[0] + 4 * dy, foot[1] - 4 * dx)]
        self.shape("M " + " L ".join(f"{n(a)} {n(b)}" for a, b in ((x, y), *sides)) + " Z", "head")

    def svg(self, height):
        lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {n(height)}" width="{WIDTH}" '
            f'height="{n(height)}" role="img" aria-labelledby="title told">',
            f'<title id="title">{escape(self.title)}</title>',
            f'<desc id="told">{escape(self.told)}</desc>',
            f"<style>\n{FIXED}\n{style(self.theme)}\n</style>",
            f'<rect width="{WIDTH}" height="{n(height)}" rx="10" class="page"/>',
            *self.parts,
            "</svg>\n",
        ]
        return "\n".join(lines)


def style(theme):
    def rules(column):
        return "\n".join(f".{name} {{ {row[0]}: {row[column]}; }}" for name, row in COLOURS.items())

    if theme:
        return rules(2 if theme == "dark" else 1)
    return f"{rules(1)}\n@media (prefers-color-scheme: dark) {{\n{rules(2)}\n}}"


def n(number):
    """A coordinate in as few characters as it takes."""
    return f"{number:.1f}".removesuffix(".0")


def width(words, size=13.0):
    """About how wide a text is, in a wide font."""
    wide = {**dict.fromkeys("iljtfrI.,:;'|!()[] -/", 0.38), **dict.fromkeys("mwMW", 0.92)}
    return size * sum(wide.get(letter, 0.7 if letter.isupper() else 0.61) for letter in words)


def wrapped(words, room, size=13.0):
    """The lines of a text that fit into `room`: as few as can be, and of about one length."""
    lines = broken(words, room, size)
    narrower = room
    while len(broken(words, narrower - 6, size)) == len(lines) > 1:
        narrower -= 6
    return broken(words, narrower, size)


def broken(words, room, size):
    lines = [""]
    for word in words.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and width(longer, size) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines if words else []
