"""Whether multicast DNS can work on an interface: a packet to its group, sent and received here."""

from __future__ import annotations

import secrets
import socket

GROUP = "224.0.0.251"  # RFC 6762 §3
WAIT_SECONDS = 0.5


def works(address: str) -> bool:
    """Send a packet from ``address`` to the group, and see whether it comes back. The port is any, not mDNS's: nobody is disturbed."""
    word = secrets.token_bytes(16)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            interface = socket.inet_aton(address)
            receiver.bind((GROUP, 0))
            receiver.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP) + interface)
            receiver.settimeout(WAIT_SECONDS)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
            sender.sendto(word, (GROUP, receiver.getsockname()[1]))
            return receiver.recv(64) == word
    except OSError:
        return False
