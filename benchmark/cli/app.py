"""The command `bench` itself: its groups of commands, help in every form that people try, completion."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from benchmark import __version__
from benchmark.cli.output import Quiet, Talk, Verbose, handled
from benchmark.core.errors import UsageError
from benchmark.core.words import near_miss

RUN, LOOK, CHECK, DATA, YOURS = (
    "Run",
    "Look",
    "Check",
    "Data",
    "Yours: methods, decisions, weights",
)
"""Groups of commands, in the order in which the help lists them; a command's is its `rich_help_panel`."""
GROUPS = (RUN, LOOK, CHECK, DATA, YOURS)

MERGE = "`bench merge FOLDER... --results DIR` makes one results folder of several."
GIVEN_ONCE = {"--results": MERGE, "--from": MERGE}
"""Options of which the last would win, and what to do instead."""


class Commands(TyperGroup):
    """Lists its commands by group, none of the descriptions cut; without a command it shows its help."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing:
            _given_once(args)
        return super().parse_args(ctx, args if args or ctx.resilient_parsing else ["--help"])

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Not broken within `--all-categories`: what is shown is there to be copied."""
        if self.epilog:
            room = max(20, formatter.width - 4)
            lines = textwrap.wrap(self.epilog, room, break_on_hyphens=False)
            formatter.write("".join(f"\n  {line}" for line in lines) + "\n")

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        commands = {name: self.get_command(ctx, name) for name in self.list_commands(ctx)}
        panels: dict[str, list[tuple[str, str]]] = {group: [] for group in GROUPS}
        for name, command in commands.items():
            if command is not None and not command.hidden:
                text = " ".join((command.help or "").split("\n\n")[0].split())
                panel = getattr(command, "rich_help_panel", None)
                panels.setdefault(panel if isinstance(panel, str) else "Commands", []).append((name, text))
        width = max(len(name) for name in commands)
        for panel, rows in panels.items():
            if rows:
                with formatter.section(panel):
                    formatter.write_dl([(name.ljust(width), text) for name, text in rows])


def _given_once(args: Sequence[str]) -> None:
    """A folder of results that is given twice: neither is meant to be forgotten."""
    options = args[: args.index("--")] if "--" in args else args
    for name, instead in GIVEN_ONCE.items():
        if sum(word == name or word.startswith(f"{name}=") for word in options) > 1:
            raise typer.BadParameter(f"given more than once; {instead}", param_hint=name)


app = typer.Typer(
    name="bench",
    cls=Commands,
    help="Train and compare methods for multimodal review helpfulness prediction; make the paper's tables.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="`bench help COMMAND` shows a command's options. Start with: bench run --all-categories. "
    "Exit codes: 0 done, 1 a run failed, 2 usage, 3 data missing or invalid, 4 a check failed, "
    "5 the machine said no, 75 stopped by a scheduler, 130 interrupted.",
)


def _version(shown: bool) -> None:
    if shown:
        print(f"mrhp-bench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
) -> None:
    Talk.set(verbose, quiet)


@app.command(name="help", hidden=True)
@handled
def help_(
    ctx: typer.Context,
    command: Annotated[list[str] | None, typer.Argument(metavar="COMMAND")] = None,
) -> None:
    """Show the help of a command, or this overview."""
    context: Any = ctx.find_root()
    for name in command or ():
        known = getattr(context.command, "commands", {})
        if name not in known:
            raise UsageError(
                f"no command {name!r}.{near_miss(name, known)} `bench help` lists them."
                if known
                else f"{context.command_path} has no commands of its own."
            )
        context = type(context)(known[name], info_name=name, parent=context)
    print(context.command.get_help(context))
