"""What both test applications do alike: bytes that can be checked, and words
with the test over named pipes in PROBE_DIR."""

import hashlib
import os

BLOCK = 65536


def blocks(size, token=None):
    """Yields size bytes: block i is the SHA-256 of str(i), repeated. Tells the
    test when the reply was closed."""
    number = 0
    try:
        while size > 0:
            block = hashlib.sha256(str(number).encode()).digest() * (BLOCK // 32)
            yield block[:size]
            size -= BLOCK
            number += 1
    finally:
        if token:
            say(token, "closed")


def halves(token):
    yield b"first\n"
    wait(token)
    yield b"second\n"


def echo(read):
    """Begins the reply before it reads, and goes on as it reads."""
    yield b"echo:"
    while True:
        data = read(BLOCK)
        if not data:
            break
        yield data


def digest(read, token=None):
    """Reads a body in pieces; with a token the test hears of the first one."""
    total = hashlib.sha256()
    size = 0
    while True:
        data = read(BLOCK)
        if not data:
            break
        if token and not size:
            say(token, "begun")
        size += len(data)
        total.update(data)
    return {"size": size, "sha256": total.hexdigest()}


def pipe(token, end):
    if not token.isalnum():
        raise ValueError(token)
    return os.path.join(os.environ["PROBE_DIR"], token + end)


def say(token, word):
    fd = os.open(pipe(token, ".said"), os.O_WRONLY)
    try:
        os.write(fd, word.encode() + b"\n")
    finally:
        os.close(fd)


def wait(token):
    """Waits until the test gives a byte; each byte lets one go."""
    fd = os.open(pipe(token, ".go"), os.O_RDONLY)
    try:
        os.read(fd, 1)
    finally:
        os.close(fd)


def strings(environ):
    return {k: v for k, v in environ.items() if isinstance(v, str)}
