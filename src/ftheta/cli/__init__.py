"""The command line: one file per verb, each a call on the Python verb of the same name.

Nothing heavy is imported before a verb is carried out, so that `--help` is quick.
"""

from __future__ import annotations

import os
import sys
import traceback

import typer

from ftheta.cli.certify import certify
from ftheta.cli.chat import chat
from ftheta.cli.check import check
from ftheta.cli.compare import compare
from ftheta.cli.data import data
from ftheta.cli.doctor import doctor
from ftheta.cli.evaluate import evaluate
from ftheta.cli.export import export
from ftheta.cli.generate import generate
from ftheta.cli.import_ import import_
from ftheta.cli.list import list_
from ftheta.cli.plan import plan
from ftheta.cli.predict import predict
from ftheta.cli.run import run
from ftheta.cli.serve import serve
from ftheta.cli.ui import ui
from ftheta.cli.verify import verify
from ftheta.core.errors import FthetaError, Stopped
from ftheta.core.log import configure

app = typer.Typer(
    name="ftheta", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Any model is y = f(x; θ): one recipe, one command, one folder.\n\nExample: ftheta run python-lm",
)
for verb in (run, check, plan, certify, generate, chat, predict, serve, ui, export, evaluate, compare, verify, doctor):
    app.command()(verb)
app.command("list")(list_)
app.command("import")(import_)
app.add_typer(data)


def main() -> None:
    """The entry point. Exit codes: 0 done, 1 failed, 2 bad arguments or recipe, 143 stopped and resumable."""
    configure()
    try:
        app()
    except Stopped as stopped:
        fail(f"{stopped}; run the same command again to continue", Stopped.exit_code)
    except FthetaError as error:
        fail(f"error: {error}", error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())                    # the reader (head, less) has gone
        sys.exit(0)
    except Exception:
        fail(f"{traceback.format_exc()}\nerror: this is a fault in ftheta, not in your recipe; what was saved before is untouched", 1)


def fail(message: str, code: int) -> None:
    if os.environ.get("RANK", "0") == "0":
        print(message, file=sys.stderr)
    sys.exit(code)
