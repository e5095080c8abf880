"""`python -m peft_pod VERB ...`, which is `peft-pod VERB ...`: `accelerate launch -m peft_pod train ...` starts it."""

import sys

from peft_pod.commands import main

if __name__ == "__main__":
    sys.exit(main())
