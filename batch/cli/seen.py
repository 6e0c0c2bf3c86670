"""`recbatch seen`: films that a user has watched and not rated."""

from batch.cli import help, suggestions
from batch.cli.arguments import AsJson, Movie, User, open_ready, print_result
from batch.cli.terminal import print_lines
from batch.store.run_lock import run_lock

commands = help.Commands(help="Films that users have seen and not rated.")


@commands.command()
def add(user: User, film: Movie, as_json: AsJson = False) -> None:
    """Mark a film as seen: from now on it is in no list of this user.

    No model learns from it. It is a batch of its own, which 'recbatch ingest undo'
    takes back. Files of many such films are read by 'recbatch ingest --seen'.

    Example: recbatch seen add 42 "Heat (1995)"
    """
    from batch.ingest.mark import mark_as_seen
    from batch.job.inputs import ingest_settings

    settings, data = open_ready(writes=True)
    with run_lock(data), data.writer.begin() as connection:
        user_key = suggestions.find_user(connection, user)
        movie_key, title = suggestions.find_film(connection, film)
        batch_id = mark_as_seen(connection, user_key, movie_key, ingest_settings(settings))
    name = movie_key if title == movie_key else f"{title} ({movie_key})"
    outcome = f"is marked as seen by {user_key}: batch {batch_id}"
    if batch_id is None:
        outcome = f"was marked as seen by {user_key} before"
    print_result(
        as_json,
        {"batch_id": batch_id, "user_key": user_key, "movie_key": movie_key},
        lambda: print_lines(f"{name} {outcome}"),
    )
