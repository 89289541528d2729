"""A pack: the members that still train, and what they share on one base."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from torch import nn

from harness.language import recorded
from harness.models.views import output_layer
from harness.records import heartbeat
from harness.training import schedules
from harness.training.hooks import Diverged, Interrupted
from harness.training.packed.layers import NotPackable, PackedLinear, Pass
from harness.training.packed.member import Member, put_on
from harness.training.packed.settings import shared
from harness.training.packed.stack import Stack

if TYPE_CHECKING:
    from collections.abc import Iterator


class Pack:
    """Members that still train, their stacked weights, and the packed layers of their base."""

    def __init__(self, members: Sequence[Member]) -> None:
        self.members, self.base = list(members), members[0].base
        self.now = Pass()
        names = set(members[0].layers)
        if any(set(member.layers) != names for member in members):
            raise NotPackable("their adapters are on different layers")
        if any(layer.base_layer is output_layer(self.base) for layer in members[0].layers.values()):
            raise NotPackable("the output layer has an adapter")
        if any(shared(member.config) != shared(members[0].config) for member in members):
            raise NotPackable("their settings of training differ in more than a pack allows")
        if len({member.context.total_steps for member in members}) > 1:
            raise NotPackable("their numbers of steps differ")
        self.stack = Stack([member.parameters for member in members])
        self._attach()

    def _attach(self) -> None:
        """Build the packed layers of the present members."""
        self._layers: dict[str, nn.Module] = {}
        for number, (name, own) in enumerate(self.members[0].layers.items()):
            a, b = self.stack.parameters[2 * number : 2 * number + 2]
            self._layers[name] = PackedLinear(own.base_layer, a, b, name, self.members, self.now)
        for k, member in enumerate(self.members):
            member.weights_are_in(self.stack, k)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Context in which the base has the packed layers, in training mode."""
        plain = {name: layer.base_layer for name, layer in self.members[0].layers.items()}
        self._place()
        try:
            yield
        finally:
            put_on(self.base, plain)

    def _place(self) -> None:
        put_on(self.base, self._layers)
        self.base.train()

    def for_each(self, do: Callable[[Member], None]) -> None:
        """Call ``do`` for every member, with its own random numbers."""
        for member in self.members:
            with member.own_random():
                do(member)

    def evaluate(self, step: int) -> None:
        """Evaluate each member alone. Those that are pruned or fail leave."""
        leaving = []
        for member in self.members:
            member.copy_weights()
            try:
                with member.alone():
                    go = member.hooks.on_evaluation(step)
            except heartbeat.WorkStopped:
                self.leave(leaving)  # they have ended, and write no checkpoint
                self.for_each(lambda member: member.saver.save())
                raise Interrupted(f"stopped in the evaluation after step {step}") from None
            except Interrupted:
                raise
            except Exception as error:
                member.error = error
                leaving.append(member)
                continue
            member.progress.evaluated = step
            if not go and step:
                member.progress.pruned = True
                leaving.append(member)
        self.leave(leaving)
        self._place()

    def leave(self, leaving: Sequence[Member]) -> None:
        """Take members out of the pack, with their present weights. The others do not change."""
        if not leaving:
            return
        for member in leaving:
            member.take_weights()
        stays = [k for k, member in enumerate(self.members) if member not in leaving]
        self.members = [self.members[k] for k in stays]
        if self.members:
            self.stack.keep(stays)
            self._attach()
            self._place()

    def finish_step(
        self, step: int, rows: dict[int, tuple[dict[str, float], int]], seconds: float
    ) -> None:
        """Report a step to its members. ``seconds`` are divided equally among them."""
        leaving = []
        for member in self.members:
            numbers, n_tokens = rows[id(member)]
            progress = member.progress
            progress.step = step + 1
            progress.seconds += seconds / len(rows)
            progress.tokens += n_tokens
            scale = schedules.factor(member.config, step, member.context.total_steps)
            row = {"step": step + 1, **numbers}
            row |= {"learning_rate": member.config.learning_rate * scale}
            row |= {"tokens": progress.tokens, "seconds": round(progress.seconds, 4)}
            try:
                member.hooks.on_step(row)
            except Interrupted:
                raise
            except Exception as error:
                member.error = error
                leaving.append(member)
        self.leave(leaving)

    def end(self) -> None:
        """Check the final weights of the members that trained to the end, and let them leave."""
        for member in self.members:
            member.take_weights()
            if not all(bool(parameter.isfinite().all()) for parameter in member.parameters):
                step = member.progress.step
                reason = recorded("a parameter became NaN or infinite at step {step}", step=step)
                member.error = Diverged(step, reason)
