"""The statements about the Dice loss and its gradient, in words.

`verify_claims` checks them, ``python -m dice_jax claims`` prints them, and the documentation's
theory page is made from them: the text exists once.
"""

from __future__ import annotations

import dataclasses

__all__ = ["MYTHS", "NOTATION", "STATEMENTS", "Myth", "Statement", "theory_markdown"]


@dataclasses.dataclass(frozen=True)
class Statement:
    """One statement about the gradient of an overlap loss.

    Args:
        id: ``"C1"``, ``"C2"``, ….
        title: a few words.
        statement: what holds.
        condition: when it holds.
        outside: where it, the article or a common belief fails; empty if nowhere.
        source: papers, or this project.

    Example:
        >>> from dice_jax.analysis import STATEMENTS
        >>> print(STATEMENTS[7].id, STATEMENTS[7].title)
        C8 At a perfect prediction
    """

    id: str
    title: str
    statement: str
    condition: str
    outside: str
    source: str


@dataclasses.dataclass(frozen=True)
class Myth:
    """A common belief about the Dice loss that the statements contradict.

    Args:
        text: the belief.
        answer: what is true.
        claims: the ids of the statements that show it.

    Example:
        >>> from dice_jax.analysis import MYTHS
        >>> print(MYTHS[1].text, MYTHS[1].claims)
        Dice mines hard pixels. ('C12',)
    """

    text: str
    answer: str
    claims: tuple[str, ...]


NOTATION = (
    "y ∈ {0,1}ᴺ labels, z logits, p = σ(z). I = Σpy, P = Σp, T = Σy, S = P + T, U = S − I, "
    "D = 2I/S (Dice), J = I/U (Jaccard), π = T/N (foreground fraction), ω = π/(1−π), "
    "B = P − I (background mass). g₊, g₋: gradient at a foreground and a background pixel. "
    "p̄₊, p̄₋: mean p over foreground and background. M₊, M₋: sum of |gradient| over each. "
    "Unless said otherwise: hard labels, both classes present (0 < T < N), one pooled region, "
    "no smoothing (s = 0), I > 0."
)

_USUAL = "Hard labels, 0 < T < N, one pooled region, s = 0, I > 0."

STATEMENTS = (
    Statement(
        "C1",
        "The gradient in probability space",
        "g₊ = −2U/S² and g₋ = +2I/S²: a foreground pixel is always pushed up and a background "
        "pixel always down. |g₊|/|g₋| = U/I = 1/J = 2/D − 1 ≥ 1, with equality only at p = y. At "
        "fixed T, g₋ ≤ 1/(2T), attained at p = y, and |g₊| ≤ 2/T, attained at P = 0: no false "
        "positive is pushed harder than the background of a perfect prediction.",
        _USUAL,
        "At I = 0 the background's gradient is 0: false positives cost nothing.",
        "Milletari et al. 2016 (V-Net), section 3, with the squares left out; Eelbode et al. 2020; "
        "Kervadec & de Bruijne 2023 (the range).",
    ),
    Statement(
        "C2",
        "The article's chain is not a theorem",
        "Either inequality of Σyŷ < Σy < Σŷ may fail. The conclusion |g₊| ≥ |g₋| holds all the "
        "same: 2I ≤ S always, so Σy + Σŷ − Σyŷ ≥ Σyŷ, with equality at p = y.",
        "Any p in [0, 1] and hard labels, I > 0.",
        "Σyŷ < Σy becomes an equality when p = 1 on all the foreground. Σy < Σŷ fails whenever "
        "P ≤ T: the model under-segments, or is exactly right.",
        "The article this project starts from; theory of this project.",
    ),
    Statement(
        "C3",
        "Two values, and one direction for all functions of D",
        "In probability space the Dice gradient takes two values over the whole image. The "
        "gradient of any f(D) with f′ ≠ 0 (Jaccard, log-Dice, log-cosh, focal powers) has cosine 1 "
        "with it, in probability space, at the logits and at a network's parameters. With "
        "smoothing, Dice(s) has cosine 1 with Jaccard(s/2). With soft labels the gradient at a "
        "pixel is a function of its label y.",
        "One pooled region; a function of D alone.",
        "At the logits the gradient takes more than two values, but the cosine is still 1. Both "
        "claims fail for squared denominators, for Lovász and boundary losses, and for means over "
        "several regions. Dice(s) and Jaccard(s) are not parallel.",
        "Eelbode et al. 2020 (Dice and Jaccard); Berman et al. 2018 (Lovász); theory of this "
        "project.",
    ),
    Statement(
        "C4",
        "What smoothing does to the ratio",
        "With D = (2I + a)/(S + b) the ratio is still exactly 2/D − 1. With a = b = s it is "
        "(2U + s)/(2I + s): smoothing moves it towards 1. Smoothing in the denominator only moves "
        "it away from 1. s is counted in pixels: it hardly matters for a large object, and "
        "dominates for a tiny one or for mean-reduced sums.",
        "Hard labels, one pooled region, a, b ≥ 0, 2I + a > 0.",
        "a > b allows a ratio below 1; a > 2(U + b) reverses the foreground's sign.",
        "Tilborghs et al. 2022 (Φ and ε); theory of this project.",
    ),
    Statement(
        "C5",
        "Gradient mass, not the size per pixel, gives the balance",
        "M₊/M₋ = (ω + p̄₋)/p̄₊ in probability space, 1 + ω/q at a constant prediction q. For "
        "q ≫ π the foreground's share tends to ½ as π → 0, where mean BCE in logit space has "
        "M₊/M₋ = ω(1−q)/q → 0. At q = ½ and π → 0 the foreground's logit gradient is only twice "
        "that of mean BCE: the difference is that the background's is suppressed. At q = π BCE's "
        "share is ½ and Dice's tends to ⅔. For squared Dice at fixed q the share tends to ⅓.",
        _USUAL,
        "At q = ½ and π → 0 Dice raises the foreground's own gradient by a factor of 2 only. 'Dice "
        "up-weights the foreground' describes the fall of the background's gradient.",
        "Kervadec & de Bruijne 2023; theory of this project.",
    ),
    Statement(
        "C6",
        "The best constant prediction",
        "Of a model that has a bias only: BCE q = π; class-balanced BCE ½; Dice and Jaccard q → 1; "
        "Tversky q → 1 for every α ≥ 0 iff β > 0 (flat at β = 0); squared Dice q = √π; two-class "
        "generalised Dice is flat in q. With smoothing s: Dice goes to 1 if s(1−2π) < 2πT, "
        "else to 0 (flat at equality); Tversky to 1 iff βπT > s(α(1−π) − βπ); squared Dice "
        "solves πNq² + sq − (πT + πs) = 0.",
        "A constant prediction, hard labels, 0 < T < N, pooled sums.",
        "With the article's s = 1 the best constant for a small object is 0 instead of 1. The "
        "optimum at 1 is an infimum: no finite bias attains it.",
        "Theory of this project; Lipton et al. 2014 for F-measures.",
    ),
    Statement(
        "C7",
        "A share of ½ at convergence is a tautology",
        "At a finite stationary point with an output bias that enters all logits equally and no "
        "weight decay on it, Σ∂L/∂z = 0: the logit-space foreground share is ½ for every "
        "sign-correct loss, BCE included. Only the share before convergence is informative.",
        "A finite stationary point; an undecayed output bias; a sign-correct loss.",
        "With a bias only, Dice has its optimum at infinity; there the share tends to (1+ω)/(2+ω).",
        "Theory of this project.",
    ),
    Statement(
        "C8",
        "At a perfect prediction",
        "Dice: g = ∓1/(2T) ≠ 0 (with smoothing ∓1/(2T + s)), a minimum on the boundary. Squared "
        "Dice: g = 0. In logit space both vanish.",
        "p = y, T > 0.",
        "",
        "Theory of this project.",
    ),
    Statement(
        "C9",
        "Identities",
        "1 − D = Σ|p−y|/S. With Q = Σp² + Σy² and D₂ = 2I/Q: 1 − D₂ = Σ(p−y)²/Q. DSC++ with γ = 2 "
        "(δ = ½) is squared Dice.",
        "Hard labels (the second identity also holds for soft ones), S > 0.",
        "With soft labels the first fails: 1 − D exceeds Σ|p−y|/S.",
        "Wang et al. 2023 (Dice semimetric losses); Yeung et al. 2022 (DSC++).",
    ),
    Statement(
        "C10",
        "Squared Dice (V-Net's own)",
        "g₊ = −2(Q − 2pᵢI)/Q² ≤ 0 and g₋ = +4pⱼI/Q² ≥ 0. |g₊|/|g₋| = (1/D₂ − pᵢ)/pⱼ, which is "
        "≥ 1 iff pᵢ + pⱼ ≤ 1/D₂; at equal error (pⱼ = 1 − pᵢ) it always is.",
        "Hard labels, one pooled region, s = 0, I > 0, pⱼ > 0.",
        "The article's inequality is false for V-Net's own loss at pairs with pᵢ + pⱼ > 1/D₂ (a "
        "confident foreground pixel beside a confident false positive); they exist only once "
        "D₂ > ½.",
        "Milletari et al. 2016 (V-Net), section 3.",
    ),
    Statement(
        "C11",
        "Saturation",
        "g_z = g·p(1−p): a confident false negative stalls under Dice while BCE still pulls with "
        "−1/N. For free logits started at z₀ → −∞ under gradient descent with unit step the time "
        "to p = ½ is about ((T + B)/2)·e^|z₀| for Dice and N|z₀| for BCE: Dice is faster until "
        "e^|z₀|/|z₀| ≈ 2/π (|z₀| ≈ 7.3 at π = 0.01), then exponentially slower.",
        "Free logits, z₀ → −∞ on the foreground, s = 0.",
        "'Dice trains faster on small objects' is true only for |z₀| below the crossing.",
        "Theory of this project.",
    ),
    Statement(
        "C12",
        "The late phase against BCE",
        "Against mean BCE, |g_z Dice|/|g_z BCE| = p_t·2UN/S² on the foreground and p_t·2IN/S² on "
        "the background (p_t: the probability of the true class). The relative weight of the two "
        "classes is 2/D − 1; as D → 1 both factors tend to p_t/(2π). Where the task's best Dice is "
        "½, the foreground keeps a relative weight of 3.",
        _USUAL,
        "Dice does not mine hard pixels: the factor grows with p_t, so hard pixels weigh less than "
        "under BCE. As D → 1 it no longer rebalances the classes.",
        "Theory of this project; Eelbode et al. 2020.",
    ),
    Statement(
        "C13",
        "Curvature",
        "The Hessian in p is (2/S²)(y1ᵀ + 1yᵀ) − (4I/S³)11ᵀ (with smoothing: S → S + s, "
        "4I → 2(2I + s)): rank 2 and indefinite. The loss is linear-fractional, so pseudolinear: "
        "not convex, but with no spurious minimum in p.",
        "Hard labels, 0 < T < N, one pooled region.",
        "Convexity fails: the loss at the midpoint of two predictions may exceed their mean loss.",
        "Theory of this project.",
    ),
    Statement(
        "C14",
        "Soft labels in the product form",
        "The sign of the Dice gradient changes at yᵢ = D/2, so the optimum is a hard threshold. "
        "Squared Dice with fixed soft targets has its optimum at p = y. Taking the intersection as "
        "(Σp + Σy − Σ|p−y|)/2 (Dice semimetric) restores p = y.",
        "Soft labels in [0, 1], one pooled region, s = 0.",
        "p = y is not a minimum of Dice: there its gradient pushes soft labels towards 0 and 1.",
        "Wang et al. 2023 (Dice semimetric losses).",
    ),
    Statement(
        "C15",
        "Label noise",
        "For independent y ~ Bernoulli(μ), pooled over many pixels: the optimum of Dice is "
        "1[μ > D*/2] (hard, volume-biased), of squared Dice p = min(1, cμ) with c = 1/D₂* ≥ 1 "
        "(unclipped √(Σμ/Σμ²); graded, inflated), of BCE p = μ (unbiased).",
        "Noise independent between pixels; a ratio of expectations (many pixels pooled).",
        "It fails per image when the noise is correlated within the image: if an annotator "
        "includes a block as a whole or not at all, the per-image optimum can leave the block "
        "empty where 1[μ > D*/2] fills it.",
        "Bertels et al. 2019, 2021; Nordström et al. 2022, 2023.",
    ),
    Statement(
        "C16",
        "An empty mask",
        "Without smoothing L = 1 with zero gradient (0/0 at P = 0). With s: L = P/(P + s) and "
        "g = s/(P + s)². Smoothing only in the denominator gives L ≡ 1. For a region of V pixels "
        "present with probability μ and empty otherwise, predicted q there and 0 elsewhere, the "
        "expected step goes up iff μ/(1−μ) > s(qV + V + s)²/[(2V + s)(qV + s)²].",
        "T = 0 (first part); one image at a time (second part).",
        "'Smoothing only prevents 0/0': it also sets the cost of false positives on empty images. "
        "Pooling over the batch penalises such false positives through 2I/S² instead.",
        "Tilborghs et al. 2022; theory of this project.",
    ),
    Statement(
        "C17",
        "Generalised Dice with an absent class",
        "With w = 1/(T + ε)² the absent class has nearly all the weight, and the gradient vanishes "
        "unless the model gives that class almost no probability. Capping the weight at the "
        "largest finite one prevents this. The weighted sums do not count pixels: s = 1 dominates "
        "them.",
        "A class with T = 0 among the pooled ones.",
        "The uncapped formula has no usable gradient on such a batch.",
        "Sudre et al. 2017; MONAI's capped weights.",
    ),
    Statement(
        "C18",
        "Tversky",
        "|g₊|/|g₋| = (αFP + βT)/(αI) ≥ β/α.",
        "Hard labels, one pooled region, s = 0, I > 0, α > 0.",
        "α > β allows a ratio below 1.",
        "Salehi et al. 2017.",
    ),
    Statement(
        "C19",
        "Outer functions near L = 0",
        "A power of 0.75 multiplies the Dice gradient by 0.75·L^−0.25: it amplifies without bound "
        "as L → 0. Log-cosh multiplies it by exactly tanh L: it damps.",
        "L > 0.",
        "",
        "Abraham & Khan 2018 (exponent 1/γ); Jadon 2020 (log-cosh).",
    ),
    Statement(
        "C20",
        "Self-adjusting Dice",
        "With p replaced by (1−p)^α p, the loss of a foreground pixel is lowest at p = 1/(1+α); "
        "beyond it the pixel is pushed down.",
        "Hard labels, α > 0.",
        "A foreground pixel that is predicted correctly and with confidence is pushed down.",
        "Li et al. 2020.",
    ),
    Statement(
        "C21",
        "Object size",
        "Per-sample Dice is not size-invariant: at a constant prediction q ≫ T/N an object's "
        "foreground mass is M₊ = 2TU/S² ≈ 2T/(Nq), far smaller for a small object than for a large "
        "one. The mass becomes equal (½) as D → 1, and (2) as q → 0.",
        "One object per region, hard labels, s = 0.",
        "'Per-image Dice treats all sizes alike' holds at the end of training only.",
        "Theory of this project.",
    ),
    Statement(
        "C22",
        "A regional loss",
        "The gradient at pixel i depends on every other pixel: ∂²L/∂pᵢ∂pⱼ ≠ 0 for all i, j, where "
        "BCE's Hessian in p is diagonal.",
        "Hard labels, one pooled region, s = 0, I > 0, p ≠ y.",
        "The entry is 0 for background pairs at I = 0 and for mixed pairs at p = y.",
        "The article this project starts from; theory of this project.",
    ),
    Statement(
        "C23",
        "Adam",
        "With ε = 0 a constant factor on the loss changes no step of Adam. The scales of C5, C12 "
        "and C21 then matter only through the direction and through changes during training. A "
        "saturated false negative leaves saturation within about |z₀|/(learning rate) steps as "
        "long as its gradient exceeds ε. One logit shared by all foreground pixels has the "
        "gradient −2e^z₀, so Adam stalls beyond |z₀| = log(2/ε), which is 19 at ε = 1e-8.",
        "Adam with bias correction; p ≈ 0 on the background, s = 0.",
        "'Adam rescales every gradient' fails below ε: there it stalls as SGD does (C11).",
        "Theory of this project.",
    ),
    Statement(
        "C24",
        "The background class undoes the balance",
        "For the mean Dice of both classes of a two-class softmax at a constant prediction q, the "
        "background class has the mass 2/(2 − q)² on the background as π → 0, against the "
        "foreground class's 2π/q. The foreground's share falls from ½ to O(π): at π = 0.001 and "
        "q = ½ from .5005 to .0049. At p = y the background class only adds the fraction ω.",
        "Hard labels, 0 < T < N, one pooled region for each class, s = 0.",
        "C5 holds without the background class: leave it out with [..., 1:] to keep the balance.",
        "Theory of this project.",
    ),
    Statement(
        "C25",
        "Dice with cross-entropy",
        "In Dice + λ·mean BCE cross-entropy has the larger logit gradient iff p_t < λS²/(2UN) on "
        "the foreground and iff p_t < λS²/(2IN) on the background; both bounds tend to 2πλ as "
        "D → 1. The best constant prediction solves 2π²q(1 − q) = λ(q − π)(q + π)²; as π → 0 it is "
        "q = cπ with (c − 1)(c + 1)² = 2c/λ (c = 1.481 at λ = 1).",
        _USUAL,
        "'Dice + BCE weighs both equally' fails late in training: at λ = 1 and π = 0.003 "
        "cross-entropy dominates only where p_t < 0.006. Count λ in units of 1/(2π).",
        "Theory of this project.",
    ),
    Statement(
        "C26",
        "Calibration of a hard prediction",
        "With μ = P(y = 1), T = Σμ and D = 2Σpμ/(P + T), every hard p has mean |p − μ| = "
        "(1 − D)(P + T)/N. The optimum of Dice, of volume V, has the calibration error "
        "π(1 + V/T)(1 − D*).",
        "p in {0, 1}; labels pooled over many pixels.",
        "For soft p it is an upper bound only: p = μ has no calibration error.",
        "Theory of this project.",
    ),
    Statement(
        "C27",
        "Volume",
        "J ≤ P/T ≤ 1/J for every p in [0, 1]. The optimum of Dice under label noise, 1[μ > D*/2], "
        "attains both ends: its volume error can be as large as its Jaccard index allows.",
        "T > 0, I > 0, s = 0.",
        "",
        "Theory of this project.",
    ),
    Statement(
        "C28",
        "Per batch or per image",
        "Pooled Dice is the mean of the images' Dice weighted by Sᵢ: D_pool = ΣSᵢDᵢ/ΣSᵢ, so "
        "D_pool − mean D = Cov(S, D)/E[S]. Pooled over B images, the foreground of image i has "
        "(2 − D_pool)/(2 − Dᵢ)·B·Sᵢ/ΣS times the gradient that it has in the mean over images.",
        "Sᵢ > 0, s = 0.",
        "The two are equal only if S and D are uncorrelated over the images.",
        "Theory of this project.",
    ),
    Statement(
        "C29",
        "The batch size is part of the loss",
        "Dice pooled over a random batch of B images is biased: E[D_B] − D = (D·Var S − "
        "Cov(2I, S))/(B·E[S]²) + O(B⁻²). Mean BCE is unbiased. The mean of the losses of several "
        "microbatches has the microbatch's bias; summing their sums first removes it.",
        "Images drawn independently; pooled Dice, s = 0.",
        "'The batch size changes the noise only' holds for BCE, not for Dice.",
        "Theory of this project.",
    ),
    Statement(
        "C30",
        "The optimum of one image",
        "With independent labels the mask with the best expected Dice of one image is the set of "
        "the k most probable pixels for some k, and no case is known in which it leaves out a "
        "pixel with μ > ½. The expected Dice of the k most probable pixels is "
        "2∫₀¹ xᵏ ∏ᵢ(1 − μᵢ + μᵢx) Σ_{j≤k} μⱼ/(1 − μⱼ + μⱼx) dx.",
        "Labels independent between pixels; Dice 1 if mask and labels are empty.",
        "1[μ > D*/2] (C15) is not always the optimum, and no threshold is right for all images.",
        "Dai & Li 2023 (RankDice); theory of this project.",
    ),
)

MYTHS = (
    Myth(
        "Dice up-weights the foreground throughout training.",
        "Early on it suppresses the background; as D → 1 both classes weigh the same.",
        ("C5", "C12"),
    ),
    Myth("Dice mines hard pixels.", "Against BCE it weights hard pixels down.", ("C12",)),
    Myth("|g₊| > |g₋| in V-Net.", "Not for pairs with pᵢ + pⱼ > 1/D₂.", ("C10",)),
    Myth(
        "A gradient share of ½ at convergence shows balance.",
        "It is ½ for every loss with an output bias.",
        ("C7",),
    ),
    Myth(
        "Smoothing only prevents 0/0.",
        "It moves the ratio, the best constant prediction and the price of an empty image.",
        ("C4", "C6", "C16"),
    ),
    Myth(
        "Jaccard beats Dice per image.",
        "Within one region their gradients are parallel: they differ in step size only.",
        ("C3",),
    ),
)


def theory_markdown() -> str:
    """The statements and the myths as Markdown: the body of the documentation's theory page.

    Returns:
        Markdown, one section per statement.

    Example:
        >>> from dice_jax.analysis import theory_markdown
        >>> print(theory_markdown().splitlines()[0])
        ## Notation
    """
    lines = ["## Notation", "", NOTATION, "", "## Statements", ""]
    for s in STATEMENTS:
        lines += [f"### {s.id}. {s.title}", "", s.statement, "", f"*Holds when:* {s.condition}", ""]
        if s.outside:
            lines += [f"*Where it fails:* {s.outside}", ""]
        lines += [f"*Source:* {s.source}", ""]
    lines += ["## Myths", ""]
    lines += [f"- “{m.text}” {m.answer} ({', '.join(m.claims)})" for m in MYTHS]
    return "\n".join(lines) + "\n"
