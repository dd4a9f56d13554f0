"""Reference pages generated from the definitions, as Markdown: the commands and the keys of ``kgvad.toml``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

if TYPE_CHECKING:
    from typer import Typer


def settings_markdown() -> str:
    """The page about ``kgvad.toml``: every key with its environment variable, type, default and meaning."""
    from kgvad.settings import PATHS, SETTINGS_FILE, Settings

    lines = [
        "# Settings",
        "",
        f"Settings come from the command line, then from the environment, then from `{SETTINGS_FILE}` in the working "
        "folder, then from the defaults; the first that gives a value wins.",
        f"Relative paths in `{SETTINGS_FILE}` are relative to that file.",
        "",
        "```toml",
        f"# {SETTINGS_FILE}",
        'dataset = "ucf"',
        'device = "cuda"',
        'features = "features/ucf"',
        "```",
        "",
        "| key | environment | type | default | meaning |",
        "|---|---|---|---|---|",
    ]
    for name, field in Settings.model_fields.items():
        kind = "path" if name in PATHS else _type_words(field.annotation)
        default = {"home": "the data folder of the user", "cache": "the cache folder of the user"}.get(name)
        if default is None:
            default = "not set" if field.default is None else f"`{_toml(field.default)}`"
        lines.append(f"| `{name}` | `KGVAD_{name.upper()}` | {kind} | {default} | {_cell(field.description or '')} |")
    return "\n".join(lines) + "\n"


def commands_markdown() -> str:
    """The page about the command line: every command with usage, arguments, options by panel, and its example."""
    lines = ["# Commands", ""]
    for command in commands():
        if len(command.words) == 1:
            lines += ["Options of every command:", "", *_table(command, None), ""]
        elif not command.is_group:
            lines += _section(command)
    return "\n".join(lines).rstrip() + "\n"


@dataclass(frozen=True)
class Command:
    """A command or a group of commands.

    Attributes
    ----------
    words
        What is typed: ``("kgvad", "kg", "show")``.
    click
        The click command that Typer made.
    types
        Type of each parameter, by its name in Python.
    """

    words: tuple[str, ...]
    click: Any
    types: dict[str, object]

    @property
    def is_group(self) -> bool:
        """Whether it only holds other commands."""
        return hasattr(self.click, "commands")


def commands() -> list[Command]:
    """Every command and group, in the order in which they are defined."""
    from typer.main import get_command

    from kgvad.cli import app

    return list(_walk(("kgvad",), get_command(app), app))


def _walk(words: tuple[str, ...], click: Any, app: Typer) -> Iterator[Command]:
    from typer.main import get_command_name

    yield Command(words, click, {})
    for one in app.registered_commands:
        assert one.callback is not None
        name = one.name or get_command_name(one.callback.__name__)
        yield Command((*words, name), click.commands[name], get_type_hints(one.callback))
    for group in app.registered_groups:
        assert group.typer_instance is not None and group.name is not None
        yield from _walk((*words, group.name), click.commands[group.name], group.typer_instance)


def _section(command: Command) -> list[str]:
    click = command.click
    arguments = [one for one in click.params if one.param_type_name == "argument"]
    usage = " ".join((*command.words, *map(_usage, arguments), "[OPTIONS]"))
    lines = [f"## {' '.join(command.words)}", "", _plain(click.help or ""), "", "```", usage, "```", ""]
    if arguments:
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [f"| `{_cell(_usage(one))}` | {_cell(one.help or '')} |" for one in arguments]
        lines.append("")
    panels = dict.fromkeys(one.rich_help_panel for one in _options(click))
    for panel in panels:
        lines += [f"{panel or 'Options'}:", "", *_table(command, panel), ""]
    if click.epilog:
        lines += ["Example:", "", "```", click.epilog.removeprefix("Example: "), "```", ""]
    return lines


def _options(click: Any) -> list[Any]:
    return [one for one in click.params if one.param_type_name == "option" and not one.hidden]


def _table(command: Command, panel: str | None) -> list[str]:
    lines = ["| option | default | meaning |", "|---|---|---|"]
    for one in _options(command.click):
        if one.rich_help_panel != panel:
            continue
        names = ", ".join(f"`{name}`" for name in (*one.opts, *one.secondary_opts))
        kind = "" if one.is_flag else f" `{_cell(one.metavar or _kind(command.types.get(one.name)))}`"
        lines.append(f"| {names}{kind} | {_default(one)} | {_cell(one.help or '')} |")
    return lines


def _default(option: Any) -> str:
    value = option.default
    if option.required:
        return "required"
    if value is True and option.secondary_opts:
        return f"`{option.opts[0]}`"
    if isinstance(value, (str, int, float)) and not isinstance(value, bool):
        return f"`{getattr(value, 'value', value)}`"
    return ""


def _usage(argument: Any) -> str:
    name = str(argument.metavar or argument.name.upper()).strip("[].")
    name += "..." if argument.nargs == -1 else ""
    return name if argument.required else f"[{name}]"


def _kind(annotation: Any) -> str:
    """What to type for a parameter of this type."""
    inner = [one for one in get_args(annotation) if one is not type(None)]
    if inner:
        return _kind(inner[0])
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return "|".join(str(one.value) for one in annotation)
    return {int: "INTEGER", float: "NUMBER", Path: "PATH"}.get(annotation, "TEXT")


def _type_words(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{one}`" for one in get_args(annotation))
    inner = [one for one in get_args(annotation) if one is not type(None)]
    if get_origin(annotation) is tuple:
        return f"list of {_type_words(inner[0])}"
    if inner:
        return _type_words(inner[0])
    return {str: "text", bool: "`true` or `false`"}.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return str(list(value))
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def _plain(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text))


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
