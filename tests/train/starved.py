"""The program of a rank that asks for more memory than any machine has, in the middle of its steps.

python -m tests.train.starved DIRECTORY      otherwise it is `flan run DIRECTORY`
"""

import sys
from pathlib import Path

from flan.run import run
from tests.train.cells import Breakage, Fault

if __name__ == "__main__":
    Breakage(Fault(kind="out_of_memory", calls=26))
    sys.exit(run(Path(sys.argv[1])))
