"""Lines and tables of plain text -> a terminal, or 80 columns wide elsewhere.

Everything that a command prints passes here, where characters that a terminal would obey, or
that would begin a line, are escaped: titles and names come from anyone.
"""

import sys
from collections.abc import Container, Sequence
from typing import Any

import typer

from batch.printable import printable, printable_json


def print_lines(*lines: str, err: bool = False) -> None:
    """Print each text on one line, on stdout or stderr."""
    for line in lines:
        typer.echo(printable(line), err=err)


def print_json(text: str) -> None:
    """Print JSON, whose reader gets the texts as they are."""
    typer.echo(printable_json(text))


def confirmed(question: str) -> bool:
    """Whether a person agrees; a program, whose input is no terminal, has agreed by calling."""
    if sys.stdin is None or not sys.stdin.isatty():
        return True
    try:
        return typer.confirm(printable(question), err=True)
    except typer.Abort:  # the input has ended
        print_lines("", err=True)
        return False


class TextTable:
    """Rows of cells below headings, on their way to `show_table`."""

    def __init__(self, headings: Sequence[str], right: Container[int]) -> None:
        """Columns at the positions `right` are right-aligned."""
        from rich.table import Table  # only tables need it

        self.n_rows = 0
        self.as_rich = Table(
            box=None, pad_edge=False, header_style="bold", title_justify="left", title_style=""
        )
        for position, heading in enumerate(headings):
            justify: Any = "right" if position in right else "left"
            self.as_rich.add_column(printable(heading), justify=justify, overflow="fold")

    def add_row(self, *cells: str | Sequence[str]) -> None:
        """Add a row; a cell is a text, or several of them below each other."""
        self.n_rows += 1
        texts = [[cell] if isinstance(cell, str) else cell for cell in cells]
        self.as_rich.add_row(*["\n".join(map(printable, lines)) for lines in texts])


def show_table(table: TextTable, title: str | None) -> None:
    """Print a table below its title.

    Film titles are plain text: no markup, no emoji codes, no colours for what looks like a number.
    """
    from rich.console import Console

    console = Console(markup=False, emoji=False, highlight=False)
    if title:
        console.print(printable(title), style="bold")
    console.print(table.as_rich)
    console.print()
