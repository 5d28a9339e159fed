"""Kill an export at random moments until it is finished, and compare it with one that nobody disturbed.

python scripts/kill_export.py --format tokens
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--format", default="tokens")
    parser.add_argument("--haystacks", type=int, default=100_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--longest", type=float, default=6.0, help="seconds until a kill, at most")
    args = parser.parse_args()
    command = [sys.executable, "-m", "needlework", "generate", "simple_dict", "--max-tokens", "256", "--needles", "1"]
    command += ["--num-haystacks", str(args.haystacks), "--workers", str(args.workers), "--format", args.format]
    with tempfile.TemporaryDirectory() as folder:
        whole, killed = Path(folder, "whole"), Path(folder, "killed")
        subprocess.run([*command, "--output", str(whole)], check=True, capture_output=True)
        kills = 0
        while not finishes([*command, "--output", str(killed)], random.uniform(1, args.longest)):
            kills += 1
        names = sorted(path.relative_to(whole) for path in whole.rglob("*") if path.is_file())
        same = names == sorted(path.relative_to(killed) for path in killed.rglob("*") if path.is_file())
        same = same and all((whole / name).read_bytes() == (killed / name).read_bytes() for name in names)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    found = "the same bytes" if same else "OTHER BYTES"
    print(f"{kills} kills, {len(names)} files, {found}; largest process {peak:.0f} MiB")
    sys.exit(not same)


def finishes(command: list[str], seconds: float) -> bool:
    """Run the command, kill it after so many seconds, and return whether it was done before. Its failure is ours."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        if code := process.wait(seconds):
            raise subprocess.CalledProcessError(code, command)
        return True
    except subprocess.TimeoutExpired:
        # The process alone, as a cluster's memory killer does: its workers have to notice by themselves.
        process.kill()
        process.wait()
        return False


if __name__ == "__main__":
    main()
