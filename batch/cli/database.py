"""Commands on the tables themselves."""

from typing import Annotated

import typer

from batch.cli import help
from batch.cli.arguments import AsJson, configured, connected, opened, shown
from batch.store import database, schema

commands = help.Commands(help="The tables themselves.")


@commands.command()
def upgrade(as_json: AsJson = False) -> None:
    """Make the tables, or bring them to this version.

    Example: recbatch db upgrade
    """
    data = connected(configured())
    database.upgrade(data)
    shown(
        as_json,
        {"database": data.label, "schema_version": schema.HEAD},
        lambda: typer.echo(f"{data.label} is at schema version {schema.HEAD}"),
    )


@commands.command()
def grant(
    role: Annotated[str, typer.Argument(help="An existing Postgres role.")],
    job: Annotated[
        bool, typer.Option("--job", help="Let it do the job: all rows, no change of tables.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a Postgres role read the views, and nothing else.

    Example: recbatch db grant web
    """
    _, data = opened()
    database.grant(data, role, job=job)
    may = (
        f"{data.schema_name}.*, and write rows"
        if job
        else ", ".join(f"{data.schema_name}.{v}" for v in schema.VIEWS)
    )
    shown(
        as_json,
        {
            "role": role,
            "schema": data.schema_name,
            "may": "do the job" if job else "read the views",
        },
        lambda: typer.echo(f"{role} may read {may}"),
    )
