"""Encoder and Decoder return `torch.distributions`; VAE and CVAE put them and a prior together."""

import math

import torch
from torch import Tensor, nn
from torch.distributions import Distribution, Independent, Normal

from cvae_lib.likelihoods import Likelihood
from cvae_lib.nn import MLP, linear
from cvae_lib.priors import LogitNormal, Prior


class Encoder(nn.Module):
    """The approximate posterior, a diagonal Gaussian: `q(z|x,c) = N(mu(x,c), diag(exp(log_var(x,c))))`.

    Where the prior is uniform on (0, 1) it is the distribution of `sigmoid(u)`, u from that Gaussian.

    Args:
        x_shape: Shape of one datum, for instance (1, 28, 28).
        c_dim: Width of the condition, 0 for none.
        latent: Number of latents Z.
        hidden: Widths of the trunk's layers.
        activation: Of the trunk, see `nn.MLP`.
        family: `Normal`, or `LogitNormal` for latents between 0 and 1.
        trunk: In place of the dense layers: a module that takes x (B, D), flattened, and c, and returns (B, `width`).

    References:
        Kingma and Welling (2013), Auto-encoding variational Bayes, section 3 and appendix C.2.
    """

    def __init__(
        self,
        x_shape: tuple[int, ...],
        c_dim: int,
        latent: int,
        hidden: tuple[int, ...] = (256, 256),
        activation: str = "tanh",
        family: type[Distribution] = Normal,
        trunk: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.family = family
        self.trunk = trunk or MLP((math.prod(x_shape) + c_dim, *hidden), activation)
        self.head = linear(self.trunk.width, 2 * latent)  # no activation: mu and log_var are free real numbers

    def forward(self, x: Tensor, c: Tensor | None = None) -> Independent:
        """x (B, ...), c (B, C) or None; returns q(z|x,c) with batch shape (B,) and event shape (Z,)."""
        mu, log_var = self.head(self.trunk(x.flatten(1), c)).chunk(2, dim=-1)
        return Independent(self.family(mu, (0.5 * log_var).exp()), 1)


class Decoder(nn.Module):
    """The generating network: z and c to the parameters of `p(x|z,c)`, one Bernoulli a pixel if nothing else is said.

    Args:
        x_shape, c_dim, latent, hidden, activation: As for `Encoder`.
        likelihood, sigma: See `likelihoods.Likelihood`; or, as likelihood, a module of that kind.
        trunk: In place of the dense layers: a module that takes z (..., B, Z) and c, and returns (..., B, `width`).
        head: In place of a dense layer from there to the likelihood's parameters; it has a `bias` for each of them.
    """

    def __init__(
        self,
        x_shape: tuple[int, ...],
        c_dim: int,
        latent: int,
        hidden: tuple[int, ...] = (256, 256),
        activation: str = "tanh",
        likelihood: str | nn.Module = "bernoulli",
        sigma: float | str = 1.0,
        trunk: nn.Module | None = None,
        head: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.trunk = trunk or MLP((latent + c_dim, *reversed(hidden)), activation)
        self.likelihood = Likelihood(x_shape, likelihood, sigma) if isinstance(likelihood, str) else likelihood
        self.head = head or linear(self.trunk.width, self.likelihood.width)

    def forward(self, z: Tensor, c: Tensor | None = None) -> Independent:
        """z (..., B, Z), c (B, C) or None; returns p(x|z,c) with batch shape (..., B), event shape `x_shape`."""
        return self.likelihood(self.head(self.trunk(z, c)))

    def check(self, x: Tensor) -> None:
        """Refuses values outside the likelihood's support, see `likelihoods.Likelihood.check`."""
        self.likelihood.check(x)

    def start(self, x: Tensor) -> None:
        """Sets the last bias so that the untrained network gives about the mean of x (N, *x_shape)."""
        self.head.bias.copy_(self.likelihood.start(x))


class CVAE(nn.Module):
    """A conditional variational autoencoder: `p(x|c) = ∫ p(x|z,c) p(z|c) dz`, with q(z|x,c) for the posterior.

    Args:
        x_shape: Shape of one datum, for instance (1, 28, 28).
        c_dim: Width C of the condition, for instance 10 for one-hot digits.
        latent: Number of latents Z, at least 1.
        hidden: Widths of the encoder's hidden layers; the decoder has them in reverse order.
        activation: "tanh", "relu", "gelu" or "silu".
        prior: "standard", "uniform", "mean", "learned" or "mixture", see `priors.Prior`.
        likelihood: "bernoulli", "cross_entropy", "continuous_bernoulli" or "gaussian", see `likelihoods.Likelihood`.
        sigma: Of the Gaussian likelihood: a number, "shared" or "pixel".
        components: Of a mixture prior.
        prior_hidden: Widths of the layers between c and the prior's parameters; none: they are linear in c.
        encoder: In place of the dense one: a module that takes x (B, *x_shape) and c, and returns q(z|x,c).
        decoder: In place of the dense one: a module that takes z (..., B, Z) and c, and returns p(x|z,c); with methods
            `check(x)`, which refuses x outside the support, and `start(x)`, see `start_at_mean`.

    Raises:
        ValueError: If a size is not positive, or a name is unknown.

    References:
        Kingma and Welling (2013), Auto-encoding variational Bayes; Sohn, Lee and Yan (2015), Learning structured
        output representation using deep conditional generative models.
    """

    def __init__(
        self,
        x_shape: tuple[int, ...],
        c_dim: int,
        latent: int,
        hidden: tuple[int, ...] = (256, 256),
        activation: str = "tanh",
        prior: str = "standard",
        likelihood: str | nn.Module = "bernoulli",
        sigma: float | str = 1.0,
        components: int = 5,
        prior_hidden: tuple[int, ...] = (),
        encoder: nn.Module | None = None,
        decoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        for name, value, least in (("latent", latent, 1), ("c_dim", c_dim, 0), ("x_shape", min(x_shape or [0]), 1)):
            if not isinstance(value, int) or value < least:
                raise ValueError(f"{name}: got {value!r}, allowed are integers from {least}")
        if not hidden:
            raise ValueError("hidden: got no layer, at least one width is needed")
        self.x_shape, self.c_dim, self.latent = tuple(x_shape), c_dim, latent
        family = LogitNormal if prior == "uniform" else Normal
        self.encoder = encoder or Encoder(x_shape, c_dim, latent, hidden, activation, family)
        self.decoder = decoder or Decoder(x_shape, c_dim, latent, hidden, activation, likelihood, sigma)
        self.prior_net = Prior(c_dim, latent, prior, components, prior_hidden)

    def encode(self, x: Tensor, c: Tensor | None = None) -> Independent:
        """q(z|x,c), batch shape (B,), event shape (Z,). Args: x (B, *x_shape); c (B, C) or None."""
        self.check(x=x, c=c)
        return self.encoder(x, c)

    def decode(self, z: Tensor, c: Tensor | None = None) -> Independent:
        """p(x|z,c), batch shape (..., B), event shape `x_shape`. Args: z (..., B, Z); c (B, C) or None."""
        self.check(z=z, c=c)
        return self.decoder(z, c)

    def prior(self, c: Tensor | None = None) -> Distribution:
        """p(z|c), event shape (Z,); batch shape (B,), or () where the prior does not depend on c (B, C)."""
        self.check(c=c)
        return self.prior_net(c)

    @torch.no_grad()
    def sample(self, n: int | None = None, c: Tensor | None = None, draw: bool = False) -> Tensor:
        """Generates: draws z from the prior and returns the mean of p(x|z,c), or a draw from it.

        Args:
            n: How many examples, for a model without condition.
            c: (B, C), one example for each row.
            draw: Whether to draw x too: rows of a table or words, whose mean is none; images are shown by their mean.

        Returns:
            (n or B, *x_shape); the mean of a Bernoulli likelihood holds the probabilities of ink.
        """
        if (n is None) == (c is None):
            raise ValueError(f"n, c: give one of them, got n={n} and c={None if c is None else tuple(c.shape)}")
        prior = self.prior(c)
        z = prior.sample((n,) if c is None else (() if prior.batch_shape else (len(c),)))
        p = self.decode(z, c)
        return p.sample() if draw else p.mean

    @torch.no_grad()
    def reconstruct(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """Draws z from q(z|x,c) and returns the mean image of p(x|z,c), (B, *x_shape)."""
        return self.decode(self.encode(x, c).sample(), c).mean

    @torch.no_grad()
    def start_at_mean(self, x: Tensor) -> None:
        """Sets the decoder's last bias so that an untrained model gives about the mean image of x, (N, *x_shape).

        Without it the first epoch goes into learning where images are black. The learned σ of a Gaussian likelihood
        starts at the spread around that mean, see `likelihoods.Likelihood.start`.

        References:
            Burda, Grosse and Salakhutdinov (2015), Importance weighted autoencoders, section 5.
        """
        self.check(x=x, c=None if self.c_dim == 0 else x.new_zeros(1, self.c_dim))
        self.decoder.start(x.float())

    def check(self, x: Tensor | None = None, z: Tensor | None = None, c: Tensor | None = None) -> None:
        """Refuses tensors whose shapes do not fit this model.

        Raises:
            ValueError: Naming the argument, the shape that came and the shape that is allowed.
        """
        if x is not None and tuple(x.shape[1:]) != self.x_shape:
            allowed = ", ".join(map(str, self.x_shape))
            raise ValueError(f"x: got shape {tuple(x.shape)}, this model takes (B, {allowed})")
        if z is not None and z.shape[-1] != self.latent:
            raise ValueError(f"z: got shape {tuple(z.shape)}, this model takes (..., B, {self.latent})")
        if c is None and self.c_dim:
            raise ValueError(f"c: got None, this model takes a condition of shape (B, {self.c_dim})")
        if c is not None and not self.c_dim:
            raise ValueError(f"c: got shape {tuple(c.shape)}, this model takes no condition")
        if c is not None and (c.ndim != 2 or c.shape[1] != self.c_dim):
            raise ValueError(f"c: got shape {tuple(c.shape)}, this model takes (B, {self.c_dim})")
        rows = {len(x) if x is not None else None, z.shape[-2] if z is not None and z.ndim > 1 else None}
        if c is not None and rows - {None} and len(c) not in rows and len(c) != 1:
            raise ValueError(f"c: got {len(c)} rows, x or z has {(rows - {None}).pop()}")

    @property
    def likelihood(self) -> str:
        """The kind of the decoder's likelihood, see `likelihoods.Likelihood`; "decoder's own" where it names none."""
        return getattr(getattr(self.decoder, "likelihood", None), "kind", "decoder's own")

    def check_pixels(self, x: Tensor) -> None:
        """Refuses values outside the likelihood's support, see `likelihoods.Likelihood.check`."""
        self.decoder.check(x)


class VAE(CVAE):
    """A variational autoencoder, `p(x) = ∫ p(x|z) p(z) dz`: a CVAE without a condition.

    Args:
        All: As for `CVAE`; the prior is "standard", "uniform" or "mixture".

    References:
        Kingma and Welling (2013), Auto-encoding variational Bayes.
    """

    def __init__(
        self,
        x_shape: tuple[int, ...],
        latent: int,
        hidden: tuple[int, ...] = (256, 256),
        activation: str = "tanh",
        prior: str = "standard",
        likelihood: str = "bernoulli",
        sigma: float | str = 1.0,
        components: int = 5,
    ) -> None:
        super().__init__(x_shape, 0, latent, hidden, activation, prior, likelihood, sigma, components)
