"""docs/your-own-model.md, followed to the letter: the file and the line it shows, and a night with them."""

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
    """With the file and the line of the page a night fits, measures, checks and publishes a model of one's own."""
    page = (ROOT / "docs" / "your-own-model.md").read_text(encoding="utf-8")
    module, line = re.findall(r"```python\n(.*?)```", page, re.S)
    for part in ("batch", "migrations"):
        shutil.copytree(ROOT / part, tmp_path / part)
    (tmp_path / "batch" / "models" / "genre_taste.py").write_text(module)
    listed = tmp_path / "batch" / "models" / "__init__.py"
    before = listed.read_text()
    listed.write_text(re.sub(r"^PERSONAL = .*\n", line, before, flags=re.M))
    assert listed.read_text() != before
    write_sample(tmp_path / "csv", n_users=100, n_items=150)
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith("RECBATCH_")
    }
    environ |= {"PYTHONPATH": str(tmp_path), "RECBATCH_INGEST__PATHS": "csv"}
    told = subprocess.run(
        [sys.executable, "-m", "batch", "-q", "run"],
        cwd=tmp_path,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    database = open_database(f"sqlite:///{tmp_path / 'recbatch.db'}")
    own = "FROM current_recommendations WHERE model = 'genre_taste'"
    assert rows(
        database, f"SELECT count(*), count(DISTINCT user_key), max(predicted_rating) > 3 {own}"
    ) == [(500, 100, 1)]
    measured = "SELECT count(*) FROM run_metrics WHERE model = 'genre_taste' AND metric IN ('rmse', 'precision@5')"
    assert rows(database, measured) == [(2,)]
    gates = "SELECT passed FROM run_checks WHERE name = 'rmse_of_bias_genre_taste'"
    assert rows(database, gates) == [(1,)]
    user_weighted_sums = "SELECT count(*) FROM run_metrics WHERE model = 'blend' AND metric = 'list_weight_genre_taste'"
    assert rows(database, user_weighted_sums) == [(1,)]
    pair = rows(database, f"SELECT user_key, movie_key {own} LIMIT 1")[0]
    asked = [sys.executable, "-m", "batch", "explain", *pair]
    told = subprocess.run(
        asked, cwd=tmp_path, env=environ, check=False, capture_output=True, text=True
    )
    assert told.returncode == 0, told.stderr
    assert "genre_taste" in told.stdout
