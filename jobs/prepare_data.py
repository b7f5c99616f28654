"""Read, check, tokenise and shuffle preference data; training does it by itself when needed.

python jobs/prepare_data.py --config smollm2-135m data.root=FOLDER
"""

from more_ray.commands import job

if __name__ == "__main__":
    job("prepare", __doc__)
