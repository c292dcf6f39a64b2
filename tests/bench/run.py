"""Compare this library with the official one and with raw requests: ``python tests/bench/run.py [--quick]``.

Everything is measured in one run, the peers by turns, against a server that sends ready-made bytes; a figure is the
median of the rounds, a ratio the median of the rounds' own ratios. The peers are installed into an environment of
their own, by pip, from the index that pip is configured for. It takes about three minutes, with ``--quick`` one. Times
depend on the machine and on what else it does, ratios much less, and instructions (``--instructions``, which needs
valgrind and some minutes more) hardly at all.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
import venv
from statistics import median
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKOUT = os.path.dirname(os.path.dirname(HERE))
PEERS = ("official", "raw", "ours")
IMPORTS = {
    "official": "from gigachat import GigaChat",
    "raw": "import requests",
    "ours": "from gigachat_lite import GigaChat",
}
MEASURED_IMPORT = "import sys, time; t = time.process_time(); {}; print(time.process_time() - t, len(sys.modules))"
EVENTS, PACED_EVENTS = 2000, 100  # as server.py has them


class Row(NamedTuple):
    """A piece of work, how it is measured, and what ours should need of what the others need."""

    title: str
    work: str
    form: str
    figure: str = "cpu"
    unit: str = "us"
    times: int = 1
    quick: int = 1
    per: int = 1  # units of work in one
    target: Optional[float] = None  # against the official library; of calls a second it is the least, else the most
    against_raw: Optional[float] = None
    scheme: str = "http"
    anew: bool = False

    @property
    def more_is_better(self) -> bool:
        """Whether the figure is a speed."""
        return self.figure == "rate"

    @property
    def peers(self) -> Tuple[str, ...]:
        """Who can do it: requests knows nothing of asyncio."""
        return tuple(peer for peer in PEERS if self.work != "streams" or peer != "raw")


ROWS = [
    Row("import, CPU", "import", "", unit="ms", target=0.42, against_raw=1.10),
    Row("import, modules", "import", "", "modules", "n"),
    Row("one warm chat call, CPU", "chat", "plain", times=300, quick=150, target=0.60),
    Row("stream, 1 event a chunk, CPU per event", "stream", "burst1", times=5, quick=2, per=EVENTS, target=0.25),
    Row("stream, 16 events a chunk, CPU per event", "stream", "burst16", times=10, quick=4, per=EVENTS, target=0.40),
    Row("stream, paced, CPU per event", "stream", "paced", times=2, quick=1, per=PACED_EVENTS, target=0.62),
    Row("first event, close-delimited stream", "first", "close", "wall", "ms", times=5, quick=3, target=0.65),
    Row(
        "new HTTPS connection, CPU",
        *("models", "once", "cpu", "ms"),
        times=10,
        quick=5,
        against_raw=0.12,
        scheme="https",
    ),
    Row("32 threads, HTTP, calls/s", "threads", "thought", "rate", "n", 960, 480, target=3.0, anew=True),
    Row("32 threads, HTTP, connections", "threads", "thought", "connections", "n"),
    Row("32 threads, TLS, calls/s", "threads", "thought", "rate", "n", 960, 480, target=2.5, scheme="https", anew=True),
    Row("32 threads, TLS, connections", "threads", "thought", "connections", "n", scheme="https"),
    *(
        Row(
            *(f"{count} async streams, {form}, {title}", "streams", form, figure, unit, count, count, PACED_EVENTS),
            target=target,
            anew=True,
        )
        for form, count in (("paced", 200), ("paced", 50), ("burst", 50))
        for title, figure, unit, target in (
            ("in all", "total", "ms", 0.5),
            ("CPU per event", "cpu", "us", 0.45),
            ("first event", "first", "ms", 0.5),
        )
    ),
    Row("embeddings 256 x 1024, CPU", "embeddings", "plain", unit="ms", times=2, quick=1, target=0.95),
    Row("embeddings 256 x 1024, memory kept", "memory", "plain", "kept", "MB"),
]
COUNTED = {"chat": 50, "burst1": 1, "burst16": 1}  # works whose instructions are counted, and how many of each


def clean_environment() -> Dict[str, str]:
    """Copy the environment without what would steer one of the peers."""
    names = ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC", "PYTHONPATH"]
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in names and not name.startswith("GIGACHAT_") and not name.lower().endswith("_proxy")
    }
    return {**kept, "PYTHONHASHSEED": "0"}


def make_environment(folder: str, checkout: str) -> str:
    """Install the peers, all but ours unless it was done before, and return the environment's Python."""
    python = os.path.join(folder, "Scripts" if os.name == "nt" else "bin", "python")
    mark = os.path.join(folder, "ready")
    install = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    if not os.path.exists(mark):
        venv.create(folder, with_pip=True)
        subprocess.run([*install, "gigachat", "requests", "trustme"], check=True)
        open(mark, "w").close()
    with tempfile.TemporaryDirectory() as twin:  # a build leaves things behind, which the checkout is spared
        source = os.path.join(twin, "source")
        shutil.copytree(checkout, source, ignore=shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "tests"))
        subprocess.run([*install, "--force-reinstall", "--no-deps", source], check=True)
        subprocess.run([*install, source], check=True)
    return python


class Server:
    """The server in its own process, for as long as the ``with`` lasts."""

    def __init__(self, python: str, folder: str, env: Dict[str, str]) -> None:
        command = [python, os.path.join(HERE, "server.py"), folder]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env, universal_newlines=True)
        assert self.process.stdout is not None
        self.ports = json.loads(self.process.stdout.readline())

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.process.communicate("")

    def url(self, scheme: str, form: str) -> str:
        """Give the address of the API that answers in a form."""
        return "%s://127.0.0.1:%d/%s/api/v1" % (scheme, self.ports[scheme], form)

    def opened(self) -> int:
        """Count the connections so far; asking opens one."""
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open("http://127.0.0.1:%d/opened" % self.ports["http"]) as answer:
            return int(json.loads(answer.read().decode("ascii")))


class Worker:
    """A peer in its own process."""

    def __init__(self, python: str, peer: str, folder: str, env: Dict[str, str], before: Tuple[str, ...] = ()) -> None:
        command = [*before, python, os.path.join(HERE, "work.py"), peer, os.path.join(folder, "bundle.pem")]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, env=env, cwd=folder, universal_newlines=True, bufsize=1
        )

    def do(self, work: str, url: str, count: int, anew: bool = False) -> Dict[str, float]:
        """Have a piece of work done."""
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps([work, url, count, anew]) + "\n")
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit("a peer gave up at %s %s; its words are above" % (work, url))
        result: Dict[str, float] = json.loads(line)
        return result

    def close(self) -> None:
        """Let it go."""
        self.process.communicate("")


class Bench:
    """All rounds of all rows."""

    def __init__(self, python: str, folder: str, server: Server, rounds: int, quick: bool) -> None:
        self.python, self.folder, self.server, self.quick = python, folder, server, quick
        self.env = clean_environment()
        self.rounds = rounds
        self.workers = {peer: Worker(python, peer, folder, self.env) for peer in PEERS}

    def close(self) -> None:
        """Let the peers go."""
        for worker in self.workers.values():
            worker.close()

    def measure(self, row: Row) -> Dict[str, List[Dict[str, float]]]:
        """Do one row's work, the peers by turns; the first turn only warms up."""
        results: Dict[str, List[Dict[str, float]]] = {peer: [] for peer in row.peers}
        rounds = 1 if row.work == "memory" else self.rounds
        for number in range(-1 if row.work != "memory" else 0, rounds):
            for peer in row.peers:
                result = self.once(row, peer, warm=number < 0)
                if number >= 0:
                    results[peer].append(result)
        return results

    def once(self, row: Row, peer: str, warm: bool) -> Dict[str, float]:
        """Do it once, and take the figures per unit of work."""
        if row.work == "import":
            command = [self.python, "-c", MEASURED_IMPORT.format(IMPORTS[peer])]
            words = subprocess.check_output(command, env=self.env, cwd=self.folder).split()
            return {"cpu": float(words[0]), "modules": float(words[1])}
        count = 32 if warm and row.work == "threads" else 1 if warm else row.quick if self.quick else row.times
        before = self.server.opened()
        url = self.server.url(row.scheme, row.form)
        result = self.workers[peer].do(row.work, url, count, row.anew)
        opened = self.server.opened() - before - 1
        if row.work == "memory":
            return result
        return {
            "cpu": result["cpu"] / count / row.per,
            "wall": result["wall"] / count / row.per,
            "rate": count / result["wall"],
            "connections": opened,
            "total": result["wall"],
            "first": result.get("first", 0.0),
        }


def ratio(results: Dict[str, List[Dict[str, float]]], row: Row, peer: str) -> float:
    """Take the median of the rounds' own ratios of ours to a peer's."""
    pairs = zip(results["ours"], results[peer])
    return median(ours[row.figure] / theirs[row.figure] for ours, theirs in pairs)


def show(value: float, unit: str) -> str:
    """Write a figure with its unit."""
    scale = {"us": 1e6, "ms": 1e3, "MB": 1e-6, "n": 1.0, "K": 1e-3, "M": 1e-6}[unit]
    value *= scale
    digits = 0 if value >= 100 or unit == "n" else 1
    return "%.*f%s" % (digits, value, "" if unit == "n" else " " + unit)


def line(row: Row, results: Dict[str, List[Dict[str, float]]]) -> List[str]:
    """Write a row of the table."""
    cells = [show(median(result[row.figure] for result in results[peer]), row.unit) for peer in row.peers]
    ratios = {peer: round(ratio(results, row, peer), 2) for peer in row.peers if peer != "ours"}
    if "raw" not in ratios:
        cells.insert(1, "")
    sign = ">=" if row.more_is_better else "<="
    against_raw = "%.2f" % ratios["raw"] if "raw" in ratios else ""
    wanted = [(row.target, "official", ""), (row.against_raw, "raw", " of raw")]
    targets = [(limit, ratios[peer], "%s %.2f%s" % (sign, limit, name)) for limit, peer, name in wanted if limit]
    met = all(have >= limit if row.more_is_better else have <= limit for limit, have, _ in targets)
    verdict = ("yes" if met else "NO") if targets else ""
    text = ", ".join(words for _, _, words in targets)
    return [row.title, *cells, "%.2f" % ratios["official"], against_raw, text, verdict]


HEAD = ["work", "official", "raw requests", "ours", "ours/official", "ours/raw", "target", "met"]


def say(cells: List[str]) -> None:
    """Print a line of the table."""
    widths = (41, 10, 12, 10, 13, 8, 24, 3)
    print("| " + " | ".join(cell.ljust(width) for cell, width in zip(cells, widths)) + " |", flush=True)


def twin(row: Row, other: Row) -> bool:
    """Tell whether two rows are two figures of one measurement."""
    return (row.work, row.form, row.scheme, row.times) == (other.work, other.form, other.scheme, other.times)


def measure_all(bench: Bench, only: str) -> None:
    """Measure and print row by row."""
    say(HEAD)
    say(["---"] * len(HEAD))
    last: Optional[Tuple[Row, Any]] = None
    for row in ROWS:
        if not re.search(only, row.title):
            continue
        results = last[1] if last and twin(row, last[0]) else bench.measure(row)
        last = (row, results)
        say(line(row, results))


def count_import(bench: Bench, code: str) -> float:
    """Count the instructions of a whole process that runs one line."""
    path = os.path.join(bench.folder, "callgrind.import")
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=" + path, bench.python, "-c", code]
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=bench.env, cwd=bench.folder)
    return total(path)


def total(path: str) -> float:
    """Read the sum out of callgrind's file."""
    with open(path) as file:
        for words in file:
            if words.startswith(("totals:", "summary:")):
                return float(words.split()[1])
    raise SystemExit("callgrind left no sum in " + path)


def count_work(bench: Bench, peer: str, form: str, count: int) -> float:
    """Count the instructions of a warm piece of work: of much of it, less those of little."""
    work, form = ("chat", "plain") if form == "chat" else ("stream", form)
    url = bench.server.url("http", form)
    sums = []
    for times in (0, count):
        path = os.path.join(bench.folder, "callgrind.%s.%d" % (peer, times))
        before = ("valgrind", "--tool=callgrind", "--callgrind-out-file=" + path, "--log-file=" + path + ".log")
        worker = Worker(bench.python, peer, bench.folder, bench.env, before)
        worker.do(work, url, 2)
        worker.do(work, url, times)
        worker.close()
        sums.append(total(path))
    return (sums[1] - sums[0]) / count / (EVENTS if work == "stream" else 1)


def count_all(bench: Bench) -> None:
    """Count instructions, which do not depend on what else the machine does, and print them."""
    if not shutil.which("valgrind"):
        raise SystemExit("--instructions needs valgrind")
    empty = count_import(bench, "pass")
    row = Row("import, instructions", "import", "", "n", "M", target=0.42, against_raw=1.10)
    say(line(row, {peer: [{"n": count_import(bench, IMPORTS[peer]) - empty}] for peer in PEERS}))
    limits = {row.form if row.work == "stream" else row.work: row for row in ROWS if row.target}
    for form, count in COUNTED.items():
        row = limits[form]
        title = row.title.replace("CPU", "instructions")
        row = row._replace(title=title, figure="n", unit="K")
        say(line(row, {peer: [{"n": count_work(bench, peer, form, count)}] for peer in PEERS}))


def main() -> None:
    """Make the environment, start the server, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="three rounds of less work instead of five")
    parser.add_argument("--instructions", action="store_true", help="count instructions too (valgrind)")
    parser.add_argument("--env", metavar="DIR", help="keep the peers' environment there, and use it again")
    parser.add_argument("--checkout", metavar="DIR", default=CHECKOUT, help="the checkout to measure; default this one")
    parser.add_argument("--only", metavar="REGEX", default="", help="only the rows whose title matches")
    options = parser.parse_args()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        python = make_environment(os.path.abspath(options.env or os.path.join(folder, "env")), options.checkout)
        env = clean_environment()
        with Server(python, folder, env) as server:
            bench = Bench(python, folder, server, 3 if options.quick else 5, options.quick)
            try:
                measure_all(bench, options.only)
                if options.instructions:
                    count_all(bench)
            finally:
                bench.close()
    print("\n%s, %.0f s in all" % (sys.version.split()[0], time.monotonic() - began))


if __name__ == "__main__":
    main()
