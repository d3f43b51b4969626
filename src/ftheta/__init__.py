"""ftheta: any model is y = f(x; θ). One recipe, one command, one folder, for every family of models.

Importing the package is cheap: every verb is loaded when first used.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ftheta.lifecycle.bake_off import bake_off as bake_off
    from ftheta.lifecycle.certify import certify as certify
    from ftheta.lifecycle.checking import check as check
    from ftheta.lifecycle.checking import compatibility as compatibility
    from ftheta.lifecycle.compare import compare as compare
    from ftheta.lifecycle.corpora import diff_data as diff_data
    from ftheta.lifecycle.corpora import measure_tokenizers as measure_tokenizers
    from ftheta.lifecycle.corpora import run_data as run_data
    from ftheta.lifecycle.corpora import sample_data as sample_data
    from ftheta.lifecycle.corpora import search_data as search_data
    from ftheta.lifecycle.data_ablation import ablate_data as ablate_data
    from ftheta.lifecycle.export_model import export_model as export_model
    from ftheta.lifecycle.lifecycle import run as run
    from ftheta.lifecycle.listing import listing as listing
    from ftheta.lifecycle.plan import plan as plan
    from ftheta.lifecycle.showing import show_data as show_data
    from ftheta.lifecycle.using import answers as answers
    from ftheta.lifecycle.using import doctor as doctor
    from ftheta.lifecycle.using import evaluate as evaluate
    from ftheta.lifecycle.using import verify as verify
    from ftheta.models.folder import load as load
    from ftheta.models.folder import save as save
    from ftheta.models.importing import import_model as import_model
    from ftheta.serving.http.server import serve as serve
    from ftheta.web.ui import ui as ui

VERBS = {
    "ablate_data": "ftheta.lifecycle.data_ablation",
    "answers": "ftheta.lifecycle.using",
    "bake_off": "ftheta.lifecycle.bake_off",
    "certify": "ftheta.lifecycle.certify",
    "check": "ftheta.lifecycle.checking",
    "compare": "ftheta.lifecycle.compare",
    "compatibility": "ftheta.lifecycle.checking",
    "diff_data": "ftheta.lifecycle.corpora",
    "doctor": "ftheta.lifecycle.using",
    "evaluate": "ftheta.lifecycle.using",
    "export_model": "ftheta.lifecycle.export_model",
    "import_model": "ftheta.models.importing",
    "listing": "ftheta.lifecycle.listing",
    "load": "ftheta.models.folder",
    "measure_tokenizers": "ftheta.lifecycle.corpora",
    "plan": "ftheta.lifecycle.plan",
    "run": "ftheta.lifecycle.lifecycle",
    "run_data": "ftheta.lifecycle.corpora",
    "sample_data": "ftheta.lifecycle.corpora",
    "save": "ftheta.models.folder",
    "search_data": "ftheta.lifecycle.corpora",
    "serve": "ftheta.serving.http.server",
    "show_data": "ftheta.lifecycle.showing",
    "ui": "ftheta.web.ui",
    "verify": "ftheta.lifecycle.using",
}


if "OMP_WAIT_POLICY" not in os.environ:
    # OpenMP threads without work spin for about a millisecond unless told otherwise (before torch is loaded). On a machine that other programs use too, the spinning keeps
    # the thread that has work off its core: a training run was measured 14 times slower. A hundredth of that spinning costs nothing measurable on a machine to itself.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def __getattr__(name: str) -> Any:
    if name not in VERBS:
        raise AttributeError(f"module 'ftheta' has no attribute '{name}'")
    return getattr(importlib.import_module(VERBS[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *VERBS])
