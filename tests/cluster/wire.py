# SPDX-License-Identifier: LGPL-2.1-or-later OR Apache-2.0
"""Just enough of the wire format to send daemons what no program of ours would: lib/wire.h."""
import select
import socket
import struct

HEADER = struct.Struct("<IBBHIIIIIIQQQQ16s16s16sQQ")
FIELDS = ("magic version type flags meta_bytes data_bytes meta_crc data_crc chain reserved epoch seq "
          "token commit cluster from to credit tag").split()
MAGIC, VERSION, F_DATA_CRC = 0x314B4243, 2, 1
META_MAX, DATA_MAX = 1280, 1 << 20
CONNECT, CONNECTED, ERROR = 1, 2, 3
NODE, CLIENT, ADMIN = 1, 2, 3


def crc_table():
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        yield byte


TABLE = list(crc_table())


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    return crc ^ 0xFFFFFFFF


def unpack(stream):
    return dict(zip(FIELDS, HEADER.unpack_from(stream)))


def pack(header, body=b"", mend=True):
    """Header and what follows it as bytes; @mend computes the checksum of header and meta."""
    if mend:
        header = dict(header, meta_crc=0)
        raw = HEADER.pack(*(header[field] for field in FIELDS))
        header["meta_crc"] = crc32c(raw + body[:header["meta_bytes"]])
    return HEADER.pack(*(header[field] for field in FIELDS)) + body


def connect_frame(role, server_id=0):
    meta = struct.pack("<II32sQ", role, server_id, b"stranger", 0)
    header = dict.fromkeys(FIELDS, 0)
    header.update(magic=MAGIC, version=VERSION, type=CONNECT, meta_bytes=len(meta), cluster=bytes(16),
                  to=bytes(16))
    header["from"] = bytes(range(1, 17))
    return pack(header, meta)


class Peer:
    """One connection to a daemon, past the handshake unless @role is None."""

    def __init__(self, port, role):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.hello = None
        if role is not None:
            self.sock.sendall(connect_frame(role))
            self.hello = self.receive()
            assert self.hello and self.hello["type"] == CONNECTED, f"no CONNECTED but {self.hello}"

    def exactly(self, length):
        data = b""
        while len(data) < length:
            piece = self.sock.recv(length - len(data))
            if not piece:
                return None
            data += piece
        return data

    def receive(self):
        """The next frame's header with its bytes in "body"; None at the end of the stream."""
        try:
            raw = self.exactly(HEADER.size)
            if raw is None:
                return None
            header = unpack(raw)
            header["body"] = self.exactly(header["meta_bytes"] + header["data_bytes"])
            return header
        except ConnectionResetError:
            return None

    def send(self, data, last=True):
        try:
            self.sock.sendall(data)
            if last:
                self.sock.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass  # refused before it had it all

    def until_closed(self):
        """Everything the daemon still sends; returns the text of its ERROR, or None."""
        text = None
        while True:
            frame = self.receive()
            if frame is None:
                break
            if frame["type"] == ERROR and frame["body"]:
                text = frame["body"][8:].split(b"\0")[0].decode(errors="replace")
        self.sock.close()
        return text

    def closed_now(self):
        return bool(select.select([self.sock], [], [], 0)[0])
