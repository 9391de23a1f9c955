"""Denoisers whose answers are known, in place of trained networks."""

import math

from uadtools.diffusion.process import Prediction, both, eps_from_x0
from uadtools.diffusion.schedule import Schedule


class Knows:
    """Knows x0 and answers with it, or with the eps that leads to it, as a network would."""

    def __init__(self, x0, schedule, target):
        self.x0, self.schedule, self.target = x0, schedule, target

    def predict(self, x_t, t, *, clamp=False):
        output = self.x0 if self.target == "x0" else eps_from_x0(x_t, t, self.x0, self.schedule)
        return both(output, self.target, x_t, t, self.schedule, clamp=clamp)


class Gaussian:
    """Knows that pixels are independent draws from N(mean, deviation^2), and answers the mean of x0 given x_t."""

    def __init__(self, schedule: Schedule, mean=0.3, deviation=0.4):
        self.schedule, self.mean, self.deviation = schedule, mean, deviation

    def level(self, t):
        """Mean and standard deviation of x_t."""
        abar = self.schedule.alpha_bar(t)
        return math.sqrt(abar) * self.mean, math.sqrt(abar * self.deviation**2 + 1 - abar)

    def predict(self, x_t, t, *, clamp=False):
        abar, (mean, deviation) = self.schedule.alpha_bar(t), self.level(t)
        x0 = self.mean + math.sqrt(abar) * self.deviation**2 / deviation**2 * (x_t - mean)
        return Prediction(x0, eps_from_x0(x_t, t, x0, self.schedule))

    def carried(self, x, t, to):
        """Where the exact ODE carries x from step t: the same number of standard deviations from the mean."""
        (mean, deviation), (mean_then, deviation_then) = self.level(t), self.level(to)
        return mean_then + (x - mean) / deviation * deviation_then
