"""Pictures of finished runs: what the report shows and `bench plot` writes to a file. Needs matplotlib, no torch."""
