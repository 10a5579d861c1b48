"""The list: one exact edit each, and the tests of which at least one must fail by it.

An edit's `old` stands exactly once in its file, or `run.py` says that the list is out of date. `test` is what pytest is
given: a file, or one test of it.
"""

from __future__ import annotations

from tests.mutations.fault import Fault
from tests.mutations.images import IMAGES
from tests.mutations.survival import SURVIVAL

LOOP = "tests/engine/test_training_loop.py"
PAIRS = "tests/engine/test_pairs.py"
LOSSES = "tests/engine/test_losses.py"
WIRING = "tests/test_wiring.py"
METRICS = "tests/core/test_metrics.py"
LABELS = "tests/mmss/test_pseudo_labels.py"
SUBTASKS = "tests/mmss/test_subtasks.py"
MODEL = "tests/mmss/test_model.py"
LAYERS = "tests/mmss/test_layers.py"
CROSSED = "tests/stats/test_crossed.py"
CORRECTION = "tests/stats/test_correction.py"
GRID = "tests/report/test_grid.py"
CELL = "tests/report/test_cell.py"
TABLES = "tests/report/test_tables.py"
RUNS = "tests/runs/test_runs.py"
ARRAYS = "tests/runs/test_arrays.py"
JUDGE = "tests/core/test_judge.py"
CORPUS = "tests/data/test_corpus.py"
COLLATE = "tests/data/test_collate.py"
RELEASE = "tests/data/test_release.py"
TRAIN, STEPS = "benchmark/engine/train.py", "benchmark/engine/steps.py"
EVALUATE, RUNNER = "benchmark/engine/evaluate.py", "benchmark/engine/runner.py"
CONTROLS = "tests/checks/test_controls.py"

ENGINE = (
    Fault(
        "the best epoch's weights are not restored",
        TRAIN,
        "        self.model.load_state_dict(self.best_weights)\n",
        "",
        f"{LOOP}::test_the_best_epochs_weights_are_restored",
        fast=True,
    ),
    Fault(
        "early stopping never happens",
        TRAIN,
        "bool(self.config.patience) and waited >= self.config.patience",
        "False",
        f"{LOOP}::test_patience_counts_epochs_without_a_better_dev_map",
    ),
    Fault(
        "patience ends one epoch too soon",
        TRAIN,
        "waited >= self.config.patience",
        "waited + 1 >= self.config.patience",
        f"{LOOP}::test_patience_counts_epochs_without_a_better_dev_map",
    ),
    Fault(
        "every epoch gets the same pairs",
        TRAIN,
        "self.config, self.seed, self.epoch.number)",
        "self.config, self.seed, 1)",
        f"{LOOP}::test_every_epoch_has_the_pairs_of_its_seed_and_number_in_its_own_order",
    ),
    Fault(
        "the groups of an epoch are not shuffled",
        STEPS,
        '    groups_GK = groups_GK[generator(seed, "order", epoch).permutation(len(groups_GK))]\n',
        "",
        f"{LOOP}::test_every_epoch_has_the_pairs_of_its_seed_and_number_in_its_own_order",
    ),
    Fault(
        "scoring runs in training mode",
        EVALUATE,
        "    model.eval()\n",
        "",
        f"{LOOP}::test_hooks_come_in_order_and_scoring_is_evaluation",
    ),
    Fault(
        "after scoring the model stays in evaluation mode",
        EVALUATE,
        "        model.train(was_training)\n",
        "        pass\n",
        f"{LOOP}::test_hooks_come_in_order_and_scoring_is_evaluation",
    ),
    Fault(
        "end_epoch is never called",
        TRAIN,
        "epoch.notes = self.model.end_epoch(epoch.number)",
        "epoch.notes = {}",
        f"{LOOP}::test_hooks_come_in_order_and_scoring_is_evaluation",
    ),
    Fault(
        "start_training gets the dev labels",
        TRAIN,
        "np.asarray(train.split.label_R, dtype=np.float32)",
        "np.asarray(dev.split.label_R, dtype=np.float32)",
        f"{LOOP}::test_hooks_come_in_order_and_scoring_is_evaluation",
    ),
    Fault(
        "batch_unit is ignored",
        STEPS,
        'if config.batch_unit == "pairs":',
        'if config.batch_unit in ("pairs", "reviews"):',
        f"{LOOP}::test_a_step_holds_what_the_batch_unit_counts",
    ),
    Fault(
        "the plateau schedule is fed a constant",
        TRAIN,
        'self.schedule.step(dev_metrics["map"])',
        "self.schedule.step(epoch.number)",
        f"{LOOP}::test_the_plateau_schedule_follows_dev_map",
    ),
    Fault(
        "the plateau schedule follows the loss' direction",
        TRAIN,
        'optimiser, mode="max"',
        'optimiser, mode="min"',
        f"{LOOP}::test_the_plateau_schedule_follows_dev_map",
    ),
    Fault(
        "parameter groups are ignored",
        STEPS,
        "for group in model.parameter_groups(config.learning_rate)",
        'for group in [{"params": model.parameters(), "lr": config.learning_rate}]',
        f"{LOOP}::test_each_parameter_group_has_its_own_rate",
    ),
    Fault(
        "MM-SS's encoder learns at the general rate",
        "mmss/model.py",
        '"lr": self.config.encoder_learning_rate}',
        '"lr": learning_rate}',
        f"{MODEL}",
    ),
    Fault(
        "the relevance threshold is ignored on dev",
        EVALUATE,
        "split.product_R, split.n_products, threshold=threshold",
        "split.product_R, split.n_products, threshold=0",
        f"{LOOP}::test_the_relevance_threshold_counts_on_dev",
    ),
    Fault(
        "the dev comparison is turned round",
        TRAIN,
        'if dev_metrics["map"] > fitted.best_dev["map"]:',
        'if dev_metrics["map"] < fitted.best_dev["map"] or not self.best_weights:',
        f"{LOOP}::test_the_best_epochs_weights_are_restored",
    ),
    Fault(
        "of equal epochs the last is kept",
        TRAIN,
        'if dev_metrics["map"] > fitted.best_dev["map"]:',
        'if dev_metrics["map"] >= fitted.best_dev["map"]:',
        f"{LOOP}::test_of_equal_epochs_the_first_is_kept",
    ),
    Fault(
        "gradients are carried over",
        STEPS,
        "    optimiser.zero_grad(set_to_none=True)\n",
        "",
        f"{LOOP}::test_a_loop_written_anew_ends_at_the_same_weights",
    ),
    Fault(
        "the test split is scored before the best weights are back",
        RUNNER,
        "    fitted, model, config = trainer.finish(), trainer.model, trainer.config\n",
        "    fitted, model, config = trainer.fitted, trainer.model, trainer.config\n",
        "tests/engine/test_runner.py::test_the_stored_scores_are_those_of_the_selected_epoch",
    ),
    Fault(
        "a model is drawn before the seed is set",
        RUNNER,
        "    seed_everything(spec.seed)\n    model = build_model(spec, corpus)\n",
        "    model = build_model(spec, corpus)\n    seed_everything(spec.seed)\n",
        "tests/engine/test_runner.py::test_the_seed_draws_the_initial_weights",
    ),
    Fault(
        "dev labels are not shuffled in the control",
        RUNNER,
        "train, dev = shuffled_labels(train, spec.seed), shuffled_labels(dev, spec.seed)",
        "train = shuffled_labels(train, spec.seed)",
        CONTROLS,
    ),
    Fault(
        "scores are stored in the order of their batches",
        EVALUATE,
        "score_R[row_B] = score_B.cpu().numpy()",
        "score_R[np.sort(row_B)] = score_B.cpu().numpy()",
        "tests/engine/test_evaluate.py",
    ),
    Fault(
        "a listwise method's lists are all reviews",
        STEPS,
        "size=config.list_size, seed=seed, epoch=epoch)",
        "size=10**6, seed=seed, epoch=epoch)",
        f"{LOOP}::test_a_listwise_method_gets_whole_lists",
    ),
    Fault(
        "the state forgets the optimiser's moments",
        TRAIN,
        '        self._restore_optimiser(groups.get("optimiser", {}), record["learning_rates"])\n',
        "",
        "tests/engine/test_train.py",
    ),
)

PLAN = (
    Fault(
        "gap off by one",
        "benchmark/engine/pairs.py",
        "np.flatnonzero(rung_R > gap)",
        "np.flatnonzero(rung_R >= gap)",
        PAIRS,
        fast=True,
    ),
    Fault(
        "negatives may have the gap's own label",
        "benchmark/engine/pairs.py",
        'key[positive] - gap, side="left"',
        'key[positive] - gap, side="right"',
        PAIRS,
    ),
    Fault(
        "negatives come from other products",
        "benchmark/engine/pairs.py",
        "return PairPlan(row[positive], row, product_start[positive], stop,",
        "return PairPlan(row[positive], row, 0 * product_start[positive], stop,",
        PAIRS,
    ),
    Fault(
        "frequent labels are drawn more often",
        "benchmark/engine/pairs.py",
        "1.0 - count[inverse] / len(label_R)",
        "count[inverse] / len(label_R)",
        PAIRS,
    ),
    Fault(
        "weights are ignored",
        "benchmark/engine/pairs.py",
        "if not weighted or not len(label_R):",
        "if True:",
        PAIRS,
    ),
    Fault(
        "all negatives of a group are one draw",
        "benchmark/engine/pairs.py",
        "random.random((len(group_G), negatives))",
        "np.repeat(random.random((len(group_G), 1)), negatives, axis=1)",
        PAIRS,
    ),
    Fault(
        "the seed does not matter",
        "benchmark/engine/pairs.py",
        'random = generator(seed, "pairs", epoch)',
        'random = generator(0, "pairs", epoch)',
        PAIRS,
    ),
    Fault(
        "lists are cut before they are shuffled",
        "benchmark/engine/pairs.py",
        "row = row[np.lexsort((key, product[row]))]",
        "row = row[np.lexsort((row, product[row]))]",
        PAIRS,
    ),
    Fault(
        "lists of products with too few labels",
        "benchmark/engine/pairs.py",
        "known[n_labels >= min_labels]",
        "known[n_labels >= 1]",
        PAIRS,
    ),
)

LOSS = (
    Fault(
        "the margin is ignored",
        "benchmark/engine/losses.py",
        "_hinge(_score_gap(score_B, group_size), margin)",
        "_hinge(_score_gap(score_B, group_size), 1.0)",
        LOSSES,
    ),
    Fault(
        "scores the wrong way round",
        "benchmark/engine/losses.py",
        "return value_GK[:, :1] - value_GK[:, 1:]",
        "return value_GK[:, 1:] - value_GK[:, :1]",
        LOSSES,
    ),
    Fault(
        "a mean over negatives", "benchmark/engine/losses.py", "min=0).sum(1).mean()", "min=0).mean()", LOSSES
    ),
    Fault(
        "the point loss counts the threshold itself",
        "benchmark/engine/losses.py",
        "(label_B > threshold).to(score_B.dtype)",
        "(label_B >= threshold).to(score_B.dtype)",
        LOSSES,
    ),
    Fault(
        "the label gap's margin is squared",
        "benchmark/engine/losses.py",
        "_score_gap(label_B, group_size))",
        "_score_gap(label_B, group_size) ** 2)",
        LOSSES,
    ),
)

MMSS = (
    Fault(
        "the anchor ignores the labels",
        "mmss/distances.py",
        'torch.sigmoid(label_N) if kind == "representation"',
        'torch.ones_like(label_N) if kind == "representation"',
        LABELS,
    ),
    Fault(
        "the covariance is about the origin",
        "mmss/distances.py",
        "        z_NG = f_NG - anchor_G\n        second_GG",
        "        z_NG = f_NG\n        second_GG",
        LABELS,
    ),
    Fault(
        "the shrinkage is turned round",
        "mmss/distances.py",
        "sigma_GG = (1 - shrinkage) * second_GG + shrinkage * mean_variance",
        "sigma_GG = shrinkage * second_GG + (1 - shrinkage) * mean_variance",
        LABELS,
    ),
    Fault(
        "the distance is squared",
        "mmss/distances.py",
        "return z_NG.square().sum(dim=1).sqrt() / math.sqrt(self.scale)",
        "return z_NG.square().sum(dim=1) / math.sqrt(self.scale)",
        LABELS,
    ),
    Fault(
        "the scale is forgotten",
        "mmss/distances.py",
        "return Distribution(anchor_G, fitted.spread, scale)",
        "return Distribution(anchor_G, fitted.spread, 1.0)",
        LABELS,
    ),
    Fault(
        "the difference has the other sign",
        "mmss/pseudo_labels.py",
        "label_N + config.alpha2 * (chi_s_N - chi_g_N)",
        "label_N + config.alpha2 * (chi_g_N - chi_s_N)",
        LABELS,
        fast=True,
    ),
    Fault(
        "the ratio is turned round",
        "mmss/pseudo_labels.py",
        "config.alpha1 * chi_s_N / denominator_N * label_N",
        "config.alpha1 * denominator_N / (chi_s_N + config.offset_epsilon) * label_N",
        LABELS,
    ),
    Fault(
        "no clamp",
        "mmss/pseudo_labels.py",
        'value_N.clamp(-LABEL_LIMIT, LABEL_LIMIT) if config.label_clamp == "symmetric" else value_N',
        "value_N",
        LABELS,
    ),
    Fault(
        "Eq. 12 weighs by 1 / (i + 1)",
        "mmss/pseudo_labels.py",
        "weight = 2.0 / (epoch + 1)",
        "weight = 1.0 / (epoch + 1)",
        LABELS,
    ),
    Fault(
        "Eq. 12 forgets the past",
        "mmss/pseudo_labels.py",
        "return weight * value + (1 - weight) * previous",
        "return value",
        LABELS,
    ),
    Fault(
        "the epoch of Eq. 12 is the one that ended",
        "mmss/pseudo_labels.py",
        "self._move(rows, chi_KN, self.epoch + 1)",
        "self._move(rows, chi_KN, self.epoch)",
        LABELS,
    ),
    Fault(
        "visits are never forgotten", "mmss/pseudo_labels.py", "        self.visited_R.zero_()\n", "", LABELS
    ),
    Fault(
        "labels start at zero",
        "mmss/pseudo_labels.py",
        "self.pseudo_SR = self.label_R.repeat(len(config.subtasks), 1)",
        "self.pseudo_SR = 0 * self.label_R.repeat(len(config.subtasks), 1)",
        LABELS,
    ),
    Fault(
        "Eq. 14 without its weight",
        "mmss/subtasks.py",
        "loss_SN = weight_SN * (prediction_SN - pseudo_SN).abs()",
        "loss_SN = (prediction_SN - pseudo_SN).abs()",
        SUBTASKS,
    ),
    Fault(
        "Eq. 14 squared",
        "mmss/subtasks.py",
        "weight_SN * (prediction_SN - pseudo_SN).abs()",
        "(weight_SN * (prediction_SN - pseudo_SN).square())",
        SUBTASKS,
    ),
    Fault(
        "Eq. 15 by sigma, not its square",
        "mmss/subtasks.py",
        "0.5 * torch.exp(-log_variance_S) * loss_S",
        "0.5 * torch.exp(-0.5 * log_variance_S) * loss_S",
        SUBTASKS,
    ),
    Fault(
        "Eq. 15 without its penalty",
        "mmss/subtasks.py",
        "* loss_S + penalty_S).sum()",
        "* loss_S).sum()",
        SUBTASKS,
    ),
    Fault(
        "sigmas move in epoch 1",
        "mmss/subtasks.py",
        "return torch.where((loss_S == 0).all(), torch.zeros_like(total), total)",
        "return total",
        SUBTASKS,
    ),
    Fault(
        "the subtasks do not enter the loss",
        "mmss/model.py",
        "return target_loss + self.subtasks.balanced(loss_S)",
        "return target_loss",
        MODEL,
    ),
    Fault(
        "a review counts as often as it is drawn",
        "mmss/model.py",
        "self._of_subtasks(features).index_select(1, kept_N)",
        "self._of_subtasks(features).index_select(1, 0 * kept_N)",
        MODEL,
    ),
    Fault(
        "GELU is left out of Eq. 7",
        "mmss/model.py",
        "nn.functional.gelu(self.represent(f_c_B))",
        "self.represent(f_c_B)",
        MODEL,
    ),
)

METRIC = (
    Fault(
        "AP divides by all reviews",
        "benchmark/core/metrics.py",
        "return _unit(total, n_relevant)",
        "return _unit(total, ranking.sum_by_product(np.ones(len(ranking.product))))",
        METRICS,
    ),
    Fault(
        "a linear gain",
        "benchmark/core/metrics.py",
        "np.exp2(label) - 1, 0.0)",
        "label, 0.0)",
        METRICS,
        fast=True,
    ),
    Fault(
        "a discount that begins at log2(rank)",
        "benchmark/core/metrics.py",
        "1 / np.log2(ranking.rank + 1.0), 0.0)",
        "1 / np.log2(ranking.rank + 2.0), 0.0)",
        METRICS,
    ),
    Fault(
        "NDCG@k cut one later",
        "benchmark/core/metrics.py",
        "np.where(ranking.rank <= k,",
        "np.where(ranking.rank <= k + 1,",
        METRICS,
    ),
    Fault(
        "relevant from the threshold itself",
        "benchmark/core/metrics.py",
        "    relevant = label > threshold\n    gain",
        "    relevant = label >= threshold\n    gain",
        METRICS,
    ),
    Fault(
        "the worst score first",
        "benchmark/core/metrics.py",
        "np.lexsort((-score, product))",
        "np.lexsort((score, product))",
        METRICS,
    ),
    Fault(
        "ties count as they lie", "benchmark/core/metrics.py", 'if ties == "file-order":', "if True:", METRICS
    ),
    Fault(
        "nothing relevant counts 1",
        "benchmark/core/metrics.py",
        "out=np.zeros_like(numerator), where=denominator > 0)",
        "out=np.ones_like(numerator), where=denominator > 0)",
        METRICS,
    ),
)

STATISTICS = (
    Fault(
        "population variance",
        "benchmark/stats/sides.py",
        "/ ((n_seeds - 1) * (n - 1))",
        "/ (n_seeds * n)",
        CROSSED,
    ),
    Fault(
        "seeds add no variance",
        "benchmark/stats/crossed.py",
        "v_seeds=tuple(_sample_variance(one.seed_mean)",
        "v_seeds=tuple(0 * _sample_variance(one.seed_mean)",
        CROSSED,
    ),
    Fault(
        "products add no variance",
        "benchmark/stats/crossed.py",
        "v_P=_sample_variance(a.product_mean - b.product_mean) / n,",
        "v_P=0 * _sample_variance(a.product_mean - b.product_mean) / n,",
        CROSSED,
        fast=True,
    ),
    Fault(
        "the residual is counted twice",
        "benchmark/stats/crossed.py",
        "v_S + self.v_P - self.v_E, self.v_P)",
        "v_S + self.v_P, self.v_P)",
        CROSSED,
    ),
    Fault(
        "no floor of the variance",
        "benchmark/stats/crossed.py",
        "return np.maximum(np.maximum(v_S + self.v_P - self.v_E, self.v_P), v_S)",
        "return np.maximum(v_S + self.v_P - self.v_E, 1e-300)",
        CROSSED,
    ),
    Fault(
        "degrees of freedom as if all were products",
        "benchmark/stats/crossed.py",
        "spread = spread + v**2 / (n_seeds - 1)",
        "spread = spread + v**2 / (self.n - 1)",
        CROSSED,
    ),
    Fault(
        "one-sided p",
        "benchmark/stats/crossed.py",
        "else 2 * stdtr(self._usable_df, -t)",
        "else stdtr(self._usable_df, -t)",
        CROSSED,
    ),
    Fault(
        "a constant shift is no difference",
        "benchmark/stats/crossed.py",
        "np.where(self.difference == 0, 1.0, 0.0)",
        "1.0",
        CROSSED,
    ),
    Fault("Student below five seeds", "benchmark/stats/crossed.py", "T_SEEDS = 5", "T_SEEDS = 2", CROSSED),
    Fault(
        "Holm without its steps",
        "benchmark/stats/correction.py",
        "(len(values) - np.arange(len(values)))",
        "len(values)",
        CORRECTION,
    ),
    Fault(
        "Holm without the maximum",
        "benchmark/stats/correction.py",
        "np.maximum.accumulate(stepped)",
        "stepped",
        CORRECTION,
    ),
    Fault(
        "untested comparisons count in the family",
        "benchmark/stats/correction.py",
        "stepped = values[order] * (len(values) -",
        "stepped = values[order] * (len(p) -",
        CORRECTION,
    ),
)

REPORT = (
    Fault(
        "a cell is read once a metric",
        "benchmark/report/cell.py",
        "return _SIDES.get(tuple(run.key for run in self.runs), self._sides)",
        "return self._sides()",
        CELL,
    ),
    Fault(
        "cells of other thresholds share what is kept",
        "benchmark/runs/stored.py",
        "return (*self._written, self.threshold, self.ties)",
        "return (*self._written, self.ties)",
        CELL,
        fast=True,
    ),
    Fault(
        "an ablation's pairs are read once a metric",
        "benchmark/report/grid.py",
        "    for a, b in pairs:  # all that is asked of a pair while its runs are at hand\n"
        "        for metric, found in results.items():\n",
        "    for metric, found in results.items():\n        for a, b in pairs:\n",
        CELL,
    ),
    Fault(
        "a seed's mean over reviews' products weighted",
        "benchmark/stats/sides.py",
        "return Margins(x.mean(axis=-2), x.mean(axis=-1),",
        "return Margins(x.mean(axis=-2), np.median(x, axis=-1),",
        GRID,
    ),
    Fault(
        "the population's standard deviation",
        "benchmark/report/cell.py",
        "means.std(ddof=1)",
        "means.std(ddof=0)",
        GRID,
    ),
    Fault(
        "a mark for the worse",
        "benchmark/report/grid.py",
        "if self.p_holm is None or self.result.difference <= 0:",
        "if self.p_holm is None:",
        GRID,
    ),
    Fault(
        "runs of another fingerprint meet",
        "benchmark/report/grid.py",
        "if run.spec.fingerprint == fingerprints[run.spec.category]",
        "if True",
        GRID,
    ),
    Fault(
        "the relevance threshold is no condition",
        "benchmark/runs/stored.py",
        "return replace(self.spec.conditions, relevance_threshold=self.relevance_threshold)",
        "return replace(self.spec.conditions, relevance_threshold=0)",
        GRID,
    ),
    Fault(
        "an incomplete cell is complete",
        "benchmark/report/cell.py",
        "len(self.runs) == len(self.wanted)",
        "bool(self.runs)",
        GRID,
    ),
)

STORE = (
    Fault(
        "the seed is not part of the identity",
        "benchmark/runs/spec.py",
        '            "seed": self.seed,\n',
        "",
        RUNS,
    ),
    Fault(
        "the configuration is not part of the identity",
        "benchmark/runs/spec.py",
        '            "config": self.config,\n',
        "",
        RUNS,
    ),
    Fault(
        "a folder without its mark is done",
        "benchmark/runs/files.py",
        "return all(name in sums for name in table_files(sums)) and",
        "return all(name in sums for name in table_files(sums)) or",
        RUNS,
    ),
    Fault(
        "ties in the sorted scores are missed",
        "benchmark/core/judge.py",
        "tied[1:] = (sorted_R[1:] == sorted_R[:-1]) & (self._rank[1:] > 1)",
        "tied[1:] = (sorted_R[1:] == sorted_R[:-1]) & (self._rank[1:] > 2)",
        JUDGE,
    ),
    Fault(
        "products with ties are ranked as the file has their reviews",
        "benchmark/core/judge.py",
        "order=place_R[order[chosen_R[order]]],",
        "order=np.arange(len(rows)),",
        JUDGE,
    ),
    Fault(
        "negative scores sort the wrong way",
        "benchmark/core/judge.py",
        "np.where(words >> 31 != 0, words, ~words & np.uint32(0x7FFFFFFF))",
        "~words",
        JUDGE,
        fast=True,
    ),
    Fault(
        "scores are taken for those of any reviews",
        "benchmark/runs/stored.py",
        'or of.get("reviews") != data.digest',
        "",
        ARRAYS,
    ),
    Fault(
        "values per product are taken in the reviews' order",
        "benchmark/runs/reviews.py",
        "return row_of_appearing[appearing_R]",
        "return appearing_R",
        ARRAYS,
        fast=True,
    ),
    Fault(
        "ids turn into numbers",
        "benchmark/runs/reviews.py",
        'TEXT_COLUMNS = frozenset({"product_id", "review_id"})',
        'TEXT_COLUMNS = frozenset({"review_id"})',
        RUNS,
    ),
    Fault(
        "a finished run is copied to its place, not moved",
        "benchmark/runs/writer.py",
        "        os.replace(self.folder, final)\n",
        "        shutil.copytree(self.folder, final)\n",
        RUNS,
    ),
)

DATA = (
    Fault(
        "labels of other rows",
        "benchmark/data/collate.py",
        "self.split.label_R[review_B].astype(np.float32)",
        "self.split.label_R[np.sort(review_B)].astype(np.float32)",
        COLLATE,
    ),
    Fault(
        "rows point at unsorted reviews",
        "benchmark/data/collate.py",
        "review_B=torch.from_numpy(index_B.astype(np.int64)),",
        "review_B=torch.arange(len(index_B)) % len(review_rows),",
        COLLATE,
    ),
    Fault(
        "the last token is cut",
        "benchmark/data/collate.py",
        "self._stored_N = np.minimum(self.ids.count_N, limit)",
        "self._stored_N = np.minimum(self.ids.count_N, limit - 1)",
        COLLATE,
    ),
    Fault(
        "an item's neighbour's row",
        "benchmark/data/store.py",
        "return self.flat[self.offset_N1[row] : self.offset_N1[row + 1]]",
        "return self.flat[self.offset_N1[row] : self.offset_N1[row + 1] + 1]",
        CORPUS,
    ),
)

FAULTS = (*ENGINE, *PLAN, *LOSS, *MMSS, *METRIC, *STATISTICS, *REPORT, *STORE, *DATA, *SURVIVAL, *IMAGES)
