"""No video makes us fetch anything, or read another file: a server that notes its callers, playlists that name it."""

import http.server
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest

from moclip.cli.main import main
from moclip.dataset.lists import check_video_path
from moclip.errors import MoclipError, VideoError
from moclip.video.frames import read_frames
from moclip.video.motion_vectors import read_motion
from tests.workflow.conftest import write_square


class Server(http.server.ThreadingHTTPServer):
    """A server on this machine that gives a real video to everyone, and remembers who asked."""

    asked: list[str]
    video: bytes


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.server.video)))
        self.end_headers()
        self.wfile.write(self.server.video)

    do_HEAD = do_GET  # noqa: N815 (the name is that of the base class)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("remote") / "secret.mp4"
    write_square(path, step_px=(3, 0), seed=0)
    return path


@pytest.fixture
def server(video: Path) -> Iterator[Server]:
    server = Server(("127.0.0.1", 0), _Handler)
    server.asked, server.video = [], video.read_bytes()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(timeout=10)


def address(server: Server) -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/clip.mp4"


READERS: dict[str, Callable[[Path], object]] = {
    "motion": lambda path: read_motion(path, video_id="v"),
    "transcode": lambda path: read_motion(path, video_id="v", source="transcode"),
    "appearance": lambda path: read_frames(path, video_id="v", choose=lambda count: [count // 2]),
}

PLAYLISTS: dict[str, Callable[[str], str]] = {
    "hls.m3u8": lambda target: f"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:1,\n{target}\n#EXT-X-ENDLIST\n",
    "concat.ffconcat": lambda target: f"ffconcat version 1.0\nfile '{target}'\n",
    "dash.mpd": lambda target: (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" profiles="x" '
        'mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        f'bandwidth="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>'
    ),
    "session.sdp": lambda target: (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    ),
}


def test_the_server_of_these_tests_does_hear_ffmpeg(server: Server) -> None:
    with av.open(address(server)) as container:
        assert container.streams.video
    assert server.asked


@pytest.mark.parametrize("reader", READERS)
def test_an_address_is_no_video_and_nobody_is_asked(server: Server, reader: str) -> None:
    url = address(server)
    for name in (url, f"concat:{url}", f"subfile,,start,0,end,0,,:{url}", f"cache:{url}", f"crypto:{url}"):
        with pytest.raises(VideoError) as caught:
            READERS[reader](Path(name))
        assert caught.value.reason == "missing"
    assert server.asked == []


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("suffix", ["", ".mp4", ".avi"])
def test_a_playlist_is_no_video_whatever_it_names_and_is_called(
    server: Server, video: Path, tmp_path: Path, kind: str, suffix: str
) -> None:
    beside = tmp_path / "beside.mp4"
    beside.write_bytes(video.read_bytes())
    path = tmp_path / f"{kind}{suffix}"
    for target in (address(server), str(beside), "beside.mp4", f"file:{beside}"):
        path.write_text(PLAYLISTS[kind](target))
        for reader in READERS.values():
            with pytest.raises(VideoError) as caught:
                reader(path)
            assert caught.value.reason == "unreadable"
    assert server.asked == []


def test_ffmpeg_by_itself_would_follow_such_a_playlist(server: Server, video: Path, tmp_path: Path) -> None:
    # Or the test above would prove nothing.
    (tmp_path / "beside.mp4").write_bytes(video.read_bytes())
    path = tmp_path / "list.ffconcat"
    path.write_text(PLAYLISTS["concat.ffconcat"]("beside.mp4"))
    with av.open(f"file:{path}", container_options={"protocol_whitelist": "file"}) as container:
        assert next(container.decode(video=0)).width == 80


@pytest.mark.parametrize("name", ["http://127.0.0.1/a.mp4", "list.m3u8", "a.ffconcat", "s.sdp", "pipe:0", "concat:a|b"])
def test_a_list_of_videos_names_no_address_and_no_playlist(name: str) -> None:
    try:
        path = check_video_path(name, place="list, line 1")
    except MoclipError as error:
        assert "list, line 1: expected" in str(error)  # noqa: PT017 (either outcome is checked)
    else:
        assert path == "http:/127.0.0.1/a.mp4"  # a path below the root, where no such file is


def test_draw_refuses_an_address_in_one_line(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["draw", address(server), "--output", str(tmp_path / "page.html")])
    assert stopped.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert server.asked == []
