"""One RunSpec carried out: claimed, trained, its folder published or its failure recorded.

`execute` is all that a process needs to know of a run, wherever it is: it takes what is fixed for a job
(source, results folder, options) and talks through the results folder. Needs torch only when it is called.
"""

from __future__ import annotations

import contextlib
import json
import site
import sysconfig
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from benchmark import models
from benchmark.core.code import locate
from benchmark.core.errors import BenchError, StoppedError, refusal
from benchmark.core.metrics import METRICS
from benchmark.data.source import Source
from benchmark.engine import runner
from benchmark.engine.callbacks import Callbacks, ended
from benchmark.engine.checkpoint import CHECKPOINT_SECONDS, Checkpoint, checkpoint_folder, save_tensors
from benchmark.engine.machine import forget_peak_memory, peak_memory, provenance
from benchmark.engine.stop import Stop
from benchmark.kernels import compiled
from benchmark.runs import files
from benchmark.runs.claims import Claim
from benchmark.runs.files import VOCABULARY
from benchmark.runs.spec import RunSpec
from benchmark.runs.writer import RunWriter

if TYPE_CHECKING:
    from benchmark.data.corpus import Corpus

HEARTBEAT_SECONDS = 0.5
LONGEST_REASON = 2_000
"""Characters of an error's words that tables and terminals show."""


@dataclass(frozen=True)
class RunOptions:
    """How runs are carried out: nothing here changes a number by more than its rounding."""

    keep_weights: bool = False
    checkpoint_every: float = CHECKPOINT_SECONDS
    """Seconds between two checkpoints, which are written after an epoch; 0: after every epoch."""
    since: float = 0.0
    """When the job began, by the clock of the results folder's file system: what another scheduler has done or
    recorded as failed after it is not done again."""
    force: bool = False
    """Do runs again that were done before `since`."""
    log: Sequence[str] = ()
    """Callbacks that watch each run, see `benchmark.engine.callbacks`."""
    kernels: bool = field(default_factory=compiled.wanted)
    """Whether compiled kernels may be used. As where the job was started: the environment of a worker on another
    machine may say otherwise, and numbers would differ in their last bits."""

    def prepare_process(self) -> None:
        """What holds for a process that carries out runs, before it does."""
        compiled.want(self.kernels)


@dataclass(frozen=True)
class Outcome:
    """How one run ended."""

    spec: RunSpec
    seconds: float
    reason: str = ""
    """Empty if it is done; else why it is not."""
    state: Literal["done", "failed", "stopped", "claimed", "died"] = "done"
    """`stopped`: asked to, and saved; `claimed`: another process has it; `died`: its process did."""

    @property
    def ok(self) -> bool:
        return self.state == "done"


def execute(
    spec: RunSpec,
    source: Source,
    results: Path,
    options: RunOptions = RunOptions(),
    stop: Stop | None = None,
) -> Outcome:
    """Carry out one run and publish its folder; a failure leaves a record with the reason instead.

    Nothing that goes wrong in the run is raised, but for KeyboardInterrupt.
    """
    started = time.perf_counter()
    stop = stop or Stop()

    def outcome(state: Any, reason: str = "") -> Outcome:
        return Outcome(spec, time.perf_counter() - started, reason, state)

    try:
        claim = Claim.take(results, spec.identity)
        if claim is None:
            return outcome("claimed", "another process carries it out")
        # called by the heartbeat's thread: it may only leave word, and training ends between two steps
        claim.on_loss = lambda: stop.request("another process that took the run over")
        with claim:
            # under the claim: another scheduler may have published since the runs were listed
            settled = settled_by_another(spec, results, options)
            if settled is not None:
                return settled
            try:
                _carry_out(spec, source, results, options, stop, claim)
            except (StoppedError, KeyboardInterrupt):
                raise
            # SystemExit and its like too: a method that calls sys.exit must not end the worker
            except BaseException as error:
                reason = _reason(error) + _where(error, spec, results)
                return outcome("failed", record_failure(spec, results, reason, traceback.format_exc()))
        return outcome("done")
    except StoppedError as error:
        return outcome("stopped", str(error))
    except Exception as error:  # the claim itself: a disk that is full, a folder that may not be written
        return outcome("failed", _reason(error))


def settled_by_another(spec: RunSpec, results: Path, options: RunOptions) -> Outcome | None:
    """The outcome of a run that is done already, or that failed elsewhere after this job began."""
    mark = spec.folder(results) / files.DONE
    if files.is_done(spec, results) and (not options.force or _newer(mark, options.since)):
        return Outcome(spec, 0.0)
    failure = files.read_failure(spec, results)
    if failure is not None and options.since and _newer(files.failure_file(spec, results), options.since):
        return Outcome(spec, 0.0, str(failure["reason"]), "failed")
    return None


def _newer(file: Path, since: float) -> bool:
    try:
        return file.stat().st_mtime > since
    except OSError:
        return False


def record_failure(spec: RunSpec, results: Path, reason: str, details: str) -> str:
    """Write the failure record; the reason, with a word more where even that is impossible."""
    try:
        files.write_failure(spec, results, reason, details)
    except OSError as error:
        return f"{reason} (and no record of it could be written: {error})"
    return reason


def _reason(error: BaseException) -> str:
    if isinstance(error, BenchError):
        return str(error)
    if isinstance(error, OSError | MemoryError):
        return refusal(error)
    said = str(error)
    if len(said) > LONGEST_REASON:  # an array in it, say: all of it is in the traceback
        said = f"{said[:LONGEST_REASON]}..."
    return f"{type(error).__name__}: {said}{_place(error)}"


def _place(error: BaseException) -> str:
    """` (file, line n)` of the innermost code that is a method's: neither the harness's nor a library's."""
    import benchmark

    harness, place = Path(benchmark.__file__).parent, ""
    libraries = {*map(Path, sysconfig.get_paths().values()), *map(Path, site.getsitepackages())}
    for frame in traceback.extract_tb(error.__traceback__):
        file = Path(frame.filename)
        outside = not file.is_file() or "site-packages" in file.parts or bool(libraries & {*file.parents})
        if not (file.is_relative_to(harness) or outside):
            place = f" ({frame.filename}, line {frame.lineno})"
    return place


def _where(error: BaseException, spec: RunSpec, results: Path) -> str:
    """For a method of somebody's own: the line of its file that led to the error, and where the traceback lies."""
    method = models.METHODS.get(spec.method)
    if isinstance(error, BenchError) or method is None or method.built_in or not method.installed:
        return ""
    file = str(locate(method.target).file)
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    place = f"{file}:{own[-1].lineno}, in {own[-1].name}; " if own else ""
    return f" ({place}the full traceback is in {files.failure_file(spec, results)})"


def _carry_out(
    spec: RunSpec, source: Source, results: Path, options: RunOptions, stop: Stop, claim: Claim
) -> None:
    """Train, test and publish. The checkpoint goes when the run is done, or failed for a reason of its own,
    which it would meet again."""
    checkpoint = Checkpoint(
        checkpoint_folder(results, spec.identity), options.checkpoint_every, _versions(spec)
    )
    writer = RunWriter(spec, results)
    # the partial folder needs signs of life as well, or a sweep takes it for a dead process's
    claim.also.append(writer.owner)
    watchers = Callbacks(options.log, spec, results)
    watchers.start()
    try:
        with stop.nothing_to_save():
            corpus = runner.open_once(source, spec.dataset, spec.category)
        facts = _train_into(writer, corpus, options, checkpoint, stop, watchers)
        # a process that was suspended may wake up here after another has taken the run over
        if not claim.held():
            raise StoppedError("another process took the run over, after this one gave no sign of life")
        folder = writer.finish()
    except StoppedError as error:
        watchers.end(ended("stopped", reason=str(error)))
        raise
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        checkpoint.remove()
        watchers.end(ended("failed", reason=_reason(error)))
        raise
    finally:
        writer.discard()  # does nothing once the folder has been published
    checkpoint.remove()
    watchers.end(ended("done", folder=str(folder), **facts))


def _versions(spec: RunSpec) -> dict[str, Any]:
    """What a checkpoint depends on beside the run's identity: the program, not the machine it runs on."""
    made = provenance(spec.device)
    return {name: made[name] for name in ("package", "commit", "python", "libraries", "compiled_kernels")}


def _train_into(
    writer: RunWriter,
    corpus: Corpus,
    options: RunOptions,
    checkpoint: Checkpoint,
    stop: Stop,
    watchers: Callbacks,
) -> dict[str, Any]:
    """Train and write all files of the run; what its callbacks are told at its end."""
    from benchmark.data.corpus import FIELDS
    from benchmark.engine.train import without_aliases

    spec = writer.spec
    started, cpu = time.perf_counter(), time.process_time()
    anew = forget_peak_memory(spec.device)
    heartbeat = _Heartbeat(writer.folder / "progress.json")

    def on_epoch(entry: Mapping[str, Any]) -> None:
        writer.log(entry)
        watchers.epoch(entry)

    trained = runner.train_and_score(
        spec, corpus, on_epoch=on_epoch, on_progress=heartbeat, checkpoint=checkpoint, stop=stop
    )
    model, fitted, score_R = trained.model, trained.fitted, trained.score_R
    config = runner.training_config(spec)
    written = writer.write_scores(corpus.test, score_R, trained.parts, config.relevance_threshold)
    kept = {"training_state": model.training_state()}
    if options.keep_weights:
        kept["weights"] = without_aliases(model.state_dict())
        # with the words that its ids stand for, a model can be used where the data are not
        writer.write_json(VOCABULARY, {field: list(corpus.vocabulary(field)) for field in FIELDS})
    for name, state in kept.items():
        if state:
            tensors = {key: value.detach().cpu() for key, value in state.items()}
            save_tensors(tensors, writer.folder / f"{name}.safetensors")
    heartbeat.remove()
    seconds = {
        # of this process: what went before a checkpoint counts in `train` and `data_wait` alone
        "total": round(time.perf_counter() - started, 3),
        "cpu": round(time.process_time() - cpu, 3),
        "train": round(fitted.step_seconds, 3),
        "data_wait": round(fitted.data_seconds, 3),
        "test": round(trained.test_seconds, 3),
    }
    problems = {"callbacks": watchers.problems} if watchers.problems else {}
    more = {"seconds": seconds, "memory": peak_memory(spec.device, anew), **problems}
    writer.write_json("meta.json", _meta(spec, corpus, trained, written.reviews) | more)
    return {
        "best_epoch": fitted.best_epoch,
        "best_dev": fitted.best_dev,
        "test": {name: float(written.values[name].mean()) for name in METRICS},
        "seconds": seconds["total"],
    }


def _meta(spec: RunSpec, corpus: Corpus, trained: runner.Trained, reviews: str) -> dict[str, Any]:
    """Where and of what the run was made, and what its training came to. `reviews`: digest of those that its scores
    are in the order of."""
    fitted = trained.fitted
    return provenance(spec.device) | {
        "best_epoch": fitted.best_epoch,
        "best_dev": fitted.best_dev,
        "epochs": fitted.epochs,
        "steps": fitted.steps,
        "training_rows": fitted.rows,
        "finished": time.time(),
        "parameters": sum(p.numel() for p in trained.model.parameters()),
        "threads": runner.training_config(spec).threads,
        "data": {
            "label": corpus.label,
            "fingerprint": corpus.fingerprint,
            "synthetic": corpus.synthetic,
            "reviews": reviews,
        },
    }


class _Heartbeat:
    """Writes where a run stands beside its files, for the process that shows the progress."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.written = 0.0

    def __call__(self, progress: Any) -> None:
        now = time.monotonic()
        if now - self.written >= HEARTBEAT_SECONDS:
            self.written = now
            with contextlib.suppress(OSError):  # nobody's run fails for a progress bar
                files.write_atomically(self.file, json.dumps(vars(progress)))

    def remove(self) -> None:
        self.file.unlink(missing_ok=True)
