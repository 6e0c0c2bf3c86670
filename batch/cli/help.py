"""A command line -> one command called; tidy help, one-line errors, none for a closed pipe."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, TypeVar

import typer
from pydantic import ValidationError
from typer.core import TyperCommand, TyperGroup

from batch.config.problems import wording
from batch.telemetry import log_warnings_only

PROGRAM = "recbatch"
"""The name in help and completion, also for `python -m batch`."""
WRONG_USE = 2
"""Exit code for unknown commands, options and values."""
HUNG_UP = 141
"""Exit code where the reader has closed the pipe (128 + SIGPIPE): `recbatch top 1 | head -1`."""

FIRST = ("demo", "sample-data", "ingest")
"""Commands that come first in help, in the order in which a newcomer needs them."""

QUIET = "--quiet"
"""Also accepted after a command, where people type it."""
BEFORE_COMMAND = ("--config", "--log-format", "--log-level")
"""Options that stand before a command."""

F = TypeVar("F", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command whose help shows no type for flags, which take no value."""

    def get_params(self, ctx: Any) -> Any:
        return _with_quiet(ctx, _without_flag_types(super().get_params(ctx)))


class Group(TyperGroup):
    """A group of commands: flags as in Command; ends without a message where the pipe is closed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        first = {name: self.commands[name] for name in FIRST if name in self.commands}
        self.commands = first | dict(self.commands)

    def get_params(self, ctx: Any) -> Any:
        return _with_quiet(ctx, _without_flag_types(super().get_params(ctx)))

    def make_context(self, *args: Any, **options: Any) -> Any:
        with _ending_on_closed_pipe():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        with _ending_on_closed_pipe():
            return super().invoke(ctx)


class CommandWithSubcommands(Group):
    """A command with arguments of its own: it is called unless its first word is a subcommand.

    `recbatch ingest FILE` and `recbatch ingest undo 3`, for example. A subcommand's name
    anywhere else is refused: it may be a misplaced subcommand, or a file of that name.
    """

    allow_interspersed_args = True  # options may follow arguments, as in any command

    def make_context(
        self, info_name: Any, args: list[str], parent: Any = None, **extra: Any
    ) -> Any:
        subcommand = self.commands.get(args[0]) if args else None
        if subcommand is None:
            return super().make_context(info_name, args, parent, **extra)
        return subcommand.make_context(f"{info_name} {args[0]}", args[1:], parent, **extra)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        for name in self.commands:
            if name in args:
                ctx.fail(
                    f"{name!r} is a command, '{ctx.command_path} {name}', which comes before any"
                    f" option; a file of that name is './{name}'"
                )
        return super().parse_args(ctx, args)


class Commands(typer.Typer):
    """A typer application of these classes."""

    def __init__(self, *, cls: type[Group] = Group, **options: Any) -> None:
        super().__init__(cls=cls, no_args_is_help=cls is Group, **options)

    def command(self, name: str | None = None, **options: Any) -> Callable[[F], F]:
        return super().command(name, cls=Command, **options)


def call(commands: typer.Typer) -> int:
    """Run the command of the command line, and return its exit code.

    Raises typer.TyperException for an unknown command, option or value.
    """
    try:
        return commands(prog_name=PROGRAM, standalone_mode=False) or 0
    except typer.TyperException as error:
        if not error.format_message():  # no command at all: the help has been printed
            return WRONG_USE
        raise


def usage_error(error: typer.TyperException) -> str:
    """Wrong use in one line, with the command whose help explains it."""
    context = getattr(error, "ctx", None)
    option = getattr(error, "option_name", None)
    if context and option in BEFORE_COMMAND:
        command = context.command_path.removeprefix(f"{PROGRAM} ")
        return f"{option} stands before the command, as in '{PROGRAM} {option} ... {command}'"
    if isinstance(error.__cause__, ValidationError):  # typer repeats what pydantic says
        error.message = wording(error.__cause__.errors(include_url=False)[:1])
    message = " ".join(error.format_message().split()).rstrip(".")
    message = message[:1].lower() + message[1:]
    return f"{message}; see {context.command_path} --help" if context else message


def _without_flag_types(parameters: Any) -> Any:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


def _with_quiet(context: Any, parameters: list[Any]) -> list[Any]:
    """The parameters, with the --quiet of the program where a command has none of its own."""
    of_program = context.find_root().command.params
    quiet = [parameter for parameter in of_program if QUIET in parameter.opts]
    if not quiet or any(QUIET in parameter.opts for parameter in parameters):
        return parameters
    again = copy(quiet[0])
    again.hidden = True
    again.expose_value = False
    again.callback = _log_warnings_only
    return [*parameters, again]


def _log_warnings_only(_context: Any, _option: Any, is_set: bool) -> None:
    if is_set:
        log_warnings_only()


@contextmanager
def _ending_on_closed_pipe() -> Iterator[None]:
    """Exit with HUNG_UP where a write to stdout or stderr fails because nobody reads it."""
    try:
        yield
    except BrokenPipeError:
        _discard_output()
        raise SystemExit(HUNG_UP) from None
    except SystemExit as end:
        # rich ends the program with 1 where its output breaks.
        if not isinstance(end.__context__, BrokenPipeError):
            raise
        _discard_output()
        raise SystemExit(HUNG_UP) from None


def _discard_output() -> None:
    """Send what is still buffered to /dev/null, or flushing it at exit would fail again."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    for descriptor in (1, 2):
        os.dup2(devnull, descriptor)
