"""What each command would build again is built once in a session: compiled SQL, and the command line's parser."""

from functools import cache
from typing import Any

import pytest
import typer
from sqlalchemy import Engine, create_engine

from batch.store import database


class _SharedCache(dict[Any, Any]):
    """Compiled statements by the dialect's name; SQLAlchemy's own keys hold the dialect object of one engine."""

    def get(self, key: Any, default: Any = None) -> Any:
        dialect, *statement = key
        return super().get((dialect.name, *statement), default)

    def __setitem__(self, key: Any, compiled: Any) -> None:
        dialect, *statement = key
        super().__setitem__((dialect.name, *statement), compiled)


def share_compiled_sql(patch: pytest.MonkeyPatch) -> None:
    """Let all engines that the program creates from now on use one cache of compiled SQL.

    All tests use one version of each database, and nothing else that SQL depends on differs between engines.
    """
    options = {"compiled_cache": _SharedCache()}

    def create_sharing(*arguments: Any, **named: Any) -> Engine:
        return create_engine(*arguments, execution_options=options, **named)

    patch.setattr(database, "create_engine", create_sharing)


def share_parser(patch: pytest.MonkeyPatch) -> None:
    """Build the parser of the command line once, which takes an eighth of a night of fixed arithmetic."""
    patch.setattr(typer.main, "get_command", cache(typer.main.get_command))
