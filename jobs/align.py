"""From preferences to an aligned policy: reward models, rejection sampling, fine-tuning, a judge.

python jobs/align.py --config align-smollm2 reward.data.root=FOLDER \\
    finetune.data.root=FOLDER prompts=FILE eval_prompts=FILE
"""

from more_ray.commands import job

if __name__ == "__main__":
    job("align", __doc__)
