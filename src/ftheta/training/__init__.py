"""Training: one trainer, its optimizers, schedules, checkpoints and events."""
