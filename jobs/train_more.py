"""Train a MORE reward model on several preference sources.

python jobs/train_more.py --config quickstart train.workers=2
"""

from more_ray.commands import job

if __name__ == "__main__":
    job("train", __doc__)
