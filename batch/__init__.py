"""recbatch: film ratings from CSV files -> each user's top films in a database table, every night."""

from importlib.metadata import version

__version__ = version("recbatch")


class RecbatchError(Exception):
    """Every error that a caller can act on; the message says what is wrong, where, and what would do."""
