"""A few shapes that can be written as SVG and as PNG, so that both show the same picture."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from functools import cache
from html import escape

from PIL import Image, ImageColor, ImageDraw, ImageFont

SCALE, FINER = 2, 2  # PNG pixels for a unit; drawn finer still and reduced, so that edges are smooth
FONT = "Helvetica, Arial, sans-serif"


@cache
def _font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def text_width(text: str, size: float) -> float:
    """Width of a text in units."""
    return float(_font(64).getlength(text)) * size / 64


@dataclass(frozen=True)
class Box:
    """A rectangle."""

    x: float
    y: float
    width: float
    height: float
    fill: str
    stroke: str | None = None


@dataclass(frozen=True)
class Line:
    """A thin line."""

    x0: float
    y0: float
    x1: float
    y1: float
    stroke: str
    width: float = 1


@dataclass(frozen=True)
class Dot:
    """A circle, or a diamond; ``title`` is told by SVG viewers under the pointer."""

    x: float
    y: float
    radius: float
    fill: str
    stroke: str
    title: str = ""
    diamond: bool = False
    stroke_width: float = 1

    @property
    def corners(self) -> list[tuple[float, float]]:
        """Of the diamond, whose area is that of the circle."""
        r = self.radius * 1.25
        return [(self.x, self.y - r), (self.x + r, self.y), (self.x, self.y + r), (self.x - r, self.y)]


@dataclass(frozen=True)
class Text:
    """A line of text that starts, centres or ends (``anchor`` s, m, e) on the base line at x, y."""

    x: float
    y: float
    text: str
    size: float = 11
    anchor: str = "s"
    fill: str = "#222222"
    slope: float = 0  # degrees, counter-clockwise
    halo: bool = False  # white around the letters, for text on a drawing


@dataclass
class Canvas:
    """Shapes in the order they are drawn, on white."""

    width: float
    height: float
    shapes: list[Box | Line | Dot | Text] = field(default_factory=list)

    def svg(self) -> str:
        """The picture as SVG."""
        size = f'width="{self.width:.0f}" height="{self.height:.0f}" viewBox="0 0 {self.width:.0f} {self.height:.0f}"'
        parts = [f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="{FONT}">']
        parts.append('<rect width="100%" height="100%" fill="white"/>')
        parts += [_svg(shape) for shape in self.shapes]
        return "\n".join([*parts, "</svg>"]) + "\n"

    def png(self) -> bytes:
        """The picture as PNG, two pixels for a unit."""
        k = SCALE * FINER
        image = Image.new("RGB", (round(self.width * k), round(self.height * k)), "white")
        draw = ImageDraw.Draw(image)
        for shape in self.shapes:
            _paint(image, draw, shape, k)
        out = io.BytesIO()
        image.reduce(FINER).save(out, "PNG", optimize=True)
        return out.getvalue()


def _svg(shape: Box | Line | Dot | Text) -> str:
    if isinstance(shape, Box):
        stroke = f' stroke="{shape.stroke}"' if shape.stroke else ""
        place = f'x="{shape.x:.1f}" y="{shape.y:.1f}" width="{shape.width:.1f}" height="{shape.height:.1f}"'
        return f'<rect {place} fill="{shape.fill}"{stroke}/>'
    if isinstance(shape, Line):
        ends = f'x1="{shape.x0:.1f}" y1="{shape.y0:.1f}" x2="{shape.x1:.1f}" y2="{shape.y1:.1f}"'
        return f'<line {ends} stroke="{shape.stroke}" stroke-width="{shape.width}"/>'
    if isinstance(shape, Dot):
        title = f"<title>{escape(shape.title)}</title>" if shape.title else ""
        paint = f'fill="{shape.fill}" stroke="{shape.stroke}" stroke-width="{shape.stroke_width}"'
        if shape.diamond:
            corners = " ".join(f"{x:.1f},{y:.1f}" for x, y in shape.corners)
            return f'<polygon points="{corners}" {paint}>{title}</polygon>'
        return f'<circle cx="{shape.x:.1f}" cy="{shape.y:.1f}" r="{shape.radius}" {paint}>{title}</circle>'
    anchor = {"s": "start", "m": "middle", "e": "end"}[shape.anchor]
    place = f'x="{shape.x:.1f}" y="{shape.y:.1f}"'
    if shape.slope:
        place = f'transform="translate({shape.x:.1f},{shape.y:.1f}) rotate({-shape.slope})"'
    halo = ' stroke="white" stroke-width="3" stroke-linejoin="round" paint-order="stroke"' if shape.halo else ""
    return (
        f'<text {place} font-size="{shape.size}" text-anchor="{anchor}" fill="{shape.fill}"{halo}>'
        f"{escape(shape.text)}</text>"
    )


def _paint(image: Image.Image, draw: ImageDraw.ImageDraw, shape: Box | Line | Dot | Text, k: int) -> None:
    if isinstance(shape, Box):
        ends = [shape.x * k, shape.y * k, (shape.x + shape.width) * k - 1, (shape.y + shape.height) * k - 1]
        draw.rectangle(ends, fill=shape.fill, outline=shape.stroke, width=k)
    elif isinstance(shape, Line):
        ends = [shape.x0 * k, shape.y0 * k, shape.x1 * k, shape.y1 * k]
        draw.line(ends, fill=shape.stroke, width=max(1, round(shape.width * k)))
    elif isinstance(shape, Dot):
        width = max(1, round(shape.stroke_width * k))
        if shape.diamond:
            corners = [(x * k, y * k) for x, y in shape.corners]
            draw.polygon(corners, fill=shape.fill)
            draw.line([*corners, corners[0], corners[1]], fill=shape.stroke, width=width, joint="curve")
        else:
            x, y, r = shape.x * k, shape.y * k, (shape.radius + shape.stroke_width / 2) * k
            draw.ellipse([x - r, y - r, x + r, y + r], fill=shape.fill, outline=shape.stroke, width=width)
    else:
        _write(image, draw, shape, k)


def _write(image: Image.Image, draw: ImageDraw.ImageDraw, shape: Text, k: int) -> None:
    font = _font(shape.size * k)
    halo = {"stroke_width": round(1.5 * k), "stroke_fill": "white"} if shape.halo else {}
    if not shape.slope:
        anchor = {"s": "ls", "m": "ms", "e": "rs"}[shape.anchor]
        draw.text((shape.x * k, shape.y * k), shape.text, shape.fill, font, anchor, **halo)  # type: ignore[arg-type]
        return
    reach = round(text_width(shape.text, shape.size) * k) + 4 * k  # turned around the middle of a square patch
    mask = Image.new("L", (2 * reach, 2 * reach))
    ImageDraw.Draw(mask).text((reach, reach), shape.text, 255, font, "ls")
    mask = mask.rotate(shape.slope, Image.Resampling.BICUBIC)
    place = (round(shape.x * k) - reach, round(shape.y * k) - reach)
    image.paste(Image.new("RGB", mask.size, ImageColor.getrgb(shape.fill)), place, mask)
