"""Mistakes of chapter 14 that a line of the library can make, to be planted in a copy of it.

    python tests/planted.py --bands [1 6c ...]     # which metrics the forms of mistake 1, and form 6c, move; or all

`test_planted.py` wants the tests named here to fail in the copy. `--bands` runs one notebook there (ci, seed 0),
compares what it reports with baselines.json, and writes planted.json. The table in README.md is written anew each time.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from anatomy import REPORT, ROOT

sys.path.insert(0, str(ROOT / "notebooks"))
import insert  # noqa: E402
import results  # noqa: E402

STORED = Path(__file__).with_name("planted.json")
# Mistakes, or parts of one, made in words or in the protocol: the check of chapter 14 that catches them.
CHECKS = {
    "13": "obeys_and_varies",
    "14": "lie_where_samples_come_from",
    "19": "promises_nothing",
    "21": "is_the_same_family",
    "24": "can_be_information",
}
# A form: its name, what it is, the notebook that reports what it should move ("–": none does), and the tests that must
# fail, of tests/test_*.py; then a file of cvae_lib, a piece of it, found there once, and what stands in its place.
FORMS = """
1a | mean over pixels | 02 | train::test_history_is_in_nats_per_image
  objectives.py: -model.decode(z, c).log_prob(x).mean(0) → -model.decode(z, c).log_prob(x).mean(0) / x[0].numel()
1b | mean over latents | 02 | objectives::test_gaussian_rate_is_the_textbook_formula
  objectives.py: return (rate.sum(-1), rate) if splits → return (rate.mean(-1), rate) if splits
1c | mean over pixels in the loss alone | 02 | objectives::test_beta_is_linear_and_multiplies_the_rate_alone
  objectives.py: (terms.distortion + beta * terms.rate).mean() → (terms.distortion / 784 + beta * terms.rate).mean()
1d | rate summed over the batch | 02 | objectives::test_beta_is_linear_and_multiplies_the_rate_alone
  objectives.py: (terms.distortion + beta * terms.rate).mean() → terms.distortion.mean() + beta * terms.rate.sum()
2a | another weight in validation | 11 | train::test_validation_measures_what_training_measures
  train.py: torch.stack([terms.distortion.mean(), terms → torch.stack([terms.distortion.mean(), 0.00025 * terms
2b | a small "KL weight" in training | 02 | train::test_beta_one_and_the_given_objective_agree
  step.py: training_loss(terms, self.config.beta * rise → training_loss(terms, 0.00025 * self.config.beta * rise
3a | β on the reconstruction | 07 | objectives::test_beta_is_linear_and_multiplies_the_rate_alone
  objectives.py: (terms.distortion + beta * terms.rate).mean() → (beta * terms.distortion + terms.rate).mean()
3b | β·KL subtracted | 02 | objectives::test_beta_is_linear_and_multiplies_the_rate_alone
  objectives.py: (terms.distortion + beta * terms.rate).mean() → (terms.distortion - beta * terms.rate).mean()
4a | hidden σ² = 1/2 | 03 | likelihoods::test_a_learned_sigma_finds_the_noise_that_was_added
  likelihoods.py: (0.5 * self.log_var).exp() if self.sigma == "shared" else float(self.sigma) → 0.5**0.5
5a | grey pixels let through to a Bernoulli | – | likelihoods::test_values_outside_the_support_are_refused
  likelihoods.py: "bernoulli": (lambda x: (x == 0) | (x == 1), → "bernoulli": (lambda x: (x >= 0) & (x <= 1),
5b | normaliser dropped | 03 | likelihoods::test_the_continuous_bernoulli_is_a_density_and_the_cross_entropy_is_none
  likelihoods.py: return ContinuousBernoulli(logits=logits) → return Bernoulli(logits=logits, validate_args=False)
5c | trained on grey pixels | 02 | train::test_what_the_model_is_trained_on_is_binary
  step.py: self.x = Grey(x) if config.binarization == "dynamic" else x → self.x = x
6a | log σ² taken for log σ by the encoder | 02 | models::test_encoder_head_is_mean_and_log_variance
  models.py: self.family(mu, (0.5 * log_var).exp()) → self.family(mu, log_var.exp())
6b | σ² as σ in the sampler | 02 | objectives::test_distortion_and_rate_against_their_definitions_by_monte_carlo
  objectives.py: q.rsample((samples,)) → q.mean + q.variance * torch.randn(samples, *q.mean.shape).to(q.mean)
6c | log σ² as σ in the sampler | 02 | objectives::test_distortion_and_rate_against_their_definitions_by_monte_carlo
  objectives.py: q.rsample((samples,)) → q.mean + q.variance.log() * torch.randn(samples, *q.mean.shape).to(q.mean)
6d | σ² as σ in the KL | 02 | objectives::test_gaussian_rate_is_the_textbook_formula
  objectives.py: kl_divergence(q, prior) → kl_divergence(Normal(q.mean, q.variance) if type(q) is Normal else q, prior)
6e | log σ² taken for log σ by the learned prior | 05 | models::test_a_learned_prior_holds_mean_and_log_variance
  priors.py: Independent(Normal(mu, (0.5 * log_var).exp()), 1) → Independent(Normal(mu, log_var.exp()), 1)
6f | log σ² taken for log σ by the decoder | 03 | likelihoods::test_gaussian_log_density_with_each_kind_of_sigma
  likelihoods.py: Normal(location, (0.5 * log_var[0]).exp()) → Normal(location, log_var[0].exp())
7a | constant dropped from q in the weights | 03 | objectives::test_elbo_equals_the_evidence_at_the_true_posterior
  objectives.py: log_prob(z) - q.log_prob(z) → log_prob(z) - q.log_prob(z) - z.shape[-1] / 2 * math.log(2 * math.pi)
7b | constant dropped from the prior | 05 | objectives::test_rate_of_any_pair_of_distributions_agrees_with_monte_carlo
  objectives.py: - prior.log_prob(z)).mean(0) → - prior.log_prob(z) - z.shape[-1] / 2 * math.log(2 * math.pi)).mean(0)
8a | sign of the KL turned | 02 | objectives::test_rate_of_any_pair_of_distributions_agrees_with_monte_carlo
  objectives.py: rate = kl_divergence(q, prior) → rate = -kl_divergence(q, prior)
8b | KL of the prior from q | 02 | objectives::test_rate_of_any_pair_of_distributions_agrees_with_monte_carlo
  objectives.py: rate = kl_divergence(q, prior) → rate = kl_divergence(prior, q)
8c | KL to N(0, I), not p(z|c) | 05 | objectives::test_distortion_and_rate_against_their_definitions_by_monte_carlo
  objectives.py: *kl_terms(q, prior, z)) → *kl_terms(q, Independent(Normal(torch.zeros_like(z[0]), 1.0), 1), z))
9a | mixed in each latent | 05 | models::test_a_mixture_prior_has_the_density_of_whole_vectors_and_components_of_its_own
  priors.py: return MixtureSameFamily(Categorical(logits=weight), parts)
+ mixture, each = MixtureSameFamily(Categorical(logits=weight), parts), parts.base_dist
+         log_weight = weight.log_softmax(-1)[..., None]
+         mixture.log_prob = lambda z: (each.log_prob(z[..., None, :]) + log_weight).logsumexp(-2).sum(-1)
+         return mixture
10a | ReLU on the mean head | 02 | models::test_heads_are_not_squashed
  models.py: self.family(mu, (0.5 * log_var).exp()) → self.family(mu.relu(), (0.5 * log_var).exp())
10b | tanh on the mean head | 02 | models::test_heads_are_not_squashed
  models.py: self.family(mu, (0.5 * log_var).exp()) → self.family(mu.tanh(), (0.5 * log_var).exp())
10c | tanh before the sigmoid of the output | 02 | models::test_the_output_is_not_squashed_before_its_sigmoid
  models.py: self.likelihood(self.head(self.trunk(z, c))) → self.likelihood(self.head(self.trunk(z, c)).tanh())
11a | no c in the encoder | 04 | models::test_both_networks_read_the_condition
  models.py: self.head(self.trunk(x.flatten(1), c)) → self.head(self.trunk(x.flatten(1), None if c is None else 0 * c))
11b | no c in the decoder | 04 | models::test_both_networks_read_the_condition
  models.py: self.head(self.trunk(z, c)) → self.head(self.trunk(z, None if c is None else 0 * c))
11c | labels in the target | 04 | models::test_shapes_and_kinds_of_what_the_networks_return
  models.py: = Likelihood(x_shape, → = Likelihood((math.prod(x_shape) + c_dim,) if c_dim else x_shape,
  objectives.py: log_prob(x).mean(0) → log_prob(x if c is None else torch.cat([x.flatten(1), c], 1)).mean(0)
12a | sampling from the posterior | 04 | models::test_samples_come_from_the_prior_and_belong_to_their_condition
  models.py: self.prior(c) → self.prior() if c is None else self.encode(torch.rand(len(c), *self.x_shape), c)
12b | N(0, I) sampled, not p(z|c) | 05 | models::test_samples_come_from_the_prior_and_belong_to_their_condition
  models.py: self.prior(c) → Prior(0, self.latent)()
15a | the two terms in turns | 02 | train::test_beta_one_and_the_given_objective_agree
  step.py: return training_loss(terms, self.config.beta * rise, free_bits=self.config.free_bits)
+ self.turn = 1 - getattr(self, "turn", 1)
+             return terms[self.turn].mean()
16a | z without a gradient | 02 | objectives::test_distortion_gradient_through_z_agrees_with_finite_differences
  objectives.py: q.rsample((samples,)) → q.sample((samples,))
16b | μ handed to the decoder | 02 | objectives::test_distortion_and_rate_against_their_definitions_by_monte_carlo
  objectives.py: q.rsample((samples,)) → q.mean.expand(samples, *q.mean.shape)
16c | σ of given noise without a gradient | – | iwae::test_with_one_sample_the_score_of_q_is_left_out
  objectives.py: return q.mean + q.stddev * noise → return q.mean + q.stddev.detach() * noise
17a | active by the second moment | 03 | metrics::test_active_units_are_those_whose_mean_moves_with_x
  metrics.py: torch.cat(relative).var(0) > threshold → torch.cat(relative).square().mean(0) > threshold
18a | ELBO for log p | 03 | metrics::test_log_likelihood_is_the_closed_form_of_a_linear_gaussian_model
  metrics.py: logaddexp(total, weights.logsumexp(0)) → logaddexp(total, weights.mean(0) + math.log(len(weights)))
18b | ELBO for the bound of S draws | 03 | objectives::test_bounds_lie_below_the_evidence_and_grow_with_samples
  objectives.py: c, samples, noise).logsumexp(0) - math.log(samples) → c, samples, noise).mean(0)
18c | weights with the wrong sign | 03 | objectives::test_bounds_lie_below_the_evidence_and_grow_with_samples
  objectives.py: + model.prior(c).log_prob(z) - q.log_prob(z) → - model.prior(c).log_prob(z) + q.log_prob(z)
18d | test ELBO at z = μ | 02 | metrics::test_elbo_of_a_data_set_takes_draws_and_not_the_mean
  objectives.py: -model.decode(z, c).log → -model.decode(z if model.training else q.mean[None], c).log
19a | last batch alone | – | metrics::test_elbo_of_a_data_set_does_not_depend_on_the_batch_size_where_nothing_is_random
  metrics.py: zip(*parts, strict=True) → zip(*parts[-1:], strict=True)
19b | mean of means | – | metrics::test_elbo_of_a_data_set_does_not_depend_on_the_batch_size_where_nothing_is_random
  metrics.py: zip(*parts, strict=True) → zip(*([t.mean(0, keepdim=True) for t in part] for part in parts), strict=True)
19c | one batch divided by the number of batches | – | train::test_history_is_in_nats_per_image
  step.py: self.sums += means → self.sums.copy_(means)
20a | factors scrambled by a reshape | 07 | metrics::test_codes_equal_to_the_factors_score_one
  disentanglement.py: in np.asarray(factors).T], axis=1) → in np.asarray(factors).T]).reshape(len(factors), -1)
20b | uniform z | 04 | models::test_samples_come_from_the_prior_and_belong_to_their_condition
  models.py: self.prior(c) → Prior(0, self.latent, "uniform")()
22a | active under a prior that moves | 05 | metrics::test_a_unit_that_only_follows_the_condition_is_not_active
  metrics.py: (model.encode(xb, cb).mean - prior.mean) / prior.stddev → model.encode(xb, cb).mean
23a | no noise within a grey level | 03 | data::test_dequantized_pixels_stay_in_the_interval_of_their_level_and_fill_it
  data/dataset.py: (levels + uniform.clamp_max(1 - 2**-16).to(x)) / 256 → levels / 256
"""


class Planted(NamedTuple):
    """One form of a mistake."""

    name: str  # the mistake's number in chapter 14, and a letter
    what: str
    notebook: str | None
    tests: tuple[str, ...]
    changes: tuple[tuple[str, str, str], ...]  # file of cvae_lib, right piece, wrong piece


def parsed(block: str) -> Planted:
    """A form from its lines in `FORMS`."""
    name, what, number, *tests = block.splitlines()[0].split(" | ")
    notebook = next((path.stem for path in (ROOT / "notebooks").glob(f"{number}_*.ipynb")), None)
    changes = re.findall(r"^  (\S+): (.*?)(?: → (.*)|((?:\n\+ .*)+))$", block, re.M)
    changes = tuple((f, right, short or re.sub(r"^\+ ", "", long[1:], flags=re.M)) for f, right, short, long in changes)
    ids = tuple("tests/test_{}.py::{}".format(*test.split("::")) for test in tests)
    return Planted(name, what, notebook, ids, changes)


PLANTED = [parsed(block) for block in re.split(r"\n(?=\d)", FORMS.strip())]


def copied(to: Path, *folders: str) -> Path:
    """A copy of these folders of the repository."""
    for folder in folders:
        shutil.copytree(ROOT / folder, to / folder, ignore=shutil.ignore_patterns("__pycache__"))
    return to


def environment(copy: Path) -> dict[str, str]:
    """In which the library is imported from the copy, and never as it was compiled before the last change."""
    return {**os.environ, "PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "CVAE_STRICT": "0"}


@contextmanager
def planted(copy: Path, form: Planted) -> Iterator[None]:
    """The copy with this mistake in it; afterwards it is as it was."""
    before = {}
    try:
        for file, right, wrong in form.changes:
            path = copy / "cvae_lib" / file
            text = before[path] = path.read_text(encoding="utf-8")
            assert text.count(right) == 1, f"{form.name}: {file} has {text.count(right)} times, not once: {right}"
            path.write_text(text.replace(right, wrong), encoding="utf-8")
        yield
    finally:
        for path, text in before.items():
            path.write_text(text, encoding="utf-8")


def prepare(path: Path) -> None:
    """Ends a notebook with its last report, and lets it go on after a cell that fails, so that it still reports."""
    nb = json.loads(path.read_text(encoding="utf-8"))
    last = max(i for i, cell in enumerate(nb["cells"]) if "run.report(" in "".join(cell["source"]))
    where = {**nb["cells"][last], "id": "where", "source": "import cvae_lib\n\nprint(cvae_lib.__file__)", "outputs": []}
    nb["cells"] = [*nb["cells"][: last + 1], where]
    for cell in nb["cells"]:
        cell["metadata"]["tags"] = [*cell["metadata"].get("tags", []), "raises-exception"]
    path.write_text(json.dumps(nb), encoding="utf-8")


def measure(copy: Path, notebook: str) -> dict:
    """Runs a prepared notebook: its metrics outside their bands, and the error of the first cell that failed."""
    executed = copy / "build" / "ci" / f"{notebook}.ipynb"
    executed.unlink(missing_ok=True)
    command = [sys.executable, "notebooks/run.py", "--nb", notebook, "--profile", "ci", "--seed", "0"]
    done = subprocess.run(command, cwd=copy, env=environment(copy), capture_output=True, text=True)
    assert executed.exists(), f"{notebook} was not run: {done.stdout}{done.stderr}"
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    assert str(copy) in str(cells[-1]["outputs"]), f"{notebook} died, or imported another library: {done.stdout}"
    shown = [out.get("data", {}) for cell in cells for out in cell.get("outputs", [])]
    error = re.search(r"^ {6}(cell .*)$", done.stdout, re.M)
    found = {"outside": {m: v for data in shown if REPORT in data for m, v in outside(data[REPORT]).items()}}
    return found | ({"error": error[1]} if error else {})


def outside(report: dict) -> dict[str, list[float]]:
    """Metric to value, low and high, of those outside the bands of this checkout."""
    bands = results.load(ROOT / "notebooks" / "baselines.json")[report["notebook"]][report["profile"]][report["source"]]
    given = {m: [value, bands[m]["low"], bands[m]["high"]] for m, value in report["metrics"].items() if m in bands}
    return {m: [value, low, high] for m, (value, low, high) in given.items() if not low <= value <= high}


def table(stored: dict) -> str:
    """Of each mistake: its forms, the tests and checks that catch it, and the numbers that leave their bands."""
    bands, rows = results.load(ROOT / "notebooks" / "baselines.json"), []
    for number in map(str, range(1, 25)):
        forms = [form for form in PLANTED if form.name[:-1] == number]
        tests = dict.fromkeys(test for form in forms for test in form.tests)
        caught = [t.removeprefix("tests/test_").replace(".py::test_", ": ").replace("_", " ") for t in tests]
        caught += [f"`{check}` in chapter 14" for key, check in CHECKS.items() if key == number]
        moved = [f"{form.name[-1]}: {out_of_band(stored[form.name], bands)}" for form in forms if form.name in stored]
        what = [f"{form.name[-1]}: {form.what}" for form in forms] or ["(words)"]
        rows.append((number, "; ".join(what), "; ".join(caught), "; ".join(moved) or "–"))
    return insert.table(("mistake", "planted as", "caught by", "metrics outside (of, in notebook)"), rows)


def out_of_band(entry: dict, bands: dict) -> str:
    """How many metrics of how many in which notebook, and whether a cell of it raised an error."""
    [metrics] = bands[entry["notebook"]]["ci"].values()
    return f"{len(entry['outside'])} ({len(metrics)}, {entry['notebook'][:2]})" + " and an error" * ("error" in entry)


def measure_all(forms: list[Planted], stored: dict) -> None:
    """Plants each form in a copy, runs its notebook there, and stores what came out."""
    with TemporaryDirectory() as folder:
        copy = copied(Path(folder).resolve(), "cvae_lib", "notebooks")
        for notebook in sorted({form.notebook for form in forms}):
            prepare(copy / "notebooks" / f"{notebook}.ipynb")
            unchanged = measure(copy, notebook)
            assert unchanged == {"outside": {}}, f"{notebook} without a mistake: {unchanged}"
        for form in forms:
            with planted(copy, form):
                found = measure(copy, form.notebook)
            stored[form.name] = {"tests": list(form.tests), "notebook": form.notebook, **found}
            results.save(STORED, stored)
            moved = [f"{m} = {v:.5g} ({low:.5g} to {high:.5g})" for m, (v, low, high) in found["outside"].items()]
            print(form.name, form.what, form.notebook, *moved, found.get("error", ""), sep=" | ", flush=True)


def main(argv: list[str] | None = None) -> None:
    """Measures the forms asked for, stores each as soon as it is measured, and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bands", nargs="*", metavar="NUMBER", help="measure these mistakes or forms; none: all")
    wanted = parser.parse_args(argv).bands
    before = results.load(STORED)
    stored = {form.name: before[form.name] for form in PLANTED if form.name in before}
    if wanted is not None:
        every = (form for form in PLANTED if form.notebook)
        measure_all([f for f in every if not wanted or {f.name, f.name[:-1]} & set(wanted)], stored)
    insert.put(Path(__file__).with_name("README.md"), "planted", table(stored))


if __name__ == "__main__":
    main()
