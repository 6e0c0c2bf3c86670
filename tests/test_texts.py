"""Texts from strangers: shown as they were typed, on one line, and never obeyed by a terminal."""

import io
import json
import os
import re
import sys
import unicodedata
import zipfile
from pathlib import Path

import pytest
from sqlalchemy import update

from batch import telemetry
from batch.printable import printable, printable_json
from batch.store import schema
from batch.store.database import Database
from fixed import command, program
from tables import rows

ROOM = Path(__file__).parents[1] / "batch"
UNSAFE = re.compile(
    "[\x00-\x09\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff]"
)
"""What no output may contain; line breaks are what lines end with."""
STRANGE = [
    "\x1b[31mred\x1b[0m",
    "\x1b]8;;http://example.com\x07link\x1b]8;;\x07",
    "\x1b]0;title\x07",
    "\x9b2J\x9d",
    "abc\u202egpj.exe",
    "\u2066left\u2069",
    "no\u200bthing\ufeff\u2060",
    "a\rb\bc\x7f",
    "one\nlevel=error event=forged",
    "tab\there",
    "he\u200dat",
]
PLAIN = [
    "Heat (1995)",
    "[red]Red[/red] :smile:",
    r"C:\films",
    "羅生門",
    "\u0645\u06cc\u200c\u062e\u0648\u0627\u0647\u0645",  # Persian, with a zero-width non-joiner
    "\u0936\u094d\u200d\u0930\u0940",  # Devanagari, with a zero-width joiner
    "👩\u200d👩\u200d👧 ❤\ufe0f\u200d🔥",
    "שלום",
]


@pytest.mark.parametrize("text", PLAIN)
def test_ordinary_texts_stay(text: str) -> None:
    """A text without control characters is shown as it is, with joiners of scripts and emoji."""
    assert printable(text) == text


@pytest.mark.promise("E8")
@pytest.mark.parametrize("text", STRANGE)
def test_a_strange_text_is_one_harmless_line(text: str) -> None:
    """A text with control characters is shown with escapes that say which ones they were."""
    shown = printable(text)
    assert shown.isprintable()
    assert shown.encode("latin-1", "backslashreplace").decode("unicode_escape") == text
    kept = json.dumps({"text": text}, ensure_ascii=False, indent=2)
    assert json.loads(printable_json(kept)) == {"text": text}
    assert not UNSAFE.search(printable_json(kept))


@pytest.mark.promise("E8")
def test_no_character_of_a_terminal_is_left_out() -> None:
    """Of all characters, no control character, line break, direction or zero width is printed."""
    shown = [
        character for character in map(chr, range(0x110000)) if printable(character) == character
    ]
    for character in shown:
        assert unicodedata.category(character) not in ("Cc", "Cs", "Zl", "Zp"), hex(ord(character))
        assert unicodedata.bidirectional(character) not in (
            "LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"
        )  # fmt: skip
    assert not UNSAFE.search("".join(shown))


@pytest.fixture
def strange(database: Database, nights: object, tmp_path: Path) -> tuple[Database, list[str]]:
    """A published night of which all texts are strange, and these texts."""
    text = "".join(STRANGE)
    with database.writer.begin() as connection:
        connection.execute(update(schema.movies).values(title=schema.movies.c.movie_key + text))
        connection.execute(update(schema.users).values(name=schema.users.c.user_key + text))
        first_run = schema.runs.c.run_id == 1
        connection.execute(update(schema.runs).where(first_run).values(error=text))
    return database, STRANGE


def _outputs(capfd: pytest.CaptureFixture[str], *words: str) -> tuple[str, str]:
    capfd.readouterr()
    command(*words)
    done = capfd.readouterr()
    return done.out, done.err


@pytest.mark.promise("E8")
def test_no_command_prints_what_a_terminal_obeys(
    strange: tuple[Database, list[str]], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Titles, names, notes, file names and rows reach neither stdout nor stderr unescaped."""
    database, texts = strange
    text = "".join(texts)
    no_slash = text.replace("/", "")
    file = tmp_path / f"x{no_slash[:100]}.csv"
    file.write_text(f'user,movie,rating\nu1,m1,3\nu2,"{text}",99\nu3,"{text}",4\n')
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr(f"a\nforged {no_slash}.csv", "user,movie,rating\nu1,m9,4\n")
        archive.writestr(f"b\nforged {no_slash}.csv", "nothing\n")
    commands = (
        ("filter", "add", "m1", "--why", text),
        ("filter", "add", "m2", "--user", "u1", "--why", text),
        ("filter", "list"),
        ("top", "u1"),
        ("top", "u1", "--model", "blend"),
        ("top", text),
        ("top", "u1", "--model", text),
        ("filter", "add", text),
        ("filter", "add", "m1", "--until", text),
        (text,),
        ("ingest", text),
        ("ingest", str(tmp_path / "x.zip")),
        ("ingest", str(file)),
        ("--log-format", "text", "ingest", str(file)),
        ("ingest", "--dry-run", str(file)),
        ("ingest", "list"),
        ("runs",),
        ("run", "--force"),
        ("--log-format", "text", "run", "--force"),
        ("diff", "1", "2"),
        ("export", f"x{no_slash[:60]}.csv"),
        ("export", text),
        ("--config", text, "runs"),
        ("forget", "u1"),
    )
    for words in commands:
        out, err = _outputs(capfd, *words)
        assert out + err, words
        for output in (out, err):
            assert not UNSAFE.search(output), (words, UNSAFE.search(output))
            assert not re.search("^.{0,3}(forged|refused: forged|level=error)", output, re.M), (
                output
            )
    titles = {title for (title,) in rows(database, "SELECT title FROM movies")}
    assert f"m1{text}" in titles


@pytest.mark.promise("E8")
def test_json_keeps_the_text_and_is_harmless(
    strange: tuple[Database, list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    """--json has the very text of titles and names, and prints nothing that a terminal obeys."""
    _, texts = strange
    out, _ = _outputs(capfd, "top", "u1", "--model", "blend", "--json")
    assert not UNSAFE.search(out)
    [answer] = json.loads(out)
    film = answer["films"][0]
    assert film["title"] == film["movie_key"] + "".join(texts)
    assert answer["user_name"] == "u1" + "".join(texts)


@pytest.mark.promise("E8")
@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_a_real_terminal_gets_only_our_own_escapes(
    strange: tuple[Database, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a terminal the only escape sequences are the program's own: bold on and off."""
    read, write = os.openpty()
    terminal = io.TextIOWrapper(os.fdopen(write, "wb", 0), write_through=True, encoding="utf-8")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "stdout", terminal)
        patch.setenv("TERM", "xterm-256color")
        command("filter", "add", "m1", "--why", "[red]note[/red]" + STRANGE[0])
        command("filter", "list")
    terminal.close()
    output = b""
    while chunk := _read(read):
        output += chunk
    os.close(read)
    text = output.decode()
    assert "[red]note" in text.replace("\r\n", "")
    assert set(re.findall("\x1b\\[[0-9;]*m", text)) <= {"\x1b[1m", "\x1b[0m"}
    assert text.count("\x1b") == len(re.findall("\x1b\\[[0-9;]*m", text))
    assert text.count("\x1b") > 0


def _read(terminal: int) -> bytes:
    """What there still is to read; a terminal whose other end is closed raises OSError."""
    try:
        return os.read(terminal, 1000)
    except OSError:
        return b""


@pytest.mark.promise("E8")
@pytest.mark.parametrize("text", STRANGE)
def test_a_log_line_is_one_harmless_line(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A value in a text log line has its control characters escaped, and can be read back."""
    telemetry.start_logging(style="text")
    telemetry.log_info(f"read {text}", file=text)
    line = capfd.readouterr().err
    assert line.count("\n") == 1
    assert not UNSAFE.search(line)
    quoted = line.removesuffix("\n").partition(" file=")[2]
    unquoted = quoted[1:-1] if quoted.startswith('"') else quoted
    assert unquoted.encode("latin-1", "backslashreplace").decode("unicode_escape") == text


@pytest.mark.promise("E8")
def test_a_progress_bar_shows_names_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a file is neither markup nor an escape sequence beside its progress bar."""
    monkeypatch.setenv("TERM", "xterm")  # a dumb one has no bars
    read, write = os.openpty()
    with os.fdopen(write, "w", buffering=1) as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        with telemetry.progress("reading [red]x[/red]\x1b]0;t\x07.csv", 10) as advance:
            advance(5)
    output = b""
    while chunk := _read(read):
        output += chunk
    os.close(read)
    assert b"[red]x[/red]\\x1b]0;t\\x07.csv" in output
    assert b"\x1b]0" not in output


@pytest.mark.parametrize(
    "words", [("top", "a\udcffb"), ("--config", "a\udcff", "runs"), ("ingest", "caf\udce9.csv")]
)
def test_an_argument_that_is_no_text(words: tuple[str, ...], tmp_path: Path) -> None:
    """An argument that is not UTF-8 is wrong use, named in one line, for every command."""
    done = program(tmp_path, *words)
    assert done.returncode == 2
    assert done.stderr.startswith("recbatch: ")
    assert "is not UTF-8" in done.stderr
    assert done.stderr.count("\n") == 1


def test_only_one_place_prints() -> None:
    """Every command prints through batch/cli/terminal.py, which escapes what it is given."""
    for file in (ROOM / "cli").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        if file.name != "terminal.py":
            assert not re.search(r"\becho\(|\bConsole\(|\bprint\(|import rich", text), file
