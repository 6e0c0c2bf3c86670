"""A command line -> one command called: help without oddities, wrong use in one line, and a reader may leave early."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import typer
from typer.core import TyperCommand, TyperGroup

PROGRAM = "recbatch"
"""Also where it is `python -m batch`: what the help tells can then be typed, and Tab asks under one name."""
WRONG_USE, HUNG_UP = 2, 141
"""The second is what a shell reports of a program whose reader has left, as in `recbatch top 1 | head -1`."""

F = TypeVar("F", bound=Callable[..., Any])


class Command(TyperCommand):
    """A command whose help shows no type for a flag, which takes no value."""

    def get_params(self, ctx: Any) -> Any:
        return _without_types(super().get_params(ctx))


class Group(TyperGroup):
    """The same for a group, which ends in silence when nobody reads on."""

    def get_params(self, ctx: Any) -> Any:
        return _without_types(super().get_params(ctx))

    def make_context(self, *given: Any, **named: Any) -> Any:
        with _until_hung_up():
            return super().make_context(*given, **named)

    def invoke(self, ctx: Any) -> Any:
        with _until_hung_up():
            return super().invoke(ctx)


class Commands(typer.Typer):
    """Commands of these two kinds."""

    def __init__(self, *, help: str | None = None, **given: Any) -> None:
        super().__init__(cls=Group, help=help, no_args_is_help=True, **given)

    def command(self, name: str | None = None, **given: Any) -> Callable[[F], F]:
        return super().command(name, cls=Command, **given)


def call(commands: typer.Typer) -> int:
    """Do what the command line says; the exit code. Raises typer.TyperException where it says nothing that is known."""
    try:
        return commands(prog_name=PROGRAM, standalone_mode=False) or 0
    except typer.TyperException as error:
        if not error.format_message():  # no command at all: the help has been shown
            return WRONG_USE
        raise


def told(error: typer.TyperException) -> str:
    """Wrong use in one line, with where to look."""
    context = getattr(error, "ctx", None)
    what = " ".join(error.format_message().split()).rstrip(".")
    return f"{what[:1].lower()}{what[1:]}" + (
        f"; see {context.command_path} --help" if context else ""
    )


def _without_types(parameters: Any) -> Any:
    for parameter in parameters:
        if getattr(parameter, "is_flag", False):
            parameter.metavar = ""
    return parameters


@contextmanager
def _until_hung_up() -> Iterator[None]:
    try:
        yield
    except (BrokenPipeError, SystemExit) as end:
        # Databases and networks have errors of their own; rich ends the program with 1 where its output breaks.
        if not isinstance(end.__context__ if isinstance(end, SystemExit) else end, BrokenPipeError):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for number in (1, 2):  # what is still in buffers goes there at the end
            os.dup2(nowhere, number)
        raise SystemExit(HUNG_UP) from None
