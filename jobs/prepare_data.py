"""Read, check, tokenise and shuffle preference data; training does it by itself when needed.

python jobs/prepare_data.py --config jobs/configs/smollm2-135m.yaml data.root=FOLDER
"""

from __future__ import annotations

import sys

from more_ray.cli import load_config
from more_ray.config import RunConfig


def main() -> None:
    config = load_config(RunConfig, sys.argv[1:], __doc__)
    # Only now: importing Ray and torch takes seconds, a wrong key should not.
    from more_ray.cluster import connect, quieten

    if not config.log.verbose:
        quieten()
    from more_ray.data.prepare import prepare
    from more_ray.data.records import DataError
    from more_ray.model.loading import ModelError
    from more_ray.train.display import RunProgress, console, prepared_table

    try:
        connect(1, config.log.verbose)
        with RunProgress("prepare") as progress:
            prepared = prepare(config.data, config.model, progress.prepared)
    except (DataError, ModelError) as error:
        sys.exit(f"error: {error}")
    console.print(prepared_table(prepared))
    console.print(f"Prepared data in {prepared.folder}")


if __name__ == "__main__":
    main()
