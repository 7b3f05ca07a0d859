#!/bin/bash
# tensorboard 2.21.0, tensorboard-data-server 0.7.2
#
# Expected: an event SessionLog.START in an event file means that the run was restarted at its step, and TensorBoard
# forgets what older files say of that step and later ones ("--purge_orphaned_data", on by default; it is what
# SummaryWriter(purge_step=...) of other libraries writes).
# What happens: the default loader (the data server, --load_fast=auto) does not know the event: later points stay, unless
# the same tag is written again. The slow loader knows it but ignores the first START of a run, so that one START at the
# restart does nothing there either; only a second one purges.
#
# Output seen:
#   tensorboard 2.21.0
#   one START, at the restart : fast loader shows steps [10, 20, 30, 40], slow loader [10, 20, 30, 40]
#   START at begin and restart: fast loader shows steps [10, 20, 30, 40], slow loader [10, 20]
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q tensorboard==2.21.0 tensorboard-data-server==0.7.2 "setuptools<81"
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import logging
import sys
import time
from pathlib import Path

import tensorboard
from tensorboard.backend.event_processing import data_provider, plugin_event_multiplexer
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.context import RequestContext
from tensorboard.data import server_ingester
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import grpc_util

logging.disable(logging.WARNING)
START = SessionLog(status=SessionLog.START)


def write(path, events):
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for event in [Event(file_version="brain.Event:2"), *events]:
            event.wall_time = time.time()
            writer.write(event.SerializeToString())


def point(tag, step):
    return Event(step=step, summary=Summary(value=[Summary.Value(tag=tag, simple_value=1.0)]))


def run(folder, start_at_begin):
    folder.mkdir()
    begin = [Event(step=0, session_log=START)] * start_at_begin
    write(folder / "events.out.tfevents.1", [*begin, *(point("loss", step) for step in (10, 20, 30, 40))])
    write(folder / "events.out.tfevents.2", [Event(step=21, session_log=START), point("other", 25)])
    return folder


def steps(provider):
    for _ in range(100):
        runs = provider.read_scalars(RequestContext(), experiment_id="", plugin_name="scalars", downsample=100)
        tags = next(iter(runs.values()), {})
        if {"loss", "other"} <= set(tags):
            return [p.step for p in tags["loss"]]
        time.sleep(0.1)
    raise SystemExit("nothing was read")


def fast(folder):
    server = server_ingester.SubprocessServerDataIngester(
        server_ingester.get_server_binary(), str(folder), reload_interval=0,
        channel_creds_type=grpc_util.ChannelCredsType.LOCAL,
    )
    server.start()
    found = steps(server.data_provider)
    server._stdin_handle.close()
    return found


def slow(folder):
    multiplexer = plugin_event_multiplexer.EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(folder))
    multiplexer.Reload()
    return steps(data_provider.MultiplexerDataProvider(multiplexer, str(folder)))


print("tensorboard", tensorboard.__version__)
found = []
for i, words in enumerate(("one START, at the restart ", "START at begin and restart")):
    folder = run(Path(sys.argv[1]) / str(i), bool(i))
    found.append((fast(folder), slow(folder)))
    print(f"{words}: fast loader shows steps {found[-1][0]}, slow loader {found[-1][1]}")
everything = [10, 20, 30, 40]
sys.exit(found != [(everything, everything), (everything, [10, 20])])
PYTHON
