#!/usr/bin/env python3
"""Uploads files and folders to the GPU Alliance portal from a terminal. Needs Python 3.8 and nothing else.

    PORTAL_URL=https://... PORTAL_TOKEN=... python3 portal-upload.py [--dataset NAME] [--parallel 4] [--no-version]
        [--follow-links] FILE_OR_FOLDER ...

The portal shows this command with a token that lives an hour. Parts go straight to the storage, several at a time, each
with its SHA-256; a file is done when the portal has read it back and found it equal. Run it again after an
interruption: only what is missing is sent. When all have arrived the portal is asked to make a version of the dataset
as soon as they are verified (not with --no-version). Symbolic links in folders are left out unless --follow-links is
given. Exit status: 0 all verified, 1 something is missing (it says what), 2 it cannot begin.
"""

import argparse
import hashlib
import http.client
import json
import locale
import os
import random
import ssl
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from urllib.parse import urlencode, urlsplit

MIB = 1024 * 1024
END, WHOLE = 8 * MIB, 64 * MIB  # up to WHOLE a file is known by its SHA-256, a larger one by that of its two ends
BLOCK = MIB
TRIES = 8
FILES_AT_ONCE = 4

JAPANESE = {
    "no_token": "PORTAL_URL と PORTAL_TOKEN を設定してください。ポータルのデータセット画面でコマンドを作れます。",
    "not_there": "{path}: ファイルがありません。名前を確かめてください。",
    "odd": "{path}: 通常のファイルではないため、送りません。",
    "link": "{path}: シンボリックリンクのため、送りません（--follow-links を付けると送ります）。",
    "loop": "{path}: すでにたどったフォルダーへのリンクのため、たどりません。",
    "nothing": "送るファイルがありません。",
    "sending": "{percent}%  {done} / {total}  {speed}/秒  残り約{left}",
    "waiting": "ストレージでSHA-256を確認しています: 残り{n}件",
    "verified": "確認済み  {sha256}  {path}",
    "failed": "失敗  {path}: {why}",
    "changed": "送信中にファイルが変わりました。もう一度実行してください。",
    "away": "接続できません（{why}）。ネットワークを確かめて、もう一度実行してください。届いた分は送り直しません。",
    "full": "ストレージに空きがありません。サポート窓口に知らせてください。届いた分は残っています。",
    "odd_answer": "ポータルの応答を読めません（{why}）。PORTAL_URL を確かめてください。",
    "summary": "{good}件を確認しました。{bad}件は届いていません。",
    "made": "バージョン{n}を作りました: {url}",
    "waiting_version": "すべてのファイルの確認が済み次第、バージョン{n}を作ります: {url}",
    "unchanged": "バージョン{n}から変わっていないため、新しいバージョンは作りません: {url}",
    "no_version": "バージョンを作れませんでした: {why}",
    "stopped": "中断しました。もう一度実行すると、残りだけを送ります。",
}
ENGLISH = {
    "no_token": "Set PORTAL_URL and PORTAL_TOKEN. The portal's dataset page makes the command.",
    "not_there": "{path}: there is no such file. Check the name.",
    "odd": "{path}: not a plain file, so it is not sent.",
    "link": "{path}: a symbolic link, so it is not sent (with --follow-links it is).",
    "loop": "{path}: a link to a folder that was walked already, so it is not followed.",
    "nothing": "There is no file to send.",
    "sending": "{percent}%  {done} of {total}  {speed} per second  about {left} left",
    "waiting": "Verifying the SHA-256 in the storage: {n} left",
    "verified": "verified  {sha256}  {path}",
    "failed": "failed  {path}: {why}",
    "changed": "the file changed while it was sent. Run this again.",
    "away": "no connection ({why}). Check the network and run this again: what has arrived is not sent twice.",
    "full": "the storage is full. Tell the support desk; what has arrived is kept.",
    "odd_answer": "the portal's answer cannot be read ({why}). Check PORTAL_URL.",
    "summary": "{good} verified, {bad} not there.",
    "made": "Version {n} was made: {url}",
    "waiting_version": "Version {n} is made as soon as every file of the dataset is verified: {url}",
    "unchanged": "Nothing differs from version {n}, so no new one is made: {url}",
    "no_version": "no version was made: {why}",
    "stopped": "Stopped. Run it again to send the rest.",
}


class Trouble(Exception):
    """What is said of a file or of the whole run; `missing`: parts that are to be sent again."""

    def __init__(self, text, missing=(), final=False):
        super().__init__(text)
        self.missing, self.final = missing, final


def language():
    names = [os.environ.get(name, "") for name in ("LC_ALL", "LC_MESSAGES", "LANG")]
    return "ja" if next((name for name in names if name), locale.getlocale()[0] or "").startswith("ja") else "en"


def say(key, **values):
    return (JAPANESE if language() == "ja" else ENGLISH)[key].format(**values)


class Client:
    """One keep-alive connection for each thread and host; a broken one is made anew."""

    def __init__(self):
        self.local = threading.local()

    def request(self, method, url, body=None, headers=None):
        """(status, headers, bytes). `body`: bytes, or (size, function that gives blocks). Raises OSError."""
        parts = urlsplit(url)
        known = self.local.__dict__.setdefault("connections", {})
        connection = known.get((parts.scheme, parts.netloc))
        if connection is None:
            if parts.scheme == "https":
                connection = http.client.HTTPSConnection(parts.netloc, timeout=60, context=ssl.create_default_context())
            else:
                connection = http.client.HTTPConnection(parts.netloc, timeout=60)
            connection.blocksize = BLOCK
            known[(parts.scheme, parts.netloc)] = connection
        headers = dict(headers or {})
        if isinstance(body, tuple):
            size, blocks = body
            headers["Content-Length"] = str(size)
            body = blocks()
        try:
            connection.request(method, parts.path + ("?" + parts.query if parts.query else ""), body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException) as broken:
            connection.close()
            raise OSError(type(broken).__name__ + (": " + str(broken) if str(broken) else "")) from broken
        except BaseException:
            connection.close()  # half a body was sent
            raise


class Portal:
    def __init__(self, url, token):
        self.url, self.client = url.rstrip("/"), Client()
        self.headers = {"Authorization": "Bearer " + token, "Accept": "application/json", "Accept-Language": language()}

    def ask(self, path, fields=None):
        """The JSON answer. Waits and tries again while the portal is away or says "too many". Raises Trouble."""
        headers, body = dict(self.headers), None
        if fields is not None:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode(fields).encode()
        tries = 0
        while True:
            tries += 1
            try:
                status, said, data = self.client.request(
                    "POST" if body is not None else "GET", self.url + path, body, headers
                )
            except OSError as broken:
                status, said, data, why = 0, {}, b"", str(broken)
            try:
                answer = json.loads(data or b"{}")
            except ValueError:
                answer = None
            if 200 <= status < 300 and answer is not None:
                return answer
            if status == 429:
                time.sleep(min(90, int(said.get("Retry-After") or 10)))
                tries -= 1
            elif status and status < 500:
                if not isinstance(answer, dict) or "error" not in answer:
                    raise Trouble(say("odd_answer", why=status), final=True)
                raise Trouble(answer["error"], answer.get("missing", ()), final=status == 401)
            elif tries >= TRIES:
                raise Trouble((answer or {}).get("error") or say("away", why=status or why))
            else:
                time.sleep(pause(tries))


def pause(tries):
    return min(30, 2 ** (tries - 1)) * (0.5 + random.random() / 2)


class Progress:
    def __init__(self, total):
        self.total, self.done, self.moved, self.begun = total, 0, 0, time.monotonic()
        self.shown = self.begun  # a speed is known after a while
        self.lock, self.is_terminal = threading.Lock(), sys.stderr.isatty()

    def add(self, count, moved=True):
        with self.lock:
            self.done += count
            self.moved += count if moved else 0
            now = time.monotonic()
            if now - self.shown < (0.5 if self.is_terminal else 30):
                return
            self.shown = now
            speed = max(0.0, self.moved / max(0.001, now - self.begun))
            left = duration((self.total - self.done) / speed) if speed else "-"
            percent = min(100, self.done * 100 // self.total) if self.total else 100
            line = say(
                "sending",
                percent=percent,
                done=amount(self.done),
                total=amount(self.total),
                speed=amount(speed),
                left=left,
            )
        sys.stderr.write("\r\x1b[K" + line if self.is_terminal else line + "\n")
        sys.stderr.flush()

    def line(self, text):
        with self.lock:
            if self.is_terminal:
                sys.stderr.write("\r\x1b[K")
            print(text, flush=True)


def amount(count):
    units = ["B", "KB", "MB", "GB", "TB"]
    while count >= 1000 and len(units) > 1:
        count, units = count / 1000, units[1:]
    return "%.1f %s" % (count, units[0]) if units[0] != "B" else "%d B" % count


def duration(seconds):
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return "%d:%02d:%02d" % (hours, minutes, seconds)


class Upload:
    """One file: begin, send what the store has not got, complete."""

    def __init__(self, portal, pool, progress, path, name, dataset):
        self.portal, self.pool, self.progress = portal, pool, progress
        self.path, self.name, self.dataset = path, name, dataset
        self.size, self.modified = os.stat(path).st_size, os.stat(path).st_mtime_ns

    def send(self):
        """The portal's answer to `begin`, once the upload is complete. Raises Trouble, OSError."""
        kind, digest = ("sha256", self.digest(0, self.size)) if self.size <= WHOLE else ("fingerprint", self.ends())
        fields = {
            "name": self.name,
            "size": self.size,
            "last_modified": self.modified // 10**6,
            kind: digest,
            **self.dataset(),
        }
        self.made = self.portal.ask("/datasets/begin/", fields)
        self.dataset(self.made["dataset"])
        if self.made["state"] != "uploading":
            self.progress.add(self.size, moved=False)
            return self.made
        held = set(self.made["held"])
        self.digests = {1: digest} if self.made["parts"] == 1 and kind == "sha256" else {}
        self.progress.add(sum(self.length(number) for number in held), moved=False)
        missing = [number for number in range(1, self.made["parts"] + 1) if number not in held]
        for _again in range(3):
            self.put_all(missing)
            for number in sorted(held - set(self.digests)):  # sent in an earlier run: still part of what we declare
                self.digests[number] = self.digest(self.start(number), self.length(number))
            if os.stat(self.path).st_mtime_ns != self.modified:
                raise Trouble(say("changed"))
            over_parts = hashlib.sha256(
                b"".join(bytes.fromhex(self.digests[n]) for n in sorted(self.digests))
            ).hexdigest()
            try:
                self.portal.ask(self.made["urls"]["complete"], {"parts_sha256": over_parts})
                return self.made
            except Trouble as gap:
                if not gap.missing:
                    raise
                missing, wrong = list(gap.missing), gap
        raise wrong

    def put_all(self, numbers):
        """In batches, so that an address is fresh when it is used."""
        waiting = set()
        for number in numbers:
            waiting.add(self.pool.submit(self.put, number))
            if len(waiting) >= 2 * self.pool._max_workers:
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for one in done:
                    one.result()
        for one in waiting:
            one.result()

    def put(self, number):
        if number not in self.digests:
            self.digests[number] = self.digest(self.start(number), self.length(number))
        given = self.made["addresses"].pop(str(number), None)
        for tries in range(1, TRIES + 1):
            at = (
                given
                or self.portal.ask(self.made["urls"]["parts"], {"parts": json.dumps({number: self.digests[number]})})[
                    "parts"
                ][str(number)]
            )
            given, sent = None, [0]

            def blocks(sent=sent):
                for block in self.blocks(self.start(number), self.length(number)):
                    yield block
                    sent[0] += len(block)
                    self.progress.add(len(block))

            try:
                status, _headers, said = self.portal.client.request(
                    "PUT", at["url"], (self.length(number), blocks), at["headers"]
                )
                why = str(status)
            except OSError as broken:
                status, said, why = 0, b"", str(broken)
            if status == 200:
                return
            self.progress.add(-sent[0])
            if status == 507 or b"StorageFull" in said or b"QuotaExceeded" in said:
                raise Trouble(say("full"))
            if tries < TRIES:
                time.sleep(pause(tries))
        raise Trouble(say("away", why=why))

    def start(self, number):
        return (number - 1) * self.made["part_size"]

    def length(self, number):
        return min(self.made["part_size"], self.size - self.start(number))

    def blocks(self, start, length):
        with open(self.path, "rb", buffering=0) as file:
            file.seek(start)
            while length:
                block = file.read(min(BLOCK, length))
                if not block:
                    raise Trouble(say("changed"))
                length -= len(block)
                yield block

    def digest(self, start, length):
        found = hashlib.sha256()
        for block in self.blocks(start, length):
            found.update(block)
        return found.hexdigest()

    def ends(self):
        found = hashlib.sha256()
        for start in (0, self.size - END):
            for block in self.blocks(start, END):
                found.update(block)
        return found.hexdigest()


def files_in(arguments, follow_links=False):
    """(path, name) of each plain file; a folder is sent with its own name. Links in folders are followed when it is
    asked for, those to folders once. Raises Trouble for what is not there."""
    walked = set()
    for argument in arguments:
        argument = os.path.normpath(argument)
        if os.path.isfile(argument):
            yield argument, os.path.basename(argument)
        elif os.path.isdir(argument):
            above = os.path.dirname(os.path.abspath(argument))
            for folder, folders, names in os.walk(argument, followlinks=follow_links):
                walked.add(os.path.realpath(folder))
                for name in sorted(folders):
                    path = os.path.join(folder, name)
                    if os.path.islink(path) and (not follow_links or os.path.realpath(path) in walked):
                        folders.remove(name)
                        print(say("loop" if follow_links else "link", path=path), file=sys.stderr)
                folders.sort()
                for name in sorted(names):
                    path = os.path.join(folder, name)
                    if os.path.islink(path) and not follow_links:
                        print(say("link", path=path), file=sys.stderr)
                    elif os.path.isfile(path):
                        yield path, os.path.relpath(os.path.abspath(path), above).replace(os.sep, "/")
                    else:
                        print(say("odd", path=path), file=sys.stderr)
        else:
            raise Trouble(say("not_there", path=argument))


class Dataset:
    """Where files go: the first one says into which dataset, the others follow there."""

    def __init__(self, name):
        self.fields, self.lock = ({"dataset_name": name} if name else {}), threading.Lock()

    def __call__(self, code=None):
        with self.lock:
            if code:
                self.fields = {"dataset": code}
            return dict(self.fields)


def settle(portal, uploads, progress):
    """Waits until the portal has verified these; the number of those that failed."""
    bad, rest = 0, 0.5
    while uploads:
        if progress.is_terminal:
            sys.stderr.write("\r\x1b[K" + say("waiting", n=len(uploads)))
            sys.stderr.flush()
        time.sleep(rest)
        rest = min(5, rest * 1.4)
        codes = list(uploads)[:100]
        found = portal.ask("/datasets/files/states/?files=" + ",".join(codes))["files"]
        for code in codes:
            state = found.get(code, {"state": "failed", "failure": "?"})
            if state["state"] in ("uploading", "verifying"):
                continue
            name, rest = uploads.pop(code), 0.3
            if state["state"] == "ready":
                progress.line(say("verified", sha256=state["sha256"], path=name))
            else:
                bad += 1
                progress.line(say("failed", path=name, why=state["failure"]))
    return bad


def make_version(portal, url):
    """What there is to say of it. The portal waits for what is still to be verified, also when this ends before."""
    try:
        made = portal.ask(url, {"wait": "1"})
    except Trouble as wrong:
        return say("no_version", why=wrong)
    words = {"made": "made", "waiting": "waiting_version"}.get(made["state"], "unchanged")
    return say(words, n=made["number"], url=portal.url + made["url"])


def run(portal, paths, dataset_name="", parallel=4, version=True, follow_links=False):
    """The number of files that are not there in the end. Raises Trouble when it cannot begin."""
    files = list(files_in(paths, follow_links))
    if not files:
        raise Trouble(say("nothing"))
    progress = Progress(sum(os.stat(path).st_size for path, _name in files))
    dataset, bad, sent, stop = Dataset(dataset_name), [], {}, threading.Event()
    version_url = []
    with ThreadPoolExecutor(parallel) as parts, ThreadPoolExecutor(FILES_AT_ONCE) as several:

        def one(path, name):
            if stop.is_set():
                bad.append(name)
                return
            try:
                made = Upload(portal, parts, progress, path, name, dataset).send()
                sent[made["file"]] = name
                version_url.append(made["urls"]["version"])
            except (Trouble, OSError) as wrong:
                bad.append(name)
                progress.line(say("failed", path=name, why=wrong))
                if getattr(wrong, "final", False):
                    stop.set()

        try:
            one(*files[0])
            for done in [several.submit(one, *file) for file in files[1:]]:
                done.result()
        except KeyboardInterrupt:
            stop.set()
            print("\n" + say("stopped"), file=sys.stderr, flush=True)
            os._exit(1)
    good = len(sent)
    said = make_version(portal, version_url[0]) if version and good and not bad else ""
    failed = settle(portal, sent, progress)
    progress.line(say("summary", good=good - failed, bad=len(bad) + failed))
    if said:
        progress.line(said)
    return len(bad) + failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("paths", nargs="+", metavar="FILE_OR_FOLDER")
    parser.add_argument("--dataset", default="", metavar="NAME")
    parser.add_argument("--parallel", type=int, default=4)
    parser.add_argument("--no-version", action="store_true")
    parser.add_argument("--follow-links", action="store_true")
    options = parser.parse_args()
    url, token = os.environ.get("PORTAL_URL", ""), os.environ.get("PORTAL_TOKEN", "")
    if not url.startswith(("http://", "https://")) or not token:
        sys.exit(say("no_token"))
    try:
        missing = run(
            Portal(url, token),
            options.paths,
            options.dataset,
            max(1, options.parallel),
            version=not options.no_version,
            follow_links=options.follow_links,
        )
        sys.exit(1 if missing else 0)
    except Trouble as wrong:
        print(wrong, file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("\n" + say("stopped"), file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
