"""Classify every tenth frame of a video or a webcam, and print when the label changes.

Install what it needs with: pip install 'edge-detect[camera]'
Run it with: python examples/watch_camera_frame.py clip.mp4, or with /dev/video0 in place of a file
"""

import sys

import av

from edge import Classifier

source = sys.argv[1]
label = ""
with Classifier.load() as classifier, av.open(source, format="v4l2" if source.startswith("/dev/") else None) as video:
    for number, frame in enumerate(video.decode(video=0)):
        if number % 10:
            continue
        pixels = frame.to_ndarray(format="rgb24")  # RGB, uint8, shape (height, width, 3)
        verdict = classifier.classify(pixels)
        if verdict.label != label:
            label = verdict.label
            print(f"frame {number}: {label} {verdict.confidence:.1%}", flush=True)
