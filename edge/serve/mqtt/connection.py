"""A connection to a broker, by paho-mqtt. One that was lost is not used again: another one is made."""

import contextlib
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from paho.mqtt.client import MQTT_ERR_SUCCESS, Client, ConnectFlags, DisconnectFlags, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from edge.errors import BrokerError, printable, reason_of
from edge.serve.mqtt.messages import Message
from edge.serve.mqtt.settings import MqttSettings

_log = logging.getLogger(__name__)

CONNECT_SECONDS = 10.0
ACKNOWLEDGE_SECONDS = 30.0  # longest wait for the broker to acknowledge a message
KEEP_ALIVE_SECONDS = 30
FAREWELL_SECONDS = 2.0
WINDOW = 20  # messages under way at the same time
MAX_RECEIVED = 64 * 1024  # bytes of a message that the broker may send
OVERHEAD = 64  # bytes of a message beside topic and payload, at most
ONLINE = b"online"


class _RefusedError(BrokerError):
    """The broker refused a connection that may be accepted in an older version of the protocol."""


class _LimitedClient(Client):
    """A client that takes no message above MAX_RECEIVED into memory, and closes a socket whose TLS has failed."""

    excess = 0  # bytes of a message that was too large

    def _sock_recv(self, bufsize: int) -> bytes:
        if bufsize > MAX_RECEIVED:
            self.excess = bufsize
            raise ConnectionError("message too large")  # which ends the connection
        return super()._sock_recv(bufsize)

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        assert self._ssl_context is not None  # it checks the host's name too
        wrapped = self._ssl_context.wrap_socket(tcp_sock, server_hostname=self._host, do_handshake_on_connect=False)
        try:
            wrapped.settimeout(CONNECT_SECONDS)
            wrapped.do_handshake()
        except (OSError, ValueError):
            wrapped.close()
            raise
        return wrapped


class Connection:
    """Methods are for one thread; another one of paho's moves the bytes."""

    def __init__(
        self,
        settings: MqttSettings,
        will: Message | None = None,
        birth_topic: str = "",
        on_birth: Callable[[], None] = lambda: None,
        *,
        role: str = "",
    ) -> None:
        """
        Args:
            will: published by the broker when this client is lost.
            birth_topic: `on_birth` is called when "online" is published there, in another thread; empty: never.
            role: distinguishes this client from others of the same board.
        """
        self._settings, self._will, self._role = settings, will, role
        self._birth_topic, self._on_birth = birth_topic, on_birth
        self._client: _LimitedClient | None = None
        self._answered, self._is_lost = threading.Event(), threading.Event()
        self._code: ReasonCode | None = None
        self._reason = self._refusal = ""
        self._max_bytes: int | None = None
        self._reported_large: set[str] = set()

    @property
    def is_up(self) -> bool:
        return self._client is not None and self._answered.is_set() and not self._is_lost.is_set()

    def open(self) -> None:
        """Connect and log in.

        Raises:
            BrokerError: the broker cannot be reached, or refuses; the text has no password.
        """
        try:
            self._open(MQTTProtocolVersion.MQTTv5)
        except _RefusedError:
            self._open(MQTTProtocolVersion.MQTTv311)

    def publish(self, messages: Iterable[Message], is_stopping: Callable[[], bool] = lambda: False) -> None:
        """Publish messages in this order, each with QoS 1, and wait until the broker has acknowledged all.

        A message that is larger than the broker accepts is logged and left out.

        Args:
            is_stopping: ends the wait.

        Raises:
            BrokerError: the connection is lost, too slow, or the broker refuses a message: some may not have arrived.
        """
        client, self._refusal = self._client, ""
        if client is None or not self.is_up:
            raise self._lost()
        under_way = []
        for message in messages:
            if self._is_too_large(message):
                continue
            sent = client.publish(message.topic, message.payload, qos=1, retain=message.is_retained)
            if sent.rc != MQTT_ERR_SUCCESS:
                raise self._lost()
            under_way.append(sent)
        for sent in under_way:
            deadline = time.monotonic() + ACKNOWLEDGE_SECONDS
            while not sent.is_published():
                if not self.is_up or is_stopping():
                    raise self._lost()
                if time.monotonic() > deadline:
                    raise self._error(f"does not acknowledge a message within {ACKNOWLEDGE_SECONDS:g} s")
                sent.wait_for_publish(0.2)
        if self._refusal:
            raise self._error(f"refuses messages: {self._refusal}")

    def close(self, farewell: Message | None = None) -> None:
        """Disconnect.

        Args:
            farewell: published before, in place of the will.
        """
        client, self._client = self._client, None
        if client is None:
            return
        if farewell is not None and self._answered.is_set() and not self._is_lost.is_set():
            sent = client.publish(farewell.topic, farewell.payload, qos=1, retain=farewell.is_retained)
            self._await(sent.is_published)
            client.disconnect()
            self._await(self._is_lost.is_set)
        _end(client)

    def _await(self, is_done: Callable[[], bool]) -> None:
        """Wait for the end of the connection, or something else, for FAREWELL_SECONDS."""
        deadline = time.monotonic() + FAREWELL_SECONDS
        while not is_done() and not self._is_lost.is_set() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _open(self, version: MQTTProtocolVersion) -> None:
        broker = self._settings.broker
        self._answered.clear()
        self._is_lost.clear()
        self._code, self._reason = None, ""
        client = self._client_of(version)
        properties = None
        if version == MQTTProtocolVersion.MQTTv5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
            properties.MaximumPacketSize = MAX_RECEIVED
        try:
            client.connect(broker.host, broker.port, KEEP_ALIVE_SECONDS, properties=properties)
        except ssl.SSLError as error:
            raise self._error(_tls_reason(error)) from error
        except ConnectionResetError as error:
            hint = "; is this its port for TLS?" if broker.is_secure else ""
            raise self._error(f"ended the connection at once{hint}") from error
        except (OSError, ValueError) as error:  # ValueError: a host name that cannot be encoded
            raise self._error(f"cannot connect: {_network_reason(error)}") from error
        client.loop_start()
        self._client = client
        deadline = time.monotonic() + CONNECT_SECONDS
        while not self._answered.wait(0.1) and not self._is_lost.is_set() and time.monotonic() < deadline:
            pass
        if self._answered.is_set() and self._code is not None and not self._code.is_failure:
            if self._birth_topic:
                client.subscribe(self._birth_topic, qos=1)
            return
        refusal = self._refusal_of(version)
        self.close()
        raise refusal

    def _client_of(self, version: MQTTProtocolVersion) -> _LimitedClient:
        settings = self._settings
        client = _LimitedClient(
            CallbackAPIVersion.VERSION2,
            client_id=f"edge-detect-{settings.node}{self._role}",
            protocol=version,
            reconnect_on_failure=False,
        )
        client.suppress_exceptions = True
        client.connect_timeout = CONNECT_SECONDS
        client.max_inflight_messages_set(WINDOW)
        if settings.broker.user:
            client.username_pw_set(settings.broker.user, settings.broker.password or None)
        if (tls := settings.tls()) is not None:
            client.tls_set_context(tls)
        if self._will is not None:
            client.will_set(self._will.topic, self._will.payload, qos=1, retain=self._will.is_retained)
        client.on_connect, client.on_disconnect = self._connected, self._disconnected
        client.on_publish, client.on_message = self._published, self._received
        return client

    def _connected(
        self, _: Client, __: Any, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._code = code
        self._max_bytes = getattr(properties, "MaximumPacketSize", None)
        self._answered.set()

    def _disconnected(
        self, client: Client, _: Any, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if isinstance(client, _LimitedClient) and client.excess:
            self._reason = f"sent a message of {client.excess} bytes, of which {MAX_RECEIVED} are accepted"
        elif flags.is_disconnect_packet_from_server:
            self._reason = f"ended the connection: {printable(str(code)).lower()}"
            if code.value == 142:  # session taken over
                self._reason += "; another client has the same name"
        self._is_lost.set()

    def _published(self, _: Client, __: Any, mid: int, code: ReasonCode, properties: Properties | None) -> None:
        if code.is_failure:
            self._refusal = printable(str(code)).lower()

    def _received(self, _: Client, __: Any, message: MQTTMessage) -> None:
        if message.payload == ONLINE:
            self._on_birth()

    def _is_too_large(self, message: Message) -> bool:
        bytes_ = len(message.payload) + len(message.topic.encode()) + OVERHEAD
        if self._max_bytes is None or bytes_ <= self._max_bytes:
            return False
        if message.topic not in self._reported_large:
            self._reported_large.add(message.topic)
            _log.warning(
                "%s: accepts messages of %d bytes; one of %d is not published: %s",
                *(self._settings.broker, self._max_bytes, bytes_, printable(message.topic)),
            )
        return True

    def _refusal_of(self, version: MQTTProtocolVersion) -> BrokerError:
        """Why there is no connection, though the broker could be reached."""
        code, is_newest = self._code, version == MQTTProtocolVersion.MQTTv5
        if code is None:
            is_silent = not self._is_lost.is_set()
            what = f"does not answer within {CONNECT_SECONDS:g} s" if is_silent else "ended the connection at once"
            hint = "" if self._settings.broker.is_secure else "; does it expect TLS (mqtts://)?"
            text = self._reason or f"{what}; is it an MQTT broker{hint or '?'}"
            return self._error(text, is_newest and not is_silent)
        name = printable(str(code)).lower()
        if code.value in (132, 1):  # unsupported protocol version
            return self._error(f"refuses the connection: {name}", is_newest)
        if code.value in (134, 135, 4, 5):
            how = "user and password" if self._settings.broker.user else "connections without user and password"
            return self._error(f"refuses {how}: {name}")
        return self._error(f"refuses the connection: {name}")

    def _lost(self) -> BrokerError:
        return self._error(self._reason or "the connection is lost")

    def _error(self, reason: str, may_be_version: bool = False) -> BrokerError:
        kind = _RefusedError if may_be_version else BrokerError
        return kind(f"{self._settings.broker}: {reason}")


def _end(client: Client) -> None:
    """Close the socket, without which paho's thread would wait for a broker that hangs, and let the thread end."""
    found: Any = client.socket()
    if found is not None:
        with contextlib.suppress(OSError):
            found.shutdown(socket.SHUT_RDWR)
    client.loop_stop()


def _tls_reason(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        reason = printable(error.verify_message or str(error))
        hint = {
            9: "; is the clock of this board right (`timedatectl`)?",  # not yet valid
            10: "; or the clock of this board is wrong (`timedatectl`)",  # has expired
            18: "; give its certificate with --mqtt-ca",  # self-signed
            19: "; give the certificate of its authority with --mqtt-ca",
            20: "; give the certificate of its authority with --mqtt-ca",
        }.get(error.verify_code, "")
        return f"its certificate is not accepted: {reason}{hint}"
    return f"no TLS connection: {printable(error.reason or str(error)).lower().replace('_', ' ')}"


def _network_reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, socket.gaierror):
        return "the host name is unknown"
    return reason_of(error) if isinstance(error, OSError) else "not a host name"
