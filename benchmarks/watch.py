"""Watches a training run from outside: the clock after every step and the losses, for our Trainer and Hugging Face's alike."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any


def clock() -> tuple[float, float]:
    """Wall and processor time."""
    return time.perf_counter(), time.process_time()


@dataclass
class Watch:
    """The clock before the first step and after every one, and the losses that were said."""

    marks: list[tuple[float, float]] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def mark(self) -> None:
        self.marks.append(clock())

    def listen(self, name: str, facts: dict[str, Any]) -> None:
        """Listener of our Trainer's events."""
        if name == "metrics":
            self.mark()
            self.losses.append(facts["loss"])

    def callback(self) -> Any:
        """The same for Hugging Face's Trainer, which says losses only when it logs."""
        import transformers

        watch = self

        class Callback(transformers.TrainerCallback):
            def on_step_end(self, *_: Any, **__: Any) -> None:
                watch.mark()

            def on_log(self, *_: Any, logs: dict[str, float], **__: Any) -> None:
                if "loss" in logs:
                    watch.losses.append(logs["loss"])

        return Callback()
