"""What is measured: one entry per figure, with the sentence that says what it means and the one that says what it cannot see."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One figure. ``better`` says where to go: ``"lower"``, ``"higher"``, or ``"half"`` for those whose ideal is ½ and worst 1.

    ``reacts`` and ``ignores`` name degradations of :mod:`ectype.calibration`: what the figure must see, the more the worse it is, and what
    must leave it alone. `ectype doctor` tries these claims.
    """

    name: str
    title: str
    better: Literal["lower", "higher", "half"]
    unit: str
    meaning: str
    blind_spot: str
    reference: str
    bounds: tuple[float, float] = (0.0, math.inf)
    reacts: tuple[str, ...] = ()
    ignores: tuple[str, ...] = ()

    def claim(self, degradation: str, *kinds: str) -> str:
        """What it claims of a degradation, ``"reacts"``, ``"ignores"`` or ``""``; ``noise@table`` is a claim for one of the kinds that
        data can be: ``images``, ``table``, and ``numbers``, a table without categories and whole numbers."""
        names = {degradation, *(f"{degradation}@{kind}" for kind in kinds)}
        return "reacts" if names & set(self.reacts) else "ignores" if names & set(self.ignores) else ""

    def gap(self, value: float) -> float:
        """Distance from the ideal, 0 at best and lower better for every metric.

        What is beyond the ideal counts as ideal: below ½ where ½ is, which is chance, and above 1 for shares and densities.
        """
        return {"lower": value, "higher": max(1.0 - value, 0.0), "half": max(value - 0.5, 0.0)}[self.better]


METRICS = {m.name: m for m in (
    Metric("c2st", "Classifier test", "half", "AUROC",
           "How often a freshly trained classifier ranks a generated row above a real one; 0.5 is guessing, 1 is always.",
           "It saturates towards 1, where bad and very bad look the same: it tells the first trace of noise on whole numbers, and then no "
           "longer more from less. A copy of the training data passes it.",
           "Lopez-Paz & Oquab 2017", bounds=(0.0, 1.0),
           reacts=("lost_modes", "noise@numbers", "noise@images", "blur", "skew", "broken_link"), ignores=("copies",)),
    Metric("frechet_pca", "Fréchet distance, principal components", "lower", "share of the real variance",
           "How far the mean and covariance of the generated rows are from the real ones, in up to 64 principal components.",
           "It sees two moments only: a blurred mixture with the right covariance scores well, and so does noise that is fine beside the "
           "spread of the data.",
           "Dowson & Landau 1982",
           reacts=("skew", "noise@images", "blur"), ignores=("copies",)),
    Metric("frechet_features", "Fréchet distance, features", "lower", "share of the real variance",
           "The same distance in features that carry shape: of a small CNN for images, random convolutions for signals, random Fourier "
           "features for tables.",
           "The features are fixed and trained on this data set, so figures of different data sets cannot be compared; those of images "
           "hardly see fine noise.",
           "Heusel et al. 2017; Rahimi & Recht 2007",
           reacts=("lost_modes", "noise@table", "blur", "skew", "broken_link"), ignores=("copies",)),
    Metric("kernel_distance", "Kernel distance (KID)", "lower", "",
           "Squared maximum mean discrepancy in the same features, standardised, without bias: 0 on average for real rows, however few.",
           "Its unit says nothing without floor and dummies beside it, and by chance it is negative; it hardly sees fine noise, and in "
           "images the loss of one more mode can lower it.",
           "Gretton et al. 2012; Bińkowski et al. 2018", bounds=(-math.inf, math.inf),
           reacts=("lost_modes@table", "blur", "skew", "broken_link"), ignores=("copies",)),
    Metric("sliced_wasserstein", "Sliced Wasserstein distance", "lower", "standard deviations",
           "How far the generated mass must be moved to become the real one, averaged over random one-dimensional views.",
           "In many dimensions most views look Gaussian, so fine structure counts little; noise that is fine beside the spread of the data "
           "hardly moves it.",
           "Bonneel et al. 2015",
           reacts=("skew", "broken_link", "noise@images", "blur"), ignores=("copies",)),
    Metric("precision", "Precision", "higher", "share",
           "Share of generated rows that lie where real rows lie.",
           "A real outlier makes a large ball in which anything counts; blurred rows and a single mode pass.",
           "Kynkäänniemi et al. 2019", bounds=(0.0, 1.0),
           reacts=("noise", "broken_link"), ignores=("lost_modes", "copies", "skew")),
    Metric("density", "Density", "higher", "ratio, about 1 for real rows",
           "How many real neighbourhoods a generated row falls into, relative to what real rows would.",
           "It exceeds 1 for a model that keeps to the middle of the modes or blurs, which is no merit.",
           "Naeem et al. 2020",
           reacts=("noise", "broken_link"), ignores=("copies",)),
    Metric("recall", "Recall", "higher", "share",
           "Share of real rows that lie where generated rows lie.",
           "Generated outliers make large balls, so noise raises it.",
           "Kynkäänniemi et al. 2019", bounds=(0.0, 1.0),
           reacts=("lost_modes", "blur"), ignores=("copies",)),
    Metric("coverage", "Coverage", "higher", "share",
           "Share of real rows that have a generated row in their neighbourhood.",
           "It does not see how much probability a mode gets, only that it is there.",
           "Naeem et al. 2020", bounds=(0.0, 1.0),
           reacts=("lost_modes", "noise"), ignores=("copies",)),
    Metric("correlation_difference", "Association difference", "lower", "mean absolute difference",
           "How much the associations between pairs of columns differ (correlation, Cramér's V, correlation ratio).",
           "It sees pairs only, and each column's own distribution not at all.",
           "Cramér 1946", bounds=(0.0, 1.0),
           reacts=("broken_link",), ignores=("copies",)),
    Metric("memorisation", "Memorisation", "half", "share",
           "Share of generated rows nearer to a training row than to an unseen row, as if there were equally many of both.",
           "A model that copies a few rows only moves it little; a poor model that copies nothing scores an ideal 0.5.",
           "Meehan et al. 2020", bounds=(0.0, 1.0),
           reacts=("copies",), ignores=("lost_modes", "noise", "skew", "broken_link")),
    Metric("duplicates", "Exact copies", "lower", "share",
           "Share of generated rows identical to a training row; tables of few categories have many by chance, see the floor.",
           "A copy changed in one value is no longer counted.",
           "", bounds=(0.0, 1.0),
           reacts=("copies",), ignores=("lost_modes", "noise", "blur", "skew", "broken_link")),
)}

# in features of a network that the user brings: without it they cannot be tried, so nothing is claimed
PUBLISHED = {m.name: m for m in (
    Metric("fid", "FID", "lower", "",
           "Fréchet distance in the pooled features of an Inception network trained on photographs, as it is published.",
           "Of few rows it is far too large, see the floor; it sees what matters in photographs, and is blind to much else.",
           "Heusel et al. 2017"),
    Metric("kid", "KID", "lower", "",
           "Kernel distance in the same features of the Inception network, without bias, as it is published.",
           "By chance it is negative; it sees what matters in photographs, and is blind to much else.",
           "Bińkowski et al. 2018", bounds=(-math.inf, math.inf)),
)}
