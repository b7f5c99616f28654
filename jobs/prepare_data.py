"""Read, check, tokenise and shuffle preference data; training does it by itself when needed.

python jobs/prepare_data.py --config jobs/configs/smollm2-135m.yaml data.root=FOLDER
"""

from __future__ import annotations

import sys

from more_ray.cli import load_config
from more_ray.config import RunConfig


def main() -> None:
    config = load_config(RunConfig, sys.argv[1:], __doc__)
    from more_ray.cluster import session

    with session(1, config.log.verbose):
        from more_ray.data.prepare import prepare
        from more_ray.model.tokenizer import training_tokenizer
        from more_ray.terminal import RunProgress, console, prepared_table

        with RunProgress("prepare") as progress:
            tokenizer = training_tokenizer(config.model, config.data.max_length)
            prepared = prepare(config.data, tokenizer, progress.prepared)
        console.print(prepared_table(prepared))
        console.print(f"Prepared data in {prepared.folder}")


if __name__ == "__main__":
    main()
