"""`python -m convert`: the command line of conversion."""

import os

# Before TensorFlow is imported: it silences the remarks of C++ libraries about the processor.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from convert.cli import main

if __name__ == "__main__":
    main()
