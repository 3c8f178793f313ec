"""Does each latent stand for one factor? MIG and the FactorVAE score, from stored codes and known factors."""

import numpy as np
from torch import Tensor


def mutual_information_gap(codes: Tensor, factors: Tensor, bins: int = 20) -> float:
    """MIG: the mean over factors v of `(I(z_1; v) - I(z_2; v)) / H(v)` for the two codes that tell most about v.

    Args:
        codes: (N, Z), posterior means.
        factors: (N, K), integer values; a factor that never changes is refused.
        bins: Equal-width bins of each code.

    Returns:
        A number from 0 to 1; with one code the second information counts as 0.

    Raises:
        ValueError: If the lengths differ or a factor is constant.

    References:
        Chen et al. (2018), Isolating sources of disentanglement in VAEs, section 4; Locatello et al. (2019),
        Challenging common assumptions in the unsupervised learning of disentangled representations.
    """
    z, v = _codes_and_factors(codes, factors)
    gaps = []
    for values in v.T:
        information = sorted((_mutual_information(_binned(code, bins), values) for code in z.T), reverse=True)
        entropy = _mutual_information(values, values)
        gaps.append((information[0] - (information[1] if len(information) > 1 else 0.0)) / entropy)
    return float(np.mean(gaps))


def factor_vae_score(
    codes: Tensor,
    factors: Tensor,
    votes: int = 10_000,
    test_votes: int = 5_000,
    batch: int = 64,
    seed: int = 0,
) -> float:
    """Accuracy with which the least varying code of a batch tells which factor was held fixed in it.

    Each vote fixes one factor at a random value, draws `batch` rows with it, and takes the code whose variance in
    the batch is smallest relative to its variance over all rows. A table code → factor, made from `votes` votes, is
    tested on `test_votes` others. Codes with a standard deviation under 0.05 are left out, so the score depends on
    the scale of the codes.

    Args:
        codes: (N, Z), posterior means of the whole grid, encoded once.
        factors: (N, K), integer values.
        votes, test_votes: Number of votes for the table and for its test.
        batch: Rows of a vote.
        seed: Of the draws.

    Returns:
        A number from 0 to 1; chance is 1/K. 0 where no code is left.

    Raises:
        ValueError: As for `mutual_information_gap`.

    References:
        Kim and Mnih (2018), Disentangling by factorising, section 4.
    """
    z, v = _codes_and_factors(codes, factors)
    spread = z.var(0)
    kept = spread > 0.05**2
    if not kept.any():
        return 0.0
    z = z[:, kept] / np.sqrt(spread[kept])
    rng = np.random.default_rng(seed)
    rows = [[np.flatnonzero(values == value) for value in np.unique(values)] for values in v.T]
    table = np.zeros((z.shape[1], v.shape[1]))
    fixed, least = _votes(z, rows, votes, batch, rng)
    np.add.at(table, (least, fixed), 1)
    fixed, least = _votes(z, rows, test_votes, batch, rng)
    return float((table.argmax(1)[least] == fixed).mean())


def _votes(z: np.ndarray, rows: list, votes: int, batch: int, rng: np.random.Generator) -> tuple:
    fixed = rng.integers(len(rows), size=votes)
    least = np.empty(votes, int)
    for i, factor in enumerate(fixed):
        same = rows[factor][rng.integers(len(rows[factor]))]
        least[i] = z[same[rng.integers(len(same), size=batch)]].var(0).argmin()
    return fixed, least


def _mutual_information(a: np.ndarray, b: np.ndarray) -> float:
    """Of two discrete variables, in nats, from their joint histogram; that of a variable with itself is its entropy."""
    joint = np.zeros((a.max() + 1, b.max() + 1))
    np.add.at(joint, (a, b), 1 / len(a))
    independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    there = joint > 0
    return float((joint[there] * np.log(joint[there] / independent[there])).sum())


def _binned(code: np.ndarray, bins: int) -> np.ndarray:
    return np.digitize(code, np.histogram_bin_edges(code, bins)[1:-1])


def _codes_and_factors(codes: Tensor, factors: Tensor) -> tuple[np.ndarray, np.ndarray]:
    if len(factors) != len(codes):
        raise ValueError(f"factors: got {len(factors)} rows, expected {len(codes)}, one for each code")
    v = np.stack([np.unique(values, return_inverse=True)[1] for values in np.asarray(factors).T], axis=1)
    if constant := [k for k in range(v.shape[1]) if v[:, k].max() == 0]:
        raise ValueError(f"factors: got a constant in column {constant[0]}, each factor needs at least two values")
    return np.asarray(codes, dtype=np.float64), v
