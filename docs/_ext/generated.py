"""Sphinx extension: reference pages from the definitions in the code, and equations as MathML.

A page holds ``<!-- generated: NAME -->`` where the text of a generator is wanted. MathML is drawn by the browser, so
the site loads no script from elsewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from latex2mathml.converter import convert
from pydantic import BaseModel
from sphinx.application import Sphinx

from kgvad.reference import commands_markdown, settings_markdown

PLACEHOLDER = re.compile(r"^<!-- generated: (\w+) -->$", re.MULTILINE)
SCHEMAS = "schemas"  # folder of the built site


def formats() -> dict[str, tuple[str, str, type[BaseModel]]]:
    """File formats: heading, what the file is, and the model of its JSON."""
    from kgvad.anchors.bank import BankHeader
    from kgvad.detector.run import RunConfig
    from kgvad.detector.scoring.scores import Origin
    from kgvad.explain.report import Report
    from kgvad.video.feature_store import Manifest

    return {
        "report": ("Report", "`report.json`, written by `kgvad explain --format json`.", Report),
        "manifest": (
            "Feature store",
            "A folder `ROOT/ENCODER` with `manifest.json` and one `VIDEO.npy` per video: float16, [T, D] or "
            "[crops, T, D].",
            Manifest,
        ),
        "run": (
            "Run",
            "A folder with `model.safetensors`, `config.json` (below), `anchors.safetensors`, `history.jsonl` and "
            "`training_videos.json`.",
            RunConfig,
        ),
        "bank": (
            "Anchor bank",
            "One `.safetensors` file: `anchors` float32 [C, d], `concept_vectors` float32 [P, d], `concept_category` "
            "int64 [P], and this JSON as the entry `kgvad` of its metadata.",
            BankHeader,
        ),
        "scores": ("Scores", _SCORES, Origin),
    }


_SCORES = """\
One file per video: npz, JSON or CSV. Only the scores are needed; what is missing is left out of the report.

| JSON, npz | CSV | meaning |
|---|---|---|
| `scores` | `score` | anomaly score of each snippet, 0 to 1, [T] |
| `spans` | `start`, `end` | frames [start, end) of each snippet, [T, 2] |
| `alignment` | `alignment/CATEGORY` | similarity to each category, [T, C] |
| `probabilities` | `probability/CATEGORY` | class probabilities, [T, C] |
| `concept_alignment` |  | similarity to each concept of the bank, [T, P] |
| `categories`, `normal` |  | names of the categories, index of Normal |
| `video`, `fps`, `frame_count` | `# key: value` lines | the video |
| `origin` | `# origin: JSON` | where the scores come from, below |"""


def formats_markdown() -> str:
    """All file formats: what each file is, and a table of the fields of every part of its schema."""
    lines: list[str] = []
    for name, (heading, about, model) in formats().items():
        lines += [f"## {heading}", "", about, "", f'<a href="../{SCHEMAS}/{name}.json">JSON schema</a>', ""]
        schema = model.model_json_schema()
        lines += _fields(model.__name__, schema)
        for part, definition in schema.get("$defs", {}).items():
            if "properties" in definition:
                lines += [f"`{part}`:", "", *_fields(part, definition)]
    return "\n".join(lines)


def _fields(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield "| field | type | default | meaning |"
    yield "|---|---|---|---|"
    required = schema.get("required", [])
    for field, one in schema.get("properties", {}).items():
        default = "required" if field in required else "" if one.get("default") is None else f"`{one['default']}`"
        yield f"| `{field}` | {_type(one)} | {_cell(default)} | {_cell(one.get('description', ''))} |"
    yield ""


def _type(one: dict[str, Any]) -> str:
    """A JSON schema type in words."""
    if "$ref" in one:
        return f"`{one['$ref'].rpartition('/')[2]}`"
    if "const" in one:
        return f"`{one['const']}`"
    if "enum" in one:
        return " or ".join(f"`{value}`" for value in one["enum"])
    if "anyOf" in one:
        return " or ".join(dict.fromkeys(_type(part) for part in one["anyOf"]))
    if one.get("type") == "array":
        parts = one.get("prefixItems")
        return f"list of {_type(one['items'])}" if "items" in one else f"{len(parts or ())} values"
    if one.get("type") == "object" and isinstance(one.get("additionalProperties"), dict):
        return f"object of {_type(one['additionalProperties'])}"
    return str(one.get("type", "any"))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def python_markdown() -> str:
    """Every public name, from its docstring."""
    import kgvad

    lines: list[str] = []
    for name in kgvad.__all__:
        obj = getattr(kgvad, name)
        if isinstance(obj, type):
            directive, options = "autoclass", [":members:"]
            if issubclass(obj, Exception):
                directive = "autoexception"
            if issubclass(obj, BaseModel):
                options = [":members:", ":exclude-members: model_config, model_post_init"]
        else:
            directive, options = "autofunction", []
        target = f"{obj.__module__}.{obj.__qualname__}"
        lines += [f"## {name}", "", "```{eval-rst}", f".. {directive}:: {target}", *(f"   {one}" for one in options)]
        lines += ["```", ""]
    return "\n".join(lines)


def _without_title(text: str) -> str:
    return text.partition("\n")[2].lstrip() if text.startswith("# ") else text


GENERATORS: dict[str, Callable[[], str]] = {
    "commands": lambda: _without_title(commands_markdown()),
    "settings": lambda: _without_title(settings_markdown()),
    "python": python_markdown,
    "formats": formats_markdown,
}


def fill(app: Sphinx, page: str, source: list[str]) -> None:
    """Replace the placeholders of a page."""
    source[0] = PLACEHOLDER.sub(lambda found: GENERATORS[found[1]](), source[0])


def write_schemas(app: Sphinx, error: Exception | None) -> None:
    """Write the JSON schemas beside the pages."""
    if error is None and app.builder.format == "html":
        folder = Path(app.outdir) / SCHEMAS
        folder.mkdir(exist_ok=True)
        for name, (_, _, model) in formats().items():
            (folder / f"{name}.json").write_text(json.dumps(model.model_json_schema(), indent=2) + "\n", "utf-8")


def inline_math(translator: Any, node: Any) -> None:
    """An inline formula as MathML."""
    from docutils.nodes import SkipNode

    translator.body.append(convert(node.astext()))
    raise SkipNode


def block_math(translator: Any, node: Any) -> None:
    """A displayed formula as MathML."""
    from docutils.nodes import SkipNode

    translator.body.append(f'<div class="math">{convert(node.astext(), display="block")}</div>\n')
    raise SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension."""
    app.add_html_math_renderer("mathml", inline_renderers=(inline_math, None), block_renderers=(block_math, None))
    app.connect("source-read", fill)
    app.connect("build-finished", write_schemas)
    return {"parallel_read_safe": True}
