"""Sample answers of a policy, score them with a reward model, keep the best of each prompt.

python jobs/rejection_sampling.py prompts=FILE policy.path=PATH reward.path=outputs/mine/model
"""

from more_ray.commands import job

if __name__ == "__main__":
    job("sample", __doc__)
