"""The handler behind TorchServe's own Service and Context, with a small TorchScript model."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import torch
from pictures import encode, faults, quadrants, turned
from PIL import Image
from tiny import IMAGE_SECTION, LABELS, SPEC, stage
from ts.context import RequestProcessor
from ts.service import Service

from handlers import startup
from handlers.errors import GoldenMismatch
from handlers.gpu import Gpu
from handlers.image_classifier import ImageClassifier
from handlers.model import load_model
from handlers.parking import VARIABLE as PARKING
from handlers.preprocess import load_pixels
from handlers.spread import PATIENCE, Spread
from handlers.startup import WORTH_SHARING_S

DEVICES = [pytest.param(None, id="cpu")]
if torch.cuda.is_available():
    DEVICES.append(pytest.param(0, id="cuda", marks=pytest.mark.gpu))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stage(tmp_path_factory.mktemp("model"))


class Metrics:
    """Takes what the handler emits."""

    def __init__(self) -> None:
        self.seen: dict[str, list[float]] = {}

    def add_metric(self, name: str, value: float, unit: str, **_: Any) -> None:
        self.seen.setdefault(name, []).append(value)


class Worker:
    """A loaded handler, asked as TorchServe's Service asks."""

    def __init__(self, folder: Path, batch_size: int = 4, gpu: int | None = None, **handler: Any):
        self.handler = ImageClassifier()
        manifest = {"model": {"modelVersion": "1.0"}}
        self.metrics = Metrics()
        service = Service(
            "tiny", str(folder), manifest, self.handler.handle, gpu, batch_size, True, self.metrics
        )
        self.context = service.context
        self.context.model_yaml_config = {
            "maxWorkers": 1,
            "image": IMAGE_SECTION,
            "handler": {"top_k": 3, "format": "stock", **handler},
        }
        self.handler.initialize(self.context)

    def ask(
        self, *items: Any, headers: dict[str, str] | None = None
    ) -> list[tuple[int, dict[str, Any]]]:
        fields = [item if isinstance(item, dict) else {"body": bytearray(item)} for item in items]
        self.context.request_processor = [RequestProcessor(dict(headers or {})) for _ in items]
        answers = self.handler.handle(fields, self.context)
        assert len(answers) == len(items)
        types = [self.context.get_response_content_type(index) for index in range(len(items))]
        assert set(types) == {"application/json"}
        return [
            (self.context.get_response_status(index)[0], json.loads(answer))
            for index, answer in enumerate(answers)
        ]


@pytest.fixture(scope="module", params=DEVICES)
def worker(folder: Path, request: pytest.FixtureRequest) -> Worker:
    return Worker(folder, gpu=request.param)


GOOD = {
    "PNG": encode(quadrants(), "PNG"),
    "JPEG": encode(quadrants(), "JPEG"),
    "turned": turned("JPEG", 6),
    "palette": encode(quadrants().quantize(8), "GIF"),
}


def test_a_batch_answers_as_its_images_alone(worker: Worker) -> None:
    alone = [worker.ask(image)[0] for image in GOOD.values()]
    together = worker.ask(*GOOD.values())
    for (status, answer), (status_alone, answer_alone) in zip(together, alone, strict=True):
        assert (status, list(answer)) == (status_alone, list(answer_alone)) == (200, list(answer))
        assert list(answer.values()) == pytest.approx(list(answer_alone.values()), abs=1e-6)


@pytest.mark.parametrize("name", faults())
def test_a_bad_image_does_not_touch_its_mates(worker: Worker, name: str) -> None:
    bad, status = faults()[name]
    good = GOOD["PNG"]
    alone = worker.ask(good)[0][1]
    assert worker.ask(bad)[0][0] == status
    answers = worker.ask(good, GOOD["JPEG"], bad, good)
    assert [answer[0] for answer in answers] == [200, 200, status, 200]
    assert answers[2][1]["code"] == status
    for index in (0, 3):
        assert answers[index][1] == pytest.approx(alone, abs=1e-6)


def test_each_answer_has_its_own_headers_for_the_access_log(worker: Worker) -> None:
    answers = worker.ask(GOOD["PNG"], b"no image", GOOD["turned"])
    headers = [worker.context.get_response_headers(index) for index in range(3)]
    for index in (0, 2):
        label, probability = next(iter(answers[index][1].items()))
        assert headers[index]["X-Marina-Version"] == "1.0"
        assert unquote(headers[index]["X-Marina-Top1"]) == label
        assert headers[index]["X-Marina-Top1"].isascii()
        assert float(headers[index]["X-Marina-Confidence"]) == pytest.approx(probability, rel=1e-5)
    assert set(headers[1]) == {"content-type"}


def base64_of(image: bytes) -> str:
    return base64.b64encode(image).decode()


@pytest.mark.parametrize(
    "item",
    [
        {"data": bytearray(GOOD["PNG"])},
        {"body": base64_of(GOOD["PNG"])},
        {"body": {"data": base64_of(GOOD["PNG"])}},
        {"body": {"b64": "data:image/png;base64," + base64_of(GOOD["PNG"])}},
        {"body": {"instances": [{"b64": base64_of(GOOD["PNG"])}]}},
        {"body": bytearray(json.dumps({"data": base64_of(GOOD["PNG"])}).encode())},
    ],
    ids=["data", "text", "JSON", "data URL", "instances", "JSON bytes"],
)
def test_each_form_of_request_gives_the_same_answer(worker: Worker, item: dict[str, Any]) -> None:
    assert worker.ask(item) == worker.ask(GOOD["PNG"])


@pytest.mark.parametrize(
    ("item", "status"),
    [
        ({"body": [[0.5, 0.5], [0.5, 0.5]]}, 415),
        ({"body": {"instances": [[1, 2, 3]]}}, 415),
        ({"body": {"data": "%%% no base64 %%%"}}, 400),
        ({}, 400),
    ],
)
def test_what_is_no_image_request_is_refused(
    worker: Worker, item: dict[str, Any], status: int
) -> None:
    assert worker.ask(item)[0][0] == status


def test_options_choose_form_and_classes(worker: Worker) -> None:
    image = GOOD["PNG"]
    stock = worker.ask(image)[0][1]
    assert len(stock) == 3
    assert list(stock.values()) == sorted(stock.values(), reverse=True)
    headers = {"x-MARINA-format": "detailed", "X-Marina-Top-K": "99"}
    detailed = worker.ask(image, headers=headers)[0][1]
    assert (detailed["model"], detailed["version"]) == ("tiny", "1.0")
    assert len(detailed["predictions"]) == len(LABELS)
    assert sum(p["probability"] for p in detailed["predictions"]) == pytest.approx(1, abs=1e-4)
    first = detailed["predictions"][0]
    assert LABELS[first["index"]] == first["label"] == next(iter(stock))
    grpc = {"data": bytearray(image), "x-marina-top-k": b"1", "x-marina-format": b"detailed"}
    assert len(worker.ask(grpc)[0][1]["predictions"]) == 1
    for wrong in ({"X-Marina-Top-K": "0"}, {"X-Marina-Format": "xml"}):
        assert worker.ask(image, headers=wrong)[0][0] == 400


def test_an_explanation_beside_predictions(folder: Path) -> None:
    worker = Worker(folder, explanations=True)
    plain = worker.ask(GOOD["PNG"], headers={"X-Marina-Format": "detailed"})[0][1]
    status, explained = worker.ask(GOOD["PNG"], headers={"explain": "True"})[0]
    assert status == 200
    assert (explained["model"], explained["version"]) == ("tiny", "1.0")
    assert {key: explained[key] for key in ("label", "index", "probability")} == pytest.approx(
        plain["predictions"][0]
    )
    heatmap = Image.open(BytesIO(base64.b64decode(explained["heatmap"])))
    assert heatmap.size == (16, 16)
    grpc = {"data": bytearray(GOOD["PNG"]), "explain": b"True"}
    first, second, bad = worker.ask(GOOD["PNG"], grpc, b"bad")
    assert (first[0], second[0], bad[0]) == (200, 200, 400)
    assert "heatmap" in second[1]
    assert "heatmap" not in first[1]
    assert worker.metrics.seen["marina_explanation_seconds"][0] > 0
    by_a_form = worker.ask(grpc, headers={"host": "127.0.0.1:8080"})[0]
    assert "heatmap" not in by_a_form[1]  # REST has a way of its own, which a gateway can close


def test_explanations_are_refused_unless_the_recipe_allows_them(worker: Worker) -> None:
    status, body = worker.ask(GOOD["PNG"], headers={"explain": "True"})[0]
    assert status == 403
    assert "set serve.explanations to true" in body["message"]


def test_the_temperature_softens_the_answer(worker: Worker, folder: Path) -> None:
    sharp = next(iter(worker.ask(GOOD["PNG"])[0][1].values()))
    hot = Worker(folder, temperature=4.0, top_k=5).ask(GOOD["PNG"])[0][1]
    model = load_model(folder / "model.pt", SPEC, torch.device("cpu"), fusion=True)
    with torch.no_grad():
        logits = model(load_pixels(GOOD["PNG"], SPEC)[None])[0]
    expected = (logits / 4).softmax(0).sort(descending=True).values
    assert list(hot.values()) == pytest.approx(expected.tolist(), abs=1e-5)
    assert next(iter(hot.values())) < sharp
    with pytest.raises(ValueError, match="temperature must be a positive number, got 0"):
        Worker(folder, temperature=0)


def test_winograd_is_for_workers_of_one_thread(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    monkeypatch.setattr("handlers.startup.use_winograd", lambda *of: asked.append(of))
    for threads, winograd, times in ((1, True, 1), (2, True, 0), (1, False, 0)):
        asked.clear()
        Worker(folder, threads=threads, winograd=winograd)
        assert len(asked) == times


@pytest.fixture
def shared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a server's worker of each `Worker`, with cores of others, and no model too small."""
    monkeypatch.setenv(PARKING, str(tmp_path))
    monkeypatch.setattr("handlers.startup.usable_cores", lambda: 3)
    monkeypatch.setattr("handlers.startup.WORTH_SHARING_S", 0)
    return tmp_path


@pytest.mark.parametrize("precision", ["fp32", "int8"])  # of which each has a second model its way
def test_few_images_are_computed_on_all_cores(folder: Path, shared: Path, precision: str) -> None:
    del shared
    before = torch.get_num_threads()
    worker = Worker(folder, threads=1, spread=True, winograd=True, precision=precision)
    spread = worker.handler._pipeline.model
    assert isinstance(spread, Spread)
    with ThreadPoolExecutor(1) as another:
        assert torch.get_num_threads() == another.submit(torch.get_num_threads).result() == 1
    asked = []
    narrow = spread._narrow
    spread._narrow = lambda pixels: asked.append(len(pixels)) or narrow(pixels)
    plain = Worker(folder, threads=1)
    calm = [[GOOD["PNG"]]] * PATIENCE
    for images in (*calm, [GOOD["JPEG"], GOOD["turned"]], [GOOD["turned"]], [GOOD["PNG"]] * 4):
        for (status, answer), (_, expected) in zip(
            worker.ask(*images), plain.ask(*images), strict=True
        ):
            assert status == 200
            assert answer == pytest.approx(expected, abs=1e-5)
    assert asked == [1] * PATIENCE + [4]
    torch.set_num_threads(before)


@pytest.mark.parametrize("why_not", ["the recipe", "no server", "all cores", "small", "other"])
def test_an_image_is_not_always_spread(
    folder: Path,
    shared: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    why_not: str,
) -> None:
    del shared
    before = torch.get_num_threads()
    if why_not == "no server":
        monkeypatch.delenv(PARKING)
    if why_not == "small":
        monkeypatch.setattr("handlers.startup.WORTH_SHARING_S", WORTH_SHARING_S)
    if why_not == "other":  # the model gives something else in more threads
        monkeypatch.setattr("handlers.startup.twin", lambda _: lambda pixels: torch.ones(1, 4))
    threads = 3 if why_not == "all cores" else 1
    worker = Worker(folder, threads=threads, spread=why_not != "the recipe")
    assert isinstance(worker.handler._pipeline.model, torch.jit.ScriptModule)
    assert torch.get_num_threads() == threads
    assert ("no image is shared out" in caplog.text) == (why_not == "other")
    assert worker.ask(GOOD["PNG"])[0][0] == 200
    torch.set_num_threads(before)


def test_mates_keep_their_own_options(worker: Worker) -> None:
    fields = [
        {"data": bytearray(GOOD["PNG"]), "x-marina-top-k": str(k).encode()} for k in (1, 4, 2)
    ]
    assert [len(answer) for _, answer in worker.ask(*fields)] == [1, 4, 2]


def test_stages_and_errors_are_measured(worker: Worker) -> None:
    worker.metrics.seen.clear()
    worker.ask(GOOD["PNG"], b"bad", GOOD["JPEG"])
    seen = worker.metrics.seen
    for stage_name in ("decode", "preprocess", "inference", "postprocess"):
        (seconds,) = seen[f"marina_{stage_name}_seconds"]
        assert 0 <= seconds < 5
    assert seen["marina_batch_size"] == [3]
    assert seen["marina_requests_total"] == [3]
    assert seen["marina_request_errors_total"] == [1]


def test_every_metric_is_declared(worker: Worker) -> None:
    import yaml

    worker.ask(GOOD["PNG"], b"bad")
    declared = yaml.safe_load((Path(__file__).parents[2] / "handlers" / "metrics.yaml").read_text())
    names = {metric["name"] for kind in declared["model_metrics"].values() for metric in kind}
    assert set(worker.metrics.seen) <= names


def test_a_stale_golden_refuses_to_load(tmp_path: Path) -> None:
    with pytest.raises(GoldenMismatch, match=r"differ from the lab's by up to 0\.25"):
        Worker(stage(tmp_path, off_by=0.25))


def test_each_batch_size_is_proved_even_with_fewer_golden_images(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = startup.load_backend

    def flawed(*words: Any, **more: Any) -> Callable[[torch.Tensor], torch.Tensor]:
        model = load(*words, **more)
        return lambda pixels: model(pixels) + (len(pixels) > 4)

    monkeypatch.setattr(startup, "load_backend", flawed)
    Worker(folder, batch_size=4)
    with pytest.raises(GoldenMismatch, match="differ from the lab's by up to 1"):
        Worker(folder, batch_size=8)


def test_a_gpu_that_is_not_there_is_an_error(folder: Path) -> None:
    gpu = torch.cuda.device_count() if torch.cuda.is_available() else 0
    with pytest.raises((RuntimeError, ValueError), match=r"(?i)cuda|gpu"):
        Worker(folder, gpu=gpu)


def test_a_fault_of_the_model_is_not_hidden(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker = Worker(folder)

    def fail(_: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("the model broke")

    monkeypatch.setattr(worker.handler._pipeline, "model", fail)
    with pytest.raises(RuntimeError, match="the model broke"):
        worker.ask(GOOD["PNG"])


class Decoder:
    """In a GPU's place; ``off_by`` is added to the pixels of the last image."""

    def __init__(self, off_by: int) -> None:
        self.off_by = off_by

    def load(self, files: list[bytes]) -> list[torch.Tensor]:
        *images, last = (load_pixels(file, SPEC) for file in files)
        return [*images, last + self.off_by]


class Uploader:
    def upload(self, images: list[torch.Tensor]) -> torch.Tensor:
        return torch.stack(images)


@pytest.mark.parametrize(("off_by", "is_kept"), [(0, True), (128, False)])
def test_a_gpu_decodes_only_if_the_golden_images_keep_their_classes(
    tmp_path: Path,
    off_by: int,
    is_kept: bool,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    folder = stage(tmp_path)
    golden_file = folder / "golden" / "golden.json"
    golden = json.loads(golden_file.read_text())
    golden["images"] *= 2
    golden_file.write_text(json.dumps(golden))
    gpu = Gpu(Uploader(), Decoder(off_by))  # type: ignore[arg-type]
    monkeypatch.setattr("handlers.startup.equip", lambda *_: gpu)
    monkeypatch.setattr("handlers.pipeline.suits", lambda *_: True)  # the golden image is a PNG
    worker = Worker(folder)
    assert worker.handler._pipeline.decodes_on_gpu == is_kept
    assert ("50% of the golden images keep their class: the CPU decodes" in caplog.text) != is_kept
    assert worker.ask(GOOD["PNG"])[0][0] == 200
