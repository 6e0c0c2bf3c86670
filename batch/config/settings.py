"""Every setting once, with its unit, its limits and its reason, checked by pydantic."""

import hashlib
from pathlib import Path
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from batch.config.limits import (
    NAME_OF_SCHEMA,
    DatabaseAddress,
    Hours,
    HttpAddress,
    Megabytes,
    SchedulerAddress,
    Seed,
    Stars,
    check_text,
)
from batch.config.merging import merged
from batch.params import PRESETS, Count, Gates, Models, Share

NOT_IN_FINGERPRINT: dict[str, Any] = {
    "database": True,
    "engine": True,
    "dask": True,
    "check": True,
    "metrics": True,
    "notify": True,
    "ingest": {"query_url", "query_timeout", "when_refused"},
}
"""Settings that change no row: where data is, where users are scored, who is notified."""


class Section(BaseModel):
    """Frozen, and an unknown key is an error, so that a misspelt setting is noticed."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @field_validator("*")
    @classmethod
    def _usable_text(cls, value: Any) -> Any:
        values = value if isinstance(value, tuple) else (value,)
        for item in values:
            if isinstance(item, (str, Path)):
                check_text(item)
        return value


class DatabaseSettings(Section):
    """Where everything is stored."""

    url: DatabaseAddress = "sqlite:///recbatch.db"
    """`sqlite:///FILE`, `postgresql://USER:PASSWORD@HOST/NAME` or `postgres://...`."""
    job_url: DatabaseAddress | None = None
    """Postgres only: the address for commands that write, if `url` leads to a pooler."""
    schema_name: str = Field("recbatch", alias="schema", pattern=NAME_OF_SCHEMA)
    """Postgres only: the schema of all tables, apart from an application's own."""

    @field_validator("schema_name")
    @classmethod
    def _not_reserved(cls, value: str) -> str:
        if value.startswith("pg_"):
            raise ValueError("schemas that begin with pg_ are reserved by Postgres")
        return value

    @model_validator(mode="after")
    def _one_database(self) -> Self:
        urls = (self.url, self.job_url or "")
        if self.job_url is not None and any(url.startswith("sqlite") for url in urls):
            raise ValueError("url and job_url must be two addresses of one Postgres database")
        return self


class Columns(Section):
    """The columns of a long file, by name or by number from 1; None: the usual names."""

    user: str | int | None = None
    movie: str | int | None = None
    rating: str | int | None = None
    time: str | int | None = None


class IngestSettings(Section):
    """How files become ratings."""

    paths: tuple[Path, ...] = ()
    """Files and folders ingested before each run."""
    scale: tuple[Stars, Stars] | None = None
    """Lowest and highest rating, stars. None: `batch.store.scale` finds them."""
    columns: Columns = Columns()
    format: Literal["long", "wide"] | None = None
    """Decides where a file may be a long file as well as a wide matrix."""
    user: str | None = None
    """The user of all ratings in files without a column for it, such as exports of one person."""
    unrated: tuple[float, ...] | None = None
    """Ratings that mean "not rated", such as 0 or -1; []: every value is a rating."""
    max_rejects: int = Field(10_000, ge=0)
    """A file with more rejected rows is refused: its export is broken, not single rows."""
    max_reject_share: Share = 0.01
    """A file with a larger share of rejected rows is refused, if they are more than ten."""
    query: str | None = None
    """A SELECT of user, movie, rating and maybe time, ingested before each run, read-only."""
    films_query: str | None = None
    """A SELECT of movie, title and maybe genres, with | between the names of genres."""
    seen_paths: tuple[Path, ...] = ()
    """Files of films that were seen, without ratings, ingested before each run."""
    seen_query: str | None = None
    """A SELECT of user, movie and maybe time: films that were seen, read as `query` is."""
    query_url: DatabaseAddress | None = None
    """The database of all queries. None: `database.url`."""
    query_timeout: int = Field(600, ge=1, le=86_400)
    """Seconds that each query may take: many times what 25 million rows need, and not a night."""
    when_refused: Literal["warn", "fail"] = "warn"
    """A path or query that brings nothing: the run goes on and `check` exits 5, or it fails."""

    @field_validator("paths", "seen_paths", mode="before")
    @classmethod
    def _one_path(cls, value: Any) -> Any:
        return _as_list(value)

    @field_validator("scale")
    @classmethod
    def _ascending(cls, value: tuple[float, float] | None) -> tuple[float, float] | None:
        if value is None:
            return None
        lowest, highest = value
        if not lowest < highest:
            raise ValueError("the lowest rating must be below the highest, as in [0.5, 5]")
        if highest <= 0:
            # ratings are divided by the highest, or compared with a share of it
            raise ValueError("the highest rating must be above 0, as in [-5, 5]")
        return value


class PublishSettings(Section):
    """What is published and how long it is kept."""

    top_n: int = Field(5, ge=1, le=1000)
    """Films in a list."""
    spare: int = Field(15, ge=0, le=1000)
    """Films stored beyond them, which move up where others are rated, seen or filtered later."""
    keep_runs: int = Field(14, ge=2, le=1_000_000_000)
    """Runs whose rows are kept: two weeks. The published and the previous run are always kept."""
    least_ratings: Count | None = None
    """A user with fewer ratings gets popular films; null: what each run measures, 1 to 10."""
    diversity: Share = 0
    """How much different genres count, against scores, when the blend's films are chosen."""


class SimilarSettings(Section):
    """The films that are listed as similar to each film."""

    n: int = Field(10, ge=0, le=100)
    """At most so many for each film; 0: none."""


class FilterSettings(Section):
    """Films that no list may contain, from the next run on; `recbatch filter add` works at once."""

    films: tuple[str, ...] = ()
    """Keys of films."""
    genres: tuple[str, ...] = ()
    """Names of genres: films that have any of them."""

    @field_validator("films", "genres", mode="before")
    @classmethod
    def _texts(cls, value: Any) -> Any:
        values = _as_list(value)
        if not isinstance(values, list | tuple):
            return values
        # YAML reads a key such as 318 as a number; `is int` excludes true and false.
        return [str(item) if type(item) is int else item for item in values]


class ScheduleSettings(Section):
    """When `recbatch schedule` runs the job."""

    cron: str = "30 2 * * *"
    """minute hour day month weekday, as cron reads them: 0 and 7 are Sunday."""
    timezone: str = "UTC"
    """IANA name. Each wall-clock time counts once a day, also on days when clocks change."""
    catchup_hours: float = Field(20, ge=0, le=8784)
    """A missed night is made up if it is younger than this: an older one would delay the next."""
    max_hours: float = Field(12, gt=0, le=8784)
    """A night that takes longer is ended: it hangs, or would delay the next one."""
    refresh_minutes: int | None = Field(None, ge=1, le=10_080)
    """Minutes between refreshes, as of 'recbatch refresh'; null: none."""

    @field_validator("timezone")
    @classmethod
    def _existing_zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (KeyError, ValueError, OSError):
            message = f"{value!r} is not a time zone; use a name such as UTC or Europe/Oslo"
            raise ValueError(message) from None
        return value


class EvaluationSettings(Section):
    """How a night is measured."""

    relevant_from: Stars | None = None
    """A held-out rating of at least this is liked. None: 80 % of the scale's maximum."""
    users: Count = 5000
    """Users, drawn by the seed, whose ratings are held out: 5,000 measure precision to 0.01."""
    seed: Seed = 20261123
    """The start of all randomness of a run: the same data and settings give the same rows."""


class CheckSettings(Section):
    """The age of the published list at which `recbatch check` complains."""

    warn_after_hours: Hours = 26
    """A day, and two hours for a night that is slow or late."""
    error_after_hours: Hours = 50
    """Two failed nights in a row, and two hours; one failed night is mended by the next."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.warn_after_hours > self.error_after_hours:
            raise ValueError("warn_after_hours must not be more than error_after_hours")
        return self


class MetricsSettings(Section):
    """Where a run's figures go for Prometheus."""

    textfile: Path | None = None
    """A file ending in .prom in the folder of node_exporter's textfile collector."""
    push_url: HttpAddress | None = None
    """A group of a Pushgateway, `http://HOST:9091/metrics/job/recbatch`."""


class NotifySettings(Section):
    """Who is notified of the end of a run."""

    webhook_url: HttpAddress | None = None
    """Takes JSON by POST."""
    when: tuple[Literal["failure", "success"], ...] = ("failure", "success")
    """A failure is a run that failed, was refused by a check, or was ended by a signal."""

    @field_validator("when", mode="before")
    @classmethod
    def _one_kind(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value


class ArtifactSettings(Section):
    """What a run leaves outside the database."""

    dir: Path = Path("artifacts")
    """Trained weights, one file per run."""


class ResourceSettings(Section):
    """What a run may use of the machine."""

    memory_mb: Megabytes = 3500
    """As many users are scored together as fit in a twentieth of it; nothing else is limited."""


class DaskSettings(Section):
    """Where `engine: dask` scores users."""

    scheduler: SchedulerAddress | None = None
    """A running scheduler, `tcp://HOST:PORT`. None: a cluster on this machine, for the run only."""
    workers: int = Field(2, ge=1, le=1024)
    """Processes of that cluster. Each takes one core, and memory for a copy of the models."""


class Config(Section):
    """Every setting. Relative paths are relative to the working directory."""

    database: DatabaseSettings = DatabaseSettings()
    ingest: IngestSettings = IngestSettings()
    preset: Literal["plain", "tuned"] = "tuned"
    models: Models = PRESETS["tuned"]
    publish: PublishSettings = PublishSettings()
    similar: SimilarSettings = SimilarSettings()
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
    """Users are scored in this process on all its cores, or by the workers of a Dask cluster."""
    dask: DaskSettings = DaskSettings()

    @model_validator(mode="before")
    @classmethod
    def _presets(cls, value: Any) -> Any:
        """models.preset is a full set of defaults; settings beside it override single ones."""
        if not isinstance(value, dict):
            return value
        if "preset" in value:
            raise ValueError("preset: unknown setting; did you mean models.preset?")
        if not isinstance(value.get("models"), dict):
            return value
        overrides = dict(value["models"])
        preset = overrides.pop("preset", "tuned")
        if not isinstance(preset, str) or preset not in PRESETS:
            raise ValueError(f"models.preset: {preset!r} is not one of {', '.join(PRESETS)}")
        models = merged(PRESETS[preset].model_dump(), overrides)
        return {**value, "preset": preset, "models": models}

    @model_validator(mode="after")
    def _liked_on_scale(self) -> Self:
        liked = self.evaluation.relevant_from
        scale = self.ingest.scale
        if liked is not None and scale is not None and not scale[0] <= liked <= scale[1]:
            lowest, highest = scale
            raise ValueError(
                f"evaluation.relevant_from: {liked:g} is outside ingest.scale, "
                f"{lowest:g}..{highest:g}: no rating, or every one, would be liked"
            )
        return self

    def sha256(self) -> str:
        """A fingerprint of every setting that rows may depend on."""
        settings = self.model_dump_json(exclude=NOT_IN_FINGERPRINT)
        return hashlib.sha256(settings.encode()).hexdigest()


def _as_list(value: Any) -> Any:
    """A text becomes a list of one, an empty text an empty list; other values stay."""
    if not isinstance(value, str):
        return value
    return [value] if value else []
