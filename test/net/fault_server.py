# SPDX-License-Identifier: BSD-2-Clause
"""A static HTTP server with range support that can be told, request by request, to misbehave."""
import http.server
import pathlib
import re
import socket
import struct
import threading
import time


class Server(http.server.ThreadingHTTPServer):
    """Serves `root` on 127.0.0.1.

    `faults[path]` is a list: each request to the path takes the first one; one that ends in "*"
    stays. `requests` is what was asked: (path, Range header or None, headers).
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, root):
        super().__init__(("127.0.0.1", 0), Handler)
        self.root = pathlib.Path(root)
        self.faults = {}
        self.requests = []
        self.closing = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05},
                                       daemon=True)
        self.thread.start()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_address[1]}"

    def asked(self, path):
        return [r for r in self.requests if r[0] == path]

    def next_fault(self, path):
        waiting = self.faults.get(path)
        if not waiting:
            return None
        return waiting[0][:-1] if waiting[0].endswith("*") else waiting.pop(0)

    def handle_error(self, request, client_address):
        pass  # clients that hang up are what is tested

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.closing.set()
        self.shutdown()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_GET(self):
        path = self.path.split("?")[0]
        wanted = self.headers.get("Range")
        self.server.requests.append((path, wanted, dict(self.headers)))
        fault, _, argument = (self.server.next_fault(path) or "").partition(":")
        file = self.server.root / path.lstrip("/")
        data = file.read_bytes() if file.is_file() else None
        if fault == "status":
            return self.status(*argument.split(","))
        if fault == "redirect":
            return self.headers_and(b"", 302, [("Location", argument)])
        if data is None:
            return self.status("404")
        start, code = 0, 200
        match = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted or "")
        if match and fault != "ignore-range":
            start, code = int(match[1]), 206
            if start >= len(data):
                return self.status("416")
        if fault == "wrong":
            data = bytes([data[0] ^ 1]) + data[1:]
        if fault == "flip":
            at = int(argument)
            data = data[:at] + bytes([data[at] ^ 0x10]) + data[at + 1:]
        body = data[start:]
        headers = [("Accept-Ranges", "bytes")]
        if code == 206:
            shown = start + 1 if fault == "lie-range" else start
            headers.append(("Content-Range", f"bytes {shown}-{len(data) - 1}/{len(data)}"))
        if fault == "etag":
            headers.append(("ETag", argument))
        if fault == "gzip":
            headers.append(("Content-Encoding", "gzip"))
        if fault == "longer":
            body += b"x" * int(argument)
        if fault in ("endless", "no-length", "drip-chunked"):
            return self.without_length(body, fault, headers)
        self.head(code, len(body), headers)
        self.body(body, fault, argument)

    def body(self, body, fault, argument):
        n = int(argument) if fault in ("short", "stall", "reset") else len(body)
        if fault == "drip":
            for i in range(0, len(body), 10):
                if self.server.closing.wait(0.1):
                    break
                self.wfile.write(body[i:i + 10])
            return
        if fault == "slow":
            for i in range(0, len(body), 4096):
                self.wfile.write(body[i:i + 4096])
                time.sleep(float(argument))
            return
        self.wfile.write(body[:n])
        self.wfile.flush()
        if fault == "stall":
            self.server.closing.wait(30)
        if fault == "reset":
            time.sleep(0.05)  # let what was sent arrive before the reset overtakes it
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        if fault in ("short", "stall", "reset"):
            self.close_connection = True

    def without_length(self, body, fault, headers):
        self.send_response(200)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        self.wfile.write(body)
        while fault == "endless" and not self.server.closing.is_set():
            self.wfile.write(b"\0" * 65536)

    def status(self, code, retry_after=None):
        extra = [("Retry-After", retry_after)] if retry_after else []
        self.headers_and(b"no", int(code), extra)

    def headers_and(self, body, code, extra):
        self.head(code, len(body), extra)
        self.wfile.write(body)

    def head(self, code, length, extra):
        self.send_response(code)
        self.send_header("Content-Length", str(length))
        for name, value in extra:
            self.send_header(name, value)
        self.end_headers()
