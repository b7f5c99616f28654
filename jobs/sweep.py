"""Try learning rates, schemes, seeds and combinations of sources; ECE versus K.

python jobs/sweep.py --config sweeps/ece-versus-k concurrent=2
"""

from more_ray.commands import job

if __name__ == "__main__":
    job("sweep", __doc__)
