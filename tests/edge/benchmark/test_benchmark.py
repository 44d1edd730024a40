"""`edge-detect benchmark`: its report, and that it changes nothing. Speed itself is not tested."""

import json
import os
import re
import signal
import statistics
import subprocess
from pathlib import Path

import pytest

from edge.benchmark import machine, run
from edge.benchmark.commands import Backlog, Limit, Reached, nearest_folder
from edge.benchmark.report import table, text
from edge.benchmark.rounds import Round, Spread, Timing, measure, steps
from edge.benchmark.workload import copies, of_folder
from edge.board import Board
from edge.errors import BenchmarkError
from tests.conftest import MODELS, Run, command, environment, picture, samples
from tests.support.delegates import compiled
from tests.support.photos import ROUTED, two_models

pytestmark = pytest.mark.timeout(240)  # they measure, whatever else runs

PHOTO_LIKE = ROUTED[1]
STAGES = {"read", "decode", "quantise", "invoke", "digest and record", "all of these"}
QUICK = ("--seconds", "0.1", "--threads", "1")


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def test_images_stay_unchanged(edge_detect: Run, inbox: Path, tmp_path: Path, brightness: Path) -> None:
    samples(inbox)
    (inbox / "broken.jpg").write_text("no image")
    (inbox / "notes.txt").write_text("not for us")
    before = contents(inbox)
    (tmp_path / "state").mkdir()
    (tmp_path / "tmp").mkdir()
    settings = tmp_path / "settings.toml"
    settings.write_text(f'[watch]\nlog = "{tmp_path}/log.jsonl"\n[benchmark]\nstate = "{tmp_path}/state"\n')
    variables = environment(
        HOME=str(tmp_path / "home"),
        TMPDIR=str(tmp_path / "tmp"),
        EDGE_DETECT_SORT_INTO=str(tmp_path / "sorted"),
        EDGE_DETECT_ON_VERDICT=f"touch {tmp_path}/commanded",
    )
    arguments = ("--config", settings, "benchmark", "--images", inbox, "--json", "--model", brightness, *QUICK)
    done = edge_detect(*arguments, env=variables, timeout=230)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (workload,) = told["workloads"]
    assert (workload["images"], workload["bad"]) == (20, 1)
    assert set(workload["stages"]) == STAGES
    for timing in (*workload["stages"].values(), workload["decoding"], *told["invoke"].values()):
        assert 0 < timing["median_seconds"] <= timing["p95_seconds"]
        assert timing["per_second"] > 0
        assert timing["cpu_seconds"] >= 0
    assert list(told["invoke"]) == list(workload["watch"]) == ["1"]
    assert told["best_threads"] == 1
    limit = workload["limit"]
    assert (limit["cores"], limit["threads"], limit["on_coral"]) == (told["machine"]["cores"], 1, False)
    each = limit["cores"] / limit["decoding"] + 1 / limit["invoke"]  # seconds of one core
    assert limit["per_second"] == pytest.approx(limit["cores"] / each)
    assert limit["per_second"] < limit["decoding"]
    watched = workload["watch"]["1"]
    assert watched["per_second"] == statistics.median(watched["rates"])
    shares = [rate / most for rate, most in zip(watched["rates"], limit["rates"], strict=True)]
    assert len(shares) >= 3
    assert workload["share_of_limit"] == pytest.approx(statistics.median(shares))
    assert (workload["share_least"], workload["share_greatest"]) == pytest.approx((min(shares), max(shares)))
    assert watched["images"] >= 2
    assert watched["peak_bytes"] > 10_000_000
    ratios = {"ratio", "least_ratio", "greatest_ratio", "cpu_ratio"}
    assert set(told["start_up"]) == {"classify", "needed", "help", "peak_bytes"} | ratios
    assert told["start_up"]["least_ratio"] <= told["start_up"]["ratio"] <= told["start_up"]["greatest_ratio"]
    assert all(value > 0 for value in told["start_up"].values())
    assert told["network"]["model"] == workload["model"] == brightness.name
    assert (workload["views"], workload["most_views"]) == (1, 1)
    assert workload["invoke"] == told["invoke"]
    assert contents(inbox) == before
    assert not [*(tmp_path / "state").iterdir(), *(tmp_path / "tmp").iterdir()]
    for name in ("sorted", "log.jsonl", "commanded"):
        assert not (tmp_path / name).exists(), "the settings of `watch` are not for the benchmark"


def test_without_images_it_measures_generated_ones_and_prints_tables(edge_detect: Run, tmp_path: Path) -> None:
    done = edge_detect("benchmark", *QUICK, timeout=230)
    assert done.returncode == 0, done.stderr
    assert "no --images: measuring generated pictures" in done.stderr
    assert "generated thumbnails, 32 x 32" in done.stdout
    assert "generated photos, 4000 x 3000" in done.stdout
    assert done.stdout.count("watch reaches") == 2
    for stage in STAGES:
        assert len(re.findall(rf"^{stage} +[\d.]+ +[\d.]+ +[\d.]+ +[\d.]+$", done.stdout, re.MULTILINE)) == 2
    assert done.stdout.splitlines()[-1] == "best: --threads 1"
    assert (
        not [path for path in (tmp_path / "home").rglob("*") if path.is_file()] if (tmp_path / "home").exists() else 1
    )


def test_the_number_of_views_is_reported(edge_detect: Run, inbox: Path, tmp_path: Path) -> None:
    """That model is sure of white and black, and takes further views of a grey."""
    for number, grey in enumerate((245, 245, 10, 125)):
        picture(inbox / f"{number}.png", grey, (320, 240), seed=number)
    arguments = ("benchmark", "--images", inbox, "--state", tmp_path, "--model", PHOTO_LIKE, *QUICK)
    done = edge_detect(*arguments, timeout=230)
    assert done.returncode == 0, done.stderr
    assert f"{inbox}, 4 images of 4; by photo_like_int8.tflite" in done.stdout
    assert "views of an image: 7.0 judged on average, 13 decoded" in done.stdout  # (3 * 5 + 13) / 4
    assert "bare photo_like_int8.tflite, threads" in done.stdout


def test_images_of_a_folder_are_grouped_by_their_model(inbox: Path) -> None:
    for number, size in enumerate([(32, 32), (320, 240), (33, 32)]):
        picture(inbox / f"{number}.png", size=size, seed=number)
    thumbnails, photos = of_folder(inbox, two_models().choose)
    assert [Path(path).name for path in thumbnails.paths] == ["0.png", "2.png"]
    assert [Path(path).name for path in photos.paths] == ["1.png"]
    assert (thumbnails.input.model, photos.input.model) == (0, 1)
    assert photos.name.endswith("1 images of 3")


def test_each_model_is_measured_with_its_images(inbox: Path, tmp_path: Path) -> None:
    picture(inbox / "thumbnail.png", size=(32, 32))
    picture(inbox / "photo.png", 245, (320, 240))
    setup = run.Setup([1], lambda _: two_models(), lambda _: ["--no-unsure"], None, inbox, tmp_path, 0.1)
    measured = run.benchmark(setup)
    assert [(one.model, one.most_views) for one in measured.workloads] == [
        ("compact_int8.tflite", 1),
        ("photo_like_int8.tflite", 13),
    ]
    lines = list(text(measured))
    assert lines[1].startswith("compact_int8.tflite and photo_like_int8.tflite on ")
    assert len([line for line in lines if line.startswith("bare ")]) == 2
    told = measured.as_json()
    assert told["network"]["model"] == "compact_int8.tflite"
    assert [(one["model"], one["views"], one["most_views"], set(one["stages"])) for one in told["workloads"]] == [
        ("compact_int8.tflite", 1, 1, STAGES),
        ("photo_like_int8.tflite", 5, 13, STAGES),
    ]


def test_nothing_to_measure_is_a_one_line_error(edge_detect: Run, inbox: Path, tmp_path: Path) -> None:
    def refused(folder: Path) -> str:
        done = edge_detect("benchmark", "--images", folder, *QUICK)
        assert (done.returncode, done.stdout) == (2, "")
        return str(done.stderr.splitlines()[-1])

    assert refused(tmp_path / "nowhere").endswith("nowhere: no such folder")
    assert refused(inbox).endswith("inbox: no images in it")
    for name in ("a.jpg", "b.png"):
        (inbox / name).write_text("no image")
    assert refused(inbox).endswith("inbox: none of 2 images can be decoded")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_leaves_no_files_behind(
    inbox: Path, tmp_path: Path, brightness: Path, number: signal.Signals, status: int
) -> None:
    samples(inbox)
    for name in ("state", "tmp"):
        (tmp_path / name).mkdir()
    variables = environment(HOME=str(tmp_path), TMPDIR=str(tmp_path / "tmp"))
    words = command(
        "benchmark", "--images", inbox, "--seconds", "20", "--model", brightness, "--state", tmp_path / "state"
    )
    running = subprocess.Popen(words, env=variables, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr is not None
    said = []
    for line in running.stderr:
        said.append(line)
        if "the network" in line:
            break
    running.send_signal(number)
    output, errors = running.communicate(timeout=60)
    assert running.returncode == status, (said, errors)
    assert "Traceback" not in errors
    assert output == ""
    assert not [*(tmp_path / "state").iterdir(), *(tmp_path / "tmp").iterdir()]


def test_conditions_that_slow_a_board_are_warnings(tmp_path: Path) -> None:
    def write(name: str, text: str) -> None:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    imitated = Board(tmp_path, {"PATH": ""})
    assert machine.warnings(imitated, 0) == []
    write("sys/devices/platform/soc/soc:firmware/get_throttled", "50005\n")
    write("sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    write("sys/devices/system/cpu/cpu0/cpufreq/scaling_max_freq", "600000\n")
    write("sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq", "1800000\n")
    write("proc/loadavg", "99.50 3.00 1.00 2/300 4711\n")
    told = machine.warnings(imitated, 0)
    for fragment in ("reports: under-voltage", "reports: throttled", "powersave", "600 of 1800 MHz", "99.50"):
        assert len([line for line in told if fragment in line]) == 1, told
    write("sys/devices/platform/soc/soc:firmware/get_throttled", "50000\n")  # it was so before, and is no more
    assert machine.throttling(imitated) == []


def test_a_busy_processor_is_a_warning(tmp_path: Path) -> None:
    (tmp_path / "proc").mkdir()
    stat = tmp_path / "proc/stat"
    os.mkfifo(stat)  # read twice, with other numbers each time
    writer = subprocess.Popen(
        [
            "sh",
            "-c",
            f'echo "cpu 100 0 0 900 0 0 0 0 0 0" > "{stat}"; sleep 0.3; echo "cpu 150 0 0 930 0 0 0 20" > "{stat}"',
        ]
    )
    told = machine.warnings(Board(tmp_path, {"PATH": ""}), 0.2)
    writer.wait()
    assert told == [
        "other programs keep the processor 50% busy",
        "other virtual machines take 20% of the processor's time",
    ]


def test_board_name_and_thread_counts(tmp_path: Path) -> None:
    (tmp_path / "proc/device-tree").mkdir(parents=True)
    (tmp_path / "proc/device-tree/model").write_text("Raspberry Pi 4 Model B Rev 1.4\0")
    assert machine.machine(Board(tmp_path)).board == "Raspberry Pi 4 Model B Rev 1.4"
    assert [machine.thread_counts(cores) for cores in (1, 2, 3, 4, 6)] == [
        [1],
        [1, 2],
        [1, 2, 3],
        [1, 2, 4],
        [1, 2, 4, 6],
    ]


def test_timings_are_medians_of_turns_and_of_images() -> None:
    slow, usual = (Round(2, seconds, seconds / 2, (seconds / 2,) * 2) for seconds in (10.0, 1.0))
    timing = Timing((usual, slow, usual))
    assert (timing.per_second, timing.cpu_seconds) == (2.0, 0.25)
    assert (timing.median_seconds, timing.p95_seconds) == (0.5, 5.0)


def test_every_other_round_is_measured_in_reverse() -> None:
    called: list[str] = []

    def way(name: str) -> int:
        called.append(name)
        return 3

    measured = measure({name: steps(lambda name=name: way(name)) for name in "ab"}, 0.0, rounds=3)
    assert "".join(called) == "ab" + "ab" + "ba" + "ab"
    assert [turn.images for turn in measured["a"].rounds] == [3, 3, 3]


def test_images_are_selected_evenly_and_copied_repeatedly(inbox: Path, tmp_path: Path) -> None:
    for number in range(300):
        picture(inbox / f"{number:03}.png", size=(2, 2), seed=number)
    (chosen,) = of_folder(inbox)
    assert chosen.name.endswith("150 images of 300")
    assert Path(chosen.paths[-1]).name == "298.png"
    assert copies(chosen, tmp_path / "copies", 200) == 200
    assert len(list((tmp_path / "copies").iterdir())) == 200
    with pytest.raises(BenchmarkError, match="no such folder"):
        of_folder(tmp_path / "nowhere")


def test_the_nearest_existing_folder_is_found(tmp_path: Path) -> None:
    assert nearest_folder(tmp_path / "not" / "yet") == tmp_path
    assert nearest_folder(tmp_path) == tmp_path


def test_table_is_aligned() -> None:
    assert list(table(["", "ms"], [["read", "1.5"], ["decode", "10.0"]])) == [
        "          ms",
        "read     1.5",
        "decode  10.0",
    ]


def test_a_coral_is_measured_with_one_thread(edge_detect: Run, inbox: Path, tmp_path: Path) -> None:
    samples(inbox)
    library = compiled(tmp_path)
    options = ("--tpu", "--tpu-library", library, "--model", MODELS / "brightness_int8_edgetpu.tflite")
    done = edge_detect("benchmark", "--images", inbox, "--seconds", "0.1", "--json", *options, timeout=230)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert list(told["invoke"]) == list(told["workloads"][0]["watch"]) == ["1"]
    assert told["network"]["model"] == "brightness_int8_edgetpu.tflite"
    limit = told["workloads"][0]["limit"]
    assert limit["on_coral"]
    assert limit["per_second"] == min(limit["decoding"], limit["invoke"])


def test_the_limit_is_decoding_and_invoking_on_all_cores_and_nothing_else() -> None:
    # On four cores: 4 ms of one core to decode an image, 1 ms to invoke the network.
    assert Limit(decoding=1000, invoke=1000, cores=4).per_second == pytest.approx(4 / 0.005)
    # Two threads keep two cores busy; more threads than cores keep the cores busy, and no more.
    assert Limit(decoding=1000, invoke=1000, cores=4, threads=2).per_second == pytest.approx(4 / 0.006)
    assert Limit(decoding=1000, invoke=1000, cores=4, threads=8).per_second == pytest.approx(4 / 0.008)


def test_the_limit_with_a_coral_is_the_slower_of_decoding_and_the_coral() -> None:
    assert Limit(decoding=300, invoke=200, cores=4, on_coral=True).per_second == 200
    assert Limit(decoding=100, invoke=200, cores=4, on_coral=True).per_second == 100


def test_the_share_of_the_limit_is_that_of_the_same_round() -> None:
    watched = Backlog(10, (50.0, 90.0, 80.0), 1.0, 0.01, 1)
    reached = Reached((watched,), tuple(Limit(rate, 1e12) for rate in (100.0, 100.0, 200.0)))
    share = reached.share(watched)
    assert (share.median, share.least, share.greatest) == pytest.approx((0.5, 0.4, 0.9))
    assert watched.per_second == 80
    assert reached.limit.decoding == 100


def test_a_spread_is_the_median_the_least_and_the_greatest_value() -> None:
    assert Spread.of([3.0, 1.0, 9.0]) == Spread(3.0, 1.0, 9.0)
