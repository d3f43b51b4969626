"""R15 to R17: every sample once whatever the number of processes and workers, and a changed data set is an error that says so."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

import tiny
from faults.builds import stop_at, trainer
from faults.children import FAMILIES, differences, free_port, left_behind, losses, rank_environment
from ftheta.core.errors import DataError, Stopped
from ftheta.data.source import Dataset, Shuffled
from ftheta.data.stream import Stream
from ftheta.training.stopping import StopRequest


class Numbers(Dataset):
    """Examples that are their own number."""

    ports = None  # type: ignore[assignment]
    fingerprint = "numbers"

    def __init__(self, size: int):
        self.size = size

    def __len__(self) -> int:
        return self.size

    def batch(self, rows):
        return {"row": rows}


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("workers", [0, 1, 4])
def test_every_sample_once_in_an_epoch(world, workers):
    size, batch = 29, 7
    streams = [Stream(Shuffled(Numbers(size), batch, 5), torch.arange(batch).tensor_split(world)[rank], workers) for rank in range(world)]
    for epoch in range(3):
        seen = [int(row) for step in range(4) for stream in streams for row in stream.get(4 * epoch + step, None)["row"]]
        assert len(seen) == 28 and len(set(seen)) == 28 and set(seen) <= set(range(size))
    for stream in streams:
        stream.close()


@pytest.mark.parametrize("start", [0, 3, 4, 11])
def test_a_stream_entered_anywhere_gives_what_it_would_have_given(start):
    source = Shuffled(Numbers(29), 7, 5)
    whole, later = Stream(source, torch.arange(7), 0), Stream(source, torch.arange(7), 4)
    wanted = [whole.get(step, None)["row"].tolist() for step in range(20)]
    assert [later.get(step, None)["row"].tolist() for step in range(start, 20)] == wanted[start:]
    later.close()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("workers", [0, 4])
def test_workers_change_nothing(family, workers, recipe, golden, tmp_path):
    data = recipe(family)
    data["train"]["workers"] = workers
    trainer(data, tmp_path / "run").fit()
    assert not differences(left_behind(tmp_path / "run"), golden(family))


@pytest.mark.parametrize("family", FAMILIES)
def test_two_processes_one_and_two_again(family, zygote, recipe, tmp_path):
    data = recipe(family)
    if "dropout" in data["model"]:
        data["model"]["dropout"] = 0.0                                                    # its draws belong to a forward pass, not to a row
    assert zygote.run(data, tmp_path / "one") == 0, zygote.said()
    for world, step in ((2, 5), (1, 8), (2, None)):
        port = free_port()
        ranks = [rank_environment(rank, world, port) if world > 1 else {} for rank in range(world)]
        stopping = {"kind": "stop_at", "step": step} if step else None
        codes = [zygote.wait(pid) for pid in [zygote.start(data, tmp_path / "run", fault=stopping, environment=rank) for rank in ranks]]
        assert codes == [143 if step else 0] * world, zygote.said()
        assert (world == 2 and step == 5) or "close, not exact" in zygote.said()
    found, wanted = losses(tmp_path / "run"), losses(tmp_path / "one")
    assert len(found) == len(wanted)
    for a, b in zip(map(json.loads, found), map(json.loads, wanted), strict=True):
        assert a.keys() == b.keys() and a["step"] == b["step"] and a["units"] == b["units"]
        for name in (name for name in a if "loss" in name):
            assert a[name] == pytest.approx(b[name], rel=2e-4, abs=2e-5), (a["step"], name)


def test_a_changed_file_is_an_error_that_says_so(recipe, tmp_path):
    folder = tiny.write_texts(tmp_path / "texts")
    data = tiny.language(folder)
    stop = StopRequest()
    with pytest.raises(Stopped):
        trainer(data, tmp_path / "run", stop=stop, listeners=[stop_at(5, stop)]).fit()
    place = sorted(folder.iterdir())[7]
    place.write_text(place.read_text().replace("e", "i", 1))
    with pytest.raises(DataError, match="data has changed"):
        trainer(data, tmp_path / "run").fit()
    tiny.write_texts(folder)
    trainer(data, tmp_path / "run").fit()


@pytest.mark.parametrize(("family", "change"), [("gan", {"source": {"kind": "digits", "split_seed": 1}}), ("policy", {"gamma": 0.9})])
def test_other_data_under_an_old_checkpoint_is_an_error(family, change, recipe, tmp_path):
    stop = StopRequest()
    with pytest.raises(Stopped):
        trainer(recipe(family), tmp_path / "run", stop=stop, listeners=[stop_at(5, stop)]).fit()
    data = recipe(family)
    data["data"]["source"].update(change.get("source", change))
    with pytest.raises(DataError, match="data has changed"):
        trainer(data, tmp_path / "run").fit()


def test_workers_compute_alone_and_what_is_made_later_does_not():
    class Threads(Numbers):
        def batch(self, rows):
            return {"threads": torch.tensor([torch.get_num_threads()])}

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        stream = Stream(Shuffled(Threads(29), 7, 5), torch.arange(7), 2)
        assert [int(stream.get(step, None)["threads"]) for step in range(6)] == [1] * 6 and torch.get_num_threads() == 3
        stream.close()
        with ThreadPoolExecutor(1) as pool:
            assert torch.get_num_threads() == pool.submit(torch.get_num_threads).result() == 3
    finally:
        torch.set_num_threads(before)
