"""What a run shows: log lines, TensorBoard, a trace, one summary."""

import errno
import json
import os
import re
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.small import Small, command
from tzrec.runtime.errors import UserError
from tzrec.runtime.world import World
from tzrec.training.checkpoint import Position, path_of
from tzrec.training.loop import append_line
from tzrec.training.report import Board, StepLog

ALL = ["loss", "learning_rate", "parameter", "gradient", "gradient_norm", "global_gradient_norm"]


def test_a_run_shows_all_that_was_asked_for(small: Small) -> None:
    edits = {
        "train_config.use_tensorboard": True,
        "train_config.tensorboard_summaries": ALL,
        "train_config.is_profiling": True,
        "train_config.keep_checkpoint_max": 1,
        "export_config": '{ exporter_type: "best" best_exporter_metric: "mrr" '
        "metric_larger_is_better: false }",
    }
    words = ("--pipeline_config_path", small.config, "--edit_config_json", json.dumps(edits))
    done = command("tzrec.train_eval", *words)
    assert done.returncode == 0, done.stderr
    line = r"^step 4/16 \| epoch 0\.13 \| \S+k rows/s \| waiting for data \d+% \| eta \S.* \| loss \d"
    assert re.search(line, done.stdout, re.M), done.stdout
    first, last = map(json.loads, (small.model / "train_eval_result.txt").read_text().splitlines())
    # The lower, the better, as this configuration has it: the first one, which learning leaves behind.
    assert first["mrr"] < last["mrr"]
    assert re.search(
        rf"^done: 16 steps, 1600 rows in .* rows/s.*, best mrr {first['mrr']:.4f} at step 8, "
        rf"checkpoint {path_of(small.model, 16)}$",
        done.stdout,
        re.M,
    ), done.stdout
    # One is kept, and the best one beside it.
    assert sorted(entry.name for entry in small.model.glob("model.ckpt-*")) == [
        "model.ckpt-16",
        "model.ckpt-8",
    ]
    events = EventAccumulator(str(small.model)).Reload()
    scalars = set(events.Tags()["scalars"])
    weight = "user_tower.output.weight"
    assert {"loss", "learning_rate/sparse", "global_gradient_norm", f"gradient_norm/{weight}"} <= scalars
    assert {f"parameter/{weight}", f"gradient/{weight}"} <= set(events.Tags()["histograms"])
    assert [event.step for event in events.Scalars("loss")] == [4, 8, 12, 16]
    whole = events.Scalars("global_gradient_norm")[0].value
    parts = [events.Scalars(tag)[0].value for tag in scalars if tag.startswith("gradient_norm/")]
    assert whole == pytest.approx(sum(part**2 for part in parts) ** 0.5, rel=1e-5)
    assert EventAccumulator(str(small.model / "eval_val")).Reload().Scalars("mrr")[1].value == pytest.approx(
        last["mrr"], rel=1e-6
    )
    trace = json.loads((small.model / "trace-0.json").read_text())
    steps = {event["name"] for event in trace["traceEvents"] if "ProfilerStep" in event.get("name", "")}
    assert len(steps) == 10


def test_the_share_of_waiting(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock by hand: data take 1 s a batch, a step 3 s; 4 batches of 50 rows in 16 s."""
    clock = [0.0]
    monkeypatch.setattr("tzrec.training.report.time.perf_counter", lambda: clock[0])

    def slow(count: int):
        for number in range(count):
            clock[0] += 1
            yield number

    log = StepLog(World(), Position(step=6), last_step=20)
    for _ in log.waiting(slow(4)):
        clock[0] += 3
        log.add(50, torch.tensor(2.0), torch.tensor(4.0))
    assert log.write(Position(10, 1, 5), 10, (0.1, 0.2)) == 0.5
    assert capsys.readouterr().out == (
        "step 10/20 | epoch 1.50 | 0.0k rows/s | waiting for data 25% | eta 40.0 s | loss 0.5000 | "
        "lr sparse 0.1 dense 0.2\n"
    )
    assert (log.all_rows, log.rows, log.waited) == (200, 0, 0.0)


def test_runs_of_any_length_have_a_trace(tmp_path: Path) -> None:
    from tzrec.training.report import Profile

    for steps in (1, 2, 5):
        path = tmp_path / f"{steps}.json"
        with Profile(path, steps) as profile:
            for _ in range(steps):
                torch.ones(3).sum()
                profile.step()
        assert json.loads(path.read_text())["traceEvents"]
    with Profile(tmp_path / "none.json", 0) as profile:
        profile.step()
    assert not (tmp_path / "none.json").exists()


def test_no_room_for_the_measures(tmp_path: Path) -> None:
    """A disk that is full in the middle of a line: the next line was glued to the part that had room."""
    path = tmp_path / "train_eval_result.txt"
    append_line(path, {"global_step": 8})
    held = path.read_bytes()
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Only in another process: everything that this one writes would have the limit.
    code = (
        "import resource, sys; from pathlib import Path; from tzrec.training.loop import append_line; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(held) + 5}, {limit[1]})); "
        "append_line(Path(sys.argv[1]), {'global_step': 16})"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=False)
    assert f"File too large: '{path}'" in done.stderr
    assert path.read_bytes() == held


def test_no_room_for_event_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A full disk under TensorBoard's files: half a traceback of its thread, and a line without a name."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tensorboard.summary.writer.record_writer.RecordWriter.write", refuse)
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)

    def report() -> None:
        board = Board(tmp_path, ("loss",))
        board.evaluation({"mrr": 0.5}, 8)

    with pytest.raises(UserError, match=r"events\.out\.tfevents.*: cannot be written \(No space left"):
        report()
    assert capfd.readouterr().err == ""
