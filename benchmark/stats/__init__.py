"""Is a difference real? Tests, corrections and effect sizes on arrays `[seeds, products]` (torch-free).

Everything here takes one value per seed and test product, of two methods over the same products, and knows
nothing of runs or tables. Randomness is passed in as a `numpy.random.Generator`.
"""

from benchmark.stats.correction import holm
from benchmark.stats.crossed import CrossedResult, crossed_test, fixed_test, paired_test, seed_interval
from benchmark.stats.effects import WinTieLoss, probability_better, win_tie_loss
from benchmark.stats.power import SeedsNeeded, seeds_needed
from benchmark.stats.robustness import (
    Interval,
    PermutationResult,
    Robustness,
    VarianceShares,
    hierarchical_bootstrap,
    paired_t_p_value,
    robustness,
    seed_permutation,
    sign_flip_p_value,
    variance_shares,
    welch_p_value,
)

__all__ = [
    "CrossedResult",
    "Interval",
    "PermutationResult",
    "Robustness",
    "SeedsNeeded",
    "VarianceShares",
    "WinTieLoss",
    "crossed_test",
    "fixed_test",
    "hierarchical_bootstrap",
    "holm",
    "paired_t_p_value",
    "paired_test",
    "probability_better",
    "robustness",
    "seed_interval",
    "seed_permutation",
    "seeds_needed",
    "sign_flip_p_value",
    "variance_shares",
    "welch_p_value",
    "win_tie_loss",
]
