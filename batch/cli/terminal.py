"""Tables of plain text on a terminal, or 80 columns wide elsewhere."""

from collections.abc import Container, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table


def new_table(headings: Sequence[str], right: Container[int]) -> Table:
    """An empty table; the columns at the positions `right` are right-aligned."""
    table = Table(
        box=None, pad_edge=False, header_style="bold", title_justify="left", title_style=""
    )
    for position, heading in enumerate(headings):
        justify: Any = "right" if position in right else "left"
        table.add_column(heading, justify=justify, overflow="fold")
    return table


def show_table(table: Table, title: str | None) -> None:
    """Print a table below its title.

    Film titles are plain text: no markup, no emoji codes, no colours for what looks like a number.
    """
    console = Console(markup=False, emoji=False, highlight=False)
    if title:
        console.print(title, style="bold")
    console.print(table)
    console.print()
