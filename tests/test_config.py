"""Settings: the shipped file, the environment over it, and errors that say where and what would do."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from batch.config import Config, ConfigError, load_config, shipped_text
from batch.params import PRESETS, ItemNeighbourhood, Models, Neighbourhood, Neural


def test_the_shipped_file_holds_the_defaults() -> None:
    """config.yaml says what the program does without it."""
    shipped = load_config(Path(__file__).parents[1] / "config.yaml", {})
    assert shipped == Config()
    assert shipped.preset == "tuned"


def test_the_shipped_file_shows_every_setting() -> None:
    """Every setting stands in config.yaml, and the model knobs with the values of both presets."""
    content = yaml.safe_load(shipped_text())
    for section, field in Config.model_fields.items():
        if section in ("preset", "models"):
            continue
        model = field.annotation
        if not (
            isinstance(model, type) and issubclass(model, BaseModel)
        ):  # a setting that stands by itself
            assert content[section] == field.default
            continue
        names = {inner.alias or name for name, inner in model.model_fields.items()}  # type: ignore[union-attr]
        assert set(content[section]) == names
    assert content["models"]["preset"] == "tuned"
    told = dict.fromkeys(Models.model_fields, "")
    for name in told:
        told[name] = (
            shipped_text()
            .split(f"\n  {name}:\n")[1]
            .split("\n  neural:" if name != "neural" else "\npublish:")[0]
        )
    told["user_user"] = told["user_user"].split("\n  item_item:")[0]
    for name, knobs in (
        ("user_user", Neighbourhood),
        ("item_item", ItemNeighbourhood),
        ("neural", Neural),
    ):
        for knob in knobs.model_fields:
            values = [
                f"{getattr(getattr(PRESETS[preset], name), knob)}" for preset in ("plain", "tuned")
            ]
            plain, tuned = (re.sub(r"\.0$", "", value) for value in values)
            assert re.search(
                rf"# {knob}: {re.escape(plain)} \| {re.escape(tuned)}(\s|$)", told[name]
            ), (name, knob)


def test_a_preset_is_a_full_set_of_defaults() -> None:
    """`models.preset` sets every knob, and a knob given beside it wins."""
    plain = load_config(None, {"RECBATCH_MODELS__PRESET": "plain"})
    assert plain.models == PRESETS["plain"]
    one = load_config(
        None, {"RECBATCH_MODELS__PRESET": "plain", "RECBATCH_MODELS__ITEM_ITEM__NEIGHBOURS": "30"}
    )
    assert one.models.item_item == PRESETS["plain"].item_item.model_copy(update={"neighbours": 30})
    assert one.models.user_user == PRESETS["plain"].user_user


def test_the_environment_wins_over_the_file(write: Callable[..., Path]) -> None:
    """A RECBATCH_ variable overrides the file, key by key."""
    file = write("config.yaml", "publish: {top_n: 7, keep_runs: 3}\n")
    found = load_config(file, {"RECBATCH_PUBLISH__TOP_N": "9", "OTHER": "1"})
    assert (found.publish.top_n, found.publish.keep_runs) == (9, 3)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("RECBATCH_INGEST__PATHS", "[a.csv, b.csv]", (Path("a.csv"), Path("b.csv"))),
        ("RECBATCH_INGEST__PATHS", "a.csv", (Path("a.csv"),)),
        ("RECBATCH_INGEST__PATHS", "", ()),
        ("RECBATCH_INGEST__SCALE", "[0.5, 5]", (0.5, 5.0)),
        ("RECBATCH_INGEST__SCALE", "null", None),
    ],
)
def test_lists_from_the_environment(name: str, value: str, expected: object) -> None:
    """Lists and null are written in the environment as YAML writes them."""
    assert getattr(load_config(None, {name: value}).ingest, name.split("__")[1].lower()) == expected


def test_the_url_may_lie_in_a_file(write: Callable[..., Path]) -> None:
    """RECBATCH_DATABASE__URL_FILE names a file that holds the URL; a missing one is an error that names it."""
    secret = write("secret", "postgresql://me:canary@db/films\n")
    assert load_config(None, {"RECBATCH_DATABASE__URL_FILE": str(secret)}).database.url.endswith(
        "canary@db/films"
    )
    with pytest.raises(ConfigError, match="RECBATCH_DATABASE__URL_FILE: /nowhere: No such file"):
        load_config(None, {"RECBATCH_DATABASE__URL_FILE": "/nowhere"})
    secret.write_text("https://hooks/canary\n")
    names = {
        "RECBATCH_NOTIFY__WEBHOOK_URL_FILE": str(secret),
        "RECBATCH_METRICS__PUSH_URL_FILE": str(secret),
    }
    found = load_config(None, names)
    assert found.notify.webhook_url == found.metrics.push_url == "https://hooks/canary"


@pytest.mark.promise("E3")
@pytest.mark.parametrize("name", ["RECBATCH_NOTIFY__WEBHOOK_URL", "RECBATCH_METRICS__PUSH_URL"])
@pytest.mark.parametrize(
    "url", ["ftp://h/canary", "https:/canary", "canary", "https://h/canary canary", "[canary"]
)
def test_an_address_is_not_told_where_it_is_wrong(name: str, url: str) -> None:
    """An address that cannot be used is refused by its name alone: it may hold a secret."""
    with pytest.raises(ConfigError) as error:
        load_config(None, {name: url})
    assert name in str(error.value)
    assert "canary" not in str(error.value)


@pytest.mark.promise("E5")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("publish:\n  top: 3\n", "publish.top: unknown setting; did you mean top_n?"),
        ("publihs:\n  top_n: 3\n", "publihs: unknown setting; did you mean publish?"),
        (
            "models:\n  user_user:\n    neighbors: 3\n",
            "models.user_user.neighbors: unknown setting; did you mean neig",
        ),
        ("publish:\n  top_n: 0\n", "publish.top_n: Input should be greater than or equal to 1"),
        ("publish:\n  top_n: 3\n  top_n: 4\n", "config.yaml:3: top_n is given twice"),
        ("a: &x 1\nb: *x\n", "config.yaml:2: an alias"),
        ("schedule:\n  cron: * * * * *\n", "config.yaml:2: "),
        ("- a\n", "expected sections such as 'database:', found list"),
        ("models: {preset: best}\n", "models.preset: 'best' is not one of plain, tuned"),
        ("ingest: {scale: [5, 1]}\n", "ingest.scale: the lowest rating must be below the highest"),
        ("schedule: {timezone: Mars}\n", "schedule.timezone: 'Mars' is not a time zone"),
        ("database: {schema: 'x; drop'}\n", "database.schema: String should match pattern"),
        (
            "check: {warn_after_hours: 60}\n",
            "check: warn_after_hours must not be more than error_after_hours",
        ),
        ("notify: {when: [always]}\n", "notify.when.0: Input should be 'failure' or 'success'"),
        (
            "notify: {webhook_url: 'file:///etc/passwd'}\n",
            "notify.webhook_url: String should match pattern '^https?:",
        ),
        ("engine: spark\n", "engine: Input should be 'local' or 'dask'"),
        ("engine:\n", "engine: Input should be 'local' or 'dask'"),
        ("dask: {scheduler: 'host:8786'}\n", "dask.scheduler: String should match pattern"),
        ("dask: {workers: 0}\n", "dask.workers: Input should be greater than or equal to 1"),
        ("models:\n  neural:\n    learning_rate: .nan\n", "models.neural.learning_rate: "),
    ],
)
def test_a_wrong_setting_is_one_clear_line(
    write: Callable[..., Path], text: str, message: str
) -> None:
    """A setting that cannot be used is refused with its place and what would do."""
    with pytest.raises(ConfigError) as error:
        load_config(write("config.yaml", text), {})
    assert message in str(error.value)
    assert str(error.value).count("\n") == 0


def test_the_url_of_queries_may_lie_in_a_file(write: Callable[..., Path]) -> None:
    """RECBATCH_INGEST__QUERY_URL_FILE is read likewise, and where queries are asked changes no fingerprint."""
    secret = write("secret", "postgresql://me:canary@db/shop\n")
    found = load_config(None, {"RECBATCH_INGEST__QUERY_URL_FILE": str(secret)})
    assert found.ingest.query_url == "postgresql://me:canary@db/shop"
    assert found.sha256() == Config().sha256()


def test_a_named_file_must_exist() -> None:
    """A settings file that was named and is not there is an error; the default one may be missing."""
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        load_config(Path("nowhere.yaml"), {})


def test_the_fingerprint_ignores_where_things_are() -> None:
    """The same settings give the same fingerprint whatever database, engine and monitors, and others another one."""
    elsewhere = {"DATABASE__URL": "sqlite:///other.db", "ENGINE": "dask", "DASK__SCHEDULER": "tcp://host:8786",
                 "CHECK__WARN_AFTER_HOURS": "3", "METRICS__TEXTFILE": "x.prom", "NOTIFY__WHEN": "failure"}  # fmt: skip
    same = load_config(None, {f"RECBATCH_{name}": value for name, value in elsewhere.items()})
    assert same.engine == "dask"
    other = load_config(None, {"RECBATCH_PUBLISH__TOP_N": "6"})
    assert Config().sha256() == same.sha256() != other.sha256()
