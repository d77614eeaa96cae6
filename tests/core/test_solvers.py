"""Solvers by themselves, in float64: orders on uneven grids, restarts, formulas beside independent ones."""

import math

import pytest
import torch

from lumina_core.sampling.solvers import SOLVERS, SolverRun

MANY_STAGES = [name for name, solver in SOLVERS.items() if solver.evaluations > 1]
REMEMBERING = [name for name, solver in SOLVERS.items() if solver.memory]
ORDERS = {name: solver.order for name, solver in SOLVERS.items()}
MEAN, SPREAD = 0.7, 0.4
"""Of data drawn from a normal distribution: the flow from noise to it is known."""
JUMP_AT = 0.5


def span(name):
    """Where an order is measured: at t = 0 and 1 the log that dpmpp_2m steps by is infinite, and its order less."""
    return (0.1, 0.9) if name == "dpmpp_2m" else (0.0, 1.0)


def integrate(name, velocity, grid, x, segment=lambda t: None):
    run = SolverRun(SOLVERS[name], segment)
    for t0, t1 in zip(grid, grid[1:], strict=False):
        x, _ = run.step(velocity, x, t0, t1)
    return x


def normal_flow(t, x):
    """Velocity that carries N(0, 1) to N(MEAN, SPREAD^2): every noise z goes to MEAN + SPREAD z."""
    width = torch.sqrt((t * SPREAD) ** 2 + (1 - t) ** 2)
    return MEAN + (t * SPREAD**2 - (1 - t)) / width**2 * (x - t * MEAN)


def path(t, jump):
    """Where the solution of `along_path` is at t, and its velocity."""
    beyond = torch.clamp(t - JUMP_AT, min=0)
    return torch.sin(2 * t) + torch.exp(-t) + jump * beyond, 2 * torch.cos(2 * t) - torch.exp(-t) + jump * (beyond > 0)


def along_path(jump=0.0):
    """A velocity, not linear in x, that leads along `path`; with a jump in time."""

    def velocity(t, x):
        place, speed = path(t, jump)
        # At the jump itself a step begins, which goes on with what holds from there.
        speed = speed + jump * (t == JUMP_AT)
        return speed + (place - x) + (x**2 - place**2) / 2

    return velocity


def error_along_path(name, grid, jump=0.0, segment=lambda t: None):
    found = integrate(name, along_path(jump), grid, path(grid[0], jump)[0], segment)
    return abs(found - path(grid[-1], jump)[0]).item()


def uneven(steps, start=0.0, end=1.0):
    """Steps in the proportion 1, 2, 1, 2, ..., so that a formula for equal steps loses its order."""
    lengths = torch.tensor([1.0, 2.0], dtype=torch.float64).repeat(steps // 2)
    times = torch.cat([torch.zeros(1, dtype=torch.float64), lengths.cumsum(0) / lengths.sum()])
    return start + (end - start) * times


def graded(steps, start, end):
    """Steps that begin short: the first is a square of the others."""
    return start + (end - start) * torch.linspace(0, 1, steps + 1, dtype=torch.float64) ** 2


def order(error, steps):
    """log2 of what half the step divides an error by."""
    return math.log2(error(steps) / error(2 * steps))


@pytest.mark.parametrize("name, expected", [(n, o) for n, o in ORDERS.items() if n != "adams3"])
def test_order_on_an_uneven_grid(name, expected):
    assert order(lambda steps: error_along_path(name, uneven(steps, *span(name))), 64) == pytest.approx(
        expected, abs=0.25
    )


@pytest.mark.parametrize("name", [name for name in SOLVERS if 1 not in SOLVERS[name].fractions])
def test_order_across_a_jump_with_a_restart(name):
    """First steps of a stretch are Euler's, so adams3 needs them short; without the restart orders fall to 1."""
    make, (start, end) = graded if name == "adams3" else uneven, span(name)

    def error(steps, segment):
        grid = torch.cat([make(steps, start, JUMP_AT), make(steps, JUMP_AT, end)[1:]])
        return error_along_path(name, grid, 2.0, segment)

    assert order(lambda n: error(n, lambda t: bool(t >= JUMP_AT)), 64) == pytest.approx(ORDERS[name], abs=0.25)
    if name in REMEMBERING and name != "adams3":
        assert order(lambda n: error(n, lambda t: None), 64) == pytest.approx(1, abs=0.25)


def test_dpmpp_2m_keeps_most_of_its_order_from_end_to_end():
    assert order(lambda steps: error_along_path("dpmpp_2m", uneven(steps)), 128) > 1.5


def test_adams3_is_of_second_order_where_the_first_step_is_as_long_as_the_others():
    def error(steps):
        return error_along_path("adams3", torch.linspace(0, 1, steps + 1, dtype=torch.float64))

    assert order(error, 64) == pytest.approx(2, abs=0.25)


@pytest.mark.parametrize("name, degree", [("adams2", 1), ("adams3", 2)])
def test_adams_is_exact_for_velocities_of_its_degree(name, degree):
    """After its first steps, on any grid, also from data to noise."""
    grid = torch.tensor([0.0, 0.02, 0.3, 0.35, 0.8, 1.0], dtype=torch.float64)
    for times in (grid, grid.flip(0)):
        run, x = SolverRun(SOLVERS[name]), torch.zeros((), dtype=torch.float64)
        for step, (t0, t1) in enumerate(zip(times, times[1:], strict=False)):
            following, _ = run.step(lambda t, x: 1 + 2 * t - 3 * t**degree, x, t0, t1)
            exact = (t1 - t0) + (t1**2 - t0**2) - 3 * (t1 ** (degree + 1) - t0 ** (degree + 1)) / (degree + 1)
            assert (abs(following - x - exact) < 1e-12) == (step >= degree), step
            x = following


def runge_kutta(velocity, x, t0, t1, nodes, matrix, weights):
    """One step by a Butcher table, in plain loops."""
    h, stages = t1 - t0, []
    for node, row in zip(nodes, matrix, strict=True):
        stages.append(velocity(t0 + node * h, x + h * sum(a * k for a, k in zip(row, stages, strict=True))))
    return x + h * sum(w * k for w, k in zip(weights, stages, strict=True))


@pytest.mark.parametrize(
    "name, nodes, matrix, weights",
    [
        ("euler", [0], [[]], [1]),
        ("midpoint", [0, 1 / 2], [[], [1 / 2]], [0, 1]),
        ("heun2", [0, 1], [[], [1]], [1 / 2, 1 / 2]),
        ("heun3", [0, 1 / 3, 2 / 3], [[], [1 / 3], [0, 2 / 3]], [1 / 4, 0, 3 / 4]),
        ("rk4", [0, 1 / 3, 2 / 3, 1], [[], [1 / 3], [-1 / 3, 1], [1, -1, 1]], [1 / 8, 3 / 8, 3 / 8, 1 / 8]),
    ],
)
def test_one_step_solvers_follow_their_butcher_tables(name, nodes, matrix, weights):
    t0, t1, x = (torch.tensor(value, dtype=torch.float64) for value in (0.25, 0.9, 2.0))

    def velocity(t, x):
        return torch.sin(5 * t) - x**2 / 3

    found, first = SolverRun(SOLVERS[name]).step(velocity, x, t0, t1)
    assert found.item() == pytest.approx(runge_kutta(velocity, x, t0, t1, nodes, matrix, weights).item(), abs=1e-14)
    assert first == velocity(t0, x)


@pytest.mark.parametrize("name", MANY_STAGES)
def test_torchdiffeq_takes_the_same_steps(name):
    torchdiffeq = pytest.importorskip("torchdiffeq")
    grid, z = uneven(8), torch.linspace(-1, 1, 5, dtype=torch.float64)
    expected = torchdiffeq.odeint(normal_flow, z, grid, method=name)[-1]
    assert torch.allclose(integrate(name, normal_flow, grid, z), expected, atol=1e-12)


def slow_dpmpp_2m(velocity, grid, x):
    """DPM-Solver++ 2M as the solution of the diffusion ODE for data held at a value, by numerical integration over
    half the log of the signal-to-noise ratio: x(t1) = s1 / s0 x(t0) + s1 * integral of exp(l) data dl, s = 1 - t."""
    datas = []
    for t0, t1 in zip(grid.tolist(), grid.tolist()[1:], strict=False):
        s0, s1 = 1 - t0, 1 - t1
        datas.append(x + s0 * velocity(torch.tensor(t0, dtype=torch.float64), x))
        data = datas[-1]
        if t1 == 1:
            x = data
            continue
        now, after = -40.0 if t0 == 0 else math.log(t0 / s0), math.log(t1 / s1)
        if len(datas) > 1 and grid[len(datas) - 2] > 0:
            before = math.log(grid[len(datas) - 2] / (1 - grid[len(datas) - 2]))
            data = data + (data - datas[-2]) * (after - now) / (now - before) / 2
        points = torch.linspace(now, after, 200_001, dtype=torch.float64)
        x = s1 / s0 * x + s1 * torch.trapezoid(points.exp(), points) * data
    return x


@pytest.mark.parametrize("times", [[0.0, 0.05, 0.1, 0.3, 0.45, 0.8, 1.0], [0.2, 0.21, 0.5, 0.9], [0.0, 0.4, 1.0]])
def test_dpmpp_2m_is_the_integral_it_stands_for(times):
    grid, z = torch.tensor(times, dtype=torch.float64), torch.linspace(-1, 1, 5, dtype=torch.float64)
    expected = slow_dpmpp_2m(normal_flow, grid, z)
    assert torch.allclose(integrate("dpmpp_2m", normal_flow, grid, z), expected, atol=1e-7)


def test_dpmpp_2m_is_diffusers_own():
    from diffusers import DPMSolverMultistepScheduler

    sigmas = [1.0, 0.95, 0.9, 0.7, 0.55, 0.2]
    theirs = DPMSolverMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", algorithm_type="dpmsolver++", solver_order=2,
        solver_type="midpoint", final_sigmas_type="zero", lower_order_final=True,
    )  # fmt: skip
    theirs.set_timesteps(len(sigmas))
    theirs.sigmas = torch.tensor([*sigmas, 0.0], dtype=torch.float64)
    x = z = torch.linspace(-1, 1, 5, dtype=torch.float64)
    for sigma, timestep in zip(sigmas, theirs.timesteps, strict=True):
        # They predict noise - data.
        x = theirs.step(-normal_flow(torch.tensor(1 - sigma, dtype=torch.float64), x), timestep, x).prev_sample
    grid = 1 - theirs.sigmas
    assert torch.allclose(integrate("dpmpp_2m", normal_flow, grid, z), x, atol=1e-6)


@pytest.mark.parametrize("name", SOLVERS)
def test_a_step_evaluates_where_it_says(name):
    seen, run = [], SolverRun(SOLVERS[name])

    def velocity(t, x):
        seen.append(t)
        return x

    for t0, t1 in ((0.1, 0.3), (0.3, 0.7), (0.7, 1.0)):
        seen.clear()
        t0, t1 = torch.tensor(t0), torch.tensor(t1)
        run.step(velocity, torch.ones(2), t0, t1)
        assert torch.equal(torch.stack(seen), torch.stack(SOLVERS[name].stage_times(t0, t1)))
    assert SOLVERS[name].evaluations == len(seen)


@pytest.mark.parametrize("name", REMEMBERING)
def test_a_new_stretch_is_a_new_run(name):
    """At a switch nothing of before is used: the steps after it are those of a run that begins there."""
    grid, z = uneven(8), torch.linspace(-1, 1, 5, dtype=torch.float64)
    before = integrate(name, normal_flow, grid[:5], z)
    apart = integrate(name, normal_flow, grid[4:], before)
    assert torch.equal(integrate(name, normal_flow, grid, z, lambda t: bool(t >= grid[4])), apart)
    assert not torch.allclose(integrate(name, normal_flow, grid, z), apart, atol=1e-6)


@pytest.mark.parametrize("name", REMEMBERING)
@pytest.mark.parametrize("times", [[0.1, 0.3, 0.3, 0.6], [0.1, 0.5, 0.3, 0.6], [0.0, 0.0, 1.0, 1.0]])
def test_times_that_stand_still_or_turn_round_begin_anew(name, times):
    """As sigmas of other nodes may do; every step from such a place on is Euler's."""
    grid = torch.tensor(times, dtype=torch.float64)
    z = torch.linspace(-1, 1, 5, dtype=torch.float64)
    found, expected = (integrate(solver, normal_flow, grid, z) for solver in (name, "euler"))
    assert torch.allclose(found, expected, atol=1e-14)
