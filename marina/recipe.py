"""The typed form of a ``models/*.yaml``: everything that makes one model, in one file.

A recipe is frozen once it is read. Unknown keys are refused by name, with the nearest valid key;
every rule that a value must meet stands here, so the rest of the library never checks again.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import pydantic
import yaml
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from handlers.image_spec import ImageLimits, ImageSpec
from marina.errors import RecipeError

Fraction = Annotated[float, Field(ge=0, lt=1)]
SplitName = Literal["train", "val", "test"]


class Section(pydantic.BaseModel):
    """A part of a recipe: frozen, and closed to keys that it does not know."""

    model_config = pydantic.ConfigDict(extra="forbid", frozen=True)


class Data(Section):
    """Where the images are: an image folder ``root/<split>/<class>/*``, or what becomes one.

    Attributes:
        source: ``folder`` is there already. ``digits`` (scikit-learn's 1,797 scans) and
            ``cifar10`` are written out once as such a folder. ``photographs`` are scikit-learn's
            two sample pictures, unlabelled: enough to prove parity, not to train.
        root: The image folder.
        original: For ``cifar10``: the folder that holds ``cifar-10-batches-py``.
        splits: The folder below ``root`` for each split.
        val_fraction: Share held out for validation where the source has no such split.
        test_fraction: Share held out for the test where the source has no such split.
        seed: Of the split, stratified by class.
        labels: Class names for ``photographs``, by the name of torchvision's list.
    """

    source: Literal["folder", "digits", "cifar10", "photographs"]
    root: Path
    original: Path | None = None
    splits: dict[SplitName, str] = {"train": "train", "val": "val", "test": "test"}
    val_fraction: Fraction = 0.1
    test_fraction: Fraction = 0.2
    seed: NonNegativeInt = 0
    labels: Literal["imagenet"] | None = None

    @pydantic.field_validator("splits")
    @classmethod
    def _name_every_split(cls, splits: dict[SplitName, str]) -> dict[SplitName, str]:
        return {"train": "train", "val": "val", "test": "test", **splits}

    @pydantic.model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.source == "cifar10" and self.original is None:
            raise ValueError("source cifar10 needs `original`: the folder of cifar-10-batches-py")
        if (self.source == "photographs") != (self.labels is not None):
            raise ValueError("`labels` goes with source photographs, and only with it")
        return self


class Architecture(Section):
    """Which network, and where its first weights come from.

    Attributes:
        name: Any of torchvision's classification models, such as ``resnet18``.
        stem: ``cifar`` gives a ResNet a 3×3 stride-1 first convolution and no max-pooling, for
            images of about 32 px (He et al. 2015, section 4.2). ``imagenet`` is torchvision's own.
        weights: Name of torchvision's pretrained weights, such as ``IMAGENET1K_V1``: from its
            cache, or downloaded where the network allows.
        weights_file: A state dict to start from instead.
    """

    name: str
    stem: Literal["imagenet", "cifar"] = "imagenet"
    weights: str | None = None
    weights_file: Path | None = None

    @pydantic.model_validator(mode="after")
    def _check_weights(self) -> Self:
        if self.weights and self.weights_file:
            raise ValueError("give `weights` or `weights_file`, not both")
        return self


class Augment(Section):
    """Random changes of the training images; what is not named is off.

    Attributes:
        random_resized_crop: Smallest share of the image's area that a crop may keep.
        pad_crop_px: Pad by so many pixels on each side, then crop at a random place.
        horizontal_flip: Mirror every other image.
        rotate_deg: Largest rotation either way, in degrees.
        translate: Largest shift, as a share of the side.
        zoom: Largest change of scale, as a share.
    """

    random_resized_crop: Annotated[float, Field(gt=0, le=1)] | None = None
    pad_crop_px: NonNegativeInt = 0
    horizontal_flip: bool = False
    rotate_deg: NonNegativeFloat = 0
    translate: Fraction = 0
    zoom: Fraction = 0


class Train(Section):
    """How the network learns: SGD with Nesterov momentum or AdamW, warm-up, then a cosine.

    Attributes:
        epochs: Passes over the training split; 0 takes the first weights as they are.
        batch_size: Images per step.
        optimizer: ``sgd`` or ``adamw``.
        lr: Peak learning rate.
        momentum: Of SGD.
        weight_decay: Of weights; biases and norms are spared.
        label_smoothing: Share of the target spread over all classes.
        warmup_epochs: Epochs of linear warm-up; may be a fraction.
        seed: Of weights, order and augmentation.
        workers: Processes that load images; 0 loads in the training process.
        device: ``auto`` takes CUDA where there is one.
        augment: Random changes of the training images.
    """

    epochs: NonNegativeInt
    batch_size: PositiveInt = 64
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: PositiveFloat = 0.1
    momentum: Fraction = 0.9
    weight_decay: NonNegativeFloat = 5e-4
    label_smoothing: Fraction = 0
    warmup_epochs: NonNegativeFloat = 0
    seed: NonNegativeInt = 0
    workers: NonNegativeInt = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    augment: Augment = Augment()


class Serve(Section):
    """How TorchServe runs the model.

    Attributes:
        workers: Processes per model, each with its own copy; the cores are shared out among them.
        batch_size: Most requests in one forward pass.
        max_batch_delay_ms: How long a request may wait for mates. A lone request waits it out.
        queue_size: Requests that may wait; one more is refused.
        response_timeout_s: After so long a batch is given up and its worker restarted.
        startup_timeout_s: For loading, warming and the replay of the golden images.
        top_k: Classes in an answer, at most as many as there are.
        format: ``stock`` is TorchServe's ``{label: probability}``; ``detailed`` names the model,
            its version and each class's index.
        limits: Images beyond these are refused with 413 before a pixel is decoded.
    """

    workers: PositiveInt = 1
    batch_size: PositiveInt = 1
    max_batch_delay_ms: NonNegativeInt = 0
    queue_size: PositiveInt = 100
    response_timeout_s: PositiveInt = 60
    startup_timeout_s: PositiveInt = 120
    top_k: PositiveInt = 5
    format: Literal["stock", "detailed"] = "stock"
    limits: ImageLimits = ImageLimits()


class Recipe(Section):
    """One model, from its images to its endpoint."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]
    data: Data
    architecture: Architecture
    train: Train
    image: ImageSpec
    serve: Serve = Serve()

    @pydantic.field_validator("name")
    @classmethod
    def _spare_the_token_api(cls, name: str) -> str:
        if name.startswith("token"):
            # TorchServe 0.12 takes any management path with "/token" in it for its token API.
            raise ValueError("a name may not start with 'token': TorchServe could not manage it")
        return name

    def as_yaml(self) -> str:
        """Give the whole recipe as YAML, defaults included."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)


def read_recipe(path: Path, overrides: tuple[str, ...] = ()) -> Recipe:
    """Read a recipe and apply ``section.key=value`` overrides, whose values are YAML.

    Raises:
        RecipeError: The file is missing, is not YAML, or breaks a rule; the message names each
            key, what was expected and, for an unknown key, the nearest valid one.
    """
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as err:
        raise RecipeError(
            f"no recipe at {path}: {err.strerror}. Shipped ones: models/*.yaml"
        ) from err
    except yaml.YAMLError as err:
        raise RecipeError(f"{path} is not YAML: {err}") from err
    if not isinstance(content, dict):
        raise RecipeError(f"{path} must hold a mapping of sections, not {type(content).__name__}")
    for override in overrides:
        _apply(content, override)
    try:
        return Recipe.model_validate(content)
    except pydantic.ValidationError as err:
        raise RecipeError(
            "\n".join([f"{path} breaks the recipe's rules:", *_explain(err)])
        ) from err


def _apply(content: dict[str, Any], override: str) -> None:
    key, separator, value = override.partition("=")
    if not separator:
        raise RecipeError(f"--set takes section.key=value, not {override!r}")
    *sections, last = key.strip().split(".")
    for section in sections:
        content = content.setdefault(section, {})
        if not isinstance(content, dict):
            raise RecipeError(f"--set {override}: {section} is a value, not a section")
    try:
        content[last] = yaml.safe_load(value)
    except yaml.YAMLError as err:
        raise RecipeError(f"--set {override}: {value!r} is not YAML: {err}") from err


def _explain(error: pydantic.ValidationError) -> list[str]:
    """Give a line per broken rule: the key's path, then what is wrong with it."""
    lines = []
    for problem in error.errors():
        *parents, last = (str(part) for part in problem["loc"]) if problem["loc"] else ("recipe",)
        path = ".".join([*parents, last])
        if problem["type"] in {"extra_forbidden", "unexpected_keyword_argument"}:
            lines.append(f"  {path}: unknown key. {_nearest(parents, last)}")
        else:
            lines.append(f"  {path}: {problem['msg']} (given: {problem['input']!r})")
    return lines


def _nearest(parents: list[str], unknown: str) -> str:
    """Name the valid key nearest to an unknown one, or all of them if none is near."""
    valid = _keys(parents)
    near = difflib.get_close_matches(unknown, valid, n=1, cutoff=0.5)
    return f"Did you mean {near[0]}?" if near else f"Valid here: {', '.join(valid)}"


def _keys(parents: list[str]) -> list[str]:
    section: Any = Recipe
    for name in parents:
        section = section.model_fields[name].annotation
    return list(getattr(section, "model_fields", None) or section.__dataclass_fields__)
