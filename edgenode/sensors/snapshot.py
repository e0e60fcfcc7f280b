"""Freezing a window: from channel patterns to the bytes that a step sees, and that a receipt names."""

from __future__ import annotations

from collections.abc import Sequence

from edgenode.config import SamplesConfig
from edgenode.errors import NoSuchChannelError
from edgenode.formats.frame import encode_frame
from edgenode.records import Channel, Completeness, Snapshot, Window, digest, matches
from edgenode.sensors.samples import Samples


def freeze(samples: Samples, patterns: Sequence[str], window: Window, limits: SamplesConfig) -> Snapshot:
    """The snapshot of the window over all channels that fit a pattern, by name; a channel without samples has an empty series.

    Raises NoSuchChannelError when nothing fits, or nothing fits a pattern without ``*``; LimitError samples.window_samples; StorageError.
    """
    channels = expand(patterns, samples.known())
    selection = samples.select([channel.name for channel in channels], window, limits.window_samples)
    frame = encode_frame(selection.series)
    return Snapshot(
        window,
        frame,
        digest(frame),
        tuple(channel.name for channel in channels),
        Completeness(
            received=sum(map(len, selection.series)),
            expected=expected(channels, window),
            dropped=selection.dropped,
        ),
    )


def expand(patterns: Sequence[str], known: Sequence[Channel]) -> list[Channel]:
    """The known channels that fit any of the patterns, in the order of their names. Raises NoSuchChannelError as freeze."""
    names = {channel.name for channel in known}
    for pattern in patterns:
        if "*" not in pattern and pattern not in names:
            raise NoSuchChannelError(f"no channel {pattern}")
    found = [channel for channel in known if any(matches(pattern, channel.name) for pattern in patterns)]
    if not found:
        raise NoSuchChannelError(f"no channel fits {', '.join(patterns) or 'no pattern'}")
    return sorted(found, key=lambda channel: channel.name)


def expected(channels: Sequence[Channel], window: Window) -> int | None:
    """How many samples the window should hold: None where a channel's interval is not known.

    Each channel counts the whole intervals in the window: what is there whatever the phase of its polls.
    """
    total = 0
    for channel in channels:
        if not channel.interval_ns:
            return None
        total += (window.end_ns - window.start_ns) // channel.interval_ns
    return total
