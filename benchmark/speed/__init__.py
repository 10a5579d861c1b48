"""How fast: measured on this machine, and what a plan would take."""
