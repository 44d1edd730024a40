"""`python -m train`: the command line of training."""

import os

# Before Keras is imported: it silences the remarks of C++ libraries about the processor.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from train.cli import main

if __name__ == "__main__":
    main(prog_name="python -m train")
