"""A trained run and new reviews -> a ranking: the run's model in a folder of its own, and what reads it."""
