"""The `train` section of a recipe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from ftheta.core.config import Config, Slot, slot
from ftheta.training.optimizers import OPTIMIZERS
from ftheta.training.optimizers.optimizer import OptimizerConfig
from ftheta.training.schedules import SCHEDULES, Schedule


class Average(Config):
    """A running average of the parameters, used for evaluation and as the final model (Polyak & Juditsky 1992)."""

    decay: float = Field(default=0.999, gt=0, lt=1)
    """Share of the average kept at each step; smaller in the first steps."""


class CheckpointConfig(Config):
    """When states are saved, and which are kept."""

    every: int | None = Field(default=None, gt=0)
    """Steps between checkpoints; none: only at the end, when stopped, and when validation improves."""
    minutes: float | None = Field(default=5.0, gt=0)
    """Minutes between checkpoints."""
    keep: int = Field(default=2, ge=1)
    """How many of the newest are kept; the best and the pinned are always kept."""
    pin_every: int | None = Field(default=None, gt=0)
    """Checkpoints at multiples of this step are never removed."""
    asynchronous: bool = True
    """Write in the background while training goes on."""


class Validation(Config):
    """The objective's loss on the validation split, during training."""

    every: int = Field(default=200, gt=0)
    """Steps between validations."""
    batches: int = Field(default=20, gt=0)
    """How many batches of the validation split are looked at, always the same ones."""


class EarlyStop(Config):
    """Stop when validation no longer improves, and keep the best parameters."""

    patience: int = Field(default=5, gt=0)
    """Validations without improvement before stopping."""


BUDGETS = ("steps", "epochs", "tokens", "minutes", "flops")
"""The fields of TrainConfig of which one says how long."""


class TrainConfig(Config):
    """How long, with which steps, how exactly and how safely."""

    steps: int | None = Field(default=None, gt=0)
    """Budget: optimizer steps."""
    epochs: float | None = Field(default=None, gt=0)
    """Budget: passes over the training split."""
    tokens: int | None = Field(default=None, gt=0)
    """Budget: tokens (or examples, where there are no tokens)."""
    minutes: float | None = Field(default=None, gt=0)
    """Budget: minutes of training, validation and saving not counted."""
    flops: float | None = Field(default=None, gt=0)
    """Budget: floating point operations of forward and backward passes, so that unlike models can be compared at equal work."""
    batch: int | None = Field(default=None, gt=0)
    """Examples in one step, over all micro-batches and processes."""
    batch_tokens: int | None = Field(default=None, gt=0)
    """Tokens in one step, instead of `batch`."""
    micro_batch: int | None = Field(default=None, gt=0)
    """Examples in one forward pass of one process; the step's gradient does not depend on it."""
    optimizer: Annotated[OptimizerConfig, Slot(OPTIMIZERS)] = slot("adamw")
    """How parameters move."""
    players: dict[str, Annotated[OptimizerConfig, Slot(OPTIMIZERS)]] = Field(default={})
    """Another optimizer for a player of an objective with several."""
    schedule: Annotated[Schedule, Slot(SCHEDULES)] = slot("linear_decay")
    """How the rate changes over the budget."""
    clip: float | None = Field(default=1.0, gt=0)
    """Largest norm of the gradient; larger ones are scaled down."""
    average: Average | None = None
    """Running average of the parameters."""
    statistics: int | None = Field(default=None, gt=0)
    """Batches of training data, as they are in training, over which batch norm's running statistics are worked out anew at the end; none: they stay as they are."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Type of activations and products; parameters stay float32. `auto` measures both and takes the faster."""
    compile: Literal["auto", "always", "never"] = "auto"
    """torch.compile of the layers; `auto` does so on a GPU."""
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    """Where to compute."""
    threads: int | None = Field(default=None, gt=0)
    """Processor threads; none: torch's choice. Small networks are faster with 1."""
    workers: int = Field(default=1, ge=0)
    """Threads that prepare batches ahead."""
    log_every: int = Field(default=10, gt=0)
    """Steps between lines of metrics.jsonl."""
    show_every: int | None = Field(default=None, gt=0)
    """Steps between looks at what the model makes by then: what `samples`, `generated` and `evidence` of `evaluate` have to show; none: at the end only."""
    validation: Validation | None = Validation()
    """Validation during training; none where there is no validation split."""
    early_stop: EarlyStop | None = None
    """Stop before the budget is used up when validation no longer improves."""
    checkpoint: CheckpointConfig = CheckpointConfig()
    """Saving."""
    on_nonfinite: Literal["stop", "skip", "rollback"] = "stop"
    """When a loss or gradient is not finite: stop; leave the step out; or go back to the last checkpoint and leave its data out."""

    @model_validator(mode="after")
    def one_budget(self) -> TrainConfig:
        given = [name for name in BUDGETS if getattr(self, name) is not None]
        if len(given) > 1:
            raise ValueError(f"give one budget, not {' and '.join(given)} (set the others to null)")
        if self.batch and self.batch_tokens:
            raise ValueError("give batch or batch_tokens, not both (set the other to null)")
        return self
