"""Webcams, network cameras and video files, read by PyAV (FFmpeg's libraries)."""

import errno
import os
import stat
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edge import redact, requirements
from edge.capture.frame import Frame
from edge.capture.hls import START_INDEX, BurstDetector, LivePlaylist, StreamClock
from edge.capture.libav_frames import Conversion
from edge.capture.proxy import proxy_for
from edge.errors import CameraError, printable, reason_of

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

TIMEOUT_SECONDS = 10.0
SEGMENTS_TO_WAIT = 3  # the time limit of a live HLS in durations of its segments
CONNECT_SECONDS = 20.0  # some cameras sleep, and take long for their first answer
# Containers of cameras and recordings. FFmpeg reads hundreds more; some of them are lists of other files.
RECORDINGS = "mov,matroska,webm,avi,mpegts,mpeg,mpegvideo,m4v,mjpeg,h264,hevc,ivf,flv,ogg,asf,mxf,nut,gif"
STREAMS = f"{RECORDINGS},rtsp,rtp,sdp,mpjpeg,live_flv,hls,aac,mp3,wav,webvtt"
MAX_PIXELS = 36_000_000  # of a frame: 8K; RGB takes three bytes a pixel
# A reader that is slower than the camera gets older and older frames. The sign of it: within BEHIND_SECONDS, no packet
# had to be waited for longer than MIN_WAIT_SECONDS.
BEHIND_SECONDS = 2.0
REORDERED_SECONDS = 1.0  # by less than this, times may go back in an AVI whose frames were coded out of order
MIN_WAIT_SECONDS = 0.002

_UNAUTHORIZED, _INTERRUPTED = "HTTPUnauthorizedError", "ExitError"
# What errors mean, by the name of the errno or of PyAV's class, and where they occur: "opening a device", "stream",
# or "" for everywhere. The most specific place counts.
_REASONS = {
    (_UNAUTHORIZED, ""): "the user or the password is wrong or missing (401)",
    ("InvalidDataError", ""): "no video, or damaged",
    ("ProtocolNotFoundError", ""): "this PyAV does not support this kind of source",
    ("DemuxerNotFoundError", ""): "this PyAV does not support this kind of source",
    ("EINVAL", "opening a device"): "none of its pixel formats is supported",
    ("EINVAL", "reading a device"): "the device was stopped",
    ("EINVAL", "stream"): "invalid address, or unsupported content",
    ("EINVAL", "file"): "unsupported content",
    ("HTTPOtherClientError", "opening a stream"): "refuses the request; it may have no video at this address",
    ("EPROTONOSUPPORT", "stream"): "refuses this transport; try --transport udp, or --transport tcp",
    ("EIO", "opening a stream"): "cannot be reached, or sends no video",
    ("EIO", "reading a stream"): "the connection broke off",
    ("ENOTTY", ""): "not a camera",
    ("EBUSY", ""): "another program uses it",
    ("EACCES", "device"): "permission denied; the user must be in the group video",
}
# Options of FFmpeg by which the rest of a recording is asked for, if the connection breaks off before its end.
_RESUMING = {"reconnect": "1", "reconnect_delay_max": "4"}
TRANSPORT_PAUSE_SECONDS = 0.5  # between two attempts to connect: a camera may still be releasing the first one

Transport = Literal["auto", "tcp", "udp"]


@dataclass(frozen=True)
class StreamSettings:
    """How to connect to a network camera.

    Attributes:
        transport: of RTSP: TCP loses no packets and passes firewalls; "auto" uses UDP if the camera refuses TCP.
        connect_seconds: time limit for the camera's first answer, or for opening a file.
        url: opened in place of the camera's address, such as one of the streams that this offers; None: that address.
        is_finite: whether the address gives something with an end: if it has a duration too, it is a recording.
    """

    transport: Transport = "auto"
    connect_seconds: float = CONNECT_SECONDS
    url: str | None = None
    is_finite: bool = False

    @property
    def transports(self) -> tuple[str, ...]:
        """The transports to try, in this order."""
        return ("tcp", "udp") if self.transport == "auto" else (self.transport,)


class LibavCamera:
    """A V4L2 device (/dev/video0), a network stream (rtsp://, http:// ...), or a video file."""

    def __init__(
        self,
        source: str,
        size: tuple[int, int] | None = None,
        frames_per_second: float | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        stream: StreamSettings | None = None,
        playlist: LivePlaylist | None = None,
    ) -> None:
        """
        Args:
            source: a device node, an address or a file.
            size: (width, height) in pixels to request from a V4L2 device, which may choose another.
            frames_per_second: frame rate to request from a V4L2 device.
            timeout_seconds: time limit of each frame; a V4L2 device has none.
            stream: how to connect to a network camera; None: the defaults.
            playlist: of a live HLS, whose frames are released at the pace of its own clock; None: any other source.

        Raises:
            NotInstalledError: PyAV is missing or too old.
            CameraError: the source cannot be opened, or has no video.
        """
        av = self._av = _av()  # kept: the check of its version is not for every frame
        self._is_address = redact.is_address(source)
        self._is_device = not self._is_address and _is_device(source)
        self.is_live = self._is_device or self._is_address
        self.name = redact.shown(source) if self._is_address else printable(source)
        self._hint = redact.hint(source)
        self._clock = StreamClock(playlist) if playlist else None
        self._bursts = BurstDetector() if source.lower().startswith(("http://", "https://")) else None
        self._is_closing = threading.Event()
        if playlist:
            timeout_seconds = max(timeout_seconds, SEGMENTS_TO_WAIT * playlist.segment_seconds)
        stream = stream or StreamSettings()
        # The limit of the present call of PyAV: the first answer of a camera that sleeps takes longer than a frame.
        self._timeout_seconds, self._conversion = stream.connect_seconds, Conversion(self.name)
        requested = _requested(size, frames_per_second) if self._is_device else {}
        self._container: InputContainer | None = None
        self._packets: Iterator[Packet[Any]] = iter(())
        self._began = time.monotonic()  # when the present call of PyAV began
        try:
            start = {"live_start_index": str(START_INDEX)} if playlist else {}
            self._container = _opened(
                stream.url or source, stream, requested | start, timeout_seconds, is_device=self._is_device
            )
            self._timeout_seconds = timeout_seconds
            if not self._container.streams.video:
                raise CameraError(f"{self.name}: has no video")
            if stream.is_finite and (self._container.duration or 0) > 0:
                self.is_live = False  # a recording behind an address
            self._stream = _main_stream(self._container, is_live=self.is_live)
            self._stream.codec_context.options = {"max_pixels": str(MAX_PIXELS)}
        except CameraError:
            self.close()
            raise
        except (av.FFmpegError, ValueError) as error:
            self.close()
            raise self._error(error) from None
        self._packets = self._container.demux()
        self._decoded: deque[VideoFrame] = deque()
        video = self._stream
        self._start_seconds = float((video.start_time or 0) * (video.time_base or 0))
        self._frame_seconds = float(1 / video.average_rate) if video.average_rate else 0.0
        self._seconds, self._has_given = 0.0, False
        has_no_order = self._container.format.name == "avi"
        self._reordered_seconds = REORDERED_SECONDS if has_no_order else 0.0
        self._offset = 0.0  # seconds added to a recording's times, after they went back
        self._is_behind, self._last_wait, self._blocked_seconds = False, time.monotonic(), 0.0

    def frame(self) -> Frame | None:
        """The next frame; None at the end of a file. Its pixels are converted to RGB when `Frame.pixels` is read.

        Raises:
            CameraError: a live stream ended, failed, or sent nothing that can be decoded for two time limits; or no
                frame of a file can be decoded.
        """
        deadline = time.monotonic() + 2 * self._timeout_seconds
        while not self._decoded:
            if self.is_live and time.monotonic() > deadline:
                raise CameraError(f"{self.name}: no frame that can be decoded for {2 * self._timeout_seconds:g} s")
            if not self._read():
                if self.is_live:
                    raise CameraError(f"{self.name}: the stream has ended")
                if not self._has_given:
                    raise CameraError(f"{self.name}: no frame can be decoded")
                return None
        decoded = self._decoded.popleft()
        self._seconds, self._has_given = self._released(decoded) if self._clock else self._time_of(decoded), True
        return self._conversion.frame(decoded, self._seconds)

    def _time_of(self, frame: "VideoFrame") -> float:
        """When a frame was taken, see `Frame.seconds`. Times never go back.

        AVI has no presentation times: frames that were coded in another order have exchanged times there, and the
        greatest so far is within a few frames of the right one. Any other step back is that of a file joined from
        several, whose later times are shifted.
        """
        if self.is_live:
            blocked, self._blocked_seconds = self._blocked_seconds, 0.0
            found = self._bursts.update(time.monotonic(), blocked) if self._bursts else None
            self._clock = StreamClock(found) if found else None
            return self._released(frame) if self._clock else time.monotonic()
        following = self._seconds + self._frame_seconds if self._has_given else 0.0
        time_ = frame.time
        if time_ is None:  # as in a bare H.264 stream
            return following
        position = time_ - self._start_seconds + self._offset
        if self._seconds - position > self._reordered_seconds:
            self._offset += following - position
            position = following
        return max(self._seconds, position)

    def _released(self, frame: "VideoFrame") -> float:
        """Wait until a frame of a live HLS is to be released; returns when it was taken, see `Frame.seconds`."""
        assert self._clock is not None
        now, position = time.monotonic(), frame.time
        if position is None:
            return now
        taken, release = self._clock.schedule(position, now, self._blocked_seconds)
        self._blocked_seconds = 0.0
        if release > now:
            if self._is_closing.wait(release - now):
                raise CameraError(f"{self.name}: was closed")
            self._last_wait = time.monotonic()
        return max(self._seconds, taken)

    def interrupt(self) -> None:
        """End the wait for the release of a frame in another thread."""
        self._is_closing.set()

    def close(self) -> None:
        # Packets of a V4L2 device lie in its memory, and must be released before that is unmapped.
        self._packets, self._decoded = iter(()), deque()
        container, self._container = self._container, None
        if container is not None:
            container.close()

    def _read(self) -> bool:
        """Decode the next packet; False at the end. Keeps no reference to the packet, see `close`."""
        packet = self._next_packet()
        if packet is None:
            return False
        if packet.stream is self._stream:
            self._decoded.extend(self._decode(packet))
        return True

    def _next_packet(self) -> "Packet[Any] | None":
        self._began = time.monotonic()
        try:
            packet = next(self._packets, None)
        except self._av.FFmpegError as error:
            raise self._error(error) from None
        if self._has_timed_out:
            # For a codec with a parser, such as H.264, FFmpeg returns what the parser held back instead of an error,
            # and the next read would wait for the time limit again.
            raise self._timeout_error()
        now = time.monotonic()
        self._blocked_seconds = max(self._blocked_seconds, now - self._began)
        if now - self._began > MIN_WAIT_SECONDS:
            self._last_wait = now
        return packet

    def _decode(self, packet: "Packet[Any]") -> "list[VideoFrame]":
        """The frames that a packet completes; none if the packet is damaged."""
        if self.is_live:
            self._keep_up(packet)
        if self._is_device:
            if not packet.size:  # the driver's mark of a damaged frame, and a decoder's mark of the end
                return []
            packet = self._copy(packet)
        try:
            return self._stream.decode(packet)
        except self._av.FFmpegError:
            return []

    def _copy(self, packet: "Packet[Any]") -> "Packet[Any]":
        """A packet in memory of its own.

        A raw frame lies in its packet's memory. That of a device is unmapped when the device is closed, while another
        thread may still convert the last frame.
        """
        copy = self._av.Packet(packet.size)
        copy.update(packet)
        return copy  # type: ignore[no-any-return]

    def _keep_up(self, packet: "Packet[Any]") -> None:
        """Decode only key frames while reading lags behind; decode all frames again from the next key frame on."""
        is_behind = time.monotonic() - self._last_wait > BEHIND_SECONDS
        if is_behind and not self._is_behind:
            self._is_behind, self._stream.codec_context.skip_frame = True, "NONKEY"
        elif self._is_behind and not is_behind and packet.is_keyframe:
            self._is_behind, self._stream.codec_context.skip_frame = False, "DEFAULT"

    @property
    def _has_timed_out(self) -> bool:
        """Whether the present call of PyAV has reached the time limit, which a device does not have."""
        return self._is_address and time.monotonic() - self._began >= self._timeout_seconds

    def _timeout_error(self) -> CameraError:
        return CameraError(f"{self.name}: no answer for {self._timeout_seconds:g} s")

    def _error(self, error: Exception) -> CameraError:
        """A CameraError for an error of PyAV, whose text is not used: it has the whole address, with the password."""
        code = errno.errorcode.get(getattr(error, "errno", None) or 0, type(error).__name__)
        # PyAV interrupts FFmpeg at the time limit, which FFmpeg reports by several errors, or by a later call.
        if code == _INTERRUPTED or (self._has_timed_out and code != _UNAUTHORIZED):
            return self._timeout_error()
        kind = "device" if self._is_device else "stream" if self._is_address else "file"
        places = (f"{'reading' if self._container else 'opening'} a {kind}", kind, "")
        known = next((_REASONS[code, place] for place in places if (code, place) in _REASONS), None)
        reason = known or (getattr(error, "strerror", None) or "cannot be read").lower()
        return CameraError(f"{self.name}: {reason}{'' if self._container else self._hint}")


def _opened(
    source: str, stream: StreamSettings, requested: dict[str, str], timeout_seconds: float, *, is_device: bool
) -> "InputContainer":
    """Open a source, by the next transport if the camera refuses the first.

    Args:
        requested: options of a device, see `_requested`.
    """
    av = _av()
    for transport in stream.transports:
        url, format_, options = _how_to_open(source, is_device, transport)
        try:
            container: InputContainer = av.open(
                url,
                "r",
                format=format_,
                options=options,
                container_options=requested,
                timeout=(stream.connect_seconds, timeout_seconds),
                **_tolerance(av),
            )
            return container
        except OSError as error:
            if error.errno != errno.EPROTONOSUPPORT or transport == stream.transports[-1]:
                raise
            time.sleep(TRANSPORT_PAUSE_SECONDS)
    raise AssertionError("there is a transport")


def _how_to_open(source: str, is_device: bool, transport: str = "tcp") -> tuple[str, str | None, dict[str, str]]:
    """The arguments of `av.open`: url, format, options of the container and of the decoders.

    FFmpeg's option nobuffer is not among them: it drops what was read while probing the stream, including the first key
    frame. It is not needed either: the stream is read without pauses, so that nothing stays in its buffers.
    """
    frames = {"max_pixels": str(MAX_PIXELS)}
    if redact.is_address(source):
        scheme = redact.scheme(source)
        limits = {"protocol_whitelist": ",".join(redact.PROTOCOLS), "format_whitelist": STREAMS, **frames}
        rtsp = {"rtsp_transport": transport, "allowed_media_types": "video"} if scheme in ("rtsp", "rtsps") else {}
        if scheme in ("http", "https"):
            proxy = proxy_for(source)
            limits |= _RESUMING | ({"http_proxy": proxy.url} if proxy else {})
        return scheme + source[len(scheme) :], None, limits | rtsp
    if is_device:
        return source, "v4l2", frames
    limits = {"protocol_whitelist": "file", "format_whitelist": RECORDINGS, **frames}
    return f"file:{os.path.abspath(source)}", None, limits


def _main_stream(container: "InputContainer", *, is_live: bool) -> "VideoStream":
    """The video stream to read; in a file it may not be the first one, which may be a cover picture."""
    best = None if is_live else container.streams.best("video")  # FFmpeg's choice, as that of players
    return best or container.streams.video[0]  # type: ignore[return-value]


def _requested(size: tuple[int, int] | None, frames_per_second: float | None) -> dict[str, str]:
    """Options that request a size and rate from a device, and not from the decoder: the device may choose others."""
    video_size = {"video_size": f"{size[0]}x{size[1]}"} if size else {}
    return video_size | ({"framerate": f"{frames_per_second:g}"} if frames_per_second else {})


def _is_device(source: str) -> bool:
    try:
        mode = os.stat(source).st_mode
    except (OSError, ValueError) as error:
        raise CameraError(f"{printable(source)}: {reason_of(error)}") from error
    if not stat.S_ISCHR(mode) and not stat.S_ISREG(mode):
        raise CameraError(f"{printable(source)}: neither a video file nor a camera")
    return stat.S_ISCHR(mode)


def _tolerance(av: Any) -> dict[str, str]:
    """The option by which `av.open` accepts metadata in any encoding; PyAV 19 always does, and has no such option."""
    return {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


def _av() -> Any:
    av = requirements.load("av")
    av.logging.set_level(None)  # FFmpeg would print addresses with passwords to stderr
    return av
