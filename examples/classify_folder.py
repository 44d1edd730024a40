"""Classify every picture of a folder, four at a time, and print one line of JSON for each.

Run it with: python examples/classify_folder.py FOLDER
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edge import Classifier
from edge.errors import ImageError

with Classifier.load() as classifier, ThreadPoolExecutor(4) as threads:

    def line(path: Path) -> str:
        """The verdict, or the reason why there is none."""
        try:
            return json.dumps(classifier.classify(path).as_json())
        except ImageError as error:
            return json.dumps({"path": str(path), "error": error.reason})

    for text in threads.map(line, sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_file())):
        print(text)
