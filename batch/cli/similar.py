"""A film -> the films most like it, on the terminal."""

from dataclasses import asdict

from batch import query
from batch.cli import help, suggestions
from batch.cli.arguments import AnyRun, AsJson, AtMost, Movie, open_ready, print_result
from batch.cli.terminal import TextTable, print_lines, show_table

commands = help.Commands()


@commands.command()
def similar(
    film: Movie,
    n: AtMost = None,
    run_id: AnyRun = None,
    as_json: AsJson = False,
) -> None:
    """Show the films that the people who liked a film liked too, the most alike first.

    Example: recbatch similar "Heat (1995)" -n 5
    """
    _, data = open_ready()
    with data.reader.connect() as connection:
        movie_key, _ = suggestions.find_film(connection, film)
        answer = query.similar(connection, movie_key, n=n, run_id=run_id)
    print_result(as_json, asdict(answer), lambda: _print(answer))


def _print(answer: query.SimilarFilms) -> None:
    name = answer.title
    if name != answer.movie_key:
        name = f"{name} ({answer.movie_key})"
    if not answer.films:
        print_lines(
            f"nothing is known to be like {name}: in run {answer.run_id} nobody had liked it"
            " and another film"
        )
        return
    table = TextTable(["", "film", "score"], right=(0, 2))
    for each in answer.films:
        table.add_row(str(each.rank), [each.title, each.why], f"{each.score:.3f}")
    show_table(table, f"Like {name}: run {answer.run_id}")
