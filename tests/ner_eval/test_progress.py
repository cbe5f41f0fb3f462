"""The progress bar as a user sees it: on a terminal all the time, in a log file at the start and at the end."""

import re
import subprocess
from pathlib import Path

from faulty import Faulty, slow

PREDICT = ("predict", "--model", "nano", "--corpus", "demo", "--wait", "0", "--concurrency", "4")
BAR = re.compile(r"(\d+)/40 \[([\d:]+)<([\d:?]+), +([\d.?]+)answer/s\]")


def seconds(clock: str) -> int:
    minutes, rest = clock.split(":")
    return 60 * int(minutes) + int(rest)


def test_the_bar_shows_count_rate_and_time_left_also_of_a_resumed_run(work, start, terminal) -> None:
    with Faulty(slow(0.2, 0.2)) as server:  # 20 answers a second
        arguments = (*PREDICT, "--base-url", server.base_url)
        process = start(*arguments, stderr=terminal.file)
        bars = BAR.findall(terminal.read())
        assert process.wait(120) == 0
        assert bars[0][0] == "0" and bars[-1][0] == "40"
        numbers = [int(count) for count, *_ in bars]
        assert numbers == sorted(numbers)
        running = [bar for bar in bars if 0 < int(bar[0]) < 40]
        assert running
        for count, gone, left, rate in running:
            assert 1 < float(rate) < 40
            assert abs(seconds(left) - (40 - int(count)) / float(rate)) <= 1
            assert seconds(gone) < 100

        file = Path("runs/nano-demo-test/predictions.jsonl")
        file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:25]))
        process = start(*arguments, stderr=subprocess.PIPE)
        _, log = process.communicate(timeout=120)
    bars = BAR.findall(log)
    assert [count for count, *_ in bars] == ["25", "40"]
    # The rate is that of the 15 answers that were missing, not of all 40.
    assert 1 < float(bars[-1][3]) < 21
