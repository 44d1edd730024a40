"""MQTT brokers: a real mosquitto that can be killed and started again, clients that listen, and certificates."""

import contextlib
import datetime
import json
import os
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.packages import missing
from tests.support.ports import free_port

pytest.importorskip("paho.mqtt", reason="needs paho-mqtt: pip install 'edge-detect[mqtt]'")

from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

PATIENCE = 60.0
USER, PASSWORD = "board", "p@ss/w:rd#1"
WRITTEN_PASSWORD = "p%40ss%2Fw%3Ard%231"  # as it stands in an address
MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def until(is_true: Callable[[], Any], seconds: float = PATIENCE) -> Any:
    """Wait until a function returns something true, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := is_true()):
        assert time.monotonic() < deadline, "it does not happen"
        time.sleep(0.05)
    return found


class Mosquitto:
    """A broker at 127.0.0.1, always at the same port.

    Attributes:
        port: where it listens.
        lines: further lines of its configuration, for the next start.
    """

    def __init__(self, folder: Path, *lines: str, users: dict[str, str] | None = None) -> None:
        """
        Args:
            users: passwords by user; None lets anybody in.
        """
        if MOSQUITTO is None:
            missing("mosquitto")
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self.port, self.lines = folder, free_port(), list(lines)
        self.process: subprocess.Popen[bytes] | None = None
        if users is not None:
            file = folder / "passwords"
            file.touch(mode=0o600)
            for user, password in users.items():
                subprocess.run(["mosquitto_passwd", "-b", file, user, password], check=True, capture_output=True)
            self.lines += ["allow_anonymous false", f"password_file {file}"]
        else:
            self.lines.append("allow_anonymous true")

    def start(self) -> "Mosquitto":
        """Start it, and wait until it listens."""
        assert MOSQUITTO is not None
        file = self._folder / "mosquitto.conf"
        own = ["user root"] if os.geteuid() == 0 else []
        file.write_text("\n".join([*own, f"listener {self.port} 127.0.0.1", *self.lines, ""]))
        log = open(self._folder / "log", "ab")  # noqa: SIM115  # the process has it
        self.process = subprocess.Popen([MOSQUITTO, "-c", file], stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        log.close()
        until(self._listens)
        return self

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (self._folder / "log").read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            return False
        return True

    def send(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                self.process.send_signal(signal.SIGCONT)
                self.process.kill()
            self.process.wait()

    def restart(self) -> None:
        self.kill()
        self.start()


class Listener:
    """A client that receives everything, and comes back by itself.

    Attributes:
        received: (topic, payload, whether it was retained before) in their order.
    """

    def __init__(
        self,
        port: int,
        topics: tuple[str, ...] = ("edge-detect/#", "homeassistant/#"),
        *,
        user: str | None = None,
        ca: Path | None = None,
    ) -> None:
        self.received: list[tuple[str, bytes, bool]] = []
        self._topics, self._stop = topics, threading.Event()
        self.client = Client(CallbackAPIVersion.VERSION2, client_id=f"listener-{time.monotonic_ns()}")
        self.client.max_queued_messages_set(0)
        if user:
            self.client.username_pw_set(user, PASSWORD)
        if ca:
            self.client.tls_set(str(ca))
        self.client.on_connect = lambda *_: self.client.subscribe([(topic, 1) for topic in self._topics])
        self.client.on_subscribe = lambda *_: self._is_subscribed.set()
        self.client.on_disconnect = lambda *_: self._is_subscribed.clear()
        self.client.on_message = self._take
        self._is_subscribed = threading.Event()
        self._port = port
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(OSError):
                self.client.connect("127.0.0.1", self._port, 60)
                while not self._stop.is_set() and not self.client.loop(0.1):
                    pass
            self._is_subscribed.clear()
            self._stop.wait(0.05)

    def ready(self) -> "Listener":
        assert self._is_subscribed.wait(PATIENCE)
        return self

    def _take(self, _: Client, __: Any, message: MQTTMessage) -> None:
        self.received.append((message.topic, message.payload, message.retain))

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self.client.publish(topic, payload, qos=1, retain=retain)

    def last(self, topic: str) -> bytes | None:
        """The last payload of a topic."""
        return next((payload for name, payload, _ in reversed(self.received) if name == topic), None)

    def json(self, topic: str) -> Any:
        """The last payload of a topic as JSON; None if there is none."""
        found = self.last(topic)
        return json.loads(found) if found else None

    def all(self, ending: str) -> list[Any]:
        """All payloads of topics that end so, as JSON."""
        return [json.loads(payload) for topic, payload, _ in list(self.received) if topic.endswith(ending)]

    def topics(self) -> set[str]:
        return {topic for topic, _, _ in list(self.received)}

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)
        self.client.disconnect()


@contextlib.contextmanager
def listening(port: int, *topics: str, **options: Any) -> Iterator[Listener]:
    """A listener, ended in the end."""
    listener = Listener(port, *([topics] if topics else []), **options)
    try:
        yield listener.ready()
    finally:
        listener.close()


class Throttle:
    """A proxy before a broker that passes few bytes a second, in both directions, or at times nothing.

    Attributes:
        port: where it listens.
        bytes_per_second: 0 stops everything.
    """

    def __init__(self, target: int, bytes_per_second: int) -> None:
        self._target, self.bytes_per_second = target, bytes_per_second
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        self._stop = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                if self._stop.is_set():
                    return
                continue
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            self._open += [client, server]
            for pair in ((client, server), (server, client)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not self._stop.is_set():
                rate = self.bytes_per_second  # another thread may change it
                if not rate:
                    self._stop.wait(0.05)
                    continue
                if not (data := source.recv(max(1, rate // 10))):
                    break
                target.sendall(data)
                self._stop.wait(len(data) / rate)
        for one in (source, target):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self._stop.set()
        for one in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()


def certificates(folder: Path, *, days: tuple[int, int] = (-1, 30), host: str = "127.0.0.1") -> tuple[Path, Path, Path]:
    """The files of an authority's certificate, of a server's certificate that it has signed, and of its key.

    Args:
        days: first and last day on which the server's certificate is valid, from now.
        host: address that the server's certificate is for.
    """
    pytest.importorskip("cryptography", reason="needs cryptography")
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.datetime.now(datetime.UTC)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "authority of the tests")])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    identifier = x509.SubjectKeyIdentifier.from_public_key(authority_key.public_key())
    authority_certificate = (
        x509.CertificateBuilder()
        .subject_name(authority)
        .issuer_name(authority)
        .public_key(authority_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=400))
        .not_valid_after(now + datetime.timedelta(days=400))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(identifier, critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)]))
        .issuer_name(authority)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + datetime.timedelta(days=days[0]))
        .not_valid_after(now + datetime.timedelta(days=days[1]))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(host))]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False)
        .sign(authority_key, hashes.SHA256())
    )
    files = folder / "ca.pem", folder / "server.pem", folder / "server.key"
    pem = serialization.Encoding.PEM
    files[0].write_bytes(authority_certificate.public_bytes(pem))
    files[1].write_bytes(certificate.public_bytes(pem))
    files[2].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()))
    files[2].chmod(0o600)
    return files
