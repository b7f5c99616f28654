"""`python -m more_ray VERB` is `more-ray VERB`."""

from more_ray.commands import main

if __name__ == "__main__":
    main()
