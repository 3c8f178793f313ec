"""The checks of this notebook's exercises, run in it by `check`; they see its names."""


# %% exercise_1
def exercise_1(prediction, scramble, scrambled):
    x, moved = validation.x, scramble(validation.x)
    assert moved.shape == x.shape, f"scramble gives {tuple(moved.shape)}; images {tuple(x.shape)} are wanted"
    order = scramble(torch.arange(784.0).view(1, 1, 28, 28)).flatten().long()
    assert torch.equal(moved, x.flatten(1)[:, order].view_as(x)), (
        "the images do not all get one order of pixels: is the permutation drawn once, outside of the function?"
    )
    kept = len(order.unique())
    assert kept == 784, f"only {kept} of the 784 pixels are left; each has to appear once, as with randperm"
    still = (order == torch.arange(784)).float().mean()
    assert still < 0.1, f"{still:.0%} of the pixels stay in their place; draw the order at random"
    new, old = (squared_error(images, scrambled(images)).mean().item() for images in (moved, x))
    assert new < linear_errors[0] < old, (
        f"the error is {new:.1f} on images in the new order and {old:.1f} on those in the usual one; "
        f"the mean image's is {linear_errors[0]:.1f}. Which images were in `train.x` while this model was trained?"
    )
    before, now = (  # the variance along all but eight directions, which is PCA's error on the training images
        torch.linalg.eigvalsh(torch.cov(images.flatten(1).T))[:-8].sum().item()
        for images in (train.x, scramble(train.x))
    )
    for kind, (a, b) in {"PCA": (before, now), "autoencoder": (errors[8], new)}.items():
        found = "lower" if b < 0.85 * a else "higher" if b > 1.15 * a else "same"
        assert prediction[kind] == found, (
            f"you predicted {prediction[kind]!r} for {kind}, and it is {found!r}: {b:.1f}, and {a:.1f} in the usual "
            "order. Which part of this model could know which pixels are neighbours?"
        )


# %% exercise_2
def exercise_2(noisy_error):
    eigenvalues = torch.tensor(pca.explained_variance_)
    coordinates, generator = (train.x.flatten(1) - center) @ directions.T, torch.Generator().manual_seed(1)
    for k, sigma in ((4, 0.0), (2, 0.5), (8, 1.0), (8, 3.0), (32, 0.7)):
        code = coordinates[:, :k]
        noisy = code + sigma * torch.randn(code.shape, generator=generator)
        restored = noisy @ torch.linalg.lstsq(noisy, code).solution
        measured = (squared_error(code, restored) + squared_error(coordinates[:, k:], 0)).mean().item()
        ours, plain = float(noisy_error(eigenvalues, k, sigma)), eigenvalues[k:].sum().item()
        case = f"k = {k}, σ = {sigma:g}: a decoder fitted by least squares has {measured:.2f}, yours is {ours:.2f}"
        close, everything = abs(ours / measured - 1) < 0.02, eigenvalues.sum().item()
        assert close or abs(ours / (plain + k * sigma**2) - 1) > 0.02, (
            f"{case}. That is PCA's decoder, which adds all of the noise. Can a decoder that knows σ do better?"
        )
        assert close or ours < everything, f"{case}; the mean image for all has {everything:.2f}: what is lost at most?"
        assert close, (
            f"{case}. PCA without noise has {plain:.2f}; what each noisy number adds lies between 0 and its λ. "
            "Is sigma a standard deviation in your formula, and do the directions that were dropped count?"
        )


# %% exercise_3
def exercise_3(prediction, to_code, from_code):
    z, x = to_code(train.x), validation.x
    off = (from_code(to_code(x)) - model(x)).abs().max()
    assert off < 1e-3, f"a pixel is restored differently by {off:.2g}: does from_code undo all that to_code adds?"
    assert z.mean(0).abs().max() < 0.01, f"the mean of a latent is {z.mean(0).abs().max():.2f}; it should be 0"
    covariance = z.T.cov()
    assert (covariance.diag() - 1).abs().max() < 0.01, (
        f"the variances of the latents run from {covariance.diag().min():.2f} to {covariance.diag().max():.2f}, not 1"
    )
    beside = (covariance - covariance.diag().diag()).abs().max()
    assert beside < 0.01, f"two latents have covariance {beside:.2f}; each has variance 1, but they still go together"
    found = clear(from_code(torch.randn(2000, 16)))
    lines = {name.removeprefix("decoded from "): share for name, share in shares.items() if "real" not in name}
    line = min(lines, key=lambda name: abs(lines[name] - found))
    assert prediction == line, (
        f"you predicted the share of {prediction!r}; {found:.1%} of 2,000 images are clear, nearest to line {line!r}. "
        "Where does such a draw lie in the old coordinates, and how is it distributed there?"
    )


# %% exercise_4
def exercise_4(draw_codes):
    z, count = draw_codes(2000), 2000
    assert torch.is_tensor(z), f"draw_codes gives a {type(z).__name__}; the decoder takes tensors"
    assert z.shape == (count, 16), f"the shape is {tuple(z.shape)}; draw_codes(2000) should give (2000, 16)"
    near = (nearest(z).median() / own).item()
    assert near > 0.5, (
        f"your codes lie {near:.2f} times as far from the nearest training code as codes of new images do (1): "
        "that is the training set once more, and no density for new codes"
    )
    spread = (torch.pdist(z[:1000]).mean() / own_spread).item()
    assert 0.8 < spread < 1.2, (
        f"the spread is {spread:.2f} of that of codes of test digits: do your codes cover the whole range?"
    )
    share, gaussian = clear(model.decoder(z)), clear(model.decoder(fitted.sample((count,))))
    error = (share * (1 - share) / count + gaussian * (1 - gaussian) / count) ** 0.5
    assert share > gaussian + 5 * error, (
        f"{share:.1%} of 2,000 images are clear, with N(m, C) {gaussian:.1%}; chance can give "
        f"{5 * error:.1%}. Does your density have more than one hill?"
    )
    print(f"clear: N(m, C) {gaussian:.1%}, yours {share:.1%}, restored digits {shares['restored test digits']:.1%}")
