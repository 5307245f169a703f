"""The recipe's ``train:``: how the network learns."""

from __future__ import annotations

from typing import Annotated, Literal, Self

import pydantic
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from marina.recipe.augment import Augment, Mix, Share
from marina.recipe.schedule import Cosine, OneCycle, Schedule
from marina.recipe.section import Fraction, Section


class EarlyStopping(Section):
    """Ending before the last epoch, once the validation accuracy has stopped rising.

    Attributes:
        patience_epochs: So many epochs without a new best are borne.
        min_improvement: An accuracy counts as better only if it is so by more than this.
    """

    patience_epochs: PositiveInt
    min_improvement: Fraction = 0


class FineTune(Section):
    """What of a pretrained network learns, when, and how fast.

    A part is a stage of the network, such as ``layer4`` of a ResNet or ``features.12`` of a
    MobileNet; ``backbone`` is everything but the head. The norms of a frozen part keep their
    statistics, too.

    Attributes:
        freeze: Everything but the head keeps its first weights.
        unfreeze: From which epoch on a part learns after all: ``{layer4: 3, backbone: 6}``.
        lr_decay: Each stage's learning rate is this times that of the stage after it.
    """

    freeze: bool = False
    unfreeze: dict[str, PositiveInt] = Field({})
    lr_decay: Share = 1.0

    @pydantic.model_validator(mode="after")
    def _check_unfreeze(self) -> Self:
        if self.unfreeze and not self.freeze:
            raise ValueError("`unfreeze` goes with `freeze: true`")
        return self


class Train(Section):
    """How the network learns.

    Attributes:
        epochs: Passes over the training split; 0 takes the first weights as they are.
        batch_size: Images per step of the optimizer, over all processes and pieces.
        accumulate: Pieces that a step's batch is computed in, to fit memory.
        optimizer: ``sgd`` (with Nesterov momentum), ``adam`` or ``adamw``.
        lr: Peak learning rate.
        momentum: Of SGD.
        betas: Of Adam and AdamW.
        weight_decay: Of weights; biases and norms are spared.
        l1: Times the sum of the weights' absolute values, added to the loss; biases and norms are
            spared.
        clip_norm: Longest gradient over all parameters; longer ones are scaled down to it.
        warmup_epochs: Epochs of linear warm-up; may be a fraction.
        schedule: How the learning rate falls after it.
        label_smoothing: Share of the target spread over all classes.
        class_weights: How much each class's images count in the loss. ``balanced`` gives all
            classes the same total; numbers stand in the order of the class names. They are scaled
            so that the training images' mean is 1.
        sampling: ``uniform`` shows each training image once an epoch; ``balanced`` draws, with
            repetition, all classes equally often.
        ema_decay: Of the exponential moving average of the weights, which is then what is
            validated and kept; null is off.
        early_stopping: When to end before the last epoch.
        fine_tune: What of a pretrained network learns, when, and how fast.
        augment: Random changes of each training image.
        mix: Mixup and CutMix.
        amp: Automatic mixed precision: ``bf16``, or ``fp16`` with a loss scaler; null is off.
        channels_last: Keep activations as (N, H, W, C) in memory.
        compile: ``torch.compile`` of the training step's forward and backward pass.
        sync_batchnorm: Several processes share the statistics of their batches.
        seed: Of weights, order, augmentation, mixing and dropout.
        deterministic: Only algorithms that give the same bits each time, on the same machine.
        workers: Processes that load images; 0 loads in the training process.
        device: ``auto`` takes CUDA where there is one.
        checkpoint_every_s: Least seconds between two writings of ``last.pt``, within an epoch,
            too. 0 writes it after each step.
        tensorboard: Write ``tensorboard/`` in the run's folder.
    """

    epochs: NonNegativeInt
    batch_size: PositiveInt = 64
    accumulate: PositiveInt = 1
    optimizer: Literal["sgd", "adam", "adamw"] = "sgd"
    lr: PositiveFloat = 0.1
    momentum: Fraction = 0.9
    betas: tuple[Fraction, Fraction] = (0.9, 0.999)
    weight_decay: NonNegativeFloat = 5e-4
    l1: NonNegativeFloat = 0
    clip_norm: PositiveFloat | None = None
    warmup_epochs: NonNegativeFloat = 0
    schedule: Schedule = Cosine(kind="cosine")
    label_smoothing: Fraction = 0
    class_weights: Literal["balanced"] | tuple[PositiveFloat, ...] | None = None
    sampling: Literal["uniform", "balanced"] = "uniform"
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    early_stopping: EarlyStopping | None = None
    fine_tune: FineTune = FineTune()
    augment: Augment = Augment()
    mix: Mix | None = None
    amp: Literal["bf16", "fp16"] | None = None
    channels_last: bool = False
    compile: bool = False
    sync_batchnorm: bool = True
    seed: NonNegativeInt = 0
    deterministic: bool = False
    workers: NonNegativeInt = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    checkpoint_every_s: NonNegativeFloat = 30
    tensorboard: bool = True

    @pydantic.model_validator(mode="after")
    def _check_together(self) -> Self:
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate ({self.accumulate}) must divide batch_size ({self.batch_size})"
            )
        if self.warmup_epochs and isinstance(self.schedule, OneCycle):
            raise ValueError("schedule one_cycle rises by itself: set warmup_epochs to 0")
        if self.class_weights == "balanced" and self.sampling == "balanced":
            raise ValueError("choose class_weights balanced or sampling balanced, not both")
        return self
