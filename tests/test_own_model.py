"""docs/your-own-model.md: the file and the line that it shows, and a run with them."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from batch.cli.sample_data import write_sample
from batch.store.database import open_database
from tables import rows

ROOT = Path(__file__).parents[1]


def test_a_model_is_one_file_and_one_line(tmp_path: Path) -> None:
    """With the page's file and line a run fits, measures, checks and publishes the model."""
    page = (ROOT / "docs" / "your-own-model.md").read_text(encoding="utf-8")
    module, line = re.findall(r"```python\n(.*?)```", page, re.S)
    for part in ("batch", "migrations"):
        shutil.copytree(ROOT / part, tmp_path / part)
    (tmp_path / "batch" / "models" / "genre_taste.py").write_text(module)
    init = tmp_path / "batch" / "models" / "__init__.py"
    before = init.read_text()
    init.write_text(re.sub(r"^PERSONAL = .*\n", line, before, flags=re.M))
    assert init.read_text() != before
    write_sample(tmp_path / "csv", n_users=60, n_items=100)
    environ = {name: os.environ[name] for name in os.environ if not name.startswith("RECBATCH_")}
    environ |= {"PYTHONPATH": str(tmp_path), "RECBATCH_INGEST__PATHS": "csv"}

    def recbatch(*arguments: str) -> str:
        process = subprocess.run(
            [sys.executable, "-m", "batch", *arguments],
            cwd=tmp_path,
            env=environ,
            check=False,
            capture_output=True,
            text=True,
        )
        assert process.returncode == 0, process.stdout + process.stderr
        return process.stdout

    recbatch("-q", "run")
    database = open_database(f"sqlite:///{tmp_path / 'recbatch.db'}")
    own = "FROM current_recommendations WHERE model = 'genre_taste'"
    lists = f"SELECT count(*), count(DISTINCT user_key), max(predicted_rating) > 3 {own}"
    assert rows(database, lists) == [(300, 60, 1)]
    metrics = (
        "SELECT count(*) FROM run_metrics"
        " WHERE model = 'genre_taste' AND metric IN ('own.rmse', 'own.precision@5')"
    )
    assert rows(database, metrics) == [(2,)]
    gates = "SELECT passed FROM run_checks WHERE name = 'rmse_of_bias_genre_taste'"
    assert rows(database, gates) == [(1,)]
    blend_weights = (
        "SELECT count(*) FROM run_metrics"
        " WHERE model = 'blend' AND metric = 'list_weight_genre_taste'"
    )
    assert rows(database, blend_weights) == [(1,)]
    user_key, movie_key = rows(database, f"SELECT user_key, movie_key {own} LIMIT 1")[0]
    assert "genre_taste" in recbatch("explain", user_key, movie_key)
