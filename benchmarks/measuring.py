"""What the benchmarks' commands share: starting a program for its JSON line, the machine and what
else runs on it, and files that are either complete or not there."""

import argparse
import json
import os
import pathlib
import platform
import resource
import shlex
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent


class Failure(Exception):
    """A line for the user; ends the run with exit code 2."""


def note(line):
    print(line, file=sys.stderr, flush=True)


def whole(minimum):
    """A type for argparse: a whole number of at least `minimum`."""
    def read(text):
        value = int(text)
        if value < minimum:
            raise argparse.ArgumentTypeError(f"{value} is less than {minimum}")
        return value
    read.__name__ = "whole number"
    return read


# ------------------------------------------------------------------------------------- programs


class Program:
    """One that was started, on `cores` if given, and prints a JSON object as its last line.
    `environment` is added to this process's."""

    def __init__(self, command, cores=None, environment=None):
        self.command = [str(part) for part in command]
        self.output, self.errors = tempfile.TemporaryFile("w+"), tempfile.TemporaryFile("w+")
        bind = (lambda: os.sched_setaffinity(0, cores)) if cores else None
        try:
            self.process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL,
                                            stdout=self.output, stderr=self.errors,
                                            preexec_fn=bind,
                                            env={**os.environ, **(environment or {})})
        except OSError as error:
            raise Failure(f"cannot start {self.command[0]}: {error.strerror}") from None

    def result(self, timeout):
        try:
            self.process.wait(timeout)
        except BaseException as error:
            self.end()
            if isinstance(error, subprocess.TimeoutExpired):
                raise Failure(f"{shlex.join(self.command)} took longer than {timeout} s") from None
            raise
        output, errors = (self.text(file) for file in (self.output, self.errors))
        try:
            if self.process.returncode == 0:
                return json.loads(output.splitlines()[-1])
            reason = f"ended with exit code {self.process.returncode}"
        except (IndexError, ValueError):
            reason = "did not print a JSON object as its last line"
        tail = "\n".join((errors or output).splitlines()[-15:])
        raise Failure(f"{shlex.join(self.command)} {reason}:\n{tail}")

    def end(self):
        """Ends it if it still runs: another one may have failed."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    @staticmethod
    def text(file):
        with file:
            file.seek(0)
            return file.read().strip()


def last_json(command, timeout=1800, environment=None):
    return Program(command, environment=environment).result(timeout)


def settings(values):
    """{"train.steps": 4} as --set arguments."""
    return [part for key, value in values.items() for part in ("--set", f"{key}={value}")]


def updates_of(run_dir):
    """The updates' records in a run's metrics, in order."""
    lines = (pathlib.Path(run_dir) / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "val_loss" not in record]


def timed_part(records, warmup):
    """(tokens, seconds, busy fraction per stage) of a run's updates after the first `warmup`. The
    last update of the warm-up starts the clock, so there must be one. The run's own last update is
    left out: 2bw applies an update while the next batch is done already, so its records come once
    per batch but for the first, which is a batch late, and the last, which follows the one before
    at once."""
    start, timed = records[warmup - 1], records[warmup:-1]
    seconds = timed[-1]["seconds"] - start["seconds"]
    busy = [0.0] * len(start["busy"])
    for before, record in zip([start] + timed, timed):
        for stage, share in enumerate(record["busy"]):
            busy[stage] += share * (record["seconds"] - before["seconds"]) / seconds
    return timed[-1]["tokens"] - start["tokens"], seconds, busy


# -------------------------------------------------------------------------------------- machine


def busy_seconds():
    """Core-seconds that the machine has worked since it started, for anybody."""
    with open("/proc/stat") as file:
        user, nice, system, _, _, irq, softirq = map(int, file.readline().split()[1:8])
    return (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")


class LoadMeter:
    """Cores kept busy by others than this process and the children it has waited for."""

    def __init__(self):
        self.start, self.mine, self.all = time.monotonic(), self.own_seconds(), busy_seconds()

    @staticmethod
    def own_seconds():
        return sum(usage.ru_utime + usage.ru_stime for usage in map(
            resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)))

    def read(self):
        others = (busy_seconds() - self.all) - (self.own_seconds() - self.mine)
        return max(0.0, others / (time.monotonic() - self.start))


BUSY_LIMIT = 0.10  # of a core: more than this by other programs falsifies the result


def check_idle(seconds, allowed):
    """Warnings, each a line; a machine at work is refused unless that was allowed."""
    meter = LoadMeter()
    time.sleep(seconds)
    others, average = meter.read(), os.getloadavg()
    note(f"load average {average[0]:.2f} {average[1]:.2f} {average[2]:.2f}; other programs keep "
         f"{others:.2f} cores busy")
    if others <= BUSY_LIMIT:
        return []
    line = f"other programs keep {others:.2f} cores busy, more than {BUSY_LIMIT:.2f}"
    if not allowed:
        raise Failure(line + "; wait for them, or give --allow-load")
    return [line + ": the figures are not reliable"]


def check_cores(needed):
    cores = len(os.sched_getaffinity(0))
    if cores < needed:
        raise Failure(f"these rows need {needed} cores, this process may use {cores}; choose "
                      "others with --rows")


def hardware():
    with open("/proc/cpuinfo") as file:
        fields = [line.split(":", 1) for line in file if ":" in line]
    cpu = {key.strip(): value.strip() for key, value in reversed(fields)}
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) * 1024
    flags = cpu.get("flags", cpu.get("Features", "")).split()
    return {"cpu": cpu.get("model name", platform.machine()), "cores": os.cpu_count(),
            "cores_usable": len(os.sched_getaffinity(0)), "memory_bytes": memory,
            "features": [f for f in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if f in flags],
            "kernel": platform.release().split("-")[0]}


def revision():
    """The commit, with a mark if files differ from it; none outside of git."""
    git = ["git", "-C", str(ROOT)]
    try:
        commit = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
        if commit.returncode != 0:
            return None
        changed = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True)
        return commit.stdout.strip() + ("-dirty" if changed.stdout.strip() else "")
    except OSError:
        return None


# --------------------------------------------------------------------------------------- output


def check_folder_of(option, path):
    if path and not pathlib.Path(path).resolve().parent.is_dir():
        raise Failure(f"{option} {path}: there is no such folder")


def write_out(path, text):
    """Either the whole file or the old one."""
    target = pathlib.Path(path)
    with tempfile.NamedTemporaryFile("w", dir=target.resolve().parent, delete=False) as file:
        try:
            file.write(text)
            file.flush()
            os.chmod(file.name, 0o644)
            os.replace(file.name, target)
        except BaseException:
            os.unlink(file.name)
            raise


def spoken_command(name, hidden):
    """The command as typed, without folders of this machine: `hidden` maps paths to words."""
    command = shlex.join([name, *sys.argv[1:]])
    for path, word in hidden.items():
        command = command.replace(path, word) if path else command
    return command
