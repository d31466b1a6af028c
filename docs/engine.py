#!/usr/bin/env python3
"""An engine on ckptd that needs nothing but Python's standard library: it counts.

    python3 engine.py http://127.0.0.1:7420 counter

Kill it at any moment and start it again: it goes on from the newest complete checkpoint.
"""

import base64
import http.client
import json
import struct
import sys
import threading
import time
import urllib.parse
import uuid

SUBTASK = {"operatorId": "counter", "index": 0}
PLAN = {"operators": [{"id": "counter", "parallelism": 1, "maxParallelism": 1, "triggered": True}]}
BROKEN = (OSError, http.client.HTTPException)  # the daemon is gone, or was silent for too long


class Refused(Exception):
    """A daemon has answered with an error."""

    def __init__(self, error):
        super().__init__(error.get("message", error))
        details = {d["type"]: d.get("debug", {}) for d in error.get("details", [])}
        self.not_owner = details.get("ckptd.v1.NotOwner")  # says who owns the job
        self.reason = details.get("ckptd.v1.Refused", {}).get("reason")
        self.repeat = error.get("code") in ("unavailable", "deadline_exceeded")


# One call, with JSON. Streams have an envelope around each message: a byte of flags and the length.


def connect(url, timeout=3):
    at = urllib.parse.urlsplit(url)
    return http.client.HTTPConnection(at.hostname, at.port, timeout=timeout)


def unary(url, procedure, message):
    conn = connect(url)
    try:
        conn.request("POST", "/ckptd.v1." + procedure, json.dumps(message), {"Content-Type": "application/json"})
        response = conn.getresponse()
        answer = json.loads(response.read() or "{}")
    finally:
        conn.close()
    if response.status != 200:
        raise Refused(answer)
    return answer


def stream(url, procedure, messages, timeout=5):
    """Sends messages, then gives those that come back. A daemon pings each second, so silence means that it is gone."""
    conn = connect(url, timeout)
    try:
        body = b"".join(struct.pack(">BI", 0, len(m)) + m for m in (json.dumps(m).encode() for m in messages))
        conn.request("POST", "/ckptd.v1." + procedure, body, {"Content-Type": "application/connect+json"})
        response = conn.getresponse()
        if response.status != 200:
            raise Refused(json.loads(response.read() or "{}"))
        while True:
            flags, length = struct.unpack(">BI", exactly(response, 5))
            message = json.loads(exactly(response, length))
            if flags & 2:  # the last one, with the error if there is one
                if "error" in message:
                    raise Refused(message["error"])
                return
            yield message
    finally:
        conn.close()


def exactly(response, n):
    data = response.read(n)
    if len(data) < n:
        raise http.client.IncompleteRead(data)
    return data


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def crc_row(n):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    return n


CRC_TABLE = [crc_row(n) for n in range(256)]


class Engine:
    def __init__(self, urls, job, interval):
        self.urls, self.url, self.job, self.interval = urls, urls[0], job, interval
        self.nonce = uuid.uuid4().hex  # of this process
        self.attempt = 0  # the one that runs here; 0: none
        self.begun = set()  # checkpoints under way
        self.ends = False  # the job stops with a savepoint, and this attempt has committed it
        self.lock, self.count, self.history = threading.Lock(), 0, b""

    def attach(self):
        """Call 1: finds the job's owner, or makes one of the daemons its owner."""
        request = {
            "jobId": self.job, "requestId": uuid.uuid4().hex, "plan": PLAN,
            "config": {
                "interval": "%gs" % self.interval, "retention": "RETENTION_RETAIN_ON_CANCELLATION",
                "restartStrategy": {"type": "TYPE_FIXED_DELAY", "attempts": 1000000, "delay": "%gs" % (self.interval / 5)},
            },
        }
        while True:
            for url in [self.url] + self.urls:
                try:
                    unary(url, "EngineService/AttachJob", request)
                    self.url = url
                    return
                except Refused as refused:
                    if refused.not_owner is None and not refused.repeat:
                        raise
                    for owner in (refused.not_owner or {}).get("ownerUrls", [])[:1]:
                        self.url = owner  # the next round asks it first
                except BROKEN:
                    pass
            time.sleep(0.1)

    def call(self, procedure, **message):
        """Repeats a call with the same request id, at each owner, until it is answered or refused."""
        message.update(jobId=self.job)
        while True:
            try:
                return unary(self.url, procedure, message)
            except Refused as refused:
                if refused.not_owner is None and not refused.repeat:
                    raise
            except BROKEN:
                pass
            time.sleep(0.1)
            self.attach()

    def run(self):
        """Call 2: registers, again and again, and does what the commands say, until the job ends."""
        threading.Thread(target=self.process, daemon=True).start()
        while True:
            request = {"jobId": self.job, "subtasks": [SUBTASK], "nonce": self.nonce}
            if self.attempt:  # what this process does: a new owner continues the attempt
                kinds = ["KIND_RUNNING"] + ["KIND_FINISHED"] * self.ends
                request.update(attempt=self.attempt, reports=[{"kind": k} for k in kinds], begunCheckpointIds=sorted(self.begun))
            try:
                self.attach()
                for command in stream(self.url, "EngineService/Register", [request]):
                    if self.obey(command):
                        return
            except BROKEN:
                pass
            except Refused as refused:
                if refused.not_owner is None and not refused.repeat:
                    raise
            time.sleep(0.1)

    def process(self):
        """Processes 100 records a second, while an attempt runs."""
        while True:
            time.sleep(0.01)
            with self.lock:
                if self.attempt:
                    self.count += 1

    def obey(self, command):
        """Does what a command says. True: the process ends."""
        (kind, c), = command.items()
        attempt, checkpoint = int(c.get("attempt", 0)), int(c.get("checkpointId", 0))
        if kind == "ping":
            self.call("EngineService/Report", kind="KIND_ALIVE", nonce=self.nonce, attempt=self.attempt)
        elif kind == "start":
            self.start(c, attempt)
        elif kind == "cancel":
            say("the job is over: %s" % c["status"])
            return True
        elif kind == "replaced":
            say("another process counts now")
            return True
        elif attempt != self.attempt:
            pass  # of an attempt that does not run here
        elif kind == "trigger" and checkpoint not in self.begun:
            self.begun.add(checkpoint)
            try:
                self.snapshot(c["epoch"], checkpoint)
            except Refused as refused:  # without the decline, the owner waits for the checkpoint's time-out
                say("checkpoint %d failed: %s" % (checkpoint, refused))
                self.call("EngineService/Decline", epoch=c["epoch"], attempt=attempt, checkpointId=checkpoint, requestId=uuid.uuid4().hex,
                          subtasks=[SUBTASK], cause=str(refused))
        elif kind == "complete":
            self.begun = {n for n in self.begun if n > checkpoint}
            say("checkpoint %d is complete" % checkpoint)
            if c.get("ends"):
                self.finish()
        elif kind == "abort":
            self.begun.discard(checkpoint)
        return False

    def start(self, c, attempt):
        """Calls 3 to 5: restores an attempt and says that it runs. A Start may come twice."""
        try:
            if attempt != self.attempt:
                with self.lock:
                    self.attempt = 0
                self.begun, self.ends = set(), False
                count, history = self.restore(c["epoch"], attempt)
                say("attempt %d restored checkpoint %s: %d" % (attempt, c.get("restoreCheckpointId", 0), count))
                with self.lock:
                    self.attempt, self.count, self.history = attempt, count, history
            self.call("EngineService/Report", kind="KIND_RUNNING", nonce=self.nonce, attempt=attempt)
            if c.get("ends"):  # of an attempt that restores the savepoint with which the job stops
                self.finish()
        except Refused as refused:
            if refused.reason not in ("REASON_STALE_ATTEMPT", "REASON_STALE_EPOCH"):
                raise  # else a newer Start follows, or the session registers again
            self.attempt = 0

    def finish(self):
        """Says that the subtask has finished for good, because the job stops with a savepoint. Cancel follows."""
        self.ends = True
        self.call("EngineService/Report", kind="KIND_FINISHED", nonce=self.nonce, attempt=self.attempt)

    def restore(self, epoch, attempt):
        """Calls 3 and 4: what has this subtask to restore? Fetch it."""
        count, history, page = 0, b"", ""
        while True:
            answer = self.call("EngineService/Assignment", epoch=epoch, attempt=attempt, subtasks=[SUBTASK], pageToken=page)
            for state in answer.get("states", []):
                for handle in state.get("handles", []):
                    if "file" in handle:
                        history = self.get(handle["file"])
                    else:
                        count = int(base64.b64decode(handle["inline"]))
            page = answer.get("nextPageToken", "")
            if not page:
                break
        if count and int(history.split()[-1]) != count:
            raise ValueError("the two pieces are not of one checkpoint: %d, %r" % (count, history[-20:]))
        return count, history

    def get(self, file):
        """GetState: a file, checked against its sum. (Files above 4 MiB have a sum for each block, too.)"""
        while True:
            try:
                chunks = stream(self.url, "StateService/GetState", [{"jobId": self.job, "file": file}])
                data = b"".join(base64.b64decode(c["chunk"]) for c in chunks)
                if crc32c(data) == file.get("crc32c", 0):
                    return data
            except Refused as refused:
                if not refused.repeat:
                    raise
            except BROKEN:
                pass
            time.sleep(0.1)
            self.attach()

    def put(self, epoch, checkpoint, data):
        """PutState: a header, then chunks of at most 1 MiB. After a break the file is sent again: it gets a new name."""
        header = {"jobId": self.job, "epoch": epoch, "attempt": self.attempt, "checkpointId": checkpoint, "scope": "SCOPE_EXCLUSIVE"}
        chunks = [base64.b64encode(data[at:at + 2 ** 19]).decode() for at in range(0, len(data), 2 ** 19)]
        while True:
            try:
                answers = list(stream(self.url, "StateService/PutState", [{"header": header}] + [{"chunk": c} for c in chunks], 60))
                return answers[0]["file"]
            except Refused as refused:
                if not refused.repeat:
                    raise
            except BROKEN:
                pass
            time.sleep(0.1)
            self.attach()

    def snapshot(self, epoch, checkpoint):
        """Call 6: a frozen copy, made durable and acknowledged."""
        with self.lock:
            count = b"%d" % self.count
        history = self.history + count + b"\n"
        say("checkpoint %d has %s" % (checkpoint, count.decode()))
        file = self.put(epoch, checkpoint, history)
        self.call("EngineService/Acknowledge", epoch=epoch, attempt=self.attempt, checkpointId=checkpoint, requestId=uuid.uuid4().hex, snapshots=[{
            "subtask": SUBTASK,
            "handles": [
                {"name": "count", "inline": base64.b64encode(count).decode()},  # small: it travels inside the call
                {"name": "history", "uploaded": file},
            ],
        }])
        self.history = history


def say(text):
    print(text, flush=True)


if __name__ == "__main__":
    Engine(sys.argv[1].split(","), sys.argv[2], float(sys.argv[3]) if len(sys.argv) > 3 else 0.5).run()
