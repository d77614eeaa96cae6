"""The section "Solvers and time schedules" of the results document; every sentence is chosen by the figures."""

from __future__ import annotations

import statistics

from .sections import prose, table

CASES = {
    "mini": "mini bundle, `1x2` throughout",
    "mini-MultiScale": "mini bundle, three patch sizes",
    "tiny": "random weights, `1x2` throughout",
    "tiny-MultiScale": "random weights, three patch sizes",
    "slow": "random weights, slow in t, `1x2` throughout",
    "slow-MultiScale": "random weights, slow in t, three patch sizes",
}
TRAINED = ("mini", "mini-MultiScale")
NFES = (10, 20, 40)
EULER_NFE = 69
BOUND = 0.5
INTRODUCTION = (
    "Written by the command below. Latents are sampled from {prompts} noises and prompts of held-out combinations by "
    "the presets `mini` and `mini-MultiScale`, with their guidance, and by the same plans on the tiny network of "
    "`tests/golden`, whose weights are random. The error is the root mean square distance from the latents of 1,000 "
    "steps (adams2, on a grid through the switches), over those latents' own root mean square; the median of the "
    "noises. That reference may be trusted to {check}: so far away is another solver, midpoint with 200 steps. "
    "`through switches` moves the nearest points of the grid onto the t at which patch size or guidance change, so "
    "that a step begins there. A dash: too few points for that. Solvers of 3 evaluations a step take 9, 18 and 39, rk4 "
    "8, 20 and 40."
)


def row_name(solver: str, times: str) -> str:
    return f"{solver}, {times}"


def median_error(found: dict, row: str, nfe: int) -> float | None:
    errors = found["rows"][row][nfe]
    return None if errors is None else statistics.median(errors)


def ratio(found: dict, row: str, nfe: int) -> float | None:
    """Error of a row over that of 70-point Euler."""
    error = median_error(found, row, nfe)
    return None if error is None else error / statistics.median(found["euler"])


def recommended(cases: dict) -> dict:
    """The row of least error on the trained networks for each number of evaluations, and over all of them.

    Both networks count alike: errors are multiplied, relative to Euler's.
    """
    trained = {name: found for name, found in cases.items() if name in TRAINED} or cases
    rows = list(next(iter(trained.values()))["rows"])

    def together(row: str, nfes: tuple[int, ...]) -> float:
        product = 1.0
        for found in trained.values():
            for nfe in nfes:
                share = ratio(found, row, nfe)
                product *= float("inf") if share is None else share
        return product

    best = {nfe: min(rows, key=lambda row, nfe=nfe: together(row, (nfe,))) for nfe in NFES}
    return {**best, "all": min(rows, key=lambda row: together(row, NFES))}


def headline(cases: dict) -> dict:
    """Evaluations of the recommended row that are worth 70-point Euler, in each case, and over Euler's."""
    row = recommended(cases)["all"]
    equal = {name: found["equal"].get(row) for name, found in cases.items()}
    shares = {name: None if nfe is None else nfe / EULER_NFE for name, nfe in equal.items()}
    met = {name: share is not None and share <= BOUND for name, share in shares.items()}
    return {"equal_nfe": equal, "share": shares, "met": met}


def document(result: dict, command: str) -> str:
    """The whole section, from its heading on."""
    cases = result["cases"]
    check = max(statistics.median(cases[name]["check"]) for name in cases if name in TRAINED or len(cases) < len(CASES))
    introduction = INTRODUCTION.format(prompts=result["prompts"], check=f"{check:.1g}")
    parts = ["## Solvers and time schedules", prose(introduction), f"`{command}`", _targets(result)]
    parts += [prose(*_said(result))]
    for name, found in cases.items():
        parts += [f"### {CASES[name][:1].upper()}{CASES[name][1:]}", _errors(found), prose(_equal(found))]
    return "\n\n".join(parts)


def _targets(result: dict) -> str:
    row = result["recommended"]["all"]
    rows = [
        [CASES[name], f"at most {BOUND:g}", "none" if share is None else f"{share:.2f}",
         "yes" if result["met"][name] else "**no**"]
        for name, share in result["share"].items()
    ]  # fmt: skip
    return table(
        [f"NFE of {row}, at the error of 70-point Euler, over its {EULER_NFE}", "wanted", "measured", "met"], rows
    )


def _said(result: dict) -> list[str]:
    best = result["recommended"]
    least = _list([f"{best[nfe]} at {nfe}" for nfe in NFES])
    said = [
        f"The least errors on the mini bundle, both plans together: {least} evaluations.",
        f"Over all of them it is {best['all']}, the recommended setting.",
    ]
    cases = result["cases"]
    said.append(_of_noises(cases))
    if "mini-MultiScale" in cases and "mini" in cases:
        said.append(_of_switches(cases))
    if any(name.startswith("tiny") for name in cases) and not any(
        result["met"][name] for name in cases if name.startswith("tiny")
    ):
        said.append(
            "With random weights no solver is worth more than its evaluations: the velocity of such a network turns "
            "within far less than a step (its embedding of t has wavelengths down to 0.006), so that what is "
            "remembered of one step says nothing about the next. A trained velocity is smooth in t. "
            + _of_slow({name: share for name, share in result["share"].items() if name.startswith("slow")})
        )
    return said


def _of_slow(shares: dict[str, float | None]) -> str:
    """Whether it is that: the same random weights where t is embedded a hundredth as fast."""
    if not shares:
        return ""
    asked = "The same random weights with t embedded a hundredth as fast (`t_scale` 10 in place of 1000) "
    if any(share is None or share > BOUND for share in shares.values()):
        return asked + "do not reach it either, so there is more to it."
    return asked + f"reach it with {_list([f'{share:.2f}' for share in shares.values()])} of Euler's evaluations."


def _of_noises(cases: dict) -> str:
    """How far apart the errors of a row lie from noise to noise, which is what two rows may differ by for nothing."""
    spreads = [
        max(errors) / min(errors)
        for name, found in cases.items()
        if name in TRAINED
        for row in found["rows"].values()
        for errors in row.values()
        if errors is not None
    ]
    spread = f"{statistics.median(spreads):.1f}" if spreads else "an unknown number"
    return (
        f"The largest error of the noises is {spread} times the smallest in the median of all rows, so rows that "
        "differ by a few tenths are not told apart by so few."
    )


def _of_switches(cases: dict) -> str:
    """What passing through the switches is worth to solvers of higher order, at the most evaluations."""
    gains = {}
    for name in TRAINED:
        found = cases[name]
        pairs = [
            (median_error(found, row_name(solver, "rational"), NFES[-1]),
             median_error(found, row_name(solver, "rational through switches"), NFES[-1]))
            for solver in ("adams2", "adams3", "dpmpp_2m", "midpoint", "heun3")
        ]  # fmt: skip
        gains[name] = statistics.median(apart / through for apart, through in pairs)
    return (
        f"At {NFES[-1]} evaluations the grid through the switches divides the errors of the solvers of higher order by "
        f"{gains['mini']:.1f} with one patch size (there guidance ends at t = 0.48) and by "
        f"{gains['mini-MultiScale']:.1f} with three. heun2 and rk4 also evaluate the end of a step, which at a switch "
        "already belongs to the next stretch: no grid helps them."
    )


def _errors(found: dict) -> str:
    rows = [["euler, 70 points", *[""] * len(NFES), f"{statistics.median(found['euler']):.4f}", f"{EULER_NFE}"]]
    for row in found["rows"]:
        errors = [median_error(found, row, nfe) for nfe in NFES]
        equal = found["equal"].get(row)
        rows.append([row, *("-" if e is None else f"{e:.4f}" for e in errors), "", "" if equal is None else str(equal)])
    return table(
        ["solver, times", *(f"error at {nfe}" for nfe in NFES), f"at {EULER_NFE}", "NFE worth 70-point Euler"], rows
    )


def _equal(found: dict) -> str:
    if not found["equal"]:
        return "No row reaches the error of 70-point Euler with half of its evaluations."
    least = min(found["equal"].values())
    rows = [row for row, nfe in found["equal"].items() if nfe == least]
    return (
        f"The fewest evaluations worth 70-point Euler: {least}, by {_list(rows)}. Rows without a number need more than "
        "half of its."
    )


def _list(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
