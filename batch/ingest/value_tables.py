"""Tables that are not lines of fields: JSON lines, Parquet and Excel -> rows of texts."""

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from types import ModuleType
from typing import Any

from batch.ingest.encoding import Encoding
from batch.ingest.errors import BadRowError, RefusedError
from batch.ingest.parsing import rejected
from batch.ingest.rows import Rows, TableRows
from batch.ingest.sources import Source
from batch.ingest.values import text_of, texts_of

SAMPLE_ROWS = 1000
BLOCK_ROWS = 20_000
PARQUET_MARK = b"PAR1"
UNNAMED_INDEX = "__index_level_0__"
"""The name that pandas gives to an index without a name."""


class JsonLines:
    """A file with an object on each line; the columns are the names in its first objects."""

    def __init__(self, source: Source, encoding: Encoding) -> None:
        self._source = source
        self._encoding = encoding
        self._columns: dict[str, None] = {}  # in order of appearance
        with self._lines() as lines:
            for line in islice(lines, SAMPLE_ROWS):
                try:
                    self._columns.update(dict.fromkeys(_object(line)))
                except BadRowError:
                    continue

    def sample(self) -> list[list[str]]:
        """The names of the columns, and the first rows."""
        rows: list[list[str]] = [list(self._columns)]
        with self._lines() as lines:
            for block in self._blocks(islice(lines, SAMPLE_ROWS), lambda _: None):
                if isinstance(block, Rows):
                    rows += block.fields
        return rows

    def rows(self, _width: int, advance: Callable[[int], None]) -> TableRows:
        """The names, and the rows; a line that is no object is a reject."""
        yield Rows([0], [list(self._columns)])
        with self._lines() as lines:
            yield from self._blocks(lines, advance)

    @contextmanager
    def _lines(self) -> Iterator[Iterable[str]]:
        with self._source.lines(self._encoding.name) as lines:
            yield lines

    def _blocks(self, lines: Iterable[str], advance: Callable[[int], None]) -> TableRows:
        numbered = enumerate(lines, 1)
        while block := list(islice(numbered, BLOCK_ROWS)):
            numbers = []
            fields = []
            for number, line in block:
                if not line.strip():
                    continue
                try:
                    values = _object(line)
                except BadRowError as error:
                    yield rejected(number, error, line.rstrip("\r\n"))
                    continue
                numbers.append(number)
                fields.append([text_of(values.get(name)) for name in self._columns])
            yield Rows(numbers, fields)
            advance(sum(len(line) for _, line in block))


class Parquet:
    """A file in Parquet, whose index, if pandas saved one, comes first."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._pyarrow = _package("pyarrow.parquet", "a Parquet file", "pyarrow")

    def sample(self) -> list[list[str]]:
        """The names of the columns, and the first rows."""
        with self._file() as file:
            columns = _index_first(file.schema_arrow)
            names = _shown_names(columns)
            batches = file.iter_batches(SAMPLE_ROWS, columns=columns)
            rows = [] if (first := next(batches, None)) is None else _rows_of(first, columns)
        return [names, *rows]

    def rows(self, _width: int, advance: Callable[[int], None]) -> TableRows:
        """The names, and the rows numbered from 1."""
        n_rows = 0
        with self._file() as file:
            columns = _index_first(file.schema_arrow)
            yield Rows([0], [_shown_names(columns)])
            for batch in file.iter_batches(BLOCK_ROWS, columns=columns):
                fields = _rows_of(batch, columns)
                yield Rows(range(n_rows + 1, n_rows + 1 + len(fields)), fields)
                n_rows += len(fields)
                advance(batch.nbytes)

    @contextmanager
    def _file(self) -> Iterator[Any]:
        with self._source.seekable() as content, _refusing("Parquet"):
            yield self._pyarrow.ParquetFile(content)


class Excel:
    """The one sheet of a workbook that has rows."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._openpyxl = _package("openpyxl", "an Excel file", "openpyxl")

    def sample(self) -> list[list[str]]:
        """The first rows."""
        with self._sheet() as sheet:
            rows = islice(sheet.iter_rows(values_only=True), SAMPLE_ROWS + 1)
            return [texts_of(row) for row in rows]

    def rows(self, _width: int, advance: Callable[[int], None]) -> TableRows:
        """All rows, the first of them too, by blocks."""
        n_rows = 0
        with self._sheet() as sheet:
            values = sheet.iter_rows(values_only=True)
            while block := [texts_of(row) for row in islice(values, BLOCK_ROWS)]:
                yield Rows(range(n_rows + 1, n_rows + 1 + len(block)), block)
                n_rows += len(block)
                advance(len(block))

    @contextmanager
    def _sheet(self) -> Iterator[Any]:
        with self._source.seekable() as content, _refusing("Excel"):
            book = self._openpyxl.load_workbook(content, read_only=True, data_only=True)
            try:
                sheets = [sheet for sheet in book.worksheets if any(sheet.iter_rows(max_row=1))]
                if len(sheets) > 1:
                    names = ", ".join(sheet.title for sheet in sheets)
                    message = f"several sheets have rows ({names}); save the one with the ratings"
                    raise RefusedError("SEVERAL_SHEETS", message)
                if not sheets:
                    raise RefusedError("EMPTY", "the file is empty")
                yield sheets[0]
            finally:
                book.close()


def looks_like_json(lines: list[str]) -> bool:
    """Whether the first line is an object."""
    try:
        _object(lines[0])
    except BadRowError:
        return False
    return True


def is_table_in_an_object(lines: list[str]) -> bool:
    """Whether the only line is an object of lists or objects, as pandas writes columns."""
    if len(lines) > 1 or not looks_like_json(lines):
        return False
    values = _object(lines[0]).values()
    return all(isinstance(value, (list, dict)) for value in values)


def _object(line: str) -> dict[str, Any]:
    """The object on a line. Raises BadRowError."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        message = "not an object of JSON; write one object on each line"
        raise BadRowError(None, "BAD_JSON", message)
    return value


def _index_first(schema: Any) -> list[str]:
    """The names of the columns, those of a pandas index first."""
    metadata = schema.pandas_metadata or {}
    index = [name for name in metadata.get("index_columns", []) if isinstance(name, str)]
    return index + [name for name in schema.names if name not in index]


def _shown_names(columns: list[str]) -> list[str]:
    return ["" if name == UNNAMED_INDEX else name for name in columns]


def _rows_of(batch: Any, columns: list[str]) -> list[list[str]]:
    texts = [texts_of(batch.column(name).to_pylist()) for name in columns]
    return [list(row) for row in zip(*texts, strict=True)]


def _package(name: str, what: str, distribution: str) -> ModuleType:
    """A package that only some files need. Raises RefusedError where it is not installed."""
    try:
        return import_module(name)
    except ImportError:
        message = f"{what} needs {distribution}; pip install 'recbatch[files]'"
        raise RefusedError("PACKAGE_MISSING", message) from None


@contextmanager
def _refusing(kind: str) -> Iterator[None]:
    """Turn the errors of the packages into RefusedError."""
    try:
        yield
    except (RefusedError, GeneratorExit):
        raise
    except Exception as error:
        reason = str(error).partition("\n")[0]
        message = f"a broken {kind} file ({reason}); save it again"
        raise RefusedError("BROKEN_FILE", message) from None
