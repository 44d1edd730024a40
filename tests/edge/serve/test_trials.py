"""Results of Try are kept for some minutes, and no more of them than fit."""

from edge.serve.trials import KEPT_SECONDS, MOST_BYTES, MOST_TRIALS, Trials
from edge.verdict import Failure


def test_trial_is_kept_for_a_while() -> None:
    now = [0.0]
    trials = Trials(lambda: now[0])
    id_ = trials.add(Failure("a.jpg", "empty"), b"x")
    now[0] = KEPT_SECONDS - 1
    found = trials.get(id_)
    assert found is not None
    assert found.picture == b"x"
    now[0] = KEPT_SECONDS + 1
    assert trials.get(id_) is None


def test_oldest_trials_are_forgotten_beyond_the_number() -> None:
    trials = Trials()
    ids = [trials.add(Failure("a.jpg", "empty"), b"") for _ in range(MOST_TRIALS + 3)]
    assert [id_ for id_ in ids if trials.get(id_) is None] == ids[:3]


def test_oldest_trials_are_forgotten_beyond_the_bytes() -> None:
    trials = Trials()
    ids = [trials.add(Failure("a.jpg", "empty"), bytes(MOST_BYTES // 2)) for _ in range(3)]
    assert [id_ for id_ in ids if trials.get(id_) is None] == ids[:1]


def test_ids_cannot_be_guessed() -> None:
    trials = Trials()
    ids = {trials.add(Failure("a.jpg", "empty"), b"") for _ in range(50)}
    assert len(ids) == 50
    assert all(len(id_) >= 22 for id_ in ids)
