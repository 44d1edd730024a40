"""Print the files that are FAKE with a probability of 90% or more; exit with 1 if there are any.

Run it with: python examples/flag_fakes.py FILE...
"""

import sys

from edge import Classifier
from edge.errors import ImageError

LEAST_CONFIDENCE = 0.9

found = False
with Classifier.load() as classifier:
    for path in sys.argv[1:]:
        try:
            verdict = classifier.classify(path)
        except ImageError as error:
            print(error, file=sys.stderr)
            continue
        if verdict.label == "FAKE" and verdict.confidence >= LEAST_CONFIDENCE and verdict.outside is None:
            print(f"{verdict.confidence:.1%}  {verdict.path}")
            found = True
sys.exit(found)
