"""The `gptloom` command: one thin file per subcommand."""

import os

# Matrices of models this small gain nothing from several threads, whose waiting for one another
# makes them ten times slower on a busy machine.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
