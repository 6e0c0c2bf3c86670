"""A database -> what of `user_user` is similarities: the seconds to score everyone where nobody has anything to say.

    python benchmarks/similarities.py sqlite:///recbatch.db

Fitted on everything, at the shipped settings, then asked for the same random users as in `alone.py`, but without any
deviation to be added up. Prints JSON.
"""

import json
import sys
from dataclasses import replace

import numpy as np

from alone import BLOCK, BUDGET, MOST_BLOCKS, SEED, for_some
from batch.models import user_user
from batch.models.kernels import Cells
from batch.params import PRESETS
from batch.store.database import open_database
from batch.store.load import load


def main() -> None:
    """Measure."""
    with open_database(sys.argv[1]).reader.connect() as connection:
        ratings = load(connection).ratings
    model = user_user.fit(ratings, PRESETS["tuned"].user_user, SEED)
    said = model.talk.deviations
    silence = Cells(np.zeros_like(said.starts), said.columns[:0], said.values[:0])
    silent = replace(model, talk=model.talk._replace(deviations=silence))
    done = for_some(silent.score, ratings.n_users, BLOCK, BUDGET, SEED, MOST_BLOCKS)
    print(json.dumps({"seconds": done["lists_seconds"]}))


if __name__ == "__main__":
    main()
