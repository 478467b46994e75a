"""Do the metrics measure what they say? Every metric against generators that are bad in a known way, and to a known degree.

    target (exact density) ── fresh rows ── degraded by size 0 = s₀ < s₁ < … ──▶ metrics ──▶ rank correlation with the size

A metric that claims to react to a degradation must get worse with its size, a rank correlation of at least 0.95; one that claims to
ignore it must stay within the intervals of its figures. The claims stand in the catalogue (:mod:`ectype.metrics.catalogue`), and what
is found here decides what may be claimed there.

============== ==============================================
module         what it holds
============== ==============================================
`targets`      populations whose truth is known
`degradations` what is done to their rows, and how much of it
`doctor`       the claims, tried
============== ==============================================
"""

from .doctor import Finding, examine, holds

__all__ = ["Finding", "examine", "holds"]
