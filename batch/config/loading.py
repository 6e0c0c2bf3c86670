"""A YAML file and RECBATCH_* variables -> checked settings, or one line for each wrong one."""

import difflib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails

from batch import RecbatchError
from batch.config.merging import merged
from batch.config.settings import Config

DEFAULT_FILE = Path("config.yaml")
PREFIX = "RECBATCH_"
SECRETS = (
    ["database", "url"],
    ["ingest", "query_url"],
    ["metrics", "push_url"],
    ["notify", "webhook_url"],
)
"""Settings that may contain a secret.

They are never part of a message. The variable's name with _FILE appended names a file instead.
"""
MAX_BYTES = 65_536
"""A larger file is not a settings file."""
NUMBERS_AND_CHOICES = ("int", "float", "finite", "greater", "less", "literal")
"""Prefixes of pydantic's error types for a wrong number or a wrong choice."""
MESSAGES = {"tuple_type": "Input should be a list, in brackets, such as [1, 5]"}
"""Messages in place of pydantic's, by its error types."""
MAX_SHOWN = 60
"""Characters of a wrong value that are repeated in a message."""


class ConfigError(RecbatchError):
    """A setting that cannot be used; the message says where it is and what is allowed."""


def load_config(file: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Read the settings: defaults, then the file, then RECBATCH_* variables.

    Without a file, `config.yaml` is read if it exists. Raises ConfigError.
    """
    if file is not None and not file.is_file():
        problem = "not a file" if file.exists() else "no such file"
        raise ConfigError(f"{file}: {problem}")
    source = file or DEFAULT_FILE
    from_file = _read(source) if source.is_file() else {}
    settings = merged(from_file, _from_environment(environ))
    variables = {name for name in environ if name.startswith(PREFIX)}
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError("\n".join(_problems(error, source, variables))) from None


def shipped_text() -> str:
    """The text of the config.yaml that comes with the program."""
    package = Path(__file__).parents[1]
    installed = package / "config.yaml"
    file = installed if installed.is_file() else package.parent / "config.yaml"
    return file.read_text(encoding="utf-8")


class _StrictLoader(yaml.SafeLoader):
    """YAML without aliases, where a repeated key is an error."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            problem = "an alias; quote a value that begins with *"
            raise yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        names = set()
        for key, _ in node.value:
            if key.value in names:
                problem = f"{key.value} is given twice"
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=key.start_mark)
            names.add(key.value)
        return super().construct_mapping(node, deep)


def _read(file: Path) -> dict[str, Any]:
    if file.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{file}: larger than {MAX_BYTES} bytes; is this the settings file?")
    try:
        text = file.read_text(encoding="utf-8")
        content = yaml.load(text, Loader=_StrictLoader)  # noqa: S506  a SafeLoader
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ConfigError(f"{file}:{line}: {error.problem}") from None
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise ConfigError(f"{file}: not readable as YAML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        kind = type(content).__name__
        raise ConfigError(f"{file}: expected sections such as 'database:', found {kind}")
    empty_sections: dict[str, Any] = {key: {} for key in content if key in Config.model_fields}
    return merged(empty_sections, content)


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """RECBATCH_A__B=value -> {a: {b: value}}."""
    settings: dict[str, Any] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        path = name.removeprefix(PREFIX).lower().split("__")
        without_file = [*path[:-1], path[-1].removesuffix("_file")]
        value: Any = environ[name]
        if path not in SECRETS and without_file in SECRETS:
            path = without_file
            value = _secret(name, Path(value))
        elif re.match(r"[\[{]|(null|~)$", value):
            value = _yaml_value(name, value, is_secret=path in SECRETS)
        for key in reversed(path):
            value = {key: value}
        settings = merged(settings, value)
    return settings


def _yaml_value(name: str, value: str, *, is_secret: bool) -> Any:
    try:
        return yaml.load(value, Loader=_StrictLoader)  # noqa: S506  a SafeLoader
    except yaml.YAMLError:
        shown = "it" if is_secret else repr(value)
        raise ConfigError(f"{name}: {shown} is not a list or mapping as YAML writes them") from None


def _secret(name: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{name}: {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: {file}: not UTF-8 text") from None


def _problems(error: ValidationError, source: Path, variables: set[str]) -> Iterator[str]:
    """One line per wrong setting: its file or variable, what is allowed, and what it is."""
    by_setting: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for problem in error.errors(include_url=False):
        by_setting.setdefault(_setting(problem), []).append(problem)
    for path, problems in by_setting.items():
        names = [name for name in path if not name.isdigit()]
        where = PREFIX + "__".join(names).upper()
        if where not in variables:
            where = f"{source}: {'.'.join(path) or 'settings'}"
        if problems[0]["type"] == "extra_forbidden":
            yield f"{where}: {_unknown(path)}"
            continue
        messages = [MESSAGES.get(problem["type"], problem["msg"]) for problem in problems]
        messages = [message.removeprefix("Value error, ") for message in messages]
        # several only where a setting may be of one type or another
        text = ", or ".join([messages[0], *map(_uncapitalised, messages[1:])])
        yield f"{where}: {text}{_value(problems[0])}"


def _setting(problem: ErrorDetails) -> tuple[str, ...]:
    """The path of the wrong setting, without the names of types that pydantic appends."""
    path = [str(part) for part in problem["loc"]]
    if problem["type"] != "extra_forbidden":
        while path and not path[-1].isidentifier() and not path[-1].isdigit():
            path.pop()
    return tuple(path)


def _unknown(path: tuple[str, ...]) -> str:
    section: Any = Config
    for name in path[:-1]:
        section = section.model_fields[name].annotation
    keys = [field.alias or name for name, field in section.model_fields.items()]
    similar = difflib.get_close_matches(path[-1], keys, n=1)
    return "unknown setting" + (f"; did you mean {similar[0]}?" if similar else "")


def _value(problem: ErrorDetails) -> str:
    """The value, if it is a number or a choice: other text may be a misplaced secret."""
    value = repr(problem["input"])
    shown = problem["type"].startswith(NUMBERS_AND_CHOICES) and len(value) <= MAX_SHOWN
    return f"; it is {value}" if shown else ""


def _uncapitalised(text: str) -> str:
    return text[:1].lower() + text[1:]
