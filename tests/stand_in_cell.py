"""Stands in for `harness run`: writes a run directory line by line like it, or fails in the way that its run file says.

    python stand_in_cell.py run RUNFILE.yaml --run-dir DIR --only-repeat R

What it writes is copied from a run that `RunDirectory` wrote (`STAND_IN_TEMPLATE`, a directory of one site), so that it
starts in a moment. In the run file, `act` says what it does, and `pace_s` how long a query takes at the first start.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml


def main() -> int:
    file, run, repeat = Path(sys.argv[2]), Path(sys.argv[4]), int(sys.argv[6])
    spec = yaml.safe_load(file.read_text())
    act, marks = spec.get("act", ""), Path(os.environ["STAND_IN_MARKS"])
    with (marks / "starts").open("a") as starts:
        starts.write(f"{spec['model'][0]}/{repeat} {os.getpid()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")
    is_first = not (marks / f"{spec['model'][0]}-{repeat}").exists()
    (marks / f"{spec['model'][0]}-{repeat}").touch()
    if act == "usage":
        sys.stderr.write("\nharness: --dtype float7 is none.\n  → Write float16.\n")
        return 2
    if act == "memory":
        print("big failed: big does not fit into the device's memory: 80 GiB.\n  → Choose a smaller model.")
        return 5
    if act == "server once" and is_first:
        print("served failed: The server at http://127.0.0.1:1 is lost: gone.\n  → See its log, then resume.")
        return 5
    if act == "crash":
        sys.stderr.flush()
        os.kill(os.getpid(), signal.SIGSEGV)
    if act == "traceback":
        raise RuntimeError("nobody foresaw this")
    if act == "leave a child":
        child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
        (marks / "child").write_text(str(child.pid))
    if act == "deaf":
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
    die_after = 1 if (act == "killed once" and is_first) else None
    try:
        measure(spec, run, repeat, die_after, spec.get("pace_s", 0.0) if is_first else 0.0)
        if act in ("deaf", "hang"):
            time.sleep(1000)
    except KeyboardInterrupt:
        return 130
    return 4 if act == "invalid" else 0


def measure(spec: dict[str, Any], run: Path, repeat: int, die_after: int | None, pace_s: float) -> None:
    template = Path(os.environ["STAND_IN_TEMPLATE"])
    run.mkdir(parents=True, exist_ok=True)
    (run / "run.yaml").write_text(yaml.safe_dump(spec))
    site = os.environ.get("CUDA_VISIBLE_DEVICES") or template.name
    place = run / f"cell-{repeat}" / site
    place.mkdir(parents=True, exist_ok=True)
    if not (place / "cell.yaml").exists():
        text = (template / "cell.yaml").read_text().replace("\nrepeat: 0\n", f"\nrepeat: {repeat}\n")
        (place / "cell.yaml").write_text(text)
    queries = place / "queries.jsonl"
    lines = queries.read_text().splitlines() if queries.exists() else []
    done = {(line["prompt_id"], line["mode"]) for line in map(json.loads, lines)}
    number = 1 + len(list(place.glob("sessions/*")))
    wanted = [
        line
        for line in map(json.loads, (template / "queries.jsonl").read_text().splitlines())
        if line["prompt_index"] < spec["num_prompts"] and (line["prompt_id"], line["mode"]) not in done
    ]
    if not wanted:
        return
    session = place / "sessions" / f"{number:02d}"
    session.mkdir(parents=True)
    manifest = json.loads((template / "sessions" / "01" / "manifest.json").read_text())
    manifest |= {"session": number, "n_prompts": spec["num_prompts"]}
    (session / "manifest.json").write_text(json.dumps(manifest))
    for n_written, line in enumerate(wanted):
        if die_after == n_written:
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(pace_s)
        with queries.open("a") as file:
            file.write(json.dumps(line | {"session": number}, separators=(",", ":")) + "\n")
    end = {
        "schema_version": 1,
        "session": number,
        "ended_utc": "",
        "status": "finished",
        "sampler": None,
        "findings": [],
    }
    (session / "end.json").write_text(json.dumps(end))


if __name__ == "__main__":
    sys.exit(main())
