"""How runs are made: from choices to a plan, from a plan's run to a trained model and its scores."""
