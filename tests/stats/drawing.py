"""Values of one simulated method."""


def draw(rng, n_seeds, n, *, seed_sd, interaction_sd=0.15, residual_sd=0.15, mean=0.0, sims=None):
    """Values of one method, [sims?, seeds, products]: seed + method-by-product + residual effects."""
    lead = () if sims is None else (sims,)
    return (
        mean
        + rng.normal(0, seed_sd, (*lead, n_seeds, 1))
        + rng.normal(0, interaction_sd, (*lead, 1, n))
        + rng.normal(0, residual_sd, (*lead, n_seeds, n))
    )
