"""The WSGI application of the two Python peers: gevent's pywsgi and Apache with mod_wsgi.

Run as a program it serves itself with gevent; imported by mod_wsgi it is only `application`.

    python3 wsgi_app.py --listen 127.0.0.1:8080 --backend 127.0.0.1:9000 --rounds N
    python3 wsgi_app.py --calibrate          prints the rounds of burn() that take a millisecond

mod_wsgi's processes take backend and rounds from the environment: BENCH_BACKEND, BENCH_ROUNDS.
"""

import argparse
import os
import sys

SELF_SERVED = __name__ == "__main__"
if SELF_SERVED and "--calibrate" not in sys.argv:
    from gevent import monkey

    monkey.patch_all()

import http.client
import json
import time

CALLS = 3
HOLD_MILLIS = 20
SLEEP_MAX = 30
PLAINTEXT = b"Hello, World!"
DONE = b"done"

settings = {"backend": os.environ.get("BENCH_BACKEND", ""), "rounds": int(os.environ.get("BENCH_ROUNDS", "0"))}

# Idle backend connections. list.pop and list.append are atomic for threads and for greenlets.
idle = []


def burn(rounds):
    """Computes for the given number of rounds, as an application's own Python does, holding the interpreter lock."""
    x = 0x9E3779B9
    for _ in range(rounds):
        x = (x ^ (x << 5) ^ (x >> 7)) & 0xFFFFFFFF
    return x


def rounds_per_milli():
    """The fastest of many tries, so that a busy machine does not make the work smaller."""
    rounds, best, end = 2000, float("inf"), time.perf_counter() + 0.3
    while time.perf_counter() < end:
        start = time.perf_counter()
        burn(rounds)
        best = min(best, time.perf_counter() - start)
    return int(rounds * 0.001 / best)


def fetch():
    """One backend call on a kept connection."""
    try:
        conn = idle.pop()
    except IndexError:
        host, port = settings["backend"].rsplit(":", 1)
        conn = http.client.HTTPConnection(host, int(port))
    try:
        conn.request("GET", "/delay")
        response = conn.getresponse()
        response.read()
    except Exception:
        conn.close()
        raise
    idle.append(conn)


def answer(start_response, body, content_type="text/plain", status="200 OK"):
    start_response(status, [("Content-Type", content_type), ("Content-Length", str(len(body)))])
    return [body]


def application(environ, start_response):
    path = environ["PATH_INFO"]
    if path == "/plaintext":
        return answer(start_response, PLAINTEXT)
    if path == "/json":
        body = json.dumps({"message": "Hello, World!"}, separators=(",", ":")).encode()
        return answer(start_response, body, "application/json")
    if path == "/echo":
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        return answer(start_response, body, environ.get("CONTENT_TYPE", "application/octet-stream"))
    if path == "/work":
        for _ in range(CALLS):
            fetch()
        burn(settings["rounds"])
        return answer(start_response, DONE)
    if path == "/hold":
        burn(HOLD_MILLIS * settings["rounds"])
        return answer(start_response, DONE)
    if path == "/sleep":
        time.sleep(SLEEP_MAX)
        return answer(start_response, DONE)
    return answer(start_response, b"not found", status="404 Not Found")


def serve():
    flags = argparse.ArgumentParser()
    flags.add_argument("--listen", default="127.0.0.1:8080")
    flags.add_argument("--backend", default="127.0.0.1:9000")
    flags.add_argument("--rounds", type=int, default=0)
    flags.add_argument("--calibrate", action="store_true")
    args = flags.parse_args()
    if args.calibrate:
        print(rounds_per_milli())
        return
    from gevent.pywsgi import WSGIServer

    settings["backend"], settings["rounds"] = args.backend, args.rounds or rounds_per_milli()
    host, port = args.listen.rsplit(":", 1)
    WSGIServer((host, int(port)), application, backlog=4096, log=None, error_log=None).serve_forever()


if SELF_SERVED:
    serve()
