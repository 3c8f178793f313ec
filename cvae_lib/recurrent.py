"""Words letter by letter: a recurrent encoder, and a decoder that draws each letter given those before it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributions import Distribution

from cvae_lib.data.words import END
from cvae_lib.models import Encoder
from cvae_lib.nn import join, linear

WIDTH = 32  # numbers that stand for a letter


def counted(x: Tensor) -> Tensor:
    """Which places of x (..., T) are letters or the first `END`; booleans of the same shape."""
    return ((x == END).cumsum(-1) - (x == END).long()) == 0


class Word(Distribution):
    """`p(x|z,c) = Π_t p(x_t | x_1, ..., x_{t-1}, z, c)` of rows of T tokens; what follows the first `END` is free.

    Args:
        decoder: The network that gives the factors.
        code: z and c side by side, (..., B, Z + C).
    """

    arg_constraints = {}

    def __init__(self, decoder: WordDecoder, code: Tensor) -> None:
        self.decoder, self.code = decoder, code
        super().__init__(code.shape[:-1], torch.Size([decoder.length]), validate_args=False)

    def log_prob(self, x: Tensor) -> Tensor:
        """Tokens x (B, T) or (..., B, T) to (..., B), nats."""
        x = x.long().expand(*self.batch_shape, -1)
        log_p = self.decoder.logits(x, self.code).log_softmax(-1).gather(-1, x[..., None])[..., 0]
        return (log_p * counted(x)).sum(-1)

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Tokens (*sample_shape, ..., B, T), letter by letter; a decoder in training mode drops units here too."""
        return self._write(self.code.expand(*sample_shape, *self.code.shape), lambda p: p.multinomial(1)[:, 0])

    @property
    def mode(self) -> Tensor:
        """The likeliest token given those before it at each place, (..., B, T); need not be the likeliest word."""
        return self._write(self.code, lambda p: p.argmax(-1))

    @torch.no_grad()
    def _write(self, code: Tensor, choose) -> Tensor:
        flat, state, written = code.flatten(0, -2), None, []
        token = flat.new_full((len(flat),), self.decoder.first).long()
        ended = torch.zeros_like(token, dtype=torch.bool)
        for _ in range(self.decoder.length):
            logits, state = self.decoder.step(token[:, None], flat, state)
            token = choose(logits[:, 0].softmax(-1)).masked_fill(ended, END)
            ended = ended | (token == END)
            written.append(token)
        return torch.stack(written, -1).unflatten(0, code.shape[:-1])


class WordDecoder(nn.Module):
    """z and c to `p(x|z,c)`, a `Word`, by a gated recurrent unit; both give its first state and go to input and output.

    Args:
        symbols: Number of tokens V, `END` among them.
        length: Tokens in a row, T.
        latent: Number of latents Z; 0 for a decoder that does not look at z.
        c_dim: Width of the condition.
        hidden: Width of the state.
        lost: Word dropout: probability with which a letter that is read becomes "unknown", in training only.
        dropout: Probability with which a number of the state does not reach the output, in training only.

    Raises:
        ValueError: If a size is too small, or a probability is outside [0, 1].

    References:
        Bowman, Vilnis, Vinyals, Dai, Jozefowicz and Bengio (2016), Generating sentences from a continuous space,
        section 3; Cho et al. (2014), Learning phrase representations using RNN encoder-decoder, section 2.3.
    """

    def __init__(
        self, symbols: int, length: int, latent: int, c_dim: int, hidden: int, lost: float = 0.0, dropout: float = 0.0
    ) -> None:
        super().__init__()
        for name, size, least in (("symbols", symbols, 2), ("length", length, 1), ("latent", latent, 0)):
            if not isinstance(size, int) or size < least:
                raise ValueError(f"{name}: got {size!r}, allowed are integers from {least}")
        if not 0 <= lost <= 1:
            raise ValueError(f"lost: got {lost!r}, allowed are probabilities from 0 to 1")
        self.symbols, self.length, self.latent, self.lost = symbols, length, latent, lost
        self.first, self.unknown = symbols, symbols + 1  # two tokens that are read and never written
        self.letters = nn.Embedding(symbols + 2, WIDTH)
        self.begin = linear(latent + c_dim, hidden)
        self.unit = nn.GRU(WIDTH + latent + c_dim, hidden, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = linear(hidden + latent + c_dim, symbols)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Word:
        """z (..., B, Z), c (B, C) or None; returns p(x|z,c), batch shape (..., B), event shape (T,)."""
        return Word(self, join(z[..., : self.latent], c))

    def logits(self, x: Tensor, code: Tensor) -> Tensor:
        """Of p(x_t | x_<t, z, c) at all t at once. Args: x (..., T), code (..., Z + C). Returns (..., T, V)."""
        read = torch.cat([torch.full_like(x[..., :1], self.first), x[..., :-1]], -1)
        if self.training and self.lost:
            lost = torch.rand(read.shape, device=read.device) < self.lost
            read = read.masked_fill(lost & (read != self.first), self.unknown)
        return self.step(read.flatten(0, -2), code.flatten(0, -2))[0].unflatten(0, code.shape[:-1])

    def step(self, read: Tensor, code: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Reads tokens (N, T) after those of `state`; returns logits (N, T, V) and the new state (1, N, hidden)."""
        state = self.begin(code).tanh()[None] if state is None else state
        beside = code[:, None].expand(-1, read.shape[1], -1)
        states, state = self.unit(torch.cat([self.letters(read), beside], -1), state)
        return self.head(torch.cat([self.dropout(states), beside], -1)), state

    def check(self, x: Tensor) -> None:
        """Refuses rows that are no words: other numbers than tokens, or a letter after the end."""
        bad = (x != x.round()) | (x < 0) | (x >= self.symbols) | ((x != END) & ~counted(x))
        if bad.any():
            allowed = f"tokens below {self.symbols}, and only {END} after the first {END}"
            raise ValueError(f"x: got {x[bad][0].item():.4g} in a row, allowed are {allowed}")

    @torch.no_grad()
    def start(self, x: Tensor) -> None:
        """Sets the output's bias to the logarithm of how often each token is to be written in x (N, T)."""
        often = torch.bincount(x[counted(x)].long(), minlength=self.symbols) + 1.0
        self.head.bias.copy_((often / often.sum()).log())


class WordTrunk(nn.Module):
    """Words to features: a gated recurrent unit reads from the word's end to its first letter, c beside each token.

    So the letters that a decoder writes with little before them are the last that it has read.
    """

    def __init__(self, symbols: int, c_dim: int, width: int) -> None:
        super().__init__()
        self.width = width
        self.letters = nn.Embedding(symbols, WIDTH)
        self.unit = nn.GRU(WIDTH + c_dim, width, batch_first=True)

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """x (B, T) tokens, c (B, C) or None; returns (B, width)."""
        c = c if c is None else c[:, None].expand(-1, x.shape[1], -1)
        place = torch.arange(x.shape[1], device=x.device)
        last = counted(x).sum(-1, keepdim=True) - 1
        backwards = x.long().gather(1, (last - place).clamp_min(0))  # what stands behind the end is not read
        states, _ = self.unit(join(self.letters(backwards), c))
        return states.take_along_dim(last[..., None], 1)[:, 0]


class WordEncoder(Encoder):
    """`q(z|x,c)` of words, a diagonal Gaussian, see `WordTrunk`.

    Args:
        symbols, latent, c_dim, hidden: As for `WordDecoder`.
    """

    def __init__(self, symbols: int, latent: int, c_dim: int, hidden: int) -> None:
        super().__init__((), c_dim, latent, trunk=WordTrunk(symbols, c_dim, hidden))
