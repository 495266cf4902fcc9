"""Encrypted videos are refused, whether or not FFmpeg notices the encryption."""

from pathlib import Path

import av
import numpy as np
import pytest

from moclip.errors import VideoError
from moclip.video.frames import read_frames
from moclip.video.motion_vectors import read_motion
from moclip.video.protection import is_protected
from tests.unit.video.test_motion_vectors import encode_as, pan, render

KEY = "00112233445566778899aabbccddeeff"
ENCRYPTED = {"encryption_scheme": "cenc-aes-ctr", "encryption_key": KEY, "encryption_kid": KEY}
FRAGMENTED = {"movflags": "frag_keyframe+empty_moov+default_base_moof"}
PADDING_PID = 0x1FFF
IMAGES = render(14, width=64, height=48, warp=pan(2, 1))


def mux(path: Path, **options: str) -> bytes:
    """Write the test video as MP4 with options of the container, and return its bytes."""
    source = encode_as(path.with_suffix(".mkv"), IMAGES, encoder="libx264")
    with av.open(str(source)) as read, av.open(str(path), "w", format="mp4", options=options) as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                written.mux(packet)
    return path.read_bytes()


def is_refused(path: Path) -> bool:
    reasons = set()
    for read in (
        lambda: read_motion(path, video_id="v", source="auto"),
        lambda: read_frames(path, video_id="v", choose=lambda number: [number // 2]),
    ):
        try:
            read()
            reasons.add("")
        except VideoError as error:
            reasons.add(error.reason)
    assert reasons in ({""}, {"encrypted"})
    return reasons == {"encrypted"}


def first_fragment(data: bytes) -> int:
    return data.index(b"moof") - 4


def test_common_encryption_is_refused_in_whole_and_fragmented_files(tmp_path: Path) -> None:
    for name, options in (("whole", {}), ("fragmented", FRAGMENTED)):
        path = tmp_path / f"{name}.mp4"
        mux(path, **options)
        assert not is_refused(path)
        data = mux(path, **options, **ENCRYPTED)
        assert is_refused(path)
        path.write_bytes(data.replace(b"schm\0\0\0\0cenc", b"schm\0\0\0\0cbcs"))
        assert is_refused(path)


def test_encrypted_fragments_behind_a_clear_header_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    clear, encrypted = mux(path, **FRAGMENTED), mux(path, **FRAGMENTED, **ENCRYPTED)
    header, fragments = clear[: first_fragment(clear)], encrypted[first_fragment(encrypted) :]
    path.write_bytes(header + fragments)
    assert is_refused(path)
    # Half clear, half encrypted.
    path.write_bytes(clear[: clear.rindex(b"moof") - 4] + encrypted[encrypted.rindex(b"moof") - 4 :])
    assert is_refused(path)


def test_encryption_of_another_track_or_stream_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    for options in ({}, FRAGMENTED):
        mux(path, **options, **ENCRYPTED)
        assert is_protected(path, container="mov,mp4,m4a,3gp,3g2,mj2", track_id=1)
        assert not is_protected(path, container="mov,mp4,m4a,3gp,3g2,mj2", track_id=2)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\0\0\0\0" + b"\x08" + (3).to_bytes(4, "big"), True),
        (b"\0\0\0\0" + b"\0" + (3).to_bytes(4, "big") + b"\x08\0\0", True),
        (b"\0\0\0\1" + b"cbcs" + bytes(4) + b"\x10" + (1).to_bytes(4, "big"), True),
        (b"\0\0\0\1" + b"misc" + bytes(4) + b"\x10" + (1).to_bytes(4, "big"), False),
        (b"\0\0\0\0" + b"\x08" + bytes(4), False),
    ],
    ids=["one size", "sizes of each sample", "typed", "of another type", "no samples"],
)
def test_the_sizes_of_initialization_vectors_mark_a_fragment(tmp_path: Path, content: bytes, expected: bool) -> None:
    def box(kind: bytes, inside: bytes) -> bytes:
        return (8 + len(inside)).to_bytes(4, "big") + kind + inside

    header = box(b"tfhd", bytes(4) + (1).to_bytes(4, "big"))
    path = tmp_path / "v.mp4"
    path.write_bytes(box(b"moof", box(b"traf", header + box(b"saiz", content))))
    assert is_protected(path, container="mov,mp4,m4a,3gp,3g2,mj2", track_id=1) == expected


@pytest.mark.parametrize("size", [188, 192])
def test_scrambled_packets_of_a_transport_stream_are_refused(tmp_path: Path, size: int) -> None:
    path = encode_as(tmp_path / ("v.ts" if size == 188 else "v.m2ts"), IMAGES, encoder="libx264")
    packets = np.frombuffer(path.read_bytes(), np.uint8).reshape(-1, size).copy()
    header = packets[:, size - 188 :]
    pids = (header[:, 1].astype(int) & 0x1F) << 8 | header[:, 2]
    video = np.flatnonzero(pids == np.bincount(pids[pids < PADDING_PID]).argmax())
    assert not is_refused(path)
    header[video[len(video) // 2 :], 3] |= 0x80
    path.write_bytes(packets.tobytes())
    assert is_refused(path)


def test_scrambled_packets_of_a_program_stream_are_refused(tmp_path: Path) -> None:
    path = encode_as(tmp_path / "v.vob", IMAGES, encoder="mpeg2video")
    data = bytearray(path.read_bytes())
    assert not is_refused(path)
    at = -1
    while (at := data.find(b"\0\0\1\xe0", at + 1)) >= 0:
        data[at + 6] |= 0x20
    path.write_bytes(data)
    assert is_refused(path)


def test_filtered_tags_of_flv_and_protected_asf_are_refused(tmp_path: Path) -> None:
    flv = encode_as(tmp_path / "v.flv", IMAGES, encoder="flv")
    data = bytearray(flv.read_bytes())
    assert not is_refused(flv)
    at = 13
    while at < len(data):
        data[at] |= 0x20
        at += 15 + int.from_bytes(data[at + 1 : at + 4], "big")
    flv.write_bytes(data)
    assert is_refused(flv)
    asf = encode_as(tmp_path / "v.wmv", IMAGES, encoder="wmv2")
    assert not is_refused(asf)
    # The header gets one more object: content encryption, of 24 bytes and four empty fields.
    plain = asf.read_bytes()
    size, count = (int.from_bytes(plain[start:end], "little") for start, end in ((16, 24), (24, 28)))
    added = bytes.fromhex("fbb3112223bdd211b4b700a0c955fc6e") + (40).to_bytes(8, "little") + bytes(16)
    header = plain[:16] + (size + 40).to_bytes(8, "little") + (count + 1).to_bytes(4, "little") + plain[28:30]
    asf.write_bytes(header + added + plain[30:])
    assert is_refused(asf)


@pytest.mark.shared
@pytest.mark.parametrize("name", ["media3__mkv_subsample_encrypted_altref.webm", "mp4parse__short-cenc.mp4"])
def test_real_encrypted_files_are_refused(shared_dir: Path, name: str) -> None:
    with pytest.raises(VideoError, match=r"encrypted"):
        read_motion(shared_dir / "data" / "robust" / name, video_id=name)
