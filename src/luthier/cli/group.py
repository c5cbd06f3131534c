"""A group of verbs whose help is plain text in sections: it needs no rich, which costs 0.1 s to load."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup


class Group(TyperGroup):
    """Lists its verbs under the `rich_help_panel` each was registered with; without arguments prints help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            typer.echo(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        sections: dict[str, list[tuple[str, str]]] = {}
        for name, command in self.commands.items():
            section = getattr(command, "rich_help_panel", None) or "Commands"
            sections.setdefault(section, []).append((name, command.get_short_help_str(limit=100)))
        for title, rows in sections.items():
            with formatter.section(title):
                formatter.write_dl(rows, col_max=12)


def group(help: str, **verbs: Any) -> typer.Typer:
    """A verb with verbs of its own, such as `luthier runs list`."""
    app = typer.Typer(cls=Group, help=help, add_completion=False, rich_markup_mode=None)
    for name, verb in verbs.items():
        app.command(name)(verb)
    return app
