"""`python -m train`: the command line of training."""

import os

# Before Keras is imported: its C++ libraries greet on stderr otherwise.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

from train.cli import main

if __name__ == "__main__":
    main(prog_name="python -m train")
