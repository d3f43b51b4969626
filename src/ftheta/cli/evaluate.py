"""`ftheta evaluate`: measure a model again."""

from __future__ import annotations

import ftheta
from ftheta.cli.arguments import ModelArgument, SetOption
from ftheta.cli.show import interval


def evaluate(
    model: ModelArgument,
    set_: SetOption = [],  # noqa: B006
) -> None:
    """Measure a model on the test split of the recipe that made it; --set changes the recipe's evaluate section.

    Example: ftheta evaluate runs/python-lm/model --set "evaluate=[{kind: bits_per_byte, stride: 256}]"
    """
    found = ftheta.evaluate(model, changes=set_)
    for m in found.measurements:
        print(f"{m.name}: {m.value:.4g}  ({interval(m.low, m.high)}, {m.n} {m.unit}s, {m.method}, seed {m.seed})")
        for name, value in m.baselines.items():
            print(f"  {name}: {value:.4g}")
    for title, text in found.texts.items():
        print(f"\n{title}:\n{text}")
