"""Fit the last layer of any reward model, or of a language model, to every population.

python jobs/calibrate.py model.path=HuggingFaceTB/SmolLM2-135M-Instruct data.root=FOLDER
"""

from more_ray.commands import job

if __name__ == "__main__":
    job("calibrate", __doc__)
