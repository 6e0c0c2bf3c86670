"""Commands on films that must not be shown."""

from dataclasses import asdict
from datetime import datetime
from typing import Annotated

import typer

from batch.cli import help, suggestions
from batch.cli.arguments import AsJson, Movie, opened, shown, utc
from batch.store import database

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
    why: Annotated[str | None, typer.Option(help="A note for whoever asks later.")] = None,
    as_json: AsJson = False,
) -> None:
    """Hide a film at once, and keep it out of the lists of every run from now on.

    Example: recbatch filter add "Heat (1995)" --until 2027-01-01 --why "no licence"
    """
    from batch.store.filters import add as hide

    _, data = opened()
    window = {"starts_at": utc(starts_at), "ends_at": utc(ends_at)}
    with database.small_write(data) as connection:
        movie_key, title = suggestions.find_film(connection, film)
        user_key = None if user is None else suggestions.find_user(connection, user)
        filter_id = hide(connection, movie_key, user_key, **window, reason=why)
    told = movie_key if title == movie_key else f"{title} ({movie_key})"
    shown(
        as_json,
        {"filter_id": filter_id, "movie_key": movie_key, "user_key": user_key},
        lambda: typer.echo(f"filter {filter_id} keeps {told} from {user_key or 'everyone'}"),
    )


@commands.command(name="list")
def list_filters(as_json: AsJson = False) -> None:
    """Show the filters that hold, or will.

    Example: recbatch filter list
    """
    from batch.cli.tables import filter_table
    from batch.store.filters import current_filters

    _, data = opened()
    with data.reader.connect() as connection:
        found = current_filters(connection)
    shown(as_json, [asdict(each) for each in found], lambda: filter_table(found))


@commands.command()
def remove(
    filter_id: Annotated[
        int, typer.Argument(metavar="ID", help="As 'recbatch filter list' has it.")
    ],
    as_json: AsJson = False,
) -> None:
    """End a filter: its film is shown again where it is in the published lists.

    Example: recbatch filter remove 3
    """
    from batch.store.filters import end

    _, data = opened()
    with database.small_write(data) as connection:
        end(connection, filter_id)
    shown(as_json, {"filter_id": filter_id}, lambda: typer.echo(f"filter {filter_id} has ended"))
