"""Faint levels: drawn as a known truth has them, given the rest of the picture and each other; what is not faint stays."""

import numpy as np
import pytest
import torch

import ectype
from ectype.models.gan import GANObjective
from ectype.prob.faint import FEWEST, PER_STEP, Faint, faint
from ectype.spec import Net, Train
from ectype.train.device import convolves
from ectype.train.loop import Loop

ENOUGH = FEWEST * PER_STEP
SIDE = 12


def paper(n, seed=0):
    """Blank paper with a block of ink in each picture, and specks: of 3 beside the ink on its left in half of the pixels, and of 1 anywhere
    else in a fifth of the pixels of every other picture, which has them or has not."""
    g = torch.Generator().manual_seed(seed)
    x = torch.zeros(n, 1, SIDE, SIDE, dtype=torch.uint8)
    top, left = (torch.randint(1, SIDE - 6, (n,), generator=g) for _ in range(2))
    specked = torch.rand(n, generator=g) < 0.5
    x[specked] = (torch.rand(int(specked.sum()), 1, SIDE, SIDE, generator=g) < 0.2).to(torch.uint8)
    for i in range(n):
        a, b = int(top[i]), int(left[i])
        x[i, 0, a : a + 5, b : b + 5] = 200
        x[i, 0, a : a + 5, b - 1] = 3 * (torch.rand(5, generator=g) < 0.5).to(torch.uint8)
    return x, specked


def beside(x):
    """Where a pixel has ink on its right and none itself."""
    return (x[..., :-1] < 8) & (x[..., 1:] >= 8)


def uniform(n, seed=1):
    return torch.rand(n, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def fitted():
    torch.manual_seed(0)
    made = Faint(1, 256)
    made.fit(paper(4000)[0], 2 * ENOUGH)
    assert made.fitted and not made.white
    return made


def shuffled(x, seed=2):
    """The same faint levels in other places."""
    g = torch.Generator().manual_seed(seed)
    out = x.clone()
    for v in out.flatten(1):
        at = (v < 8).nonzero()[:, 0]
        v[at] = v[at[torch.randperm(len(at), generator=g)]]
    return out


def test_levels_have_the_frequencies_of_their_places(fitted):
    x, _ = paper(2000, seed=5)
    out, at = fitted(shuffled(x), uniform(2000)), beside(x)
    assert torch.equal(beside(out), at)
    left = [(v[..., :-1][at] == 3).float().mean().item() for v in (out, x)]
    assert left[1] == pytest.approx(0.5, abs=0.02) and left[0] == pytest.approx(left[1], abs=0.05)
    away = (x[..., :-1] < 8) & ~at
    ones = [(v[..., :-1][away] == 1).float().mean().item() for v in (out, x)]
    assert ones[0] == pytest.approx(ones[1], abs=0.01)
    assert (out[..., :-1][away] == 3).float().mean() < 0.02


def test_a_picture_has_specks_or_has_none(fitted):
    """As many as those that it came with, in other places."""
    x, specked = paper(2000, seed=5)
    real, made = ((v == 1).sum((1, 2, 3)).float() for v in (x, fitted(shuffled(x), uniform(2000))))
    assert real[~specked].max() == 0 and made[~specked].mean() < 0.5
    assert made[specked].mean().item() == pytest.approx(real[specked].mean().item(), rel=0.1)
    assert torch.corrcoef(torch.stack([made, real]))[0, 1] > 0.9


def test_what_is_not_faint_stays_and_of_what_was_faint_only_how_many_specks(fitted):
    x, _ = paper(300, seed=6)
    x[:, :, -1, -1] = 8                                                     # the first level that is not faint
    out = fitted(x, uniform(300))
    assert torch.equal(out[x >= 8], x[x >= 8]) and (out[x < 8] < 8).all() and out.dtype == torch.uint8
    assert torch.equal(fitted(shuffled(x), uniform(300)), out)
    assert torch.equal(fitted(torch.where((x > 0) & (x < 8), 5, x), uniform(300)), out)
    assert torch.equal(fitted(x[:1], uniform(300)[:1]), out[:1])            # a picture is drawn alone


def test_the_loss_is_the_cross_entropy_of_what_is_faint(fitted):
    x, _ = paper(50, seed=7)
    for q, (a, b) in enumerate(((0, 0), (1, 1), (0, 1), (1, 0))):
        own = x[:, 0, a::2, b::2].long()
        p = fitted.logits(x, q, fitted.specks(x))[:, 0].softmax(1)                            # (B, K, H_q, W_q)
        at = p.gather(1, own.clamp(max=7)[:, None])[:, 0][own < 8]
        assert fitted.loss(x, q, fitted.specks(x)).item() == pytest.approx(-at.log().mean().item(), rel=1e-4)


def test_paper_may_be_white(fitted):
    x, _ = paper(50)
    made = Faint(1, 256)
    made.fit(255 - x, ENOUGH - 1)
    assert made.white and not fitted.white                                  # what paper is, is seen in any case
    made.load_state_dict(fitted.state_dict() | {"white": made.white})
    torch.testing.assert_close(255 - made(255 - x, uniform(50)), fitted(x, uniform(50)))


@pytest.mark.parametrize(("channels", "size"), [(1, (40, 33)), (3, (5, 7))])
def test_images_of_any_size(channels, size, monkeypatch):
    monkeypatch.setattr("ectype.prob.faint.FEWEST", 8)
    g = torch.Generator().manual_seed(0)
    x = torch.where(torch.rand(60, channels, *size, generator=g) < 0.2, 1, torch.where(torch.rand(60, channels, *size, generator=g) < 0.3, 99, 0))
    x = x.to(torch.uint8)
    made = Faint(channels, 256)
    made.fit(x, 8 * PER_STEP)
    out = made(x, torch.rand(x.shape, generator=g))
    assert made.fitted and out.shape == x.shape and torch.equal(out == 99, x == 99) and not torch.equal(out, x)


@pytest.mark.parametrize("case", ["few steps", "no paper", "no specks", "a row", "dark"])
def test_where_there_is_nothing_to_learn_pictures_stay(case):
    x, _ = paper(50)
    x = {"no paper": x + 30, "no specks": torch.where(x < 8, 0, x), "a row": x[:, :, :1],
         "dark": torch.arange(SIDE, dtype=torch.uint8)[:, None].expand(50, 1, SIDE, SIDE) // 2}.get(case, x)
    made = Faint(1, 256)
    before = {k: v.clone() for k, v in made.state_dict().items() if k != "white"}
    made.fit(x, ENOUGH - 1 if case == "few steps" else ENOUGH)
    assert not made.fitted and torch.equal(made(x, torch.rand(x.shape)), x)
    assert all(torch.equal(v, made.state_dict()[k]) for k, v in before.items())


def test_it_is_of_no_player_and_of_no_picture_with_few_levels(fitted):
    assert not any(p.requires_grad for p in fitted.parameters())
    assert faint((1, 8, 8), 17) is None and faint((3, 8, 8), 256) is not None


def test_what_it_is_told_of_a_part_is_of_the_whole_picture(monkeypatch):
    """Large pictures are learnt from in parts: the share of specks is that of the pictures, as it is when levels are drawn."""
    monkeypatch.setattr("ectype.prob.faint.FEWEST", 4)
    monkeypatch.setattr("ectype.prob.faint.CROP", 6)
    x, _ = paper(40)
    made, told = Faint(1, 256), []
    loss = made.loss
    made.loss = lambda x, q, share: told.append((x.shape, share)) or loss(x, q, share)
    made.fit(x, 4 * PER_STEP)
    known = made.specks(x)
    assert all(shape == (64, 1, 6, 6) and torch.isin(share, known).all() for shape, share in told) and len(told) == 4


def specked(n=200):
    """Images of paper with ink and specks, in arrays."""
    return paper(n)[0][:, 0].numpy()


@pytest.mark.parametrize("cls", [ectype.GAN, ectype.DDPM, ectype.TruncatedDiffusion])
def test_models_of_pictures_draw_them(cls, tmp_path, monkeypatch):
    """Samples differ from what they would be in the levels of faint pixels alone; whatever the batch, and after saving."""
    monkeypatch.setattr("ectype.prob.faint.FEWEST", 4)
    model = cls(net=Net(width=(8, 8)), train=Train(budget=f"{4 * PER_STEP}steps", validation=0), random_state=0).fit(specked())
    steps = {} if cls is ectype.GAN else {"steps": 3}
    out = model.sample(40, random_state=0, **steps)
    made = model.objective_.faint
    assert made.fitted                                                      # in the fewest steps that do
    np.testing.assert_array_equal(model.sample(12, random_state=0, **steps), out[:12])
    model.save(tmp_path / "model")
    np.testing.assert_array_equal(ectype.load(tmp_path / "model").sample(40, random_state=0, **steps), out)
    made.fitted.fill_(False)
    plain = model.sample(40, random_state=0, **steps)
    k = made.k if not made.white else 0
    assert (out != plain).any() and np.array_equal(out[plain >= k], plain[plain >= k]) and (out[plain < k] < k).all()


def test_a_resumed_training_concludes_as_one_that_was_not_interrupted(tmp_path, monkeypatch):
    """Where it was cut off after the last step, too."""
    monkeypatch.setattr("ectype.prob.faint.FEWEST", 4)

    def new():
        return ectype.GAN(net=Net(width=(8, 8)), train=Train(budget=f"{4 * PER_STEP}steps", validation=0), random_state=0)

    whole, conclude = new().fit(specked()).sample(20, random_state=0), GANObjective.conclude
    monkeypatch.setattr(Loop, "run", saved_at_the_end(Loop.run))

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(GANObjective, "conclude", killed)
    with pytest.raises(KeyboardInterrupt):
        new().fit(specked(), run=tmp_path / "run")
    monkeypatch.setattr(GANObjective, "conclude", conclude)
    np.testing.assert_array_equal(new().fit(specked(), run=tmp_path / "run").sample(20, random_state=0), whole)


def saved_at_the_end(run):
    def running(self, folder, stop, save):
        interrupted = run(self, folder, stop, save)
        save()
        return interrupted

    return running


def test_a_model_with_a_teacher_has_the_teachers(tmp_path, monkeypatch):
    monkeypatch.setattr("ectype.prob.faint.FEWEST", 4)
    teacher = ectype.DDPM(net=Net(width=(8, 8)), train=Train(budget=f"{4 * PER_STEP}steps"), random_state=0).fit(specked())
    teacher.save(tmp_path / "teacher")
    model = ectype.TruncatedDiffusion(teacher=str(tmp_path / "teacher"), net=Net(width=(8, 8)), train=Train(budget="2steps"), random_state=0)
    for ours, theirs in zip(model.fit(specked()).objective_.faint.parameters(), teacher.objective_.faint.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
    assert model.objective_.faint.fitted


def test_a_perceptron_on_pictures_does_not_count_as_convolutional():
    for kind, expected in (("mlp", False), ("conv", True)):
        model = ectype.GAN(net=Net(kind=kind), train=Train(budget="1steps", validation=0), random_state=0).fit(specked(20))
        assert convolves(model.objective_) is expected and model.objective_.faint is not None
