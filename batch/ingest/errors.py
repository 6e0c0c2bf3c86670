"""What is wrong with a row, and what is wrong with a file."""


class BadRowError(Exception):
    """A field that cannot be read: its name, a code, and a message with value and remedy."""

    def __init__(self, name: str | None, code: str, message: str) -> None:
        super().__init__(message)
        self.name = name
        self.code = code


class RefusedError(Exception):
    """A file that cannot be merged: a code, a message with the remedy, and the line, if any."""

    def __init__(self, code: str, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.line = line

    def with_place(self, file: object) -> str:
        """The message after its place: `FILE:LINE: ...`."""
        if self.line is None:
            return f"{file}: {self}"
        return f"{file}:{self.line}: {self}"
