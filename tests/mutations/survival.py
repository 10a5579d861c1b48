"""Faults of what a run is made of and of what keeps it: identity, versions, checkpoints, claims, packs."""

from __future__ import annotations

from tests.mutations.fault import Fault

CODE, STALE, VERSIONS = "benchmark/core/code.py", "benchmark/engine/stale.py", "benchmark/report/versions.py"
CHECKPOINT, TRAIN = "benchmark/engine/checkpoint.py", "benchmark/engine/train.py"
CLAIMS, SOURCES, SEAL = "benchmark/runs/claims.py", "benchmark/data/sources.py", "benchmark/data/seal.py"
CODE_TEST, STALE_TEST, VERSIONS_TEST = (
    "tests/core/test_code.py",
    "tests/cli/test_clean.py",
    "tests/report/test_versions.py",
)
CHECKPOINT_TEST = "tests/engine/test_checkpoint.py"
CLAIMS_TEST, SOURCES_TEST = "tests/runs/test_claims.py", "tests/data/test_sources.py"
PACKING_TEST = "tests/kernels/test_packing.py"

SURVIVAL = (
    Fault(
        "a docstring is code",
        CODE,
        "for one in node if not _is_comment(one)",
        "for one in node",
        CODE_TEST,
    ),
    Fault(
        "what a method imports of its own package is not its code",
        CODE,
        "            if home is not None:  # `a.b`",
        "            if False:  # `a.b`",
        CODE_TEST,
    ),
    Fault(
        "late imports are not followed",
        CODE,
        "    for node in ast.walk(tree):\n        if isinstance(node, ast.Import):",
        "    for node in tree.body:\n        if isinstance(node, ast.Import):",
        CODE_TEST,
    ),
    Fault(
        "relative imports are taken one level too high",
        CODE,
        "parts[: len(parts) - node.level + 1]",
        "parts[: len(parts) - node.level]",
        CODE_TEST,
    ),
    Fault(
        "an older numerics version is asked for",
        STALE,
        "if today.identity == run.id and run.numerics == NUMERICS_VERSION:",
        "if True:",
        STALE_TEST,
    ),
    Fault(
        "runs of a method that is not installed are stale",
        STALE,
        'unknown.append(Stale(run, f"{run.spec.method} is not installed here"))',
        'stale.append(Stale(run, f"{run.spec.method} is not installed here"))',
        STALE_TEST,
    ),
    Fault(
        "the last to ask for a run names it",
        "benchmark/engine/plan.py",
        "unique.setdefault(spec.identity, spec)",
        "unique[spec.identity] = spec",
        "tests/engine/test_plan.py",
    ),
    Fault(
        "the oldest configuration is shown",
        VERSIONS,
        "latest = max(members, key=lambda run: run.age_rank).version",
        "latest = min(members, key=lambda run: run.age_rank).version",
        VERSIONS_TEST,
    ),
    Fault(
        "an older run fills a newer configuration's gap",
        VERSIONS,
        "shown |= {run.id for run in members if run.version == latest}",
        "shown |= {run.id for run in members}",
        VERSIONS_TEST,
    ),
    Fault(
        "a checkpoint of another version is taken",
        CHECKPOINT,
        'if content["format"] != FORMAT or content["versions"] != self.versions:',
        'if content["format"] != FORMAT:',
        CHECKPOINT_TEST,
    ),
    Fault(
        "a checkpoint's numbers are not checked",
        CHECKPOINT,
        "if _sha256(file) != file.stem:",
        "if False:",
        CHECKPOINT_TEST,
    ),
    Fault(
        "a checkpoint is written after every epoch, whatever it costs",
        CHECKPOINT,
        "return not self.every or age >= max(self.every, self._cost / SHARE)",
        "return True",
        CHECKPOINT_TEST,
    ),
    Fault(
        "generators are not restored",
        TRAIN,
        '        _set_generators(groups["generator"], self.device)',
        "        _ = self.device",
        CHECKPOINT_TEST,
    ),
    Fault(
        "the optimiser's moments are not restored",
        TRAIN,
        'self._restore_optimiser(groups.get("optimiser", {}), record["learning_rates"])',
        'self._restore_optimiser({}, record["learning_rates"])',
        CHECKPOINT_TEST,
    ),
    Fault(
        "the best epoch so far is forgotten",
        TRAIN,
        'self.best_weights = groups.get("best", {})',
        "self.best_weights = {}",
        "tests/engine/test_training_loop.py",
    ),
    Fault(
        "the method's own state is not restored",
        TRAIN,
        'self.model.restore_checkpoint(groups.get("method", {}))',
        "pass",
        CHECKPOINT_TEST,
    ),
    Fault(
        "the epoch under way begins anew",
        TRAIN,
        "self.steps.batches(plan[epoch.step :])",
        "self.steps.batches(plan)",
        CHECKPOINT_TEST,
    ),
    Fault(
        "an epoch's end is gone through twice",
        TRAIN,
        "        if epoch.notes is None:\n            epoch.notes",
        "        if True:\n            epoch.notes",
        CHECKPOINT_TEST,
    ),
    Fault(
        "a live claim is taken over",
        CLAIMS,
        "if held and not abandoned(_file(folder, identity, held[-1])):",
        "if False:",
        CLAIMS_TEST,
    ),
    Fault(
        "a claim without heartbeat is kept for ever",
        CLAIMS,
        "return abs(now - _modified(sign)) > STALE_SECONDS",
        "return False",
        CLAIMS_TEST,
    ),
    Fault(
        "a process number that another got is the same process",
        CLAIMS,
        'return "alive" if not (started and self.started) or started == self.started else "dead"',
        'return "alive"',
        CLAIMS_TEST,
    ),
    Fault(
        "who lost a claim is not told",
        CLAIMS,
        "        return own and generations(self.file.parent, identity)[-1:] == [int(number)]",
        "        return own",
        CLAIMS_TEST,
    ),
    Fault(
        "an edit under an old time is not seen",
        SOURCES,
        'digest.update(f"{name!r} {stat}\\n".encode())',
        'digest.update(f"{name!r} {stat[1:3]}\\n".encode())',
        SOURCES_TEST,
    ),
    Fault(
        "a changed source is the same if its name is",
        SOURCES,
        "return bool(digest) and hashlib.file_digest(file, _blake).hexdigest() == digest",
        "return bool(digest)",
        SOURCES_TEST,
    ),
    Fault(
        "a damaged pack is opened",
        SEAL,
        "            if _sha256(path) != sha256:\n                return",
        "            if False:\n                return",
        "tests/data/test_corpus.py",
    ),
    Fault(
        "a large file is hashed never again",
        SEAL,
        "if size >= least and known.get(name) == stat and not thorough:",
        "if size >= least and name in known and not thorough:",
        SOURCES_TEST,
    ),
    Fault(
        "packed positions come back one place on",
        "benchmark/kernels/packing.py",
        "return padded.index_copy(0, self.place_X, x_1XF.squeeze(0))",
        "return padded.index_copy(0, self.place_X.roll(1), x_1XF.squeeze(0))",
        PACKING_TEST,
    ),
)
