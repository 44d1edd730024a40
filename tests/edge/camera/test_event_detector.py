"""When something that a camera sees becomes an event, and when it is over."""

from hypothesis import given
from hypothesis import strategies as st

from edge.camera.event_detector import EventDetector, Rules, Step

PLAIN = Rules(enter=0.8, leave=0.5, smooth_seconds=0, least_seconds=1, cool_down_seconds=5, gap_seconds=10)


def told(
    events: EventDetector, probabilities: list[float], *, begin: float = 0.0, every: float = 0.5
) -> list[tuple[float, str]]:
    """What each frame brought, with its time."""
    found = []
    for number, probability in enumerate(probabilities):
        seconds = begin + number * every
        step = events.update(probability, seconds)
        found += [(seconds, "ended")] if step.ended else []
        found += [(seconds, "began")] if step.began else []
    return found


def test_an_event_begins_when_it_has_lasted_and_ends_at_the_lower_threshold() -> None:
    events = EventDetector(PLAIN)

    assert told(events, [0.1, 0.9, 0.7, 0.9, 0.6, 0.51, 0.5, 0.9]) == [(1.5, "began"), (3.0, "ended")]


def test_no_event_begins_with_a_frame_that_is_unsure_and_one_goes_on_with_it() -> None:
    events = EventDetector(PLAIN)

    assert events.update(0.9, 0.0, is_unsure=True) == events.update(0.9, 5.0, is_unsure=True) == Step()
    assert events.update(0.9, 6.0) == Step()
    assert events.update(0.9, 7.0, is_unsure=True).began is not None
    assert events.current is not None
    assert events.current.began == 6.0


def test_what_is_shorter_is_no_event() -> None:
    events = EventDetector(PLAIN)

    assert told(events, [0.9, 0.9, 0.4, 0.9, 0.9, 0.1]) == []


def test_a_value_between_the_thresholds_begins_nothing() -> None:
    assert told(EventDetector(PLAIN), [0.7] * 20) == []


def test_the_beginning_is_when_the_threshold_was_reached_and_the_peak_is_kept() -> None:
    events = EventDetector(PLAIN)
    told(events, [0.1, 0.85, 0.9, 0.99, 0.7])

    assert events.current is not None
    assert (events.current.began, events.current.last, events.current.peak) == (0.5, 2.0, 0.99)
    ended = events.end()
    assert ended is not None
    assert ended.seconds == 1.5


def test_only_a_higher_value_is_a_new_peak() -> None:
    events = EventDetector(PLAIN)
    told(events, [0.9, 0.9, 0.9])

    assert events.update(0.9, 1.5) == Step()
    assert events.update(0.95, 2.0).is_peak
    assert not events.update(0.93, 2.5).is_peak


def test_after_an_event_there_is_none_for_a_while() -> None:
    events = EventDetector(PLAIN)

    found = told(events, [0.9, 0.9, 0.9, 0.1, *[0.9] * 14])

    # Over at 1.5: what is seen from 6.5 on counts, and has lasted at 7.5.
    assert found == [(1.0, "began"), (1.5, "ended"), (7.5, "began")]


def test_frames_that_stay_away_end_an_event() -> None:
    events = EventDetector(PLAIN)
    told(events, [0.9, 0.9, 0.9])

    step = events.update(0.9, 30.0)

    assert step.ended is not None
    assert step.ended.last == 1.0
    assert step.began is None


def test_smoothing_goes_by_time_not_by_frames() -> None:
    slow, fast = EventDetector(Rules(smooth_seconds=2)), EventDetector(Rules(smooth_seconds=2))
    slow.update(0.0, 0.0)
    fast.update(0.0, 0.0)
    slow.update(1.0, 1.0)
    for tenth in range(1, 11):
        fast.update(1.0, tenth / 10)

    assert slow.smoothed is not None
    assert fast.smoothed is not None
    assert abs(slow.smoothed - fast.smoothed) < 1e-9
    assert abs(slow.smoothed - 0.3935) < 1e-4  # 1 - exp(-1/2)


def test_a_single_frame_that_flickers_is_smoothed_away() -> None:
    events = EventDetector(Rules(smooth_seconds=1, least_seconds=0))

    assert told(events, [0.1] * 10 + [1.0] + [0.1] * 10, every=0.1) == []


@given(
    st.lists(st.tuples(st.floats(0, 1), st.floats(0, 20)), max_size=80),
    st.floats(0.5, 1),
    st.floats(0, 0.5),
    st.floats(0, 5),
    st.floats(0, 5),
    st.floats(0, 20),
)
def test_beginnings_and_ends_take_turns(
    frames: list[tuple[float, float]], enter: float, leave: float, smooth: float, least: float, cool: float
) -> None:
    events = EventDetector(Rules(enter, leave, smooth, least, cool))
    seconds, is_on, over = 0.0, False, float("-inf")
    for probability, passed in frames:
        seconds += passed
        step = events.update(probability, seconds)
        assert 0 <= (events.smoothed or 0) <= 1
        if step.ended:
            assert is_on
            assert step.ended.peak >= enter
            assert step.ended.seconds >= least
            is_on, over = False, step.ended.last
        if step.began:
            assert not is_on
            assert step.began.began >= over + cool
            is_on = True
        assert (events.current is not None) == is_on
