"""A real RTSP server on loopback, by GStreamer: python3 rtsp_server.py PORT. Run by the Python that has `gi`.

/h264 and /jpeg show one colour at 15 frames a second; /secret is /h264 for the user `u` with the password `p@ss`;
/udp is /h264 without TCP; /sound has no video.
"""

import sys

import gi

gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # noqa: E402

SOURCE = (
    "videotestsrc is-live=true pattern=solid-color foreground-color=0xffdc1e1e"
    " ! video/x-raw,format=I420,width=328,height=248,framerate=15/1"
)
H264 = f"( {SOURCE} ! x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0 pt=96 )"
JPEG = f"( {SOURCE} ! jpegenc ! rtpjpegpay name=pay0 pt=26 )"
SOUND = "( audiotestsrc is-live=true wave=silence ! alawenc ! rtppcmapay name=pay0 pt=8 )"

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
authentication = GstRtspServer.RTSPAuth()
roles = {"user": GstRtspServer.RTSPToken(), "anonymous": GstRtspServer.RTSPToken()}
for role, token in roles.items():
    token.set_string("media.factory.role", role)
authentication.add_basic(GstRtspServer.RTSPAuth.make_basic("u", "p@ss"), roles["user"])
authentication.set_default_token(roles["anonymous"])
server.set_auth(authentication)
for path, pipeline in (("/h264", H264), ("/jpeg", JPEG), ("/secret", H264), ("/udp", H264), ("/sound", SOUND)):
    factory = GstRtspServer.RTSPMediaFactory()
    factory.set_launch(pipeline)
    factory.set_shared(True)
    if path == "/udp":
        factory.set_protocols(GstRtsp.RTSPLowerTrans.UDP)
    for role in roles:
        # A client that has access but may not construct the stream is asked for a password.
        may_play = str(role == "user" or path != "/secret").lower()
        rights = f"{role}, media.factory.access=(boolean)true, media.factory.construct=(boolean){may_play}"
        factory.add_role_from_structure(Gst.Structure.new_from_string(rights))
    server.get_mount_points().add_factory(path, factory)
server.attach(None)
print("ready", flush=True)
GLib.MainLoop().run()
