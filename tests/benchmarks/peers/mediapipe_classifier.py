"""MediaPipe's ImageClassifier."""

from protocol import Classify, run


def load(model: str) -> Classify:
    import mediapipe
    from mediapipe.tasks import python as tasks
    from mediapipe.tasks.python import vision

    options = vision.ImageClassifierOptions(base_options=tasks.BaseOptions(model_asset_path=model))
    classifier = vision.ImageClassifier.create_from_options(options)

    def classify(path: str) -> float:
        result = classifier.classify(mediapipe.Image.create_from_file(path))
        return float(result.classifications[0].categories[0].score)

    return classify


run(load)
