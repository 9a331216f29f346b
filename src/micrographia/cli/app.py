"""The command `micrographia`: parses, calls one verb, and turns errors into one sentence and an exit code."""

import io
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from micrographia.cli.atlas import atlas
from micrographia.cli.claims import claims
from micrographia.cli.compare import compare
from micrographia.cli.convert import convert
from micrographia.cli.corpus import corpus
from micrographia.cli.doctor import doctor
from micrographia.cli.evaluate import evaluate
from micrographia.cli.heads import heads
from micrographia.cli.label import label
from micrographia.cli.lens import lens
from micrographia.cli.models import models
from micrographia.cli.overview import overview
from micrographia.cli.screen import complain
from micrographia.cli.trace import trace
from micrographia.cli.train import train
from micrographia.cli.view import view
from micrographia.cli.what_if import what_if
from micrographia.errors import MicrographiaError

__all__ = ["app", "main"]

_HELP = """A microscope for language models: look at what a model says layer by layer, at what each attention head
looks at, and change what happens inside.

Without --model every command uses the embedded SmolLM2-135M-Instruct, which needs no network.
Results go to stdout, progress and errors to stderr; --json gives every result to other programs.

Exit code: 0 done, 1 the work failed, 2 the call was wrong."""

app = App(
    name="micrographia",
    help=_HELP,
    help_format="markdown",
    version_flags=["--version"],
    suppress_keyboard_interrupt=False,
)
for verb in (
    trace,
    view,
    overview,
    what_if,
    compare,
    lens,
    heads,
    corpus,
    train,
    evaluate,
    atlas,
    label,
    convert,
    models,
    doctor,
):
    app.command(verb)
app.command(claims, name="test")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and leave with its exit code."""
    # Before torch is there: threads that spin while they wait take the core from the one they wait for.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal that cannot write ␣ gets \u2423
    try:
        app(arguments, exit_on_error=False, print_error=False)
    except CycloptsError as error:
        complain(f"{error} See micrographia --help.")
        sys.exit(2)
    except MicrographiaError as error:
        complain(str(error))
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        complain("interrupted.")
        sys.exit(130)
    except BrokenPipeError:
        _forsake_stdout()
        sys.exit(1)
    except OSError as error:
        complain(f"{error.strerror or error}{'' if error.filename is None else f': {error.filename}'}.")
        _forsake_stdout()
        sys.exit(1)


def _forsake_stdout() -> None:
    """What could not be written is not to be tried again when Python, as it ends, flushes stdout."""
    if sys.stdout is sys.__stdout__:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
