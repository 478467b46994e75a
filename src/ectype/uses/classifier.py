"""A classifier from few labels: codes are learnt from all rows, classes from those that have a label.

Notation
    x       a row, labelled or not;  y ∈ {1 … K} its class, where it is known
    f       the encoder of a family, h = f(x) (B, d) its code
    h̄, s    mean of the codes and their root mean squared distance from it in one dimension, over all rows; ĥ = (h − h̄) / s
    W, b    the fully connected layer, (K, d) and (K,)

**Stage 1, without labels.** The family is trained on all rows, as always. Then, with ``neighbours`` > 0, codes of near rows are made to
agree: with the k nearest neighbours N(i) of each row in the space of the codes, u = (h − h̄) / ‖h − h̄‖, a temperature τ and a batch of
pairs (i, j), j drawn from N(i),

    L = − log [ exp(uᵢᵀuⱼ / τ) / Σₘ exp(uᵢᵀuₘ / τ) ]        m over the second members of all pairs in the batch,

averaged with the same where i and j change places. An autoencoder's code keeps whatever a row is rebuilt from, and classes lie in it in
long winding bands; near rows are mostly of one class, and where their codes agree the bands become clumps that a few labels suffice to
name. Only mutual neighbours count, j ∈ N(i) and i ∈ N(j): more of them are of one class. A row that has none is its own.

**Stage 2, labelled rows only.** A fully connected layer and a softmax on a *copy* of the encoder,

    p(y | x) = softmax(W ĥ + b)_y,        L = −log p(y | x)    in nats,

first W and b on codes that stay as they are, then (``fine_tune``) all weights together: a layer that starts at random would bend the
pretrained codes to its own errors before it has learnt anything itself.

References
    Hinton & Salakhutdinov, *Reducing the dimensionality of data with neural networks*, 2006 (pretraining, then backpropagation).
    Vincent, Larochelle, Lajoie, Bengio & Manzagol, *Stacked denoising autoencoders*, 2010, section 3.5.
    Oord, Li & Vinyals, *Representation learning with contrastive predictive coding*, 2018, equation 4 (the loss on pairs).
    Van Gansbeke et al., *SCAN: learning to classify images without labels*, 2020, section 2.2 (neighbours share classes).
    McConville, Santos-Rodríguez, Piechocki & Craddock, *N2D*, 2019 (the manifold in an autoencoder's code).
    Kumar, Raghunathan, Jones, Ma & Liang, *Fine-tuning can distort pretrained features*, 2022 (the new layer first).
"""

from __future__ import annotations

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, ClassVar

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, column_or_1d, validate_data
from torch import Tensor, nn

from .. import registry, rng, saved
from ..data.schema import Schema, as_container
from ..errors import CapabilityError, DataError, InvalidParameterError, SavedModelError, SchemaMismatchError, warn
from ..estimator import MAX_CLASSES, GenerativeModel, batches, family_name
from ..spec import PRESET, Interval, Share, Train, annotations, validate
from ..train.device import device_of, threads_for
from ..train.loop import Reporter, train
from ..train.objective import Objective, Stage, n_parameters
from ..train.reconstruction import in_batches

UNLABELLED = -1
HEAD_RATE = 10.0                # learning rate of the new layer, in those of the encoder
HEAD_SHARE = 0.3                # of stage 2's budget, before the encoder moves
MOST_NEIGHBOURED = 60_000       # rows that take part in the agreement: the search grows with their square
TEMPERATURE = 1.0               # τ; of 0.2, 0.5, 1, 2 and 4 the one with the fewest errors on digits with 30 labels
MOST_STANDARDISED = 10_000      # rows of which h̄ and s are taken
MANY_LABELS = 1_000             # from which a tenth is held out for early stopping; below, every label is worth more in training
KIND = "classifier"             # of what is saved


class Encoding(nn.Module):
    """ĥ of stored rows: a family's encoder, and the mean h̄ and spread s of its codes.

    One s for all dimensions: where a code has unused ones, as a VAE's does, dividing each by its own would make their noise as loud as the
    rest. Of the family's networks, only the weights that the code depends on are trained.
    """

    def __init__(self, encoder: Objective):
        super().__init__()
        self.encoder = encoder
        self.register_buffer("center", torch.zeros(encoder.latent_dim))         # h̄
        self.register_buffer("spread", torch.ones(()))                          # s

    @property
    def latent_dim(self) -> int:
        return self.encoder.latent_dim

    def settle(self, x: Tensor) -> Encoding:
        """Take h̄ and s from stored rows, and freeze the decoder and whatever else their code does not depend on."""
        x = x[:MOST_STANDARDISED].to(next(self.encoder.parameters()).device)
        weights = list(self.encoder.requires_grad_(True).parameters())
        gradients = torch.autograd.grad(self.encoder.encode(x[:2], None).sum(), weights, allow_unused=True)
        for p, g in zip(weights, gradients, strict=True):
            p.requires_grad_(g is not None)
        with torch.no_grad():
            h = in_batches(self.encoder.encode, x, None)
            self.center.copy_(h.mean(0))
            self.spread.copy_((h - self.center).square().mean().sqrt().clamp(min=1e-6))
        return self

    def forward(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """ĥ = (f(x) − h̄) / s, ``(B, d)``; the condition ``c`` is always None."""
        return (self.encoder.encode(x, None).float() - self.center) / self.spread


class NeighbourObjective(Objective):
    """Codes of near rows agree: a softmax over the pairs of a batch, of cosines of codes.

    A batch is stored rows ``x`` and, as ``c (B, k)``, the indices of the neighbours of each.
    """

    def __init__(self, schema: Schema, encoding: Encoding, k: int):
        super().__init__(schema)
        self.encoding, self.k = encoding, k

    def view(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """The rows, and their neighbours by the codes of before."""
        self.rows = x
        return x, mutual(nearest(in_batches(self.direction, x, None), self.k))

    def direction(self, x: Tensor, c: Tensor | None = None) -> Tensor:
        """u = ĥ / ‖ĥ‖, ``(B, d)``."""
        return F.normalize(self.encoding(x), dim=1)

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        pick = torch.randint(c.shape[1], (len(c), 1), device=c.device)
        partners = self.rows[c.gather(1, pick)[:, 0]]
        u, v = self.direction(torch.cat([x, partners])).chunk(2)
        agreement = contrast(u, v, TEMPERATURE)
        return {"loss": agreement, "agreement": agreement}


def contrast(u: Tensor, v: Tensor, temperature: float) -> Tensor:
    """−log softmax(uᵢᵀv / τ)ᵢ, averaged over i and over both directions; ``u`` and ``v`` are directions ``(B, d)``, a pair in each row."""
    with torch.autocast(u.device.type, enabled=False):          # which would make a product of float32 matrices bfloat16
        cosines = u.float() @ v.float().T / temperature                                 # (B, B)
    own = torch.arange(len(u), device=u.device)
    return 0.5 * (F.cross_entropy(cosines, own) + F.cross_entropy(cosines.T, own))


def nearest(u: Tensor, k: int, rows: int = 1024) -> Tensor:
    """The ``k`` rows with the largest cosine to each of the directions ``u (N, d)``, itself left out, ``(N, k)``."""
    found = []
    for i in range(0, len(u), rows):
        cosines = u[i : i + rows] @ u.T
        own = torch.arange(len(cosines), device=u.device)
        cosines[own, i + own] = -torch.inf
        found.append(cosines.topk(k, dim=1).indices)
    return torch.cat(found)


def mutual(neighbours: Tensor) -> Tensor:
    """Of the neighbours ``(N, k)``, those that have the row among theirs too, repeated in turn until there are k; or the row itself.

    On MNIST's pictures, 95 in 100 of the 15 nearest neighbours are of the same class, and 98 in 100 of the mutual ones.
    """
    n, k = neighbours.shape
    own = torch.arange(n, device=neighbours.device)[:, None]
    returned = torch.isin(own * n + neighbours, neighbours * n + own)                   # (N, k)
    count = returned.sum(1, keepdim=True)
    first = returned.int().argsort(dim=1, descending=True, stable=True)                 # the mutual ones before the others
    turns = torch.arange(k, device=neighbours.device) % count.clamp(min=1)
    return torch.where(count > 0, neighbours.gather(1, first.gather(1, turns)), own)


class ClassifierObjective(Objective):
    """Cross-entropy of a fully connected layer on the code; a batch is stored rows and, as ``c (B, 1)``, the indices of their classes."""

    def __init__(self, schema: Schema, encoding: Encoding, n_classes: int, fine_tune: bool, dropout: float):
        super().__init__(schema)
        self.encoding, self.fine_tune, self.dropout = encoding, fine_tune, dropout
        self.head = nn.Linear(encoding.latent_dim, n_classes)
        nn.init.zeros_(self.head.weight)        # every class alike: the first steps follow the labels, not a draw
        nn.init.zeros_(self.head.bias)
        if not fine_tune:
            self.encoding.requires_grad_(False)

    def stages(self) -> tuple[Stage, ...]:
        if not self.fine_tune:
            return (Stage("head", 1.0),)
        return Stage("head", HEAD_SHARE), Stage("fine-tuning", 1 - HEAD_SHARE)

    def players(self) -> dict[str, nn.Module]:
        return {"model": self.head if self.stage == "head" else self}

    def view(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """For the layer alone: the codes, which do not change."""
        return (in_batches(self.encoding, x, None), c) if self.stage == "head" else (x, c)

    def logits(self, h: Tensor) -> Tensor:
        """W ĥ + b of standardised codes, ``(B, K)``, in units in which a step of Adam is ``HEAD_RATE`` times as long as the encoder's."""
        return HEAD_RATE * self.head(F.dropout(h, self.dropout, self.training)).float()

    def loss(self, x: Tensor, c: Tensor | None, player: str) -> dict[str, Tensor]:
        h = x if self.stage == "head" else self.encoding(x)
        cross_entropy = F.cross_entropy(self.logits(h), c[:, 0])
        return {"loss": cross_entropy, "cross_entropy": cross_entropy}

    def measure(self, x: Tensor, c: Tensor | None) -> dict[str, float]:
        """Cross-entropy in nats and share of errors."""
        logits = self.logits(in_batches(self.encoding, x, None))
        return {"cross_entropy": float(F.cross_entropy(logits, c[:, 0])), "errors": float((logits.argmax(1) != c[:, 0]).float().mean())}

    def probabilities(self, x: Tensor) -> Tensor:
        """p(y | x), ``(B, K)``."""
        return self.logits(self.encoding(x)).double().softmax(1)


class PretrainedClassifier(ClassifierMixin, BaseEstimator):
    """Classifier on an encoder that was trained without labels on all rows, labelled or not; for data of which few have a label.

    Parameters
        encoder : a family that can encode, never changed: a clone of it is fitted on all rows; with ``prefit`` its weights are copied.
        pretrain : False = the same network from random weights, to see what pretraining bought.
        prefit : ``encoder`` is fitted already, and is the start as it is. (``sklearn.base.clone``, and so a search, would forget the fit:
            give ``FrozenEstimator(encoder)`` there.)
        neighbours : after pretraining, make the codes of this many nearest neighbours agree, on all rows and without labels; 0 = no. With a
            code of one or two numbers there is too little room for it.
        agreement : how that is trained; nothing is held out.
        fine_tune : train the encoder's weights on the labels too; False leaves them bit for bit as they were.
        dropout : probability that a number of the code is silenced while the classes are learnt.
        train : how the classes are learnt. Unless told otherwise, a tenth of the labelled rows is held out if there are 1,000 or more.
        random_state : seed of weights and training; the encoder's too where it has none.

    Labels: ``-1`` is unlabelled; among texts also ``None``, ``NaN`` and ``"-1"``.

    After ``fit``: ``classes_``, ``encoder_`` (the fitted family, if one was), ``pretrained_`` (its networks before they saw a label),
    ``objective_`` (with labels), ``schema_``, ``agreement_history_`` and ``agreement_s_``, ``history_``, ``stages_``, ``events_``,
    ``n_steps_``, ``budget_steps_`` and ``fit_s_`` of stage 2, ``n_labelled_``, ``n_parameters_`` (trained in stage 2), ``train_``,
    ``seed_``, ``interrupted_``, ``n_features_in_``, ``feature_names_in_``.
    """

    preset = PRESET(budget="1000steps", lr=5e-4, weight_decay=0.05)
    """What ``None`` means in ``train``."""
    agreement_preset = PRESET(budget="60s", batch_size=256, lr=1e-3, weight_decay=0.01)
    """What ``None`` means in ``agreement``."""
    condition_: ClassVar[None] = None
    """As a family's: there is none, the encoder sees no label."""

    def __init__(self, encoder: Any, *, pretrain: bool = True, prefit: bool = False, neighbours: Annotated[int, Interval(0)] = 0,
                 agreement: Train = Train(), fine_tune: bool = True, dropout: Share = 0.3, train: Train = Train(),
                 random_state: Any = None):
        self.encoder = encoder
        self.pretrain = pretrain
        self.prefit = prefit
        self.neighbours = neighbours
        self.agreement = agreement
        self.fine_tune = fine_tune
        self.dropout = dropout
        self.train = train
        self.random_state = random_state

    # -- fitting ---------------------------------------------------------------------------------------------------------------

    def fit(self, X: Any, y: Any, *, kinds: Mapping[str, str] | str | None = None,
            progress: Reporter | None = None) -> PretrainedClassifier:
        """Learn codes from all rows, then classes from the labelled ones.

        X : rows as for the family: a DataFrame or array ``(N, columns)``, images, or signals.
        y : a class for each row ``(N,)``; ``-1`` (or, among texts, None or NaN) where it is not known.
        kinds : overrides the inferred kind of single columns; not with ``prefit``.
        progress : called now and then with ``{"part", "step", "fraction", "elapsed_s", "held_out"}``; ``part`` is "encoder", "neighbours"
            or "classes".

        Raises :class:`DataError` where no row is labelled, or only one class is, before anything is trained. Ctrl-C ends training early;
        the interrupt is then raised again.
        """
        labels = indices_of(y, len(as_container(X)))
        return self.fit_codes(X, kinds=kinds, progress=progress)._fit_labels(X, *labels, progress)

    def fit_codes(self, X: Any, *, kinds: Mapping[str, str] | str | None = None,
                  progress: Reporter | None = None) -> PretrainedClassifier:
        """Stage 1 alone, of rows without labels. :meth:`fit_labels` goes on from it, as often as there are new labels."""
        validate(type(self).__name__, self.get_params(deep=False), annotations(type(self).__init__))
        family = self._family(kinds)
        self.seed_ = rng.as_seed(self.random_state)
        if self.prefit:
            self.encoder_ = family
        elif self.pretrain:
            seeded = {} if family.random_state is not None else {"random_state": rng.seed_of(self.seed_, "encoder") % 2**31}
            self.encoder_ = clone(family).set_params(**seeded).fit(X, kinds=kinds, progress=_part("encoder", progress))
        self.schema_ = self.encoder_.schema_ if self.prefit or self.pretrain else Schema.fit(X, kinds=kinds)
        x = self._stored(X, reset=True)
        objective = copy.deepcopy(self.encoder_.objective_) if self.pretrain else self._untrained(family, x)
        self.pretrained_ = Encoding(objective).settle(x)
        self.agreement_history_, self.agreement_s_ = [], 0.0
        if self.pretrain and self.neighbours:
            self._agree(x, progress)
        return self

    def fit_labels(self, X: Any, y: Any, *, progress: Reporter | None = None) -> PretrainedClassifier:
        """Stage 2 alone, with rows and labels as in :meth:`fit`: from the codes of :meth:`fit_codes`, whatever was learnt since."""
        check_is_fitted(self, "pretrained_")
        return self._fit_labels(X, *indices_of(y, len(as_container(X))), progress)

    def _family(self, kinds: Any) -> GenerativeModel:
        """The encoder that was given, once it is known that it can be used."""
        family = usable(self.encoder)
        if self.prefit and not hasattr(family, "objective_"):
            raise NotFittedError(f"This {type(family).__name__} instance is not fitted yet, and prefit=True.\n"
                                 "hint: fit it first, or leave prefit out; where scikit-learn clones, give FrozenEstimator(encoder)")
        if self.prefit and kinds is not None:
            raise InvalidParameterError("a fitted encoder knows the kinds of its columns", expected="no kinds with prefit=True", got=kinds)
        return family

    def _untrained(self, family: GenerativeModel, x: Tensor) -> Objective:
        with rng.preserved():
            rng.reseed(self.seed_, "weights")
            objective = family.build(self.schema_, None)
            objective.prepare(x, None)
        return objective.eval()

    def _agree(self, x: Tensor, progress: Reporter | None) -> None:
        objective = NeighbourObjective(self.schema_, self.pretrained_, min(self.neighbours, min(len(x), MOST_NEIGHBOURED) - 1))
        rows = torch.randperm(len(x), generator=rng.generator(self.seed_, "neighbours"))[:MOST_NEIGHBOURED]
        settings = self.agreement.over(self.agreement_preset)(validation=0.0, patience=0.0)
        outcome = train(objective, x[rows], None, settings, rng.seed_of(self.seed_, "agreement"), report=_part("neighbours", progress))
        self.agreement_history_, self.agreement_s_ = outcome.history, outcome.seconds
        with threads_for(objective, settings.threads):
            self.pretrained_.settle(x)
        if outcome.interrupted:
            raise KeyboardInterrupt

    def _fit_labels(self, X: Any, classes: np.ndarray, indices: np.ndarray, progress: Reporter | None) -> PretrainedClassifier:
        """Stage 2; ``indices (N,)`` into ``classes``, −1 where a row has no label."""
        labelled, X = np.flatnonzero(indices >= 0), as_container(X)
        x = self._stored(X.iloc[labelled] if isinstance(X, pd.DataFrame) else X[labelled])
        c = torch.from_numpy(indices[labelled, None])
        self.classes_, self.n_labelled_ = classes, len(labelled)
        self.train_ = self.train.over(self.preset)
        if self.train.validation is None and len(labelled) < MANY_LABELS:
            self.train_ = self.train_(validation=0.0)
        with rng.preserved():
            rng.reseed(self.seed_, "head")
            self.objective_ = ClassifierObjective(self.schema_, copy.deepcopy(self.pretrained_), len(classes), self.fine_tune, self.dropout)
        self.n_parameters_ = n_parameters(self.objective_)
        outcome = train(self.objective_, x, c, self.train_, rng.seed_of(self.seed_, "classes"), report=_part("classes", progress))
        self.history_, self.events_, self.stages_, self.n_steps_ = outcome.history, outcome.events, outcome.stages, outcome.steps
        self.budget_steps_, self.fit_s_, self.interrupted_ = outcome.budget_steps, outcome.seconds, outcome.interrupted
        if outcome.interrupted:
            raise KeyboardInterrupt
        return self

    def _stored(self, X: Any, *, reset: bool = False) -> Tensor:
        """Stored rows; the number of features and their names are learnt (``reset``) or checked in scikit-learn's way."""
        X = as_container(X)
        if reset or self.schema_.is_table:
            try:
                validate_data(self, X=X, skip_check_array=True, reset=reset)
            except ValueError as error:
                raise SchemaMismatchError(str(error)) from None
        return torch.from_numpy(self.schema_.encode(X))

    # -- predicting --------------------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def predict_proba(self, X: Any) -> np.ndarray:
        """p(y | x), ``(N, K)``, in the order of ``classes_``."""
        check_is_fitted(self, "objective_")
        x = self._stored(X)
        if not len(x):
            raise DataError("Found array with 0 sample(s) while a minimum of 1 is required.")
        device = self.objective_.head.weight.device
        with threads_for(self.objective_, self.train_.threads):
            parts = [self.objective_.probabilities(x[rows].to(device)).cpu() for rows in batches(len(x))]
        return torch.cat(parts)[: len(x)].numpy()

    def predict(self, X: Any) -> np.ndarray:
        """The most probable class of each row, ``(N,)``."""
        check_is_fitted(self, "objective_")
        return self.classes_[self.predict_proba(X).argmax(1)]

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Share of the labelled rows whose class is predicted, Σ wᵢ [ŷᵢ = yᵢ] / Σ wᵢ; rows without a label do not count.

        sample_weight : w, a number >= 0 for each row ``(N,)``; None = each counts as one.

        A class that ``fit`` never saw cannot be predicted: its rows are errors, and a :class:`UserWarning` names it. Raises
        :class:`DataError` where no row is labelled, or none of them has a weight.
        """
        check_is_fitted(self, "objective_")
        values, labelled = labels_of(y, len(as_container(X)))
        if not labelled.any():
            raise DataError("no row is labelled, so that there is nothing to compare with", got=f"{len(values)} rows without a label")
        unseen = [v for v in pd.unique(values[labelled]) if v not in self.classes_.tolist()]
        if unseen:
            warn(f"classes that were not there in fit ({', '.join(map(str, unseen[:5]))}{', …' * (len(unseen) > 5)}): their rows "
                 f"count as errors; fit saw {', '.join(map(str, self.classes_[:20]))}", UserWarning)
        weights = weights_of(sample_weight, labelled)
        hits = self.predict(X).astype(object) == values.astype(object)          # as objects: 0 and "0" may be compared
        return float(np.average(hits, weights=weights))

    # -- parameters --------------------------------------------------------------------------------------------------------------

    def set_params(self, **params: Any) -> PretrainedClassifier:
        """As in scikit-learn; ``train__lr=…`` and ``agreement__lr=…`` replace the frozen spec by a changed copy."""
        specs = {k: v for k, v in params.items() if k.partition("__")[0] in ("train", "agreement") and "__" in k}
        super().set_params(**{k: v for k, v in params.items() if k not in specs})
        for key, value in specs.items():
            name, _, setting = key.partition("__")
            setattr(self, name, getattr(self, name)(**{setting: value}))
        return self

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = tags.input_tags.categorical = tags.input_tags.string = tags.input_tags.three_d_array = True
        tags.non_deterministic = False
        return tags

    # -- files -------------------------------------------------------------------------------------------------------------------

    def save(self, path: str | os.PathLike) -> Path:
        """Write ``path/model.safetensors`` and ``path/model.json``; nothing in them executes. What :meth:`load` gives predicts the same."""
        check_is_fitted(self, "objective_")
        family = usable(self.encoder)
        return saved.write(path, KIND, self.objective_, {
            "encoder": {"model": family_name(family), "params": saved.to_json(family.get_params(deep=False))},
            "params": saved.to_json({k: v for k, v in self.get_params(deep=False).items() if k != "encoder"}),
            "schema": self.schema_.to_dict(), "classes": self.classes_.tolist(), "classes_dtype": self.classes_.dtype.str,
            "train": asdict(self.train_), "seed": self.seed_, "steps": self.n_steps_, "budget_steps": self.budget_steps_,
            "fit_s": round(self.fit_s_, 3), "agreement_s": round(self.agreement_s_, 3), "agreement_history": self.agreement_history_,
            "labelled": self.n_labelled_, "parameters": self.n_parameters_, "interrupted": self.interrupted_, "history": self.history_,
            "stages": self.stages_, "events": self.events_, "n_features_in": self.n_features_in_,
            "feature_names_in": list(getattr(self, "feature_names_in_", [])) or None,
        })

    @classmethod
    def load(cls, path: str | os.PathLike, *, device: str = "auto") -> PretrainedClassifier:
        """The classifier that :meth:`save` wrote. It predicts; to learn other labels, fit anew.

        Raises :class:`SavedModelError` where the folder is incomplete, damaged, of another kind, or of a newer format.
        """
        d, weights = saved.read(path, KIND)
        try:
            family = registry.load(d["encoder"]["model"])(**saved.from_json(d["encoder"]["params"]))
            model = cls(family, **saved.from_json(d["params"]))
            model.schema_, model.train_ = Schema.from_dict(d["schema"]), Train(**saved.tuples(d["train"]))
            model.classes_ = np.asarray(d["classes"], dtype=np.dtype(d["classes_dtype"]))
            model.seed_, model.n_steps_, model.budget_steps_, model.fit_s_ = d["seed"], d["steps"], d["budget_steps"], d["fit_s"]
            model.agreement_s_, model.agreement_history_ = d["agreement_s"], d["agreement_history"]
            model.n_labelled_, model.n_parameters_, model.interrupted_ = d["labelled"], d["parameters"], d["interrupted"]
            model.history_, model.stages_, model.events_, model.n_features_in_ = d["history"], d["stages"], d["events"], d["n_features_in"]
            if d["feature_names_in"]:
                model.feature_names_in_ = np.asarray(d["feature_names_in"], dtype=object)
            with rng.preserved():
                encoding = Encoding(family.build(model.schema_, None))
                model.objective_ = ClassifierObjective(model.schema_, encoding, len(model.classes_), model.fine_tune, model.dropout)
            model.objective_.load_state_dict(weights)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            what = f"{path} is damaged ({type(error).__name__}: {error})"
            raise SavedModelError(what, hint="restore it from a copy, or fit again") from error
        model.objective_.to(device_of(device), memory_format=torch.channels_last).eval()
        return model


def usable(encoder: Any) -> GenerativeModel:
    """A model as the encoder of a classifier, out of its :class:`FrozenEstimator` if it is in one.

    Raises :class:`CapabilityError` where its family cannot encode, :class:`InvalidParameterError` where it is conditional or no model.
    """
    model = encoder.estimator if isinstance(encoder, FrozenEstimator) else encoder
    able = ", ".join(n for n in registry.names() if "encode" in registry.load(n).capabilities)
    if not isinstance(model, GenerativeModel):
        raise InvalidParameterError("the encoder is no model", expected=f"a model of ectype that can encode ({able})", got=repr(model))
    if "encode" not in model.capabilities:
        raise CapabilityError(f"{type(model).__name__} cannot encode", hint=f"these can: {able}")
    if model.conditional:
        raise InvalidParameterError("the encoder is conditional: it would need the label to make a code",
                                    expected="conditional=False", got="conditional=True")
    return model


# -- labels ------------------------------------------------------------------------------------------------------------------------


def labels_of(y: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels ``(N,)`` of one type, and which of the rows have one."""
    if y is None:
        raise DataError("a classifier requires y to be passed, but the target y is None", expected="a class for each row, -1 where unknown")
    try:
        values = column_or_1d(y, warn=True)
    except ValueError as error:
        raise DataError(str(error), expected="y of one dimension, a class for each row") from None
    if len(values) != n:
        raise DataError("X and y differ in length", expected=f"{n} labels", got=len(values))
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise DataError("Input y contains infinity", expected="a class for each row, -1 where unknown")
    absent = pd.isna(values)
    if values.dtype.kind in "iufO":
        absent |= values == UNLABELLED
    if values.dtype.kind in "OUS":          # NumPy makes the text "-1" of the number where the other labels are texts
        absent |= values == str(UNLABELLED)
    labelled = pd.Series(values[~absent]).infer_objects().to_numpy()
    types = {"text" if isinstance(v, str) else type(v).__name__ for v in labelled} if labelled.dtype.kind == "O" else set()
    if "text" in types and len(types) > 1:
        raise DataError("labels of one type are needed: texts and others have no order", expected="texts only, or numbers only",
                        got=" and ".join(sorted(types)), hint="turn all labels into texts, and leave None where there is none")
    distinct = np.unique(labelled) if labelled.dtype.kind in "iuf" else labelled[:0]
    if len(distinct) > max(MAX_CLASSES, len(labelled) / 2) or (distinct % 1 != 0).any():
        column, first = getattr(y, "name", None) or "COL", ", ".join(f"{v:g}" for v in distinct[:3].tolist())
        raise DataError("Unknown label type: quantities, and classification needs classes",
                        expected=f"texts, booleans, or at most {MAX_CLASSES} different whole numbers, or more with two rows of each",
                        got=f"{len(distinct):,} different numbers, such as {first}",
                        hint="where the numbers name classes, turn them into texts (on the command line --kind "
                             f"{column}=categorical); else cut them into classes, or draw them given the other columns: ectype.impute")
    try:
        if labelled.dtype.kind == "O" and types != {"text"}:
            check_classification_targets(labelled)
    except ValueError as error:
        raise DataError(str(error), expected="classes: texts, whole numbers or booleans") from None
    whole = np.full(n, labelled[0] if len(labelled) else 0, dtype=labelled.dtype if len(labelled) else int)
    whole[~absent] = labelled
    return whole, ~absent


def indices_of(y: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes, sorted, and the index ``(N,)`` of each row's among them, −1 where it has no label."""
    values, labelled = labels_of(y, n)
    hint = f"{UNLABELLED} (among texts also None or NaN) means that a row is unlabelled"
    if not labelled.any():
        raise DataError("no row is labelled: there are no classes to learn", got=f"{n} rows without a label", hint=hint)
    classes, known = np.unique(values[labelled], return_inverse=True)
    if len(classes) < 2:
        raise DataError("there is one class only, and nothing to tell it from", expected="labels of two classes at least",
                        got=f"{len(known)} times {classes[0]}", hint=hint)
    indices = np.full(n, UNLABELLED)
    indices[labelled] = known
    return classes, indices


def weights_of(sample_weight: Any, labelled: np.ndarray) -> np.ndarray:
    """Weights of the rows ``(N,)``: those given, or one each, and 0 for rows that have no label."""
    if sample_weight is None:
        return labelled.astype(float)
    try:
        given = column_or_1d(sample_weight, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(str(error), expected="sample_weight of one dimension, a number for each row") from None
    if len(given) != len(labelled):
        raise DataError("sample_weight and y differ in length", expected=f"{len(labelled)} weights", got=len(given))
    if not (np.isfinite(given) & (given >= 0)).all():
        raise DataError("sample_weight is out of its domain", expected="finite numbers >= 0", got=f"{given.min()} to {given.max()}")
    weights = np.where(labelled, given, 0.0)
    if not weights.any():
        raise DataError("no labelled row has a weight", expected="sample_weight > 0 for one of them at least", got="zeros")
    return weights


def learning_curve(classifier: PretrainedClassifier, X: Any, y: Any, counts: Sequence[int], *, X_test: Any, y_test: Any, draws: int = 3,
                   untrained: bool = True, kinds: Mapping[str, str] | str | None = None, random_state: Any = 0) -> pd.DataFrame:
    """What labels buy, with pretraining and without: errors on test rows by number of labels.

    classifier : not changed; its codes are learnt once, from all rows of ``X``.
    y : the class of every row of ``X``; ``-1`` where it is not known.
    counts : numbers of labels; each draw has every class in equal shares, as far as there are so many.
    draws : random choices of the labelled rows for each count, the same with pretraining and without.
    untrained : measure the same network from random weights beside it; with ``pretrain=False`` the classifier itself is that.
    kinds : as in :meth:`PretrainedClassifier.fit`.

    Returns a row for each count, draw and start: ``labels``, ``draw``, ``pretrained`` (True, False), ``error`` (share in [0, 1]).
    """
    classes, indices = indices_of(y, len(as_container(X)))
    seed, records = rng.as_seed(random_state), []
    start = clone(classifier, safe=False) if classifier.prefit else clone(classifier)
    if classifier.prefit:
        start.encoder = classifier.encoder
    starts = {bool(start.pretrain): start}
    if untrained:
        starts.setdefault(False, copy.copy(start).set_params(pretrain=False))
    for pretrained, model in starts.items():
        model.fit_codes(X, kinds=kinds)
        for count in counts:
            for draw in range(draws):
                chosen = np.full(len(indices), UNLABELLED)
                rows = balanced_draw(indices, len(classes), count, rng.numpy_generator(seed, count, draw))
                chosen[rows] = indices[rows]
                model._fit_labels(X, classes, chosen, None)
                records.append({"labels": count, "draw": draw, "pretrained": pretrained, "error": 1 - model.score(X_test, y_test)})
    return pd.DataFrame(records)


def balanced_draw(indices: np.ndarray, n_classes: int, count: int, generator: np.random.Generator) -> np.ndarray:
    """``count`` rows that have a label, every class in equal shares as far as it goes."""
    labelled = np.flatnonzero(indices >= 0)
    if not n_classes <= count <= len(labelled):
        raise InvalidParameterError("so many labels cannot be drawn", got=count,
                                    expected=f"{n_classes} (one for each class) to {len(labelled)}")
    order = generator.permutation(labelled)
    rank = pd.Series(indices[order]).groupby(indices[order]).cumcount().to_numpy()      # the how many-th of its class
    return order[np.argsort(rank, kind="stable")[:count]]


def _part(name: str, progress: Reporter | None) -> Reporter | None:
    """The reporter of a part of the training."""
    return None if progress is None else lambda event: progress({**event, "part": name})
