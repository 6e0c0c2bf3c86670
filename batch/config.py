"""config.yaml and the environment -> every setting once, checked, with its unit and reason."""

import difflib
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from batch import RecbatchError
from batch.params import PRESETS, Gates, Models

DEFAULT_FILE = Path("config.yaml")
PREFIX = "RECBATCH_"
SECRETS = (
    ["database", "url"],
    ["ingest", "query_url"],
    ["metrics", "push_url"],
    ["notify", "webhook_url"],
)
"""What may hold a secret: never part of a message, and with _FILE behind its name a variable names a file instead."""
ELSEWHERE: dict[str, Any] = {
    **dict.fromkeys(("database", "engine", "dask", "check", "metrics", "notify"), True), "ingest": {"query_url"},
}  # fmt: skip
"""What changes no row: where databases lie, where users are scored, and who is told how it went."""
MAX_BYTES = 65_536
"""A settings file larger than this is some other file."""


class ConfigError(RecbatchError):
    """A setting that cannot be used; the message says where it stands and what would do."""


class Section(BaseModel):
    """Frozen, and an unknown key is an error: a misspelt setting must not silently keep its default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Share = Annotated[float, Field(ge=0, le=1)]


class DatabaseSettings(Section):
    """Where everything lies."""

    url: str = "sqlite:///recbatch.db"
    """`sqlite:///FILE`, `postgresql://USER:PASSWORD@HOST/NAME` or `postgres://...`."""
    schema_name: str = Field("recbatch", alias="schema", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    """Postgres only: the schema that holds all tables, so that they never collide with an application's own."""


class Columns(Section):
    """Which columns of a plain long CSV hold what; None finds the usual names, such as user_id or timestamp."""

    user: str | None = None
    movie: str | None = None
    rating: str | None = None
    time: str | None = None


class IngestSettings(Section):
    """How files become ratings."""

    paths: tuple[Path, ...] = ()
    """Files and folders ingested before each run."""
    scale: tuple[float, float] | None = None
    """Lowest and highest rating, stars. None: what the format fixes, else the smallest and largest rating seen."""
    columns: Columns = Columns()
    max_rejects: int = Field(10_000, ge=0)
    """More rejected rows than this refuse the file: something is wrong with the export, not with rows."""
    max_reject_share: Share = 0.01
    """Likewise a larger share of the rows; ten are always tolerated, so that small files are judged by row."""
    query: str | None = None
    """A SELECT of user, movie, rating and maybe time, asked before each run like a file, on a read-only connection."""
    films_query: str | None = None
    """Likewise of movie, title and maybe genres, with | between them."""
    query_url: str | None = None
    """The database that both are asked of. None: the one that everything lies in."""

    @field_validator("paths", mode="before")
    @classmethod
    def _one_path(cls, value: Any) -> Any:
        return ([value] if value else []) if isinstance(value, str) else value

    @field_validator("scale")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value and not value[0] < value[1]:
            raise ValueError("the lowest rating must be below the highest, as in [0.5, 5]")
        return value


class PublishSettings(Section):
    """What is written and how long it is kept."""

    top_n: int = Field(5, ge=1, le=1000)
    """Films in a list."""
    keep_runs: int = Field(14, ge=2)
    """Runs whose rows stay readable: two weeks of nights. The published run and the one before always stay."""
    least_ratings: int = Field(5, ge=1)
    """A user with fewer gets popular films in place of a model's: below that, no model was found to beat them."""
    diversity: Share = 0
    """Weight of films being unlike each other in genres, against their scores, when the blend's are chosen; 0: none."""


class FilterSettings(Section):
    """Films that no list may hold, from the next run on; single films and users at once by `recbatch filter add`."""

    films: tuple[str, ...] = ()
    """Keys of films."""
    genres: tuple[str, ...] = ()
    """Names of genres: a film that has any of them."""

    @field_validator("films", "genres", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        value = ([value] if value else []) if isinstance(value, str) else value
        # A key may look like a number in YAML; true and false are not what anybody means.
        return (
            [str(one) if type(one) is int else one for one in value]
            if isinstance(value, list | tuple)
            else value
        )


class ScheduleSettings(Section):
    """When `recbatch schedule` runs the job."""

    cron: str = "30 2 * * *"
    """minute hour day month weekday, as cron reads them: 0 and 7 are Sunday."""
    timezone: str = "UTC"
    """IANA name. Each wall-clock time counts once a day, also on days when clocks change."""
    catchup_hours: float = Field(20, ge=0, le=8784)
    """A missed night is made up if it is younger than this: an older one would only delay the next."""
    max_hours: float = Field(12, gt=0, le=8784)
    """A night that takes longer is ended: it hangs, or would be in the next one's way."""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            raise ValueError(
                f"{value!r} is not a time zone; use a name such as UTC or Europe/Oslo"
            ) from None
        return value


class EvaluationSettings(Section):
    """How the night is measured."""

    relevant_from: float | None = None
    """A held-out rating this high counts as liked, stars. None: 80 % of the scale's maximum, 4 of 5."""
    users: int = Field(5000, ge=1)
    """Users, drawn by the seed, whose ratings are held out; all, if there are fewer: 5,000 tell precision to 0.01."""
    seed: int = Field(20261123, ge=0, lt=2**63)
    """All randomness of a run starts here: the same data and settings give the same rows."""


class CheckSettings(Section):
    """From which age on `recbatch check` complains of the list that readers see."""

    warn_after_hours: float = Field(26, gt=0)
    """A day, and two hours for a night that is slow or late."""
    error_after_hours: float = Field(50, gt=0)
    """Two nights in a row that brought nothing, and those two hours: one that fails mends itself the night after."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.warn_after_hours > self.error_after_hours:
            raise ValueError("warn_after_hours must not be more than error_after_hours")
        return self


Http = Annotated[str, Field(pattern=r"^https?://[^/\s]+(/\S*)?$")]


class MetricsSettings(Section):
    """Where a run's figures go for Prometheus."""

    textfile: Path | None = None
    """A file ending in .prom in the folder of node_exporter's textfile collector."""
    push_url: Http | None = None
    """A group of a Pushgateway, `http://HOST:9091/metrics/job/recbatch`."""


class NotifySettings(Section):
    """Who is told how a run ended."""

    webhook_url: Http | None = None
    """Takes JSON by POST."""
    when: tuple[Literal["failure", "success"], ...] = ("failure", "success")
    """Which ends are told. A failure is a run that failed, was refused by a check, or was ended by a signal."""

    @field_validator("when", mode="before")
    @classmethod
    def _one_kind(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class ArtifactSettings(Section):
    """What a run leaves outside the database."""

    dir: Path = Path("artifacts")
    """Trained weights, one file a run."""


class ResourceSettings(Section):
    """What a run may take of the machine."""

    memory_mb: int = Field(3500, ge=100)
    """Memory, MB, as far as there is a choice: a twentieth of it is for the users that a core scores together."""


class DaskSettings(Section):
    """Where `engine: dask` scores users."""

    scheduler: str | None = Field(None, pattern=r"^(tcp|tls)://[^/\s]+:\d+$")
    """A scheduler that is running, `tcp://HOST:PORT`. None: a cluster on this machine, for the run only."""
    workers: int = Field(2, ge=1, le=1024)
    """Processes of that cluster on this machine, a core each; every one holds a copy of the fitted models."""


class Config(Section):
    """Every setting. Relative paths are relative to the working directory."""

    database: DatabaseSettings = DatabaseSettings()
    ingest: IngestSettings = IngestSettings()
    preset: Literal["plain", "tuned"] = "tuned"
    models: Models = PRESETS["tuned"]
    publish: PublishSettings = PublishSettings()
    filters: FilterSettings = FilterSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    gate: Gates = Gates()
    check: CheckSettings = CheckSettings()
    metrics: MetricsSettings = MetricsSettings()
    notify: NotifySettings = NotifySettings()
    artifacts: ArtifactSettings = ArtifactSettings()
    resources: ResourceSettings = ResourceSettings()
    engine: Literal["local", "dask"] = "local"
    """Where blocks of users are scored: in this process, on all its cores, or on the workers of a Dask cluster."""
    dask: DaskSettings = DaskSettings()

    @model_validator(mode="before")
    @classmethod
    def _presets(cls, value: Any) -> Any:
        """models.preset is a full set of defaults; what stands beside it overrides single knobs."""
        if isinstance(value, dict) and "preset" in value:
            raise ValueError("preset: unknown setting; did you mean models.preset?")
        if not isinstance(value, dict) or not isinstance(value.get("models"), dict):
            return value
        given = dict(value["models"])
        preset = given.pop("preset", "tuned")
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ValueError(f"models.preset: {preset!r} is not one of {', '.join(PRESETS)}")
        return {**value, "preset": preset, "models": _merged(PRESETS[preset].model_dump(), given)}

    def sha256(self) -> str:
        """A fingerprint of every setting that rows may depend on."""
        return hashlib.sha256(self.model_dump_json(exclude=ELSEWHERE).encode()).hexdigest()


def load_config(file: Path | None = None, environ: Mapping[str, str] = os.environ) -> Config:
    """Read the settings: defaults, then the file, then RECBATCH_* variables.

    Without a file named, `config.yaml` is read if it is there. Raises ConfigError.
    """
    named = {name for name in environ if name.startswith(PREFIX)}
    if file is not None and not file.is_file():
        raise ConfigError(f"{file}: {'not a file' if file.exists() else 'no such file'}")
    source = file or DEFAULT_FILE
    settings = _read(source) if source.is_file() else {}
    settings = _merged(settings, _from_environment(environ))
    try:
        return Config.model_validate(settings)
    except ValidationError as error:
        raise ConfigError("\n".join(_problems(error, source, named))) from None


def shipped_text() -> str:
    """The config.yaml that comes with the program, comments and all."""
    package = Path(__file__).parent
    inside = package / "config.yaml"
    return (inside if inside.is_file() else package.parent / "config.yaml").read_text(
        encoding="utf-8"
    )


class _StrictLoader(yaml.SafeLoader):
    """YAML without aliases, and where a key given twice is an error rather than a surprise."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.events.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                problem="an alias; quote a value that begins with *", problem_mark=event.start_mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(
                    problem=f"{key.value} is given twice", problem_mark=key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _read(file: Path) -> dict[str, Any]:
    if file.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{file}: larger than {MAX_BYTES} bytes; is this the settings file?")
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_StrictLoader)  # noqa: S506  a SafeLoader
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
        raise ConfigError(
            f"{file}: expected sections such as 'database:', found {type(content).__name__}"
        )
    return _merged({key: {} for key in content if key in Config.model_fields}, content)


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """RECBATCH_A__B=value -> {a: {b: value}}; RECBATCH_DATABASE__URL_FILE and its like name a file that holds it."""
    found: dict[str, Any] = {}
    for name in sorted(environ):
        if not name.startswith(PREFIX):
            continue
        path = name.removeprefix(PREFIX).lower().split("__")
        value: Any = environ[name]
        without = [*path[:-1], path[-1].removesuffix("_file")]
        if path not in SECRETS and without in SECRETS:
            path, value = without, _secret(name, Path(value))
        elif re.match(r"[\[{]|(null|~)$", value):
            try:
                value = yaml.load(value, Loader=_StrictLoader)  # noqa: S506  a SafeLoader
            except yaml.YAMLError:
                told = "it" if path in SECRETS else repr(value)
                raise ConfigError(
                    f"{name}: {told} is not a list or mapping as YAML writes them"
                ) from None
        for key in reversed(path):
            value = {key: value}
        found = _merged(found, value)
    return found


def _secret(name: str, file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"{name}: {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{name}: {file}: not UTF-8 text") from None


def _merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Nested settings, the second set winning key by key."""
    merged = dict(under)
    for key, value in over.items():
        below = merged.get(key)
        if isinstance(below, dict) and value is None:
            continue  # a section whose keys are all commented out
        merged[key] = (
            _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
        )
    return merged


def _problems(error: ValidationError, source: Path, named: set[str]) -> Iterator[str]:
    """One line per wrong setting: the file or variable it stands in, what is wrong, and what would do."""
    for problem in error.errors(include_url=False, include_input=False):
        path = [str(part) for part in problem["loc"]]
        variable = PREFIX + "__".join(path).upper()
        where = variable if variable in named else f"{source}: {'.'.join(path) or 'settings'}"
        if problem["type"] == "extra_forbidden":
            close = difflib.get_close_matches(path[-1], _keys_at(path[:-1]), n=1)
            yield f"{where}: unknown setting" + (f"; did you mean {close[0]}?" if close else "")
        else:
            yield f"{where}: {problem['msg'].removeprefix('Value error, ')}"


def _keys_at(path: list[str]) -> list[str]:
    section: Any = Config
    for name in path:
        section = section.model_fields[name].annotation
    return [field.alias or name for name, field in section.model_fields.items()]
