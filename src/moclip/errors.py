"""The one family of errors that a user can mend, each a single line."""

# Why a video has no features. The reason is a word of this table; what was found goes into the detail.
REJECT_REASONS: dict[str, str] = {
    "missing": "the manifest names a file that is not there",
    "unreadable": "FFmpeg cannot open the file",
    "no_video_stream": "the file holds no video stream",
    "unsupported_codec": "no decoder for this codec",
    "no_frames": "not one frame could be decoded",
    "no_motion_vectors": "the codec wrote none, or none is exported for it",
    "too_short": "fewer frames than the stage needs",
    "decode_error": "decoding stopped at an error",
    "resolution_change": "the picture size changes inside the file",
    "encrypted": "the stream is encrypted",
    "crash": "the decoder crashed on it, twice",
    "timeout": "decoding took longer than it may",
    "out_of_memory": "decoding took more memory than it may",
}
# Those that another machine, or other limits, may not find: they are computed again with the shard that holds them.
MACHINE_REASONS = frozenset({"crash", "timeout", "out_of_memory"})


class MoclipError(Exception):
    """A fault that the user can mend: what was expected, what was found, where, and what to do, in one line."""


class ConfigError(MoclipError):
    """A key of the configuration is missing, unknown or out of range."""


class DatasetError(MoclipError):
    """The dataset's files and its lists do not agree."""


class ModelError(MoclipError):
    """A model or its weights are not what the configuration says."""


class ShardError(MoclipError):
    """A shard is missing, damaged, or was built for other keys than the ones expected."""


class VideoError(MoclipError):
    """A video yields no features, for a reason of `REJECT_REASONS`."""

    def __init__(self, *, reason: str, detail: str, video_id: str) -> None:
        """Store the parts and compose the one line.

        Raises:
            KeyError: `reason` is no key of `REJECT_REASONS`.
        """
        self.reason = reason
        self.detail = detail
        self.video_id = video_id
        super().__init__(f"video {video_id}: {reason} ({REJECT_REASONS[reason]}): {detail}")

    def __reduce__(self) -> tuple[object, ...]:
        """Let the error cross a process boundary, which needs its parts and not its line."""
        return _rebuild_video_error, (self.reason, self.detail, self.video_id)


def _rebuild_video_error(reason: str, detail: str, video_id: str) -> VideoError:
    return VideoError(reason=reason, detail=detail, video_id=video_id)
