"""The order in which a run asks its prompts: a function of the seed alone.

What a run has asked is therefore known from its step, and one that goes on asks the rest. Orders
that a library draws by itself start anew with each attempt, and leave out what fills no batch.
"""

import math

import numpy as np
from numpy.typing import NDArray


def order_of(prompts: int, wanted: int, *, seed: int) -> NDArray[np.int64]:
    """Places of the prompts to ask one after another, shape (wanted,).

    Pass after pass, each in an order of its own; a batch may begin in one and end in the next.
    """
    passes = range(math.ceil(wanted / prompts))
    orders = [np.random.default_rng((seed, one)).permutation(prompts) for one in passes]
    return np.concatenate(orders)[:wanted]
