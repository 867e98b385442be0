"""Where webhooks may connect to: checked on the address itself, whatever a name says."""

import asyncio
import socket
import ssl
import threading
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from support.receivers import receiving

from services.feedback_api.config import FeedbackSettings
from services.feedback_api.webhooks.addresses import Allowed, SystemResolver, is_public
from services.feedback_api.webhooks.sending import Outcome, Sender
from shared.config import load_settings
from shared.errors import ConfigError

CLOSED = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.100.100.200",
    "127.0.0.1",
    "127.8.8.8",
    "168.63.129.16",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::ffff:127.0.0.1",
    "::ffff:93.184.215.14",
    "::127.0.0.1",
    "64:ff9b::a01:203",
    "64:ff9b:1::1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::1",
    "3fff::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
]


class Names:
    """The outer network's name service: what each name resolves to, one list after the other."""

    def __init__(self, **lists: list[list[str]]) -> None:
        self.lists = {name.replace("_", "."): found for name, found in lists.items()}
        self.asked = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.asked += 1
        found = self.lists.get(host, [[host]])
        return found.pop(0) if len(found) > 1 else found[0]


@pytest.fixture
def tls(tmp_path):
    """A server's context for the name hooks.test, and one of clients that trust it."""
    key, certificate = _self_signed("hooks.test")
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / "server.pem").write_bytes(pem + private)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "server.pem")
    return server, ssl.create_default_context(cadata=pem.decode())


def _self_signed(name: str) -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
    )
    return key, builder.sign(key, hashes.SHA256())


@pytest.fixture
async def receiver():
    async with receiving() as receiver:
        yield receiver


def send(sender: Sender, url: str) -> Awaitable[Outcome]:
    return sender.send(url, {"content-type": "application/json"}, b"{}")


@pytest.mark.parametrize("address", CLOSED)
def test_an_address_of_somebodys_inside_is_not_public(address):
    assert not is_public(ip_address(address))


@pytest.mark.parametrize("address", ["93.184.215.14", "1.1.1.1", "2606:4700:4700::1111"])
def test_an_address_of_the_open_internet_is_public(address):
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", CLOSED)
async def test_a_name_that_leads_inside_is_not_connected_to(address):
    sender = Sender(Allowed(), Names(hooks_test=[[address]]))

    outcome = await send(sender, "https://hooks.test/")

    assert outcome.status is None
    assert outcome.error == f"Nothing was sent: {ip_address(address)} is not a public address."


async def test_one_closed_address_among_public_ones_is_enough(receiver):
    sender = Sender(Allowed(), Names(hooks_test=[["1.1.1.1", "127.0.0.1"]]))

    outcome = await send(sender, f"https://hooks.test:{receiver.port}/")

    assert "127.0.0.1 is not a public address" in outcome.error
    assert receiver.got == []


async def test_a_name_that_changes_after_the_check_is_not_asked_again(receiver):
    names = Names(hooks_test=[["127.0.0.1"], ["10.0.0.1"]])
    sender = Sender(Allowed.of(["127.0.0.1", "hooks.test"]), names)

    outcome = await send(sender, f"http://hooks.test:{receiver.port}/")

    assert (outcome.status, names.asked) == (204, 1)


async def test_a_name_that_turns_inside_between_two_attempts_is_refused(tls):
    server, trusting = tls
    async with receiving(server) as receiver:
        names = Names(hooks_test=[["127.0.0.1"], ["127.0.0.2"]])
        sender = Sender(Allowed.of(["127.0.0.1"]), names, tls=trusting)
        first = await send(sender, f"https://hooks.test:{receiver.port}/")

        second = await send(sender, f"https://hooks.test:{receiver.port}/")

    assert first.status == 204
    assert second.error == "Nothing was sent: 127.0.0.2 is not a public address."


@pytest.mark.parametrize("host", ["localhost", "2130706433", "0x7f.1", "127.1", "017700000001"])
async def test_other_spellings_of_loopback_are_refused(host, receiver):
    resolver = SystemResolver()

    outcome = await send(Sender(Allowed(), resolver), f"https://{host}:{receiver.port}/")

    resolver.close()
    assert outcome.error.startswith("Nothing was sent: ")
    assert receiver.got == []


async def test_plain_http_goes_only_to_hosts_on_the_list(receiver):
    names = Names(hooks_test=[["127.0.0.1"]])
    sender = Sender(Allowed.of(["127.0.0.0/8"]), names)

    outcome = await send(sender, f"http://hooks.test:{receiver.port}/")

    assert "not https" in outcome.error
    assert receiver.got == []


async def test_tls_is_checked_against_the_name_while_the_address_is_connected_to(tls):
    server, trusting = tls
    async with receiving(server) as receiver:
        names = Names(hooks_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
        sender = Sender(Allowed.of(["127.0.0.1"]), names, tls=trusting)

        right = await send(sender, f"https://hooks.test:{receiver.port}/x")
        wrong = await send(sender, f"https://other.test:{receiver.port}/x")

        assert right.status == 204
        assert receiver.got[0].headers["host"] == f"hooks.test:{receiver.port}"
        assert "connection failed" in wrong.error
        assert len(receiver.got) == 1


@pytest.mark.parametrize(
    "url",
    [
        "https://xn--/",
        "https://a..b/",
        "https://a.invalid/%zz\u00fc",
        "https://" + "a" * 300,
        "https://a:0/",
    ],
)
async def test_a_strange_url_is_a_failed_attempt_and_no_error(url):
    resolver = SystemResolver()

    outcome = await send(Sender(Allowed(), resolver), url)

    resolver.close()
    assert outcome.error.startswith("Nothing was sent: ")


async def test_names_that_never_resolve_hold_up_no_other_receiver(receiver, monkeypatch):
    release, system = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host, *given, **more):
        if str(host).endswith(".silent.test"):
            release.wait(30)
            raise socket.gaierror
        return system(host, *given, **more)

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    resolver = SystemResolver()
    sender = Sender(Allowed.of(["127.0.0.1", "localhost"]), resolver, timeout_s=0.5)
    silent = [f"https://host{number % 40}.silent.test/" for number in range(120)]

    await asyncio.gather(*(send(sender, url) for url in silent))
    outcomes = [
        await send(sender, f"http://{host}:{receiver.port}/") for host in ("127.0.0.1", "localhost")
    ]

    release.set()
    resolver.close()
    assert [outcome.status for outcome in outcomes] == [204, 204]


@pytest.mark.parametrize(
    "entry", ["10.0.0.0/33", "https://hooks.internal/", "hooks.internal:8080", "*.internal", ""]
)
def test_an_entry_of_the_list_that_is_no_host_keeps_the_service_from_starting(entry):
    with pytest.raises(ConfigError, match="HEED_WEBHOOK_ALLOW"):
        load_settings(FeedbackSettings, webhook_allow=["hooks.internal", entry])


async def test_proxies_of_the_environment_are_not_used(receiver, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    sender = Sender(Allowed.of(["127.0.0.1"]), Names())

    assert (await send(sender, receiver.url)).status == 204


async def test_a_receiver_that_says_nothing_is_left_after_a_while(receiver):
    receiver.delay_s = 30
    sender = Sender(Allowed.of(["127.0.0.1"]), Names(), timeout_s=0.2)

    outcome = await send(sender, receiver.url)

    assert outcome.error == "The receiver did not reply within 0.2 s."


async def test_a_reply_without_end_is_not_read_to_its_end():
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n")
        with suppress(ConnectionError):
            while True:
                writer.write(b"x" * 1024)
                await writer.drain()
                sent += 1024

    server = await asyncio.start_server(flood, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]

        outcome = await send(
            Sender(Allowed.of(["127.0.0.1"]), Names()), f"http://127.0.0.1:{port}/"
        )

    assert outcome.status == 200
    assert sent < 50_000_000


async def test_nobody_listening_is_a_failed_attempt():
    sender = Sender(Allowed.of(["127.0.0.1"]), Names())

    outcome = await send(sender, "http://127.0.0.1:1/")

    assert outcome.error == "The connection failed (ConnectError)."
