"""Ask a judge which of two models answers better: win, tie and lose.

python jobs/judge.py answers=outputs/ours.parquet against=outputs/theirs.parquet model=gpt-4.1 \\
    criterion=harmless
"""

from more_ray.commands import job

if __name__ == "__main__":
    job("judge", __doc__)
