"""Settings of a training run, and what is different for each family."""

import math
from dataclasses import dataclass

from gptloom.model.errors import UserError
from gptloom.model.family import Family


@dataclass(frozen=True)
class Recipe:
    """What training does differently for each family.

    Attributes
    ----------
    deviation
        Standard deviation of the initial weights.
    learning_rate, batch
        Settings unless somebody gives others.
    weight_decay
        Decay of matrices; gains have none.
    warm_up
        Share of the steps during which the learning rate rises from zero.
    clip
        Largest norm of the gradient.
    """

    deviation: float
    learning_rate: float
    batch: int
    weight_decay: float
    warm_up: float
    clip: float = math.inf


RECIPES = {
    # The deviation is that of the published microGPT. Decay and learning rate were compared with
    # others in short runs, on held-out names outside the shipped set. Decay also keeps the
    # embeddings small, whose norm the model ignores but fixed point does not.
    Family.MICROGPT: Recipe(
        deviation=0.08, learning_rate=0.03, batch=512, weight_decay=0.03, warm_up=0.02
    ),
    # A learning rate of 0.01 was better than 0.005 in runs of 600 steps of 16 rows on Shakespeare,
    # by 0.024 nats on the held-out part; smaller batches take a somewhat lower one.
    Family.LLAMA: Recipe(
        deviation=0.08, learning_rate=0.007, batch=8, weight_decay=0.1, warm_up=0.02, clip=1.0
    ),
}


@dataclass(frozen=True)
class TrainingSettings:
    """Length and rate of training.

    Parameters
    ----------
    steps
        Updates of the weights in floating point.
    batch
        Documents per step.
    learning_rate
        Highest learning rate; it rises linearly and then falls to zero along a cosine.
    seed
        Seed of the initial weights, the order of the documents and the choice for calibration.
    quantise_aware_steps
        Updates after those, in which the weights are seen as 8-bit integers (:mod:`.qat`); may
        be 0.

    Raises
    ------
    UserError
        A number is out of its range.
    """

    steps: int = 14_000
    batch: int = RECIPES[Family.MICROGPT].batch
    learning_rate: float = RECIPES[Family.MICROGPT].learning_rate
    seed: int = 1
    quantise_aware_steps: int = 3_000

    def __post_init__(self) -> None:
        for name, value in (("steps", self.steps), ("batch", self.batch)):
            if value < 1:
                raise UserError(f"{name} is {value}: give at least 1.")
        if self.quantise_aware_steps < 0:
            raise UserError(
                f"The quantisation-aware steps are {self.quantise_aware_steps}: give 0 or more."
            )
        if not 0 < self.learning_rate < 1:
            raise UserError(
                f"The learning rate is {self.learning_rate}: give a number between 0 and 1."
            )
        if not 0 <= self.seed < 2**32:
            raise UserError(f"seed is {self.seed}: give a number from 0 to {2**32 - 1}.")
