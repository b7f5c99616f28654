"""One page about runs and evaluations: verdict, tables, figures, and the numbers behind them.

python jobs/report.py 'runs=[outputs/mine,outputs/other]' output=report.html
"""

from more_ray.commands import job

if __name__ == "__main__":
    job("report", __doc__)
