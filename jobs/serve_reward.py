"""Serve a reward model over HTTP: scores of answers, one by one or many at once.

python jobs/serve_reward.py model.path=outputs/quickstart/more/model
"""

from __future__ import annotations

import signal
import sys
import threading

from more_ray.cli import load_config
from more_ray.config.serve import ServeConfig


def main() -> None:
    config = load_config(ServeConfig, sys.argv[1:], __doc__)
    from more_ray.cluster import session

    stopped = threading.Event()
    with session(config.max_replicas, config.verbose):
        from more_ray.serve.app import serving
        from more_ray.terminal import console

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: stopped.set())
        with serving(config) as url:
            console.print(f"Serving at {url} (documentation: {url}/docs)", soft_wrap=True)
            stopped.wait()
            console.print("Finishing what has begun")


if __name__ == "__main__":
    main()
