"""Score test pairs with any reward model: accuracy and calibration, with intervals.

python jobs/evaluate.py model.path=outputs/mine/model data.root=FOLDER against=outputs/other
python jobs/evaluate.py model.path=outputs/mine/model benchmark=FILE
"""

from more_ray.commands import job

if __name__ == "__main__":
    job("evaluate", __doc__)
