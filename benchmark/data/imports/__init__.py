"""Other people's formats -> a data set of one's own. Torch-free; needs DuckDB only when something is imported."""
