"""A film -> the users who would like it most, on the terminal."""

from dataclasses import asdict
from typing import Annotated

import typer

from batch.cli import help, suggestions
from batch.cli.arguments import LARGEST_NUMBER, AsJson, Movie, open_ready, print_result
from batch.cli.tables import audience_table

commands = help.Commands()


@commands.command()
def audience(
    film: Movie,
    n: Annotated[
        int,
        typer.Option("-n", min=1, max=LARGEST_NUMBER, metavar="N", help="At most this many users."),
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """Show who would like a film most, of those who have not rated or seen it.

    All users are scored again, with the models of the published run. That takes about as
    long as a run takes to make its lists. Nothing is written.

    Example: recbatch audience "Heat (1995)" -n 500 --json
    """
    from batch.job.audience import audience as find_audience

    settings, data = open_ready()
    with data.reader.connect() as connection:
        movie_key, title = suggestions.find_film(connection, film)
    answer = find_audience(data, settings, movie_key, title, n)
    print_result(as_json, asdict(answer), lambda: audience_table(answer))
