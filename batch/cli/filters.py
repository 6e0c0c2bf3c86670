"""`recbatch filter`: commands on films that must not be shown."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from batch.cli import help, suggestions
from batch.cli.arguments import (
    LARGEST_NUMBER,
    AsJson,
    Movie,
    open_ready,
    print_result,
    utc,
)
from batch.cli.terminal import print_lines
from batch.store.run_lock import small_write

commands = help.Commands(help="Films that must not be shown.")


@commands.command()
def add(
    film: Movie,
    user: Annotated[
        str | None, typer.Option(help="Only from this user. Default: from everyone.")
    ] = None,
    starts_at: Annotated[
        datetime | None, typer.Option("--from", help="From this time on, in UTC. Default: now.")
    ] = None,
    ends_at: Annotated[
        datetime | None, typer.Option("--until", help="Up to this time, in UTC. Default: for good.")
    ] = None,
    why: Annotated[str | None, typer.Option(help="The reason, as a note.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hide a film at once, and keep it out of the lists of every run from now on.

    Example: recbatch filter add "Heat (1995)" --until 2027-01-01 --why "no licence"
    """
    from batch.store.filters import add as add_filter

    _, data = open_ready(writes=True)
    with small_write(data) as connection:
        movie_key, title = suggestions.find_film(connection, film)
        user_key = None if user is None else suggestions.find_user(connection, user)
        filter_id = add_filter(
            connection,
            movie_key,
            user_key,
            starts_at=utc(starts_at),
            ends_at=utc(ends_at),
            reason=why,
        )
    name = movie_key if title == movie_key else f"{title} ({movie_key})"
    print_result(
        as_json,
        {"filter_id": filter_id, "movie_key": movie_key, "user_key": user_key},
        lambda: print_lines(f"filter {filter_id} keeps {name} from {user_key or 'everyone'}"),
    )


@commands.command(name="list")
def list_filters(as_json: AsJson = False) -> None:
    """List the filters that apply now or later.

    Example: recbatch filter list
    """
    from batch.cli.tables import filter_table
    from batch.store.filters import current_filters

    _, data = open_ready()
    with data.reader.connect() as connection:
        filters = current_filters(connection)
    print_result(
        as_json,
        [asdict(item) for item in filters],
        lambda: filter_table(filters),
    )


@commands.command()
def remove(
    filter_id: Annotated[
        int,
        typer.Argument(
            max=LARGEST_NUMBER, metavar="ID", help="Its number in 'recbatch filter list'."
        ),
    ],
    as_json: AsJson = False,
) -> None:
    """End a filter: its film is shown again where it is in the published lists.

    Example: recbatch filter remove 3
    """
    from batch.store.filters import end

    _, data = open_ready(writes=True)
    with small_write(data) as connection:
        end(connection, filter_id)
    print_result(
        as_json,
        {"filter_id": filter_id},
        lambda: print_lines(f"filter {filter_id} has ended"),
    )
