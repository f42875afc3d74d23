# SPDX-License-Identifier: BSD-2-Clause
"""The network layer against a server that misbehaves: a fault is recovered from, or has a name."""
import hashlib
import os
import random
import re
import subprocess
import time

import pytest
from fault_server import Server

SIZE = 300_000
DATA = random.Random(5).randbytes(SIZE)
IO, NOT_FOUND, NETWORK, FORMAT, LIMIT, SIZE_ERROR = -1000, -1001, -1002, -2001, -2002, -2004


@pytest.fixture
def server(tmp_path):
    (tmp_path / "file").write_bytes(DATA)
    (tmp_path / "empty").write_bytes(b"")
    with Server(tmp_path) as running:
        yield running


@pytest.fixture
def fetch(build, server):
    def run(path="/file", *options, url=None, **env):
        done = subprocess.run([build / "test/net/aid_fetch", url or server.url + path,
                               *map(str, options)], capture_output=True, text=True, timeout=20,
                              env={**os.environ, "no_proxy": "127.0.0.1", **env})
        assert done.returncode in (0, 1), done.stderr
        return Result(done)
    return run


class Result:
    def __init__(self, done):
        self.ok = done.returncode == 0
        self.lines = done.stdout.splitlines()
        self.log = done.stderr
        self.first = self.lines[0]
        self.counters = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", self.lines[-1])}
        match = re.match(r"error (-\d+) (.*)", self.lines[-2])
        self.code, self.detail = (int(match[1]), match[2]) if match else (0, "")


def sha(data):
    return hashlib.sha256(data).hexdigest()


def whole(result):
    return result.ok and result.first.startswith(f"ok {SIZE} {sha(DATA)} ")


def ranges(server, path="/file"):
    return [r[1] for r in server.asked(path)]


def test_whole_file_asks_plainly(server, fetch):
    assert whole(fetch("/file", "--expected", SIZE))
    (_, wanted, headers), = server.asked("/file")
    assert wanted is None and "Accept-Encoding" not in headers
    assert re.fullmatch(r"srplay/\d+\.\d+\.\d+", headers["User-Agent"])


def test_empty_file(fetch):
    result = fetch("/empty")
    assert result.ok and result.first.startswith("ok 0 ")


def test_reset_resumes_at_first_missing_byte(server, fetch):
    server.faults["/file"] = ["reset:100000"]
    result = fetch("/file", "--expected", SIZE)
    assert whole(result) and result.counters["retries"] == 1
    first, second = ranges(server)
    assert first is None and re.fullmatch(r"bytes=[1-9]\d*-", second)
    assert result.counters["received"] == SIZE


def test_short_body_resumes(server, fetch):
    server.faults["/file"] = ["short:1000", "short:1000"]
    assert whole(fetch("/file"))
    assert ranges(server) == [None, "bytes=1000-", "bytes=2000-"]


def test_stall_times_out_and_resumes(server, fetch):
    server.faults["/file"] = ["stall:500"]
    assert whole(fetch("/file"))
    assert ranges(server) == [None, "bytes=500-"]


def test_range_ignored_starts_over(server, fetch):
    server.faults["/file"] = ["short:70000", "ignore-range"]
    result = fetch("/file")
    assert whole(result) and result.counters["received"] == SIZE + 70000


def test_wrong_content_range_is_refused(server, fetch):
    server.faults["/file"] = ["short:70000", "lie-range"]
    result = fetch("/file")
    assert result.code == NETWORK and "another range" in result.detail


def test_changed_file_starts_over(server, fetch):
    server.faults["/file"] = ["short:70000", "etag:\"b\""]
    assert fetch("/file").ok  # no tag was known before: nothing to compare with
    (server.root / "two").write_bytes(DATA)
    server.faults["/two"] = ["etag:\"a\"", "etag:\"a\""]
    assert whole(fetch("/two"))


def test_short_for_good_has_a_name(server, fetch):
    server.faults["/file"] = ["short:0*"]
    result = fetch("/file", "--attempts", 3)
    assert result.code == NETWORK and server.url + "/file: " in result.detail
    assert len(server.asked("/file")) == 3


def test_slow_drip_has_a_name(server, fetch):
    server.faults["/file"] = ["drip*"]
    begun = time.monotonic()
    result = fetch("/file", "--attempts", 2)
    assert result.code == NETWORK and "too slow" in result.detail
    assert time.monotonic() - begun < 8


def test_endless_body_is_cut(server, fetch):
    server.faults["/file"] = ["endless*"]
    result = fetch("/file", "--expected", SIZE)
    assert result.code == SIZE_ERROR and "more bytes than are declared" in result.detail
    assert result.counters["received"] <= SIZE
    result = fetch("/file", "--max", 1_000_000)
    assert result.code == LIMIT and result.counters["received"] <= 1_000_000


def test_declared_size_differs(server, fetch):
    result = fetch("/file", "--expected", SIZE + 1)
    assert result.code == SIZE_ERROR and str(SIZE) in result.detail
    assert fetch("/file", "--max", SIZE - 1).code == LIMIT
    assert fetch("/file", "--max", SIZE).ok


@pytest.mark.parametrize("status,code", [(404, NOT_FOUND), (410, NOT_FOUND), (401, NETWORK),
                                         (403, NETWORK), (400, NETWORK), (501, NETWORK)])
def test_final_statuses_are_not_retried(server, fetch, status, code):
    server.faults["/file"] = [f"status:{status}*"]
    result = fetch("/file")
    assert result.code == code and result.detail == f"{server.url}/file: HTTP status {status}"
    assert len(server.asked("/file")) == 1 and result.counters["status"] == status


def test_503_then_ok(server, fetch):
    server.faults["/file"] = ["status:503", "status:500"]
    result = fetch("/file")
    assert whole(result) and result.counters["retries"] == 2
    assert "HTTP status 503; attempt 2 in" in result.log


def test_503_for_good(server, fetch):
    server.faults["/file"] = ["status:503*"]
    result = fetch("/file", "--attempts", 3)
    assert result.code == NETWORK and "HTTP status 503" in result.detail
    assert len(server.asked("/file")) == 3


def test_429_waits_as_told(server, fetch):
    server.faults["/file"] = ["status:429,1"]
    begun = time.monotonic()
    assert whole(fetch("/file"))
    assert time.monotonic() - begun >= 1
    server.faults["/file"] = ["status:429,86400"]  # but no longer than the policy allows
    assert whole(fetch("/file"))
    assert time.monotonic() - begun < 8


def test_redirect(server, fetch):
    server.faults["/start"] = ["redirect:/middle"]
    server.faults["/middle"] = [f"redirect:{server.url}/file"]
    result = fetch("/start")
    assert whole(result) and result.first.endswith(f" {server.url}/file")


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/file",
                                    "gopher://127.0.0.1/", "data:text/plain,x"])
def test_redirect_elsewhere_is_refused(server, fetch, target):
    server.faults["/start"] = [f"redirect:{target}*"]
    result = fetch("/start")
    assert result.code == FORMAT and "refused to follow a redirect" in result.detail
    assert "root:" not in "".join(result.lines)


def test_redirect_loop(server, fetch):
    server.faults["/start"] = ["redirect:/start*"]
    result = fetch("/start")
    assert result.code == NETWORK and "more than 5 redirects" in result.detail
    assert len(server.asked("/start")) == 6


def test_encoding_is_refused(server, fetch):
    server.faults["/file"] = ["gzip*"]
    assert "encoding that was not asked for" in fetch("/file").detail


def test_no_length(server, fetch):
    server.faults["/file"] = ["no-length"]
    assert whole(fetch("/file"))


def test_nobody_listens(fetch):
    result = fetch(url="http://127.0.0.1:1/x%0a")
    assert result.code == NETWORK and "http://127.0.0.1:1/x%0a: " in result.detail


def test_password_is_not_shown(fetch):
    result = fetch(url="http://user:secret@127.0.0.1:1/x")
    assert "secret" not in "".join(result.lines) + result.log


def test_certificate_is_verified(tmp_path, fetch):
    """A self-signed server is refused, unless the environment names its certificate."""
    import ssl
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
                    "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1",
                    "-keyout", key, "-out", cert], check=True, capture_output=True)
    with Server(tmp_path) as tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        tls.socket = context.wrap_socket(tls.socket, server_side=True)
        url = tls.url.replace("http:", "https:") + "/file"
        (tmp_path / "file").write_bytes(DATA)
        result = fetch(url=url)
        assert result.code == NETWORK and "certificate" in result.detail
        assert tls.requests == []
        assert whole(fetch(url=url, CURL_CA_BUNDLE=str(cert)))
        with Server(tmp_path) as plain:  # https never leads to http
            tls.faults["/start"] = [f"redirect:{plain.url}/file"]
            result = fetch(url=url.replace("/file", "/start"), CURL_CA_BUNDLE=str(cert))
            assert result.code == FORMAT and plain.requests == []


def test_cancel_is_prompt(server, fetch):
    server.faults["/file"] = ["stall:10*"]
    begun = time.monotonic()
    result = fetch("/file", "--cancel", 300, "--stall", 20)
    assert result.code == IO and result.detail == "interrupted"
    assert time.monotonic() - begun < 3


# ---- the seekable source -------------------------------------------------------------------------

def reads(fetch, spans, *options):
    arguments = [x for offset, size in spans for x in ("--read", f"{offset}:{size}")]
    result = fetch("/file", *arguments, *options)
    got = [line.split()[2] for line in result.lines if line.startswith("read ")]
    expected = [sha(DATA[o:o + s if s else None]) for o, s in spans]
    return result, got == expected


SPANS = [(0, 100), (0, 0), (250_000, 50_000), (10, 10), (120_000, 1000), (119_000, 3000),
         (SIZE, 10), (5, 0)]


def test_source_seeks(fetch):
    result, same = reads(fetch, SPANS)
    assert same and result.first == f"size {SIZE}"


def test_source_survives_resets(server, fetch):
    server.faults["/file"] = ["reset:40000", "reset:90000", "stall:10", "short:20"]
    result, same = reads(fetch, SPANS)
    assert same and result.counters["retries"] >= 3


def test_source_without_ranges(server, fetch):
    server.faults["/file"] = ["ignore-range*"]
    _, same = reads(fetch, [(0, 10), (290_000, 0), (0, 10)])
    assert same


def test_source_reads_ahead_but_not_everything(server, fetch):
    big = random.Random(6).randbytes(8 << 20)
    (server.root / "file").write_bytes(big)
    result = fetch("/file", "--read", "0:10")
    assert result.ok and result.counters["received"] <= 512 * 1024


def test_source_file_that_changes(server, fetch):
    server.faults["/file"] = ["etag:\"one\"", "etag:\"two\""]
    result = fetch("/file", "--read", "0:10", "--read", "290000:0")
    assert result.ok  # two requests, each of one version: the size is the same
    server.faults["/file"] = ["short:50", "longer:5"]
    result = fetch("/file", "--read", "0:0")
    assert not result.ok


def test_source_names_a_missing_file(fetch):
    result = fetch("/nothing", "--read", "0:10")
    assert result.code == NOT_FOUND and "HTTP status 404" in result.detail
