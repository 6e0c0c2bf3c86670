"""`recbatch db`: commands on the tables themselves."""

from typing import Annotated

import typer

from batch.cli import help
from batch.cli.arguments import AsJson, connect_for_job, load_settings, open_ready, print_result
from batch.cli.terminal import print_lines
from batch.store import roles, schema, versions

commands = help.Commands(help="The tables themselves.")


@commands.command()
def upgrade(as_json: AsJson = False) -> None:
    """Make the tables, or bring them to this version.

    Example: recbatch db upgrade
    """
    data = connect_for_job(load_settings())
    versions.upgrade(data)
    print_result(
        as_json,
        {"database": data.label, "schema_version": schema.HEAD},
        lambda: print_lines(f"{data.label} is at schema version {schema.HEAD}"),
    )


@commands.command()
def grant(
    role: Annotated[str, typer.Argument(help="An existing Postgres role.")],
    job: Annotated[
        bool, typer.Option("--job", help="Let it run the job: all rows, no change of tables.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let a Postgres role read the views, and nothing else.

    Example: recbatch db grant web
    """
    _, data = open_ready(writes=True)
    roles.grant(data, role, job=job)
    if job:
        rights = "do the job"
        readable = f"{data.schema_name}.*, and write rows"
    else:
        rights = "read the views"
        readable = ", ".join(f"{data.schema_name}.{view}" for view in schema.VIEWS)
    print_result(
        as_json,
        {"role": role, "schema": data.schema_name, "may": rights},
        lambda: print_lines(f"{role} may read {readable}"),
    )
