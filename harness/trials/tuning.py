"""Training of one trial. A ``Watch`` observes it: it evaluates, writes curves, or does nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from harness import methods
from harness.errors import first_line, is_out_of_memory
from harness.language import recorded
from harness.methods import AdaptContext
from harness.methods.base import FirstStage
from harness.methods.coverage import Coverage, caution, coverage, stacked_share
from harness.models.checks.packing import check_texts_apart
from harness.models.load import Base
from harness.models.weights.stored_bytes import number_of_weights
from harness.records.disk_full import require_room
from harness.records.pruned import pruned_reason, read_standing
from harness.terminal.phases import phase
from harness.training.checkpoint import CheckpointFolder
from harness.training.criterion import Criterion
from harness.training.device_memory import synchronize
from harness.training.first_pass import check_generation, freeze_unreached_parameters
from harness.training.loop import Diverged, Hooks, OutOfMemory, Progress, train
from harness.training.parameters import percent_at_rate, with_own_rates
from harness.training.precision.autocast import accelerator_for, check_precision
from harness.trials.adapt import Earlier, adapt, refusals, train_first_stage
from harness.trials.cost import Clock, Infeasible, check_limits, check_size, room_for, sizes
from harness.trials.job import Job
from harness.trials.lengths import length_cautions
from harness.trials.results.artifacts import EventLog
from harness.trials.workbench import Inputs, Workbench

if TYPE_CHECKING:
    from accelerate import Accelerator
    from torch import nn


@dataclass(frozen=True)
class Control:
    """Callbacks that control a running trial: the pruner's decision and the request to stop."""

    decide: Callable[[int, dict[str, float]], bool]  # (step, measurements) → whether to continue
    stopping: Callable[[], bool]  # whether to stop at the next checkpoint


GO_ON = Control(decide=lambda step, values: True, stopping=lambda: False)


class Watch:
    """Observer of a training run. This base class measures and writes nothing."""

    def begin(self, tuning: Tuning, step: int) -> None:
        """Called before the first step, or before the first one after ``step`` in a resumed run."""

    def step(self, row: dict[str, Any]) -> None:
        """Called after a step, with its losses, learning rate, tokens, and seconds so far."""

    def evaluate(self, tuning: Tuning, step: int) -> dict[str, float]:
        """Return measurements of the model after ``step``, which the pruner uses."""
        return {}

    def flush(self) -> None:
        """Write buffered data. Called before a checkpoint and at the end of the run."""


class Tuning:
    """One training run. Afterwards ``status`` is its outcome and ``model`` the tuned model."""

    def __init__(
        self,
        job: Job,
        bench: Workbench,
        inputs: Inputs,
        base: Base,
        clock: Clock,
        watch: Watch,
        *,
        dry: bool = False,
    ):
        """Prepare a run of ``job``.

        ``dry``: a few steps that write no file, without the stage before the task.
        """
        config = job.config
        self.job, self.bench, self.inputs = job, bench, inputs
        self.base, self.clock, self.watch, self.dry = base, clock, watch, dry
        self.method = methods.fitted(config.method, base.model)
        self.criterion = Criterion(
            inputs.train,
            config.training,
            config.seed,
            retention=config.retention,
            replay=inputs.replay,
            padding_quantile=config.data.padding_quantile,
        )
        self.plan = _plan(job, inputs, self.criterion.steps_per_epoch, bench.device)
        self.accelerator: Accelerator  # once it is prepared
        self.model: nn.Module = base.model
        self.earlier, self.progress = Earlier(), Progress()
        self.size: dict[str, float] = {}
        self.trained: set[str] = set()  # names of the trained parameters
        self.status, self.reason = "complete", None
        self.standing: dict[str, Any] | None = None  # its rank among other trials, if it was pruned
        self.base_weights = sum(map(number_of_weights, base.model.parameters()))
        self.base_stacked_share = stacked_share(base.model)
        self.coverage: Coverage | None = None
        self.cautions = length_cautions(config, inputs)

    def run(self, checkpoints: CheckpointFolder, control: Control) -> None:
        """Train to the end, or until the run diverges, is pruned, or exceeds a limit.

        Raises InputError, and Interrupted after a request to stop.
        """
        with self.outcome():
            training = phase(f"training {self.job.method}, {self.plan.total_steps:,} steps")
            with self.bench.team.running(self.job.path), nullcontext() if self.dry else training:
                hooks = self.prepare(checkpoints, control)
                train(
                    model=self.model,
                    method=self.method,
                    context=self.plan,
                    data=self.inputs.train,
                    config=self.job.config.training,
                    seed=self.job.config.seed,
                    accelerator=self.accelerator,
                    checkpoints=checkpoints,
                    hooks=hooks,
                    criterion=self.criterion,
                    progress=self.progress,
                    team=self.bench.team,
                )

    @contextmanager
    def outcome(self) -> Iterator[None]:
        """Context of training. Its end, also an early one, becomes ``status`` and ``reason``."""
        try:
            yield
            check_limits(self.job.limits, self.clock)
            if self.progress.pruned:
                step, steps = self.progress.step, self.plan.total_steps
                self.standing = read_standing(self.job.path, step)
                self.status, self.reason = "pruned", pruned_reason(step, steps, self.standing)
        except Diverged as error:
            self.status, self.reason = "diverged", str(error)
        except (Infeasible, OutOfMemory) as error:
            self.status, self.reason = "infeasible", str(error)
        except (RuntimeError, MemoryError) as error:
            # Caused by the optimizer's state or by an evaluation during training.
            if not is_out_of_memory(error):
                raise
            self.status = "infeasible"
            self.reason = recorded("out of memory: {error}", error=first_line(error))
        self.watch.flush()

    def comparable(self, step: int) -> bool:
        """Return whether training has reached the step from which the method is comparable."""
        return step == 0 or step > self.method.comparable_from(self.model, self.plan)

    def _first_stage(self, stage: FirstStage, control: Control) -> Earlier:
        """Train the base on the task's texts first, if the method does so.

        A dry run skips this: its steps cost the same as full fine-tuning on these texts.
        """
        if self.dry:
            return Earlier()
        path = self.job.path / "first_stage.jsonl" if self.bench.team.leads else None

        def on_step(row: dict[str, Any]) -> None:
            self.clock.train_seconds = row["seconds"]
            check_limits(self.job.limits, self.clock)

        return train_first_stage(
            stage,
            self.job,
            self.base,
            self.inputs,
            self.plan,
            self.accelerator,
            cache=self.bench.cache / "first_stage",
            log=EventLog(path, self.job.check_own),
            on_step=on_step,
            stopping=control.stopping,
            team=self.bench.team,
        )

    def prepare(self, checkpoints: CheckpointFolder, control: Control) -> Hooks:
        """Adapt the base and check the result, up to the first step. Returns the hooks of training.

        Raises Infeasible, InputError and Interrupted.
        """
        config, device, limits = self.job.config, self.bench.device, self.job.limits
        evaluation = config.evaluation
        check_precision(config.training, self.method, self.base.model.dtype, device)
        with self.clock.spent_on("base"):
            self.criterion.compute_base_log_probs(
                self.base.model,
                total_steps=self.plan.total_steps,
                batch_size=evaluation.batch_size,
                device=device,
                top_k=evaluation.top_k_logprobs,
                memory_gb=evaluation.cache_gb,
            )
        self.accelerator = accelerator_for(config.training.precision, device)

        def on_begin(step: int) -> None:
            self.watch.begin(self, step)

        def on_step(row: dict[str, Any]) -> None:
            self.clock.train_seconds = self.earlier.seconds + row["seconds"]
            self.watch.step(row)

        def on_evaluation(step: int) -> bool:
            values = self.watch.evaluate(self, step)
            check_limits(limits, self.clock)
            return step == 0 or not self.comparable(step) or control.decide(step, values)

        def first_stage(stage: FirstStage) -> Earlier:
            return self._first_stage(stage, control)

        began = time.perf_counter()
        self.model, self.earlier = adapt(
            self.job, self.method, self.base, self.inputs, self.plan, first_stage
        )
        synchronize(device)
        took = time.perf_counter() - began
        self.clock.preparation_seconds = max(0.0, took - self.earlier.seconds)
        if not self.bench.team.shards:  # a sharded model does not fit on one device
            with refusals(self.job, self.base):
                self.cautions += freeze_unreached_parameters(
                    self.model, self.inputs.train, device, self.accelerator.autocast()
                )
                check_generation(self.model, self.inputs.final.prompts, device)
        self.coverage = coverage(
            self.model, weights=self.base_weights, stacked=self.base_stacked_share
        )
        warning = caution(self.method, self.coverage.stacked_share)
        self.cautions += [warning] if warning else []
        if self.inputs.train.segments is not None:
            check_texts_apart(self.model, config.data.max_length, device)
        self.size = {**sizes(self.model), "percent_at_rate": self._percent_at_rate()}
        self.trained = {n for n, p in self.model.named_parameters() if p.requires_grad}
        check_size(limits, self.size)
        if not self.dry:
            needed = room_for(self.model, config.training)
            require_room(self.job.path, needed)
            checkpoints.expect_bytes(needed)
        return Hooks(
            on_begin=on_begin,
            on_step=on_step,
            on_evaluation=on_evaluation,
            on_checkpoint=self.watch.flush,
            stopping=control.stopping,
        )

    def _percent_at_rate(self) -> float:
        """Return the percentage of trained parameters with at least 1 % of the learning rate."""
        training = self.job.config.training
        groups = self.method.parameter_groups(self.model, training.learning_rate, self.plan)
        groups = with_own_rates(groups, training.learning_rate_of, self.model)
        return round(percent_at_rate(groups, training.learning_rate), 6)


def _plan(job: Job, inputs: Inputs, per_epoch: int, device: str) -> AdaptContext:
    training = job.config.training
    steps = training.max_steps
    if steps is None:
        assert training.epochs is not None
        steps = max(1, round(training.epochs * per_epoch))
    return AdaptContext(
        total_steps=steps,
        steps_per_epoch=per_epoch,
        tokenizer=inputs.tokenizer,
        train=inputs.train,
        seed=job.config.seed,
        device=device,
    )
