"""Serve a reward model over HTTP: scores of answers, one by one or many at once.

python jobs/serve_reward.py model.path=outputs/quickstart/more/model
"""

from more_ray.commands import job

if __name__ == "__main__":
    job("serve", __doc__)
