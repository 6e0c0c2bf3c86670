"""A YAML file and RECBATCH_* variables -> checked settings, or one line for each wrong one."""

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
from batch.config.problems import SECTION, about_section, setting_of, similar, wording
from batch.config.settings import Config

DEFAULT_FILE = Path("config.yaml")
PREFIX = "RECBATCH_"
SECRETS = (
    ["database", "url"],
    ["database", "job_url"],
    ["ingest", "query_url"],
    ["metrics", "push_url"],
    ["notify", "webhook_url"],
)
"""Settings that may contain a secret.

They are never part of a message. The variable's name with _FILE appended names a file instead.
"""
MAX_BYTES = 65_536
"""A larger file is not a settings file."""
SHOWN_SETTINGS = 2
"""Settings of a section that are named where a value is put in its place."""


class ConfigError(RecbatchError):
    """Settings that cannot be used: for each a line that says where it is and what is allowed."""

    def __init__(self, *lines: str) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


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
        raise ConfigError(*_problems(error, source, variables)) from None


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
        reason = " ".join(str(error).split())
        raise ConfigError(f"{file}: not readable as YAML: {reason}") from None
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
        return file.read_text(encoding="utf-8-sig").strip()  # some editors write a mark
    except OSError as error:
        raise ConfigError(f"{name}: {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: {file}: not UTF-8 text") from None


def _problems(error: ValidationError, source: Path, variables: set[str]) -> Iterator[str]:
    """One line per wrong setting: its file or variable, what is allowed, and what it is."""
    by_setting: dict[tuple[str, ...], list[ErrorDetails]] = {}
    for problem in error.errors(include_url=False):
        by_setting.setdefault(setting_of(problem, Config), []).append(problem)
    for path, problems in by_setting.items():
        place, in_variable = _place(path, source, variables)
        yield f"{place}: {_about(path, problems, in_variable=in_variable)}"


def _place(path: tuple[str, ...], source: Path, variables: set[str]) -> tuple[str, bool]:
    """Where a setting was set, and whether that is a variable, maybe of a section above it."""
    for length in range(len(path), 0, -1):
        variable = _variable(path[:length])
        for name in (variable, f"{variable}_FILE"):
            if name in variables:
                return ": ".join([name, *path[length:]]), True
    return f"{source}: {'.'.join(path) or 'settings'}", False


def _variable(path: tuple[str, ...]) -> str:
    """The variable of a setting; values of a list have no variable of their own."""
    return PREFIX + "__".join(name for name in path if not name.isdigit()).upper()


def _about(path: tuple[str, ...], problems: list[ErrorDetails], *, in_variable: bool) -> str:
    kind = problems[0]["type"]
    if kind == "extra_forbidden":
        files = tuple((*secret[:-1], f"{secret[-1]}_file") for secret in SECRETS if in_variable)
        meant = similar(path, Config, (("models", "preset"), *files))
        if meant is None:
            return "unknown setting"
        beside = meant[:-1] == path[:-1]
        name = _variable(meant) if in_variable and not beside else ".".join(meant)
        return f"unknown setting; did you mean {meant[-1] if beside else name}?"
    if kind in SECTION:
        return _is_section(path, in_variable=in_variable)
    return wording(problems)


def _is_section(path: tuple[str, ...], *, in_variable: bool) -> str:
    settings = about_section(path, Config)
    if not settings:
        return "expected sections such as 'database:'"
    if in_variable:
        names = [_variable(each) for each in settings[:SHOWN_SETTINGS]]
        return f"is a section; set one of its settings, such as {' or '.join(names)}"
    example = f"{path[-1]}: {{{settings[0][-1]}: ...}}"
    return f"is a section; write its settings into it, as in '{example}'"
