"""recbatch: film ratings from CSV files -> each user's top films in a database table, nightly."""

from importlib.metadata import version

__version__ = version("recbatch")


class RecbatchError(Exception):
    """An error that a caller can act on: the message says what is wrong, where, and what to do."""
