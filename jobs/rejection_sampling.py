"""Sample answers of a policy, score them with a reward model, keep the best of each prompt.

python jobs/rejection_sampling.py prompts=FILE policy.path=PATH reward.path=outputs/mine/model
"""

from __future__ import annotations

import sys
from functools import partial

from more_ray.cli import load_config
from more_ray.config.sample import RejectionSamplingConfig


def main() -> None:
    config = load_config(RejectionSamplingConfig, sys.argv[1:], __doc__)
    from more_ray.cluster import session, shared_gpus

    with session(config.workers, config.verbose):
        from more_ray.sample.run import check_inputs, sample_and_select
        from more_ray.sample.service_scoring import score_by_service
        from more_ray.serve.app import scoring
        from more_ray.terminal import SamplingProgress, console, samples_table

        check_inputs(config)
        verb = "score" if config.samples_from else "sample"
        gpus = shared_gpus(config.use_gpu, 0 if config.samples_from else config.workers)
        with (
            SamplingProgress(verb) as progress,
            scoring(config.reward, config.output_dir, gpus) as app,
        ):
            summary = sample_and_select(config, partial(score_by_service, app), progress.show)
        console.print(samples_table(summary))
        console.print(f"Results in {config.output_dir}")


if __name__ == "__main__":
    main()
