"""HTTP message signatures: the RFCs' own examples, and every header that is not in the one shape."""

from __future__ import annotations

import base64
import hashlib

import pytest
from multidict import CIMultiDict

from edgenode.errors import CallerError, MalformedError
from edgenode.formats import httpsig
from edgenode.trust.identity import Identity
from edgenode.trust.verify import signature_fits

from .examples import HUB, NOW, SUBMITTER

BOOT = httpsig.boot_value(HUB.public, "bootbootbootboot")
TARGET = "/v1/jobs?hops=2"
BODY = b"body"


def signed(*, method: str = "POST", target: str = TARGET, body: bytes = BODY, by: Identity = SUBMITTER) -> CIMultiDict[str]:
    return CIMultiDict(
        httpsig.sign(
            method,
            target,
            httpsig.content_digest(body),
            boot=BOOT,
            nonce="noncenoncenonce0",
            created=NOW,
            expires=NOW + 60,
            keyid=by.public,
            signer=by.sign,
        )
    )


def fits(method: str, target: str, headers: CIMultiDict[str]) -> bool:
    claim = httpsig.parse(method, target, headers)
    return signature_fits(claim.keyid, claim.signed, claim.signature)


# RFC 9421 appendix B.1.4 (test-key-ed25519) and B.2.6 (signing a request using ed25519).
RFC_KEY = Identity(base64.urlsafe_b64decode("n4Ni-HpISpVObnQMW0wOhCKROaIKqKtW_2ZYb2p9KcU="))
RFC_COMPONENTS = (
    ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
    ("@method", "POST"),
    ("@path", "/foo"),
    ("@authority", "example.com"),
    ("content-type", "application/json"),
    ("content-length", "18"),
)
RFC_PARAMETERS = '("date" "@method" "@path" "@authority" "content-type" "content-length");created=1618884473;keyid="test-key-ed25519"'
RFC_BASE = (
    b'"date": Tue, 20 Apr 2021 02:07:55 GMT\n"@method": POST\n"@path": /foo\n"@authority": example.com\n'
    b'"content-type": application/json\n"content-length": 18\n"@signature-params": ' + RFC_PARAMETERS.encode()
)
RFC_SIGNATURE = base64.b64decode("wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQv5lIp5WPpBKRCw==")


def test_builds_the_base_of_rfc_9421_b_2_6_and_its_signature() -> None:
    assert base64.urlsafe_b64encode(RFC_KEY.public).rstrip(b"=") == b"JrQLj5P_89iXES9-vFgrIy29clF9CC_oPPsw3c5D0bs"
    base = httpsig.signature_base(RFC_COMPONENTS, RFC_PARAMETERS)
    assert base == RFC_BASE
    assert RFC_KEY.sign(base) == RFC_SIGNATURE
    assert signature_fits(RFC_KEY.public, base, RFC_SIGNATURE)


@pytest.mark.parametrize(
    ("body", "value"),
    [  # RFC 9530 appendix B.1, and of empty content as in B.2
        (b'{"hello": "world"}\n', "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"),
        (b"", "sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:"),
    ],
)
def test_content_digest_is_that_of_rfc_9530(body: bytes, value: str) -> None:
    assert httpsig.content_digest(body) == value


def test_a_signed_request_says_who_when_and_what() -> None:
    headers = signed()
    claim = httpsig.parse("POST", TARGET, headers)
    assert (claim.keyid, claim.created, claim.expires) == (SUBMITTER.public, NOW, NOW + 60)
    assert (claim.nonce, claim.boot) == ("noncenoncenonce0", BOOT)
    assert claim.signed.split(b"\n")[:4] == [
        b'"@method": POST',
        b'"@request-target": /v1/jobs?hops=2',
        b'"content-digest": ' + headers["Content-Digest"].encode(),
        b'"edgenode-boot": ' + BOOT.encode(),
    ]
    assert fits("POST", TARGET, headers)
    httpsig.check_body(headers, hashlib.sha256(BODY).digest())


@pytest.mark.parametrize(("method", "target"), [("PUT", TARGET), ("post", TARGET), ("POST", "/v1/jobs?hops=3"), ("POST", "/v1/jobs")])
def test_method_and_target_are_signed(method: str, target: str) -> None:
    assert not fits(method, target, signed())


@pytest.mark.parametrize("name", [httpsig.DIGEST_HEADER, httpsig.BOOT_HEADER])
def test_digest_and_boot_are_signed(name: str) -> None:
    headers = signed()
    headers[name] = headers[name].replace("b", "c").replace("s", "t")
    assert not fits("POST", TARGET, headers)


@pytest.mark.parametrize(("old", "new"), [("created=18", "created=17"), ("expires=18", "expires=19"), ("noncenonce", "nuncenonce")])
def test_times_and_nonce_are_signed(old: str, new: str) -> None:
    headers = signed()
    assert old in headers[httpsig.INPUT_HEADER]
    headers[httpsig.INPUT_HEADER] = headers[httpsig.INPUT_HEADER].replace(old, new)
    assert not fits("POST", TARGET, headers)


@pytest.mark.parametrize("name", [httpsig.DIGEST_HEADER, httpsig.BOOT_HEADER, httpsig.INPUT_HEADER, httpsig.SIGNATURE_HEADER])
def test_each_header_stands_once(name: str) -> None:
    headers = signed()
    value = headers.pop(name)
    with pytest.raises(CallerError, match=f"has 0 {name} headers"):
        httpsig.parse("POST", TARGET, headers)
    headers.add(name, value)
    headers.add(name.lower(), value)
    with pytest.raises(CallerError, match=f"has 2 {name} headers"):
        httpsig.parse("POST", TARGET, headers)
    if name != httpsig.DIGEST_HEADER:
        return
    with pytest.raises(CallerError):
        httpsig.check_body(headers, bytes(32))


WRONG_INPUTS = [
    ("edgenode=", "sig1="),
    ("edgenode=", ""),
    ("edgenode=", "edgenode= "),
    ('"@method" ', ""),
    ('"content-digest"', '"content-digest";sf'),
    ('"@method" "@request-target"', '"@request-target" "@method"'),
    (";created=1800000000", ""),
    ("created=1800000000", "created=-1"),
    ("created=1800000000", "created=18e8"),
    ("created=1800000000", "created=1800000000000"),
    ("created=1800000000", "created=١٨"),  # digits to Python, and to nobody else
    ('nonce="noncenoncenonce0"', 'nonce="short"'),
    ('nonce="noncenoncenonce0"', 'nonce="' + "n" * 65 + '"'),
    ('nonce="noncenoncenonce0"', 'nonce="nonce\\"noncenonce"'),
    ('alg="ed25519"', 'alg="hmac-sha256"'),
    (';alg="ed25519"', ""),
    (';alg="ed25519"', ';alg="ed25519";tag="x"'),
    (';alg="ed25519"', ';alg="ed25519", other=()'),
    (SUBMITTER.public.hex(), SUBMITTER.public.hex().upper()),
    (SUBMITTER.public.hex(), SUBMITTER.public.hex()[2:]),
]


@pytest.mark.parametrize(("old", "new"), WRONG_INPUTS)
def test_refuses_a_signature_input_of_any_other_shape(old: str, new: str) -> None:
    headers = signed()
    assert old in headers[httpsig.INPUT_HEADER]
    headers[httpsig.INPUT_HEADER] = headers[httpsig.INPUT_HEADER].replace(old, new)
    with pytest.raises(CallerError):
        httpsig.parse("POST", TARGET, headers)


@pytest.mark.parametrize(
    "value",
    ["", "edgenode=::", "edgenode=:AAAA:", "sig=:" + "A" * 86 + "==:", "edgenode=:" + "A" * 88 + ":", "edgenode=:" + "-" * 86 + "==:"],
)
def test_refuses_a_signature_of_any_other_shape(value: str) -> None:
    headers = signed()
    headers[httpsig.SIGNATURE_HEADER] = value
    with pytest.raises(CallerError, match="Signature"):
        httpsig.parse("POST", TARGET, headers)


@pytest.mark.parametrize("name", [httpsig.DIGEST_HEADER, httpsig.BOOT_HEADER, httpsig.INPUT_HEADER, httpsig.SIGNATURE_HEADER])
@pytest.mark.parametrize("text", ["\udcff", "é", "\ud800"])
def test_bytes_that_are_not_ascii_are_refused_and_break_nothing(name: str, text: str) -> None:
    headers = signed()
    headers[name] += text
    with pytest.raises(CallerError):
        httpsig.parse("POST", TARGET, headers)
    with pytest.raises(CallerError, match="not ASCII"):
        httpsig.parse("POST", TARGET + text, signed())


def test_the_body_is_the_one_that_was_signed() -> None:
    for body in (b"", b"bod", b"body ", b"Body"):
        with pytest.raises(CallerError, match="not the one"):
            httpsig.check_body(signed(), hashlib.sha256(body).digest())


def test_a_boot_nonce_names_its_server() -> None:
    assert httpsig.boot_server(BOOT) == HUB.public
    for value in ("", "bootbootbootboot", HUB.public.hex(), BOOT.upper(), BOOT + "\n", BOOT[1:], BOOT + "é", BOOT.replace(".", ":")):
        with pytest.raises(MalformedError):
            httpsig.boot_server(value)
