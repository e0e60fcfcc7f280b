"""Every error that edgenode raises on purpose.

A message says what happened and to what; ``hint`` says what to do; ``retry`` says whether the same call can succeed later
without anybody doing anything. ``code`` travels in HTTP problem documents (RFC 9457), so the laptop raises the same class
as the node. A guest's failure is not here: it is an outcome, and it is signed.

    EdgenodeError
    ├── ConfigError             a configuration file or option that cannot be used
    ├── MalformedError          bytes that are not what they claim to be
    │   └── NotUnderstoodError      a document of a newer version
    ├── LimitError              a named limit was crossed
    ├── TrustError              bytes that are well formed, and not trusted
    │   ├── SignatureError          the signature does not fit the bytes
    │   ├── UnknownKeyError         nobody vouches for the key
    │   ├── RoleError               the key is known, and may not do this
    │   ├── ExpiredError            a document or grant is past its time
    │   ├── RevokedError            the key, module or node was revoked
    │   ├── DigestError             the bytes are not the ones that were named
    │   ├── RollbackError           an older document than the one in force
    │   └── CallerError             a request whose HTTP signature is missing, wrong, stale or replayed
    ├── RefusedError            a trusted job or module that this node will not take
    │   ├── ModuleMissingError      the node has not got the module's bytes
    │   ├── ModuleError             not a module that this sandbox can run
    │   ├── CapabilityError         the job asks for more than the manifest allows
    │   ├── NoSuchChannelError      no channel on this node fits the job's inputs
    │   ├── ValidityError           the job came after its start_by or until
    │   ├── NotSelectedError        the job's selector names other nodes
    │   ├── ConflictError           another document with the same id and generation is here
    │   └── QueueFullError          the node has all the work that it can hold
    ├── NotFoundError           nothing of that name here
    ├── TransportError          a peer could not be reached, or is not who it should be
    │   ├── UnreachableError        no connection
    │   └── PinError                the connection's key is not the expected one
    ├── StorageError            the state folder or a database failed
    │   └── StorageFullError        no space left for it
    └── FaultError              the node's own failure while running a step
        ├── NoWorkerError           none can be started now; nothing was run
        ├── WorkerDiedError         the worker process ended
        └── WorkerHungError         the worker did not answer in the wall limit
"""

from __future__ import annotations

from typing import ClassVar


class EdgenodeError(Exception):
    """The root. ``what``: what happened, to what, in one line without a full stop."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    retry: ClassVar[bool] = False
    default_hint: ClassVar[str] = ""

    def __init__(self, what: str, *, hint: str | None = None) -> None:
        super().__init__(what)
        self.what = what
        self.hint = self.default_hint if hint is None else hint

    def __str__(self) -> str:
        return self.what


class ConfigError(EdgenodeError):
    code = "config"
    status = 400


class MalformedError(EdgenodeError):
    code = "malformed"
    status = 400
    default_hint = "the bytes were damaged or made by other software: make or fetch them again"


class NotUnderstoodError(MalformedError):
    code = "not-understood"
    retry = True
    default_hint = "upgrade this side: the document is of a newer version"


class LimitError(EdgenodeError):
    """A limit was crossed: its name in the config, its value, and the value met."""

    code = "limit"
    status = 413

    def __init__(self, name: str, limit: int, met: int | str, *, unit: str = "bytes", hint: str | None = None) -> None:
        self.name, self.limit, self.met, self.unit = name, limit, met, unit
        super().__init__(
            f"limit {name} is {limit} {unit}, met {met}",
            hint=f"send less, or raise {name} where you run the node" if hint is None else hint,
        )


class TrustError(EdgenodeError):
    code = "trust"
    status = 403


class SignatureError(TrustError):
    code = "signature"
    default_hint = "the document was changed after it was signed, or signed by another key: fetch or sign it again"


class UnknownKeyError(TrustError):
    code = "unknown-key"
    default_hint = "have the fleet root grant this key a role, and give this side the new trust document"


class RoleError(TrustError):
    code = "wrong-role"
    default_hint = "sign with a key that holds the role, or have the fleet root grant it"


class ExpiredError(TrustError):
    code = "expired"
    default_hint = "have it signed again with a later expiry, and check this machine's clock"


class RevokedError(TrustError):
    code = "revoked"
    default_hint = "a revocation is final: use another key, module or node"


class DigestError(TrustError):
    code = "digest"
    default_hint = "fetch or build the bytes again, or sign the manifest for these bytes"


class RollbackError(TrustError):
    code = "rollback"
    default_hint = "use the newest version of the document"


class CallerError(TrustError):
    code = "caller"
    status = 401
    default_hint = "sign the request with a key of the fleet, and check both clocks"


class RefusedError(EdgenodeError):
    code = "refused"
    status = 409


class ModuleMissingError(RefusedError):
    code = "module-missing"
    status = 424
    retry = True
    default_hint = "upload the module's bytes, then submit again"


class ModuleError(RefusedError):
    code = "bad-module"
    status = 422
    default_hint = "build it as docs/step-abi.md says: core wasm, no imports, the exports of its ABI"


class CapabilityError(RefusedError):
    code = "capability"
    status = 403
    default_hint = "ask for less in the job, or have the publisher sign a manifest that allows it"


class NoSuchChannelError(RefusedError):
    code = "no-such-channel"
    default_hint = "'edgenode source list' on the node shows its channels"


class ValidityError(RefusedError):
    code = "validity"
    default_hint = "submit the job again with a later start_by or until, and check both clocks"


class NotSelectedError(RefusedError):
    code = "not-selected"
    default_hint = "'edgenode node list' shows the labels of each node"


class ConflictError(RefusedError):
    code = "conflict"
    default_hint = "raise the job's generation, or use a new id"


class QueueFullError(RefusedError):
    code = "queue-full"
    status = 503
    retry = True
    default_hint = "submit again in a moment"


class NotFoundError(EdgenodeError):
    code = "not-found"
    status = 404


class TransportError(EdgenodeError):
    code = "transport"
    status = 502


class UnreachableError(TransportError):
    code = "unreachable"
    retry = True
    default_hint = "check that it runs, its address and port, and the network between"


class PinError(TransportError):
    code = "pin"
    default_hint = "another machine answers at this address: check the address, and who is on the network"


class StorageError(EdgenodeError):
    code = "storage"
    status = 507
    default_hint = "check that the state folder exists, is yours, and is writable"


class StorageFullError(StorageError):
    code = "storage-full"
    retry = True
    default_hint = "free some space on the state folder's disk; nothing accepted is lost meanwhile"


class FaultError(EdgenodeError):
    code = "fault"
    retry = True


class NoWorkerError(FaultError):
    code = "no-worker"
    default_hint = "check this machine's memory and open files, and 'pip check'"


class WorkerDiedError(FaultError):
    code = "worker-died"


class WorkerHungError(FaultError):
    code = "worker-hung"


def _tree(root: type[EdgenodeError]) -> dict[str, type[EdgenodeError]]:
    found = {root.code: root}
    for child in root.__subclasses__():
        found.update(_tree(child))
    return found


BY_CODE = _tree(EdgenodeError)
"""code -> class, for the receiving end of a problem document."""
