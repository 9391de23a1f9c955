import pytest
import torch


@pytest.fixture
def x():
    """Healthy, but for one corner of the first slice."""
    made = torch.full((2, 1, 16, 16), 0.3)
    made[0, :, :4, :8] = 0.9
    return made
