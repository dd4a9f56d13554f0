"""``--help`` as plain text in panels.

Typer's own panels need rich, whose import takes longer than the rest of ``kgvad --help``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

WIDTH = 100  # characters at most
LINE = 10_000  # characters of a short help, which is wrapped, not cut


class App(typer.Typer):
    """A group of commands whose ``--help`` shows panels; without arguments it shows its help."""

    def __init__(self, **settings: Any) -> None:
        settings = {"cls": _Group, "no_args_is_help": True, "rich_markup_mode": None, **settings}
        context = {"max_content_width": WIDTH, "help_option_names": ["-h", "--help"]}
        super().__init__(pretty_exceptions_enable=False, context_settings=context, **settings)

    def command(self, name: str | None = None, **settings: Any) -> Callable[[Any], Any]:
        """Register a command; see :meth:`typer.Typer.command`."""
        return super().command(name, cls=_Command, **settings)


class _Command(TyperCommand):
    def format_options(self, ctx: Any, formatter: Any) -> None:
        _write(formatter, _parameters(self, ctx))


class _Group(TyperGroup):
    def format_options(self, ctx: Any, formatter: Any) -> None:
        shown = self._shown(ctx)
        _write(formatter, ((_panel(one, "Commands"), (name, one.get_short_help_str(LINE))) for name, one in shown))
        _write(formatter, _parameters(self, ctx))

    def _shown(self, ctx: Any) -> Iterable[tuple[str, Any]]:
        named = ((name, self.get_command(ctx, name)) for name in self.list_commands(ctx))
        return ((name, command) for name, command in named if command is not None and not command.hidden)


def _parameters(command: Any, ctx: Any) -> Iterable[tuple[str, tuple[str, str]]]:
    """Panel and help of every parameter, options without a panel last."""
    found = [
        (_panel(one, "Arguments" if one.param_type_name == "argument" else "Options"), one.get_help_record(ctx))
        for one in command.get_params(ctx)
    ]
    return sorted(((panel, record) for panel, record in found if record), key=lambda one: one[0] == "Options")


def _panel(one: Any, default: str) -> str:
    name = getattr(one, "rich_help_panel", None)
    return name if isinstance(name, str) else default


def _write(formatter: Any, lines: Iterable[tuple[str, tuple[str, str]]]) -> None:
    panels: dict[str, list[tuple[str, str]]] = {}
    for panel, line in lines:
        panels.setdefault(panel, []).append(line)
    for panel, records in panels.items():
        with formatter.section(panel):
            formatter.write_dl(records)
