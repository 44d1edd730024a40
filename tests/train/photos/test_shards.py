"""Pieces of photos packed into shards and unpacked, and training by the clock."""

import json
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from edge.inference.model import LABELS
from train.checkpoint import ResumeError, Run, Settings
from train.cli import main
from train.photos.batches import Crops, CropSettings
from train.photos.clock import LAST_RATE, Clock
from train.photos.collection import Picture, shares
from train.photos.material import VALIDATION, Material, unpacked
from train.photos.pieces import SIDE, STORE, Pieces, Side
from train.photos.shards import Packing, ShardError, Store, pack, unpack

ROOT = Path("/collection")
COUNTS = {("REAL", "phone"): 20, ("REAL", "web"): 5, ("REAL", "film"): 1, ("FAKE", "one"): 9, ("FAKE", "two"): 4}
PER_PICTURE = 4
SHARD_BYTES = 900_000
HELD_OUT = {"validation": ["REAL/web/0.jpg"], "test": []}


def side(folder: Path, seed: int = 0) -> Side:
    """Pictures of five sources, and pieces of them in several sizes."""
    random = np.random.default_rng(seed)
    pictures = [
        Picture(ROOT / label / source / f"{number}.jpg", LABELS.index(label), source, f"{label}/{source}")
        for (label, source), count in COUNTS.items()
        for number in range(count)
    ]
    folder.mkdir(parents=True)
    sizes = []
    with (folder / STORE).open("wb") as store:
        for number in range(len(pictures) * PER_PICTURE):
            height, width = (SIDE, SIDE) if number % 3 else (150, SIDE - number % 50)
            coarse = Image.fromarray(random.integers(0, 256, (5, 5, 3), np.uint8)).resize((width, height))
            grainy = np.asarray(coarse, int) + random.integers(-6, 7, (height, width, 1))
            slot = np.zeros((SIDE, SIDE, 3), np.uint8)
            slot[:height, :width] = grainy.clip(0, 255)
            store.write(slot.tobytes())
            sizes.append((height, width))
    picture = np.repeat(np.arange(len(pictures), dtype=np.int32), PER_PICTURE)
    pieces = Pieces(folder / STORE, picture, np.array(sizes, np.int16), picture % 2 == 0)
    return Side(pictures, pieces, np.array(shares(pictures, {})))


def packed(of: Side, out: Path, name: str = "train", **options: Any) -> list[Path]:
    out.mkdir(exist_ok=True)
    settings: dict[str, Any] = {"root": ROOT, "shard_bytes": SHARD_BYTES, "most": 100} | options
    return [path for path, *_ in pack(name, of, out, Packing(**settings))]


def taken(shards: list[Path], out: Path) -> list[int]:
    return [pieces for _, pieces in unpack(shards, out, processes=1)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Side:
    return side(tmp_path_factory.mktemp("whole") / "train")


@pytest.fixture(scope="module")
def shards(whole: Side, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return packed(whole, tmp_path_factory.mktemp("shards"))


@pytest.fixture(scope="module")
def validation(whole: Side, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return packed(
        whole,
        tmp_path_factory.mktemp("validation"),
        VALIDATION,
        most=1,
        together=3,
        held_out=HELD_OUT,
        shard_bytes=10**8,
    )


def sources_in(shard: Path) -> set[tuple[int, str]]:
    with tarfile.open(shard) as tar:
        file = tar.extractfile("index.json")
        assert file
        index = json.load(file)
    return {tuple(index["sources"][index["pictures"][picture][0]][:2]) for picture, *_ in index["pieces"]}


def test_shards_respect_size_and_hold_every_piece(whole: Side, shards: list[Path]) -> None:
    assert len(shards) > 3
    assert all(0.7 * SHARD_BYTES < path.stat().st_size <= SHARD_BYTES for path in shards[:-1])
    members = 0
    for path in shards:
        with tarfile.open(path) as tar:
            members += len(tar.getnames()) - 1
    assert members == len(whole.pieces.picture)


def test_first_shard_has_every_source_and_balanced_classes(whole: Side, shards: list[Path], tmp_path: Path) -> None:
    everything = {(picture.label, picture.source) for picture in whole.pictures}
    assert sources_in(shards[0]) == everything
    taken(shards[:1], tmp_path)
    store = Store(tmp_path / "train")
    labels = np.array([picture.label for picture in store.pictures])[store.pieces().picture]
    assert 0.35 < labels.mean() < 0.65, "of the pictures 26 are real and 13 are not"


def test_repacking_writes_nothing_and_other_folder_gets_same_bytes(
    whole: Side, shards: list[Path], tmp_path: Path
) -> None:
    written = [path.stat().st_mtime_ns for path in shards]
    assert packed(whole, shards[0].parent) == shards
    assert [path.stat().st_mtime_ns for path in shards] == written
    for ours, theirs in zip(packed(whole, tmp_path, most=2), shards, strict=False):
        assert ours.read_bytes() == theirs.read_bytes()


def test_packing_continues_where_it_was_stopped(whole: Side, shards: list[Path], tmp_path: Path) -> None:
    first, second = packed(whole, tmp_path, most=2)
    second.write_bytes(second.read_bytes()[:5000])
    kept = first.stat().st_mtime_ns
    assert [path.read_bytes() for path in packed(whole, tmp_path, most=3)] == [path.read_bytes() for path in shards[:3]]
    assert first.stat().st_mtime_ns == kept


def test_unpacked_pieces_differ_only_by_the_loss_of_the_codec(whole: Side, shards: list[Path], tmp_path: Path) -> None:
    assert sum(taken(shards, tmp_path)) == len(whole.pieces.picture)
    store = Store(tmp_path / "train")
    pieces, opened, original = store.pieces(), store.pieces().opened(), whole.pieces.opened()
    by_path = {picture.path.relative_to(ROOT): number for number, picture in enumerate(whole.pictures)}
    met = set()
    for number, of in enumerate(pieces.picture):
        picture = store.pictures[of]
        candidates = np.flatnonzero(whole.pieces.picture == by_path[picture.path])
        errors = [float(np.mean((opened[number].astype(int) - original[one]) ** 2.0)) for one in candidates]
        match = int(candidates[np.argmin(errors)])
        met.add(match)
        assert min(errors) < 4, "mean squared error, in levels of 256: 42 dB or better"
        assert tuple(pieces.sizes[number]) == tuple(whole.pieces.sizes[match])
        assert pieces.lossless[number] == whole.pieces.lossless[match]
        assert (picture.label, picture.source, picture.group) == (
            whole.pictures[by_path[picture.path]].label,
            whole.pictures[by_path[picture.path]].source,
            whole.pictures[by_path[picture.path]].group,
        )
    assert len(met) == len(whole.pieces.picture)


def test_shards_unpacked_one_by_one_make_the_same_store(shards: list[Path], tmp_path: Path) -> None:
    taken(shards, tmp_path / "at-once")
    for shard in shards[:2]:
        taken([shard], tmp_path / "one-by-one")
    with (tmp_path / "one-by-one" / "train" / STORE).open("ab") as store:
        store.write(b"left by a call that was stopped")
    assert taken(shards, tmp_path / "one-by-one")[:2] == [0, 0]
    for name in (STORE, "pieces.json"):
        one, other = (tmp_path / way / "train" / name for way in ("at-once", "one-by-one"))
        assert one.read_bytes() == other.read_bytes()


@pytest.mark.parametrize("arrived", [1, None])
def test_draw_shares_equal_those_of_whole_collection(
    whole: Side, shards: list[Path], validation: list[Path], tmp_path: Path, arrived: int | None
) -> None:
    taken([*shards[:arrived], *validation], tmp_path)
    material = unpacked(tmp_path)
    assert material.training.shares.sum() == pytest.approx(1)

    def by_source(of: Side) -> dict[tuple[int, str], float]:
        found: dict[tuple[int, str], float] = {}
        for picture, share in zip(of.pictures, of.shares, strict=True):
            key = picture.label, picture.source
            found[key] = found.get(key, 0.0) + float(share)
        return found

    assert by_source(material.training) == pytest.approx(by_source(whole))


def test_validation_shard_has_the_first_pieces_of_each_picture_in_order(validation: list[Path], tmp_path: Path) -> None:
    taken(validation, tmp_path)
    store = Store(tmp_path / VALIDATION)
    picture = store.pieces().picture
    assert np.all(np.diff(picture) >= 0)
    assert set(np.bincount(picture)) == {3}
    assert store.held_out == HELD_OUT


def test_missing_side_reports_one_line_error(shards: list[Path], tmp_path: Path) -> None:
    taken(shards[:1], tmp_path)
    with pytest.raises(ShardError, match="validation: no pieces; unpack shards of both sides first"):
        unpacked(tmp_path)


@pytest.mark.parametrize("length", [0, 400, 5000, -12_000])
def test_truncated_shard_reports_its_name_and_adds_nothing(shards: list[Path], tmp_path: Path, length: int) -> None:
    broken = tmp_path / "train-001.tar"
    broken.write_bytes(shards[1].read_bytes()[:length])
    with pytest.raises(ShardError, match=r"train-001\.tar: not a whole shard, copy it again"):
        taken([broken], tmp_path / "out")
    taken(shards[:1], tmp_path / "out")


def test_shard_of_another_packing_is_refused(shards: list[Path], tmp_path: Path) -> None:
    taken(shards[:1], tmp_path / "out")
    other = packed(side(tmp_path / "other", seed=1), tmp_path / "others", most=2, seed=5)[1]
    with pytest.raises(ShardError, match="packed from other pictures or settings"):
        taken([other], tmp_path / "out")


def test_commands_pack_a_collection_and_unpack_it(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for name in ("REAL/a", "REAL/b", "REAL/c", "FAKE/d", "FAKE/e", "FAKE/f"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(2):
            pixels = random.integers(0, 256, (110, 120, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    runner, shards = CliRunner(), str(tmp_path / "shards")
    packing = ["pack", "--data", str(tmp_path / "photos"), "--out", shards, "--processes", "1"]
    result = runner.invoke(main, packing, catch_exceptions=False)
    assert result.exit_code == 0
    assert "train-000.tar: 4 pieces" in result.output
    assert "validation-000.tar: 4 pieces" in result.output
    out = str(tmp_path / "pieces")
    result = runner.invoke(main, ["unpack", shards, "--out", out, "--processes", "1"], catch_exceptions=False)
    assert result.exit_code == 0
    material: Material = unpacked(tmp_path / "pieces")
    assert material.counts == {"train": 4, "validation": 4, "test": 4}
    assert sorted(material.held_out[VALIDATION]) == sorted(
        picture.path.as_posix() for picture in material.validation.pictures
    )
    result = runner.invoke(main, ["unpack", str(tmp_path / "none.tar"), "--out", out, "--processes", "1"])
    assert result.exit_code == 2
    assert "no such file" in result.output


def test_run_by_the_clock_ends_when_no_further_epoch_fits() -> None:
    clock = Clock(minutes=1, minutes_of_call=None)
    assert not clock.ends_run([])
    assert not clock.ends_run([{"seconds": 20}, {"seconds": 20}])
    assert clock.ends_run([{"seconds": 20}, {"seconds": 21}])
    assert not Clock(minutes=0, minutes_of_call=None).ends_run([{"seconds": 1e9}])


def test_timed_call_ends_before_epoch_that_does_not_fit() -> None:
    assert not Clock(minutes=0, minutes_of_call=1).ends_call([{"seconds": 50}])
    assert Clock(minutes=0, minutes_of_call=1).ends_call([{"seconds": 61}])
    assert not Clock(minutes=0, minutes_of_call=None).ends_call([{"seconds": 1e9}])


def test_learning_rate_rises_and_reaches_minimum_at_last_epoch() -> None:
    clock = Clock(minutes=10, minutes_of_call=None)
    rates = [clock.rate([], seconds) for seconds in range(0, 600, 6)]
    assert rates[0] == 0
    assert max(rates) == pytest.approx(1, abs=0.01)
    assert rates[-1] == pytest.approx(LAST_RATE, abs=0.01)
    history = [{"seconds": 190.0}]  # two more fit, the last of which ends after 570 seconds
    assert clock.rate(history, 379.9) == pytest.approx(LAST_RATE, abs=0.001)
    assert clock.rate(history, 1000) == pytest.approx(LAST_RATE)


def test_checkpoint_of_another_backend_resumes_with_its_optimizer(tmp_path: Path) -> None:
    from train.backend import keras
    from train.photos.fit import _compiled, _resumed
    from train.recipes import RECIPES

    recipe, steps = RECIPES["photo"], 2
    settings = Settings("photo", "none", 2, 4, 1e-3, draws=8)
    trained = _compiled(recipe, settings, steps, recipe.build("none"))
    random = np.random.default_rng(0)
    gradients = [random.standard_normal(variable.shape, np.float32) for variable in trained.trainable_variables]
    trained.optimizer.apply([keras.ops.convert_to_tensor(value) for value in gradients], trained.trainable_variables)
    trained.save(tmp_path / "here.keras")
    with zipfile.ZipFile(tmp_path / "here.keras") as ours, zipfile.ZipFile(tmp_path / "there.keras", "w") as theirs:
        for name in ours.namelist():
            data = ours.read(name)
            if name == "config.json":
                config = json.loads(data)
                optimizer = config["compile_config"]["optimizer"]
                assert optimizer["class_name"] == "AdamW"
                optimizer |= {"module": "keras.src.backend.torch.optimizers.torch_adamw", "registered_name": "AdamW"}
                data = json.dumps(config).encode()
            theirs.writestr(name, data)

    resumed = _resumed(tmp_path / "there.keras", recipe, replace(settings, precision="mixed_bfloat16"), steps)
    assert resumed.get_layer("stem").compute_dtype == "bfloat16"
    for mine, kept in zip(resumed.get_weights(), trained.get_weights(), strict=True):
        assert np.array_equal(mine, kept)
    assert int(resumed.optimizer.iterations) == 1
    pairs = zip(resumed.optimizer.variables, trained.optimizer.variables, strict=True)
    assert all(np.array_equal(np.asarray(mine), np.asarray(kept)) for mine, kept in pairs)


def test_run_resumes_with_other_processes_and_precision_but_not_with_another_seed(tmp_path: Path) -> None:
    settings = Settings("photo", "none", 2, 4, 1e-3, draws=8, processes=14)
    Run(tmp_path, settings, {}, resume=False).write()
    (tmp_path / "checkpoint-0.keras").touch()
    Run(tmp_path, replace(settings, processes=2, precision="mixed_bfloat16"), {}, resume=True)
    with pytest.raises(ResumeError, match="began with another seed"):
        Run(tmp_path, replace(settings, seed=1), {}, resume=True)


def test_run_starts_from_the_weights_of_another_run(tmp_path: Path) -> None:
    from train.recipes import RECIPES
    from train.recipes.recipe import WeightsError

    network = RECIPES["photo"].build("none")
    network.save_weights(tmp_path / "epoch-1.weights.h5")
    network.save(tmp_path / "model.keras")
    for name in ("epoch-1.weights.h5", "model.keras"):
        begun = RECIPES["photo"].build(str(tmp_path / name))
        for mine, theirs in zip(begun.get_weights(), network.get_weights(), strict=True):
            assert np.array_equal(mine, theirs)
    (tmp_path / "damaged.keras").write_bytes(b"no zip")
    for name in ("missing.weights.h5", "damaged.keras"):
        with pytest.raises(WeightsError, match=f"{name}: not weights of this network"):
            RECIPES["photo"].build(str(tmp_path / name))


def test_abandoned_epoch_does_not_disturb_the_next_one(whole: Side) -> None:
    crops, others = (Crops(whole, CropSettings(size=32, batch_size=4, seed=0), processes=2) for _ in range(2))
    try:
        for number in range(3):
            next(iter(crops.epoch(number, 12)))
        for (images, _), (same, _) in zip(crops.epoch(3, 12), others.epoch(3, 12), strict=True):
            assert np.array_equal(images, same)
    finally:
        crops.close()
        others.close()
