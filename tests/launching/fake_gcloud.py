"""A gcloud that knows only documented flags. It writes down each call and plays a queued resource.

The folder in FAKE_GCLOUD holds `state` (what `describe` answers; each answer moves on to the next word) and `calls`.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

FLAGS = json.loads((Path(__file__).parent / "gcloud_flags.json").read_text(encoding="utf-8"))["commands"]


def main(args: list[str]) -> int:
    command, rest = " ".join(args[:4]), args[4:]
    if command not in FLAGS:
        return refuse(f"no such command: {command}")
    flags = [arg.partition("=")[0] for arg in rest if arg.startswith("--")]
    if unknown := set(flags) - set(FLAGS[command]["flags"]):
        return refuse(f"{command} has no {', '.join(sorted(unknown))}")
    if "--zone" not in flags:
        return refuse("no --zone")
    folder = Path(os.environ["FAKE_GCLOUD"])
    with open(folder / "calls", "a", encoding="utf-8") as calls:
        calls.write(json.dumps(args[3:]) + "\n")
    return play(args[3], rest, folder)


def play(verb: str, rest: list[str], folder: Path) -> int:
    states = (folder / "state").read_text(encoding="utf-8").split()
    if verb == "describe":
        if not states:
            return refuse("NOT_FOUND")
        print(states[0])
        (folder / "state").write_text(" ".join(states[1:] or states), encoding="utf-8")
    elif verb == "create":
        if states:
            return refuse("ALREADY_EXISTS")
        named = [f"{flag}=" for flag in ("--node-id", "--node-count") if any(r.startswith(f"{flag}=") for r in rest)]
        if len(named) != 1 or not any(arg.startswith("--accelerator-type=") for arg in rest):
            return refuse("exactly one of --node-id and --node-count, and --accelerator-type")
        (folder / "state").write_text("WAITING_FOR_RESOURCES PROVISIONING ACTIVE", encoding="utf-8")
    elif verb == "delete":
        (folder / "state").write_text("", encoding="utf-8")
    elif verb == "scp":
        *files, target = [arg for arg in rest if not arg.startswith("--")]
        if missing := [file for file in files if not Path(file).is_file()]:
            return refuse(f"no such file: {missing}")
        for file in files:
            (folder / "home").mkdir(exist_ok=True)
            (folder / "home" / Path(file).name).write_bytes(Path(file).read_bytes())
        if not target.endswith(":"):
            return refuse(f"not a worker: {target}")
    return 0


def refuse(why: str) -> int:
    print(f"ERROR: (fake gcloud) {why}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
