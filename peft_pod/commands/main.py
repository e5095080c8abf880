"""Entry point of the console script: one verb, one file."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module

from peft_pod.signals import exiting_on_sigterm

VERBS = {
    "train": "train a model on a corpus, evaluate it, and save it",
    "evaluate": "evaluate a saved run beside the baselines",
    "compare": "test whether one run is better than another, or than a baseline",
    "pictures": "draw for whom a saved run finds items, what its prompts are near to, and who looks at them",
    "recommend": "recommend items to users of a saved run",
    "audit": "look for whatever gives the held-out items of a corpus away",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `peft-pod VERB ...`.

    Args:
        arguments: without the program's name; by default those of the process.

    Returns:
        The exit status: 0, or 2 where the arguments or the data cannot be used (the message goes to standard error).
            `audit` gives 1 where something leaks. SIGTERM ends it with 143, Ctrl-C with 130.
    """
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_usage())
        return 0 if arguments else 2
    verb, *rest = arguments
    if verb == "--version":
        from peft_pod.version import __version__

        print(__version__)
        return 0
    if verb not in VERBS:
        print(f"peft-pod: unknown verb {verb!r}\n\n{_usage()}", file=sys.stderr)
        return 2
    # Said by transformers of a call that PEFT makes; nobody who runs the command can act on it.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing` is deprecated", category=FutureWarning)
    # The verbs import torch and transformers, which takes seconds that --help should not take.
    command = import_module(f"peft_pod.commands.{verb}")
    try:
        with exiting_on_sigterm():
            status = command.run(rest)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"peft-pod {verb}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"peft-pod {verb}: interrupted", file=sys.stderr)
        return 130
    return status or 0


def _usage() -> str:
    verbs = "\n".join(f"  {verb:<10} {what}" for verb, what in VERBS.items())
    return f"usage: peft-pod VERB [options]\n\n{verbs}\n\n`peft-pod VERB --help` lists the options of a verb."
