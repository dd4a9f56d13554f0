"""A camera's thresholds, zones and times to ignore, and whether it still sees the same."""

import signal
from datetime import datetime, time, timezone
from threading import Event

import numpy as np
import pytest
from typer.testing import CliRunner
from watch_samples import FakeClock, archive, footage, models, watch

from kgvad.cli import app
from kgvad.errors import SettingsError, UsageError
from kgvad.explain.analysis.calibration import parse_rate, upper_limit
from kgvad.explain.analysis.events import EventRule
from kgvad.signals import Interrupted, ending_signals_raise
from kgvad.video.cameras import parse_cameras
from kgvad.video.frame_quality import shift_of
from kgvad.watch.calibration import CollectedRow, Collection, collect, evidence, hour_blocks, thresholds_from
from kgvad.watch.camera_settings import (
    CameraSettings,
    Ignored,
    read_settings,
    read_thresholds,
    thresholds_path,
    write_thresholds,
)
from kgvad.watch.scene_drift import SceneWatch, compare, scene_pictures
from kgvad.watch.watcher import set_on_signals

DAY_S, ROW_S = 86400, 16.0
RULE = EventRule(0.5, 0.35)
NOON = datetime(2026, 1, 5, 12, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def utc(monkeypatch):
    import time as clock

    monkeypatch.setenv("TZ", "UTC")
    clock.tzset()
    yield
    monkeypatch.undo()
    clock.tzset()


def rows(days, peaks=(), base=0.1):
    """Rows of whole days from midnight; ``peaks`` are (second, score)."""
    scores = np.full(round(days * DAY_S / ROW_S), base)
    for second, score in peaks:
        scores[int(second / ROW_S)] = score
    return [CollectedRow(i * ROW_S, (i + 1) * ROW_S, float(score)) for i, score in enumerate(scores)]


def learn(found, rate="1/day"):
    return thresholds_from("yard", models().run, found, parse_rate(rate), RULE)


def test_three_quiet_days_prove_one_alarm_a_day():
    found = learn(rows(3, [(40000, 0.3)]))
    (block,) = found.blocks
    assert found.is_proven and block.alarms == 0
    assert 0.3 < block.onset < 0.301
    assert block.limit_per_hour == pytest.approx(upper_limit(0, 72), rel=1e-4)
    (line,) = evidence(found, parse_rate("1/day"))
    assert line.startswith("all day: onset 0.3") and "0 alarms in 72 h; at most 0.999 per day" in line
    short = learn(rows(1, [(40000, 0.3)])[:3], "2/hour")
    assert "e+" not in evidence(short, parse_rate("2/hour"))[0]


def test_a_day_proves_nothing_of_the_kind_and_does_not_lower_the_threshold():
    found = learn(rows(1, [(40000, 0.3)]))
    assert not found.is_proven and found.blocks[0].onset == RULE.onset
    assert "1/day is not proven: that takes 71.9 h without an alarm, and there are 24 h" in evidence(
        found, parse_rate("1/day")
    )
    assert evidence(found, parse_rate("0/day"))[-1].endswith("is not proven: no amount of footage proves it")
    loud = learn(rows(1, [(40000, 0.8)]))
    assert 0.8 < loud.blocks[0].onset < 0.801


def test_hours_have_thresholds_of_their_own_where_there_is_enough():
    noon = [(12 * 3600 + day * DAY_S, 0.9) for day in range(10)]
    found = learn(rows(10, noon), "12/day")
    assert found.is_proven and len(found.blocks) > 1
    at_noon, at_night = (found.block_at(datetime(2026, 1, 5, hour, tzinfo=timezone.utc)) for hour in (12, 3))
    assert at_noon.onset > 0.9 > 0.2 > at_night.onset
    rule = found.rule_at(datetime(2026, 1, 5, 3, tzinfo=timezone.utc), RULE)
    assert rule.offset / rule.onset == pytest.approx(0.7)


def test_blocks_cover_the_day():
    assert hour_blocks([1.0] * 24, 5) == [(0, 4), (5, 9), (10, 14), (15, 23)]
    assert hour_blocks([1.0] * 24, 25) == [(0, 23)]
    assert hour_blocks([0.0] * 8 + [10.0] * 2 + [0.0] * 14, 5) == [(0, 8), (9, 23)]


def test_footage_is_collected_and_goes_on_after_an_interruption(tmp_path):
    (tmp_path / "clips").mkdir()
    footage(tmp_path / "clips" / "a.mp4")
    (camera,) = parse_cameras([f"yard={tmp_path / 'clips'}"])
    kept = Collection(tmp_path, "yard", models().run)
    collect(camera, models(), CameraSettings(), kept, 72, clock=FakeClock(), stop=Event())
    assert kept.hours * 3600 == pytest.approx(32, abs=1.7)
    assert max(row.score for row in kept.rows) > 0.9 and min(row.score for row in kept.rows) < 0.1
    with kept.path.open("a") as file:
        file.write("17")  # cut off by a kill
    again = Collection(tmp_path, "yard", models().run)
    again.add(kept.rows[-1])
    again = Collection(tmp_path, "yard", models().run)
    assert len(again.rows) == len(kept.rows) + 1 and again.rows[3].score == pytest.approx(kept.rows[3].score, abs=1e-5)
    clips = Collection(tmp_path, "yard", models().run, is_continued=False)
    clips.add(kept.rows[0])
    assert len(Collection(tmp_path, "yard", models().run).rows) == len(kept.rows) + 1, "those of the live camera stay"
    assert Collection(tmp_path, "yard", models().run, is_continued=False).rows == []


def test_rows_of_another_run_are_refused(tmp_path):
    (tmp_path / "yard.rows.csv").write_text("start,end,score,other\n")
    with pytest.raises(UsageError, match="another run"):
        Collection(tmp_path, "yard", models().run)


def test_thresholds_are_kept_and_used(tmp_path):
    (tmp_path / "clips").mkdir()
    footage(tmp_path / "clips" / "a.mp4")
    write_thresholds(tmp_path, learn(rows(3, [(40000, 0.95)])))
    found = read_thresholds(tmp_path, "yard")
    cameras = parse_cameras([f"yard={tmp_path / 'clips'}"])
    for calibrated, onset in ((found, 0.9501), (None, models().run.thresholds.onset)):
        messages = watch(cameras, once=True, calibrated=calibrated)
        assert {message.threshold for message in messages if message.kind == "open"} == {round(onset, 4)}
    messages = watch(cameras, archive(tmp_path / "out"), once=True, calibrated=found)
    report = (tmp_path / "out" / messages[-1].report).read_text("utf-8")
    assert "calibrated on 72.00 hours of ordinary footage from this camera" in report
    thresholds_path(tmp_path, "yard").write_text('{"version": 1}')
    with pytest.raises(UsageError, match="repeat kgvad calibrate"):
        read_thresholds(tmp_path, "yard")


def test_times_are_ignored(tmp_path):
    lunch = Ignored.model_validate({"from": "12:00", "to": "12:30", "days": ["mon", "tue"]})
    assert lunch.covers(NOON) and not lunch.covers(NOON.replace(minute=30))
    assert not lunch.covers(NOON.replace(day=7))
    night = Ignored.model_validate({"from": "22:00", "to": "05:00"})
    assert [night.covers(NOON.replace(hour=hour)) for hour in (21, 22, 4, 5)] == [False, True, True, False]


def test_zones_do_not_move(tmp_path):
    (tmp_path / "yard.toml").write_text("[[ignore]]\nzone = [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]\n")
    settings = read_settings(tmp_path, "yard")
    frames = np.random.default_rng(0).integers(0, 255, (3, 32, 48, 3)).astype(np.uint8)
    masked = settings.mask(frames)
    assert np.ptp(masked[:, :, :24].reshape(-1, 3), axis=0).max() == 0
    np.testing.assert_array_equal(masked[:, :, 26:], frames[:, :, 26:])
    assert frames[0, 0, 0].tolist() != masked[0, 0, 0].tolist()


@pytest.mark.parametrize(
    "text",
    [
        "[[ignore]]\nzone = [[0, 0], [2, 0], [1, 1]]",
        "[[ignore]]\nzone = [[0, 0]]",
        "[[ignore]]\nfrom = 12:00:00",
        "[[ignore]]\n",
        "[[ignored]]\n",
        "ignore = [",
        '[[ignore]]\nfrom = "12:00:00Z"\nto = 13:00:00\n',
        "[[ignore]]\nfrom = 12\nto = 13\n",
        "[[ignore]]\nfrom = 12:00:00\nto = 13:00:00\ndays = []\n",
    ],
)
def test_wrong_settings_are_one_line(text, tmp_path):
    (tmp_path / "yard.toml").write_text(text)
    with pytest.raises(SettingsError, match=r"yard\.toml"):
        read_settings(tmp_path, "yard")


def test_an_unknown_key_of_the_settings_is_named(tmp_path):
    (tmp_path / "yard.toml").write_text("[[ignored]]\n")
    with pytest.raises(SettingsError, match=r"yard\.toml: ignored: unknown key; correct the file"):
        read_settings(tmp_path, "yard")


def test_settings_that_cannot_be_read_are_one_line(tmp_path):
    (tmp_path / "yard.toml").mkdir()
    with pytest.raises(SettingsError, match=r"yard\.toml cannot be read"):
        read_settings(tmp_path, "yard")


def test_from_and_to_alike_are_a_whole_day():
    assert CameraSettings(ignore=(Ignored(start=time(0), end=time(0)),)).ignores(NOON)


def test_an_ignored_time_raises_no_alarm(tmp_path):
    (tmp_path / "clips").mkdir()
    footage(tmp_path / "clips" / "a.mp4")
    always = CameraSettings(ignore=(Ignored(start=time(0), end=time(12)), Ignored(start=time(12), end=time(0))))
    messages = watch(parse_cameras([str(tmp_path / "clips")]), archive(tmp_path / "out"), once=True, settings=always)
    assert [message.kind for message in messages] == ["camera"]


def texture(seed=0, size=(48 + 16, 64 + 16)):
    picture = np.random.default_rng(seed).random(size)
    for _ in range(3):  # smooth, as scenes are
        picture = (picture + np.roll(picture, 1, 0) + np.roll(picture, 1, 1) + np.roll(picture, -1, 1)) / 4
    return ((picture - picture.min()) / np.ptp(picture) * 200).astype(np.float32)


@pytest.fixture
def scene():
    big = texture()
    noise = np.random.default_rng(1)
    pictures = [big[8:56, 8:72] + noise.normal(0, 2, (48, 64)).astype(np.float32) for _ in range(3)]
    (found,) = scene_pictures([(NOON, picture) for picture in pictures])
    return big, found


def test_the_same_scene_is_no_drift(scene):
    big, known = scene
    assert compare(big[8:56, 8:72] + 3, known) is None


@pytest.mark.parametrize(("down", "right"), [(0, 4), (-3, 0), (5, -6)])
def test_a_moved_camera_is_found(scene, down, right):
    big, known = scene
    moved = big[8 - down : 56 - down, 8 - right : 72 - right]
    assert shift_of(moved, big[8:56, 8:72])[:2] == (down, right)
    assert compare(moved, known).startswith("moved:")


def test_darkness_and_other_scenes_are_found(scene):
    big, known = scene
    assert compare(big[8:56, 8:72] * 0.3, known).startswith("dark: the picture has")
    assert compare(texture(5)[8:56, 8:72], known).startswith("scene:")


def test_drift_is_said_once_an_hour(scene):
    big, known = scene
    seen, said = SceneWatch((known,), rows=2), []
    for minute in range(90):
        said.append(seen.push(NOON.replace(hour=12 + minute // 60, minute=minute % 60), big[8:56, 8:72] * 0.3))
    assert sum(one is not None for one in said) == 2
    assert "calibrate again" in next(one for one in said if one)


def test_the_command(tmp_path, monkeypatch):
    from kgvad import watching

    monkeypatch.setattr(watching, "live_models", lambda session: models())
    monkeypatch.setenv("KGVAD_CAMERAS", str(tmp_path / "cameras"))
    path = footage(tmp_path / "a.mp4")
    for _ in range(2):  # the same clip is not counted twice
        result = CliRunner().invoke(app, ["calibrate", f"yard={path}", "--false-alarms", "2/hour"])
        assert result.exit_code == 0, result.output
    found = read_thresholds(tmp_path / "cameras", "yard")
    assert result.stdout.strip() == str(thresholds_path(tmp_path / "cameras", "yard"))
    assert found.footage_h * 3600 == pytest.approx(32, abs=1.7) and found.rate == "2/hour" and not found.is_proven
    refused = CliRunner().invoke(app, ["calibrate", str(path), "--false-alarms", "2"])
    assert refused.exit_code != 0 and "write 1/day" in str(refused.exception)


def test_an_interrupted_calibration_on_clips_keeps_the_earlier_one(tmp_path, monkeypatch):
    """A few minutes of the clips would otherwise replace what all of them said."""

    def interrupted(_camera, _models, _settings, collection, _hours, *, clock, stop):
        collection.add(CollectedRow(0.0, 16.0, 0.1))
        stop.set()
        return []

    monkeypatch.setenv("KGVAD_CAMERAS", str(tmp_path))
    monkeypatch.setattr("kgvad.watch.calibration.collect", interrupted)
    monkeypatch.setattr("kgvad.watching.live_models", lambda _session: models())
    before = write_thresholds(tmp_path, learn(rows(3))).read_bytes()
    footage(tmp_path / "a.mp4")
    with pytest.raises(Interrupted):
        app(["calibrate", f"yard={tmp_path / 'a.mp4'}"], standalone_mode=False)
    assert thresholds_path(tmp_path, "yard").read_bytes() == before


def test_the_second_interrupt_does_not_wait():
    stop = Event()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with ending_signals_raise():
        set_on_signals(stop)
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(Interrupted):
            signal.raise_signal(signal.SIGINT)
