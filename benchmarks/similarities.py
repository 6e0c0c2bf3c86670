"""A database -> the seconds that `user_user` spends on similarities.

    python benchmarks/similarities.py sqlite:///recbatch.db

The model is fitted on all ratings with the `tuned` preset, and scores the same random users
as in `alone.py`, but without any deviations to add up. Prints JSON.
"""

import json
import sys
from dataclasses import replace

import numpy as np

from alone import BLOCK, BUDGET, MOST_BLOCKS, SEED, for_some
from batch.models import user_user
from batch.models.csr import Cells
from batch.params import PRESETS
from batch.store.database import open_database
from batch.store.load import load


def main() -> None:
    """Measure."""
    with open_database(sys.argv[1]).reader.connect() as connection:
        ratings = load(connection).ratings
    model = user_user.fit(ratings, PRESETS["tuned"].user_user, SEED)
    cells = model.deviations.cells
    no_cells = Cells(np.zeros_like(cells.starts), cells.columns[:0], cells.values[:0])
    without_sums = replace(model, deviations=model.deviations._replace(cells=no_cells))
    timing = for_some(without_sums.score, ratings.n_users, BLOCK, BUDGET, SEED, MOST_BLOCKS)
    print(json.dumps({"seconds": timing["lists_seconds"]}))


if __name__ == "__main__":
    main()
