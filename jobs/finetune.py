"""Fine-tune a language model on answers: the chosen ones of pairs, or the best of its samples.

python jobs/finetune.py 'data.sources=[outputs/rejection_sampling/best.parquet]' model.path=PATH
"""

from more_ray.commands import job

if __name__ == "__main__":
    job("finetune", __doc__)
