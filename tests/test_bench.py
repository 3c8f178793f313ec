"""What `make bench` compares: the same network, the same objective, an honest count of operations."""

import bench
import pytest
import torch
from torch import nn

from cvae_lib.data import Data
from cvae_lib.objectives import elbo_terms


def test_both_loops_minimise_the_same_loss_of_the_same_network():
    torch.manual_seed(0)
    theirs, ours = bench.Textbook(), bench.network()
    encoder, decoder = ours.encoder, ours.decoder
    pairs = [(encoder.trunk[0], theirs.hidden), (decoder.trunk[0], theirs.back), (decoder.head, theirs.out)]
    with torch.no_grad():
        for mine, other in pairs:
            mine.weight.copy_(other.weight), mine.bias.copy_(other.bias)
        encoder.head.weight.copy_(torch.cat([theirs.mu.weight, theirs.log_var.weight]))
        encoder.head.bias.copy_(torch.cat([theirs.mu.bias, theirs.log_var.bias]))
    x = (torch.rand(6, 1, 28, 28) < 0.3).float()
    torch.manual_seed(1)
    terms = elbo_terms(ours, x)
    torch.manual_seed(1)
    loss = bench.textbook_loss(theirs, x.flatten(1))
    torch.testing.assert_close(loss, (terms.distortion + terms.rate).sum())


def test_operations_are_those_of_the_network():
    layers = [m for m in bench.network().modules() if isinstance(m, nn.Linear)]
    assert bench.FLOPS == 3 * sum(2 * m.in_features * m.out_features for m in layers)
    decoder = [m for m in bench.network().decoder.modules() if isinstance(m, nn.Linear)]
    assert bench.DECODER_FLOPS == sum(2 * m.in_features * m.out_features for m in decoder)


def test_an_image_comes_out_of_the_textbook_dataset_as_it_went_in():
    x = torch.randint(256, (3, 1, 28, 28)) / 255
    image, label = bench.Images(Data(x, torch.tensor([4, 7, 1]), "made up: test"))[1]
    torch.testing.assert_close(image, x[1])
    assert label == 7


def test_every_figure_is_made_and_kept(tmp_path, monkeypatch, capsys):
    """The whole command on a few images; a second call, for NLL, keeps what the first has stored."""
    torch.manual_seed(0)
    few = Data(torch.rand(150, 1, 28, 28), torch.arange(150) % 10, "made up: test")
    monkeypatch.setattr(bench.data, "load", lambda name, split: few)
    monkeypatch.setattr(bench, "memory", lambda *_: 1.0)
    monkeypatch.setattr(
        bench, "FITS", {name: {k: v for k, v in s.items() if k != "compile"} for name, s in bench.FITS.items()}
    )
    monkeypatch.setattr(bench, "matmul_rate", lambda device: 1e12)
    out = tmp_path / "bench.json"
    bound = ["--quick", "--nll", "1", "--draws", "2", "--classes"]
    for arguments in (["--quick"], ["--quick", "--nll", "2", "1"], bound, ["--redraw"]):
        bench.main([*arguments, "--out", str(out)])
    stored = bench.results.load(out)["cpu"]
    speed = stored["speed"]
    assert set(speed["loops"]) == {"textbook loop", *bench.FITS}
    assert speed["loops"]["textbook loop"]["times the textbook loop"] == pytest.approx(1)
    assert sum(speed["profile"].values()) == pytest.approx(1) and speed["quality"]["ratio"] > 0
    assert [point["epochs"] for point in stored["nll"]["curve"]] == [1, 2]
    assert all(point["NLL, nats"] < point["-ELBO, nats"] for point in stored["nll"]["curve"])
    (point,) = stored[bench.entry(2, True)]["curve"]
    assert point["draws"] == 2 and point["NLL, nats"] < point["-ELBO, nats"]
    assert 0 < stored["redraw"]["median, ms"] <= stored["redraw"]["19 of 20 within, ms"]
    with pytest.raises(SystemExit):
        bench.main(["--draws", "5"])
    assert "Time to quality" in capsys.readouterr().out
