"""The command group ``flask sql``: statements, functions, plans, and a psql on the database."""

import difflib
import textwrap
import uuid
from collections.abc import Callable, Mapping

import click
from flask.cli import AppGroup

from app import database
from app.database import Statement, catalogue
from app.database.functions import DatabaseFunction, functions
from app.database.psql import PsqlNotFound, run_psql
from app.database.tenant_scope import all_customers
from app.errors import DatabaseFailure

NO_PLAN = (
    "A function has no plan of its own: PostgreSQL plans its statements one by one."
    " The module auto_explain logs these plans"
)


def sql_commands(database_url: Callable[[], str]) -> AppGroup:
    """Return the command group.

    Args:
        database_url: Returns the URL of the service's database, and starts the embedded server if
            that is used and does not run.
    """
    group = AppGroup(
        "sql",
        help="List SQL statements and functions with their promises, show one, or open psql.",
        invoke_without_command=True,
        callback=_list_unless_subcommand,
    )

    @group.command("show")
    @click.argument("name")
    @click.option("--explain", is_flag=True, help="Print its plan on the database, too.")
    def show(name: str, explain: bool) -> None:
        """Print the statement or function NAME with its promise and its parameters."""
        found = _find(name)
        if isinstance(found, DatabaseFunction):
            click.echo(found.definition, nl=False)
            if explain:
                raise click.ClickException(NO_PLAN)
            return
        click.echo(catalogue.render(found), nl=False)
        if explain:
            click.echo(f"\n{_plan_of(found)}")

    @group.command("render")
    def render() -> None:
        """Write each statement to a file in docs/sql."""
        for path in catalogue.write_documents():
            click.echo(f"{'Wrote' if path.exists() else 'Removed'} docs/sql/{path.name}")

    @group.command("shell", context_settings={"ignore_unknown_options": True})
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    @click.pass_context
    def shell(context: click.Context, arguments: tuple[str, ...]) -> None:
        """Open psql on the service's database. ARGUMENTS are psql's, such as -c "SELECT 1"."""
        try:
            context.exit(run_psql(database_url(), arguments))
        except PsqlNotFound as error:
            raise click.ClickException(str(error)) from None

    return group


@click.pass_context
def _list_unless_subcommand(context: click.Context) -> None:
    if context.invoked_subcommand is not None:
        return
    for name, each in _statements_and_functions().items():
        click.echo(name)
        click.echo(textwrap.indent(textwrap.fill(each.promise, 96), "    "))


def _statements_and_functions() -> Mapping[str, Statement | DatabaseFunction]:
    return {**catalogue.statements(), **functions()}


def _find(name: str) -> Statement | DatabaseFunction:
    known = _statements_and_functions()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, n=3)
    near += [each for each in known if name in each and each not in near][:3]
    hint = f"; did you mean {' or '.join(near)}?" if near else "; flask sql lists all"
    raise click.ClickException(f"There is no statement or function {name}{hint}")


def _plan_of(statement: Statement) -> str:
    """Return the generic plan of the statement. Nothing is executed.

    EXPLAIN (GENERIC_PLAN) needs PostgreSQL 16; a prepared statement has the same plan on any
    version.
    """
    name = f"explained_{uuid.uuid4().hex}"
    nulls = ", ".join("NULL" for _ in statement.parameters)
    explain = Statement(
        "explain_statement",
        promise="The lines of the generic plan; the statement stays prepared under its new name.",
        sql=f"{statement.prepare_as(name)}; SET LOCAL plan_cache_mode = force_generic_plan;"
        f" EXPLAIN EXECUTE {name}" + (f" ({nulls})" if nulls else ""),
    )
    forget = Statement(
        "forget_explained_statement",
        promise="The connection, which others may share, has no prepared statement left.",
        sql=f"DEALLOCATE {name}; SELECT 1",
    )
    try:
        with all_customers(), database.transaction():
            lines = database.run(explain, {})
            database.run(forget, {})
    except DatabaseFailure as failure:
        raise click.ClickException(str(failure.details)) from failure
    return "\n".join(line for (line,) in lines)
