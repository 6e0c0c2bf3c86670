"""A hot standby: readers work on it, and the job refuses it."""

import time
from pathlib import Path
from typing import Any

import pytest

from batch import query
from batch.store.database import open_database
from batch.store.versions import upgrade
from data import fill
from debian_postgres import server_folder
from faults import fixed_nights
from fixed import command


def lists(url: str) -> dict[str, Any]:
    """The lists of all models, and the run that they are of."""
    with query.snapshot(url) as connection:
        published = query.published(connection)
        models = query.models(connection)
        films = {model: list(query.lists(connection, model=model)) for model in models}
    return films | {"run": published and published.run_id}


@pytest.mark.promise("G4")
def test_readers_work_on_a_standby(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A standby shows what its primary publishes; what writes exits 2 there, with the remedy."""
    with server_folder() as primary, server_folder() as standby:
        primary.make("--encoding=UTF8", "--locale=C.UTF-8")
        with primary.running() as url:
            database = open_database(url)
            upgrade(database)
            fill(database, tmp_path)
            with fixed_nights(database, tmp_path, monkeypatch):
                assert command("-q", "run", "--force") == 0
                standby.follow(primary)
                with standby.running() as copy:
                    assert lists(copy) == lists(url)
                    assert command("-q", "run", "--force") == 0
                    until = time.monotonic() + 30
                    while lists(copy)["run"] != 2:
                        assert time.monotonic() < until
                        time.sleep(0.05)
                    assert lists(copy) == lists(url)
                    monkeypatch.setenv("RECBATCH_DATABASE__URL", copy)
                    assert command("top", "u1") == 0
                    assert command("check") == 0
                    for words in (["run"], ["ingest", "x.csv"], ["rollback"], ["schedule"]):
                        capfd.readouterr()
                        assert command("-q", *words) == 2, words
                        message = capfd.readouterr().err
                        assert "leads to a standby" in message
                        assert "database.job_url" in message
                    monkeypatch.setenv("RECBATCH_DATABASE__JOB_URL", url)
                    assert command("-q", "run", "--force") == 0
