"""The hinge between what makes runs and what reads them: what a run is, how it is written, how it is read."""
