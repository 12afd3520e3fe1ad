"""The same bytes from any number of processes: in preparation and in the streams."""

import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from splitjax.config import UserError
from splitjax.data import Corpus, prepare

from .conftest import rows_of, settings, write_jsonl

BEAM = {"runner": "FnApiRunner --direct_num_workers=2 --direct_running_mode=multi_processing"}
S, B, SCHEDULE = 16, 8, [(0, [1, 1, 1]), (16 * 8 * 40, [5, 1, 0])]

HOST = """
import sys
import numpy as np
from splitjax.data import Corpus, prefetch
folder, start, stop, first, last, out = sys.argv[1], *map(int, sys.argv[2:6]), sys.argv[6]
stream = Corpus.open(folder).mixture({B}, {S}, 7, {SCHEDULE})
np.save(out, np.stack(list(prefetch(stream, start, stop, rows=slice(first, last)))))
""".replace("{B}", str(B)).replace("{S}", str(S)).replace("{SCHEDULE}", repr(SCHEDULE))


@pytest.fixture(scope="module")
def four_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rows = tmp_path_factory.mktemp("four"), rows_of(60)
    for index in range(4):
        write_jsonl(folder / f"{index}.jsonl", rows[index::4])
    return folder


@pytest.mark.slow
def test_beam_with_two_workers_and_two_processes_write_the_shards_of_one(four_files: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is an extra: pip install 'splitjax[beam]'")
    clusters = {"domains": {"method": "balanced", "k": 3, "dims": 8, "cap": 1.5}, "shards": 2}
    path = four_files / "*.jsonl"
    one = prepare(settings(path, **clusters), tmp_path / "one", seed=0)
    two = prepare(settings(path, **clusters, workers=2), tmp_path / "two", seed=0)
    beam = prepare(settings(path, **clusters, **BEAM), tmp_path / "beam", seed=0)
    assert one == two == beam
    assert len({shard.hash for shard in one.shards}) == len(one.shards) == 18


def test_what_a_beam_worker_refuses_is_one_line(four_files: Path, tmp_path: Path) -> None:
    pytest.importorskip("apache_beam", reason="Apache Beam is an extra: pip install 'splitjax[beam]'")
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{\n")
    with pytest.raises(UserError, match=r"bad.jsonl:1: not a JSON object \(.*\). One object a line.$"):
        prepare(settings(bad, **BEAM), tmp_path / "out", seed=0)


def _hosts(folder: Path, count: int, start: int, stop: int, out: Path) -> np.ndarray:
    """Batches start … stop − 1 as `count` processes make them, each its rows, put together."""
    per = B // count
    children = [
        subprocess.Popen([sys.executable, "-c", HOST, str(folder), str(start), str(stop),
                          str(h * per), str((h + 1) * per), str(out / f"{count}-{start}-{h}.npy")])
        for h in range(count)
    ]
    assert [child.wait(300) for child in children] == [0] * count
    parts = [np.load(out / f"{count}-{start}-{h}.npy") for h in range(count)]
    return np.concatenate(parts, axis=1)


def test_processes_that_stop_and_go_on_in_another_number_make_the_same_batches(tiny: Corpus, tmp_path: Path) -> None:
    """Over several epochs and a step of the weights."""
    stop = 400
    stream = tiny.mixture(B, S, 7, SCHEDULE)
    expected = np.stack([stream.batch(t) for t in range(stop)])
    assert stream.epochs(stop) > 2
    cuts = [0, *sorted(random.Random(0).sample(range(1, stop), 2)), stop]
    legs = zip((4, 1, 2), cuts[:-1], cuts[1:], strict=True)
    pieces = [_hosts(tiny.folder, hosts, start, end, tmp_path) for hosts, start, end in legs]
    assert np.concatenate(pieces).tobytes() == expected.tobytes()
