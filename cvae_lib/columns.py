"""A likelihood for tables: each column has a distribution of its own; rows are encoded as vectors, and decoded."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal, OneHotCategorical


class Columns(nn.Module):
    """The distribution `p(x|z,c) = Π_j p_j(x_j|z,c)` of a row whose D columns are independent given z and c.

    The networks see a row as a vector of E = `width` numbers, in which each column has its block:

    - "gaussian": one number, `(x - mean) / sd` over the training rows, with the density `N(raw, σ_j²)` and a learned
      σ_j. Decoded numbers stay in the training rows' range, and are whole where all of those are.
    - "bins", for numbers with spikes or a long tail: a unit vector that names an interval, with the intervals'
      probabilities. Intervals begin at quantiles of the training rows, and of those rows that do not have the most
      frequent value. Decoded as a number drawn from the training rows of that interval.
    - an integer K, for codes 0 to K - 1: a unit vector, with the codes' probabilities.

    A row's log-probability is the sum. Densities of standardised numbers and probabilities are not in one unit: the sum
    compares models with the same kinds and bins, and says nothing by itself.

    Args:
        rows: Training rows (N, D); means, ranges and intervals are taken from them.
        kinds: One for each column.
        bins: How many quantiles; there are at most twice as many intervals, fewer where quantiles coincide.

    Raises:
        ValueError: If the kinds do not fit the rows.
    """

    kind = "columns"

    def __init__(self, rows: Tensor, kinds: Sequence[str | int], bins: int = 32) -> None:
        super().__init__()
        if rows.ndim != 2 or len(kinds) != rows.shape[1] or len(rows) < 2 or not torch.isfinite(rows).all():
            raise ValueError(f"rows: got {tuple(rows.shape)}, {len(kinds)} kinds need finite (N, {len(kinds)}), N > 1")
        if not isinstance(bins, int) or bins < 1:
            raise ValueError(f"bins: got {bins!r}, allowed are integers from 1")
        self.kinds, self.sizes = tuple(kinds), []
        for j, (kind, column) in enumerate(zip(kinds, rows.float().T, strict=True)):
            if kind not in ("gaussian", "bins") and not (isinstance(kind, int) and kind > 0):
                raise ValueError(f"kinds: got {kind!r}, allowed are 'gaussian', 'bins' and integers from 1")
            measures = [column.mean(), column.std().clamp_min(1e-6), *column.aminmax(), (column % 1 == 0).all().float()]
            self.register_buffer(f"measures_{j}", torch.stack(measures))
            if kind == "bins":
                some, at = (column, column[column != column.mode().values]), torch.arange(bins).to(column) / bins
                lowest = torch.cat([part.quantile(at, interpolation="lower") for part in some if len(part)]).unique()
                self.register_buffer(f"lowest_{j}", lowest)  # of each interval
                self.register_buffer(f"values_{j}", column.sort().values)
            self.sizes.append({"gaussian": 1, "bins": len(self._buffers.get(f"lowest_{j}", ()))}.get(kind, kind))
        self.width = sum(self.sizes)  # of the encoded vector, and of the decoder's output
        self.log_var = nn.Parameter(torch.zeros(self.kinds.count("gaussian")))

    def encode(self, rows: Tensor) -> Tensor:
        """Rows (N, D) as vectors (N, E); a ValueError for another shape, or a code that is no category."""
        if rows.ndim != 2 or rows.shape[1] != len(self.kinds) or not torch.isfinite(rows).all():
            raise ValueError(f"rows: got shape {tuple(rows.shape)}, allowed are finite (N, {len(self.kinds)})")
        encoded = []
        for j, (kind, size, column) in enumerate(zip(self.kinds, self.sizes, rows.float().T, strict=True)):
            if kind == "gaussian":
                mean, sd = self.get_buffer(f"measures_{j}")[:2]
                encoded.append(((column - mean) / sd)[:, None])
                continue
            if kind == "bins":
                column = torch.bucketize(column.contiguous(), self.get_buffer(f"lowest_{j}")[1:], right=True)
            if len(wrong := column[(column != column.round()) | (column < 0) | (column >= size)]):
                raise ValueError(f"rows: got {wrong[0]:g} in column {j}, allowed are codes from 0 to {size - 1}")
            encoded.append(nn.functional.one_hot(column.long(), size).float())
        return torch.cat(encoded, 1)

    def decode(self, x: Tensor) -> Tensor:
        """Vectors (N, E) as rows (N, D); numbers within an interval are drawn from torch's global stream."""
        columns = []
        for j, kind, block in self._blocks(x):
            mean, sd, low, high, whole = self.get_buffer(f"measures_{j}")
            number = (block[:, 0] * sd + mean).clamp(low, high)
            code = block.argmax(1) if kind != "gaussian" else number.round() if whole else number
            if kind == "bins":
                values, lowest = self.get_buffer(f"values_{j}"), self.get_buffer(f"lowest_{j}")
                starts = torch.searchsorted(values, torch.cat([lowest, lowest.new_tensor([torch.inf])]))
                within = (torch.rand(len(x), device=x.device) * starts.diff()[code]).long()
                code = values[torch.minimum(starts[code] + within, starts[code + 1] - 1)]
            columns.append(code.to(x.dtype))
        return torch.stack(columns, 1)

    def forward(self, raw: Tensor) -> "Row":
        """raw (..., B, E), free real numbers; returns p(x|z,c) of vectors, batch shape (..., B), event shape (E,)."""
        sigma, parts = iter((0.5 * self.log_var).exp()), []
        for _, kind, b in self._blocks(raw):
            parts.append(Independent(Normal(b, next(sigma)), 1) if kind == "gaussian" else OneHotCategorical(logits=b))
        return Row(parts)

    def check(self, x: Tensor) -> None:
        """Refuses vectors that encode no row; the ValueError names the column."""
        for j, kind, block in self._blocks(x):
            unit = ((block == 0) | (block == 1)).all() and (block.sum(-1) == 1).all()
            if not (torch.isfinite(block).all() if kind == "gaussian" else unit):
                raise ValueError(f"x: got a block of column {j} that encode cannot give for the kind {kind!r}")

    @torch.no_grad()
    def start(self, x: Tensor) -> Tensor:
        """The output (E,) that gives each column's mean or frequencies in x (N, E); σ starts at the spread."""
        spread = [block.var(0, correction=0) for _, kind, block in self._blocks(x) if kind == "gaussian"]
        self.log_var.copy_(torch.cat([x.new_zeros(0), *spread]).clamp_min(1e-6).log())
        means = self._blocks(x.mean(0))
        return torch.cat([m if kind == "gaussian" else m.clamp_min(1e-4).log() for _, kind, m in means])

    def _blocks(self, x: Tensor) -> Iterator[tuple[int, str | int, Tensor]]:
        return zip(range(len(self.kinds)), self.kinds, x.split(self.sizes, -1), strict=True)


class Row(Distribution):
    """Independent blocks of one vector, each a distribution with an event shape of one axis."""

    arg_constraints = {}

    def __init__(self, parts: list[Distribution]) -> None:
        self.parts, self.sizes = parts, [part.event_shape[0] for part in parts]
        super().__init__(parts[0].batch_shape, torch.Size([sum(self.sizes)]), validate_args=False)

    def each(self, x: Tensor) -> Tensor:
        """The log-density or log-probability of each column of x (..., B, E); returns (..., B, D)."""
        pairs = zip(self.parts, x.split(self.sizes, -1), strict=True)
        return torch.stack([part.log_prob(block) for part, block in pairs], -1)

    def log_prob(self, x: Tensor) -> Tensor:
        """x (..., B, E); returns (..., B): densities and probabilities together."""
        return self.each(x).sum(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """A draw, (*sample_shape, ..., B, E)."""
        return torch.cat([part.sample(sample_shape) for part in self.parts], -1)

    @property
    def mean(self) -> Tensor:
        """Means and probabilities, (..., B, E)."""
        return torch.cat([part.mean for part in self.parts], -1)
