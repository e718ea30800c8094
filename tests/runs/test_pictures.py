"""The pictures that training leaves."""

from pyro_vae.runs.writer import is_power_of_two


def test_pictures_of_progress_are_drawn_at_powers_of_two():
    assert [n for n in range(1, 70) if is_power_of_two(n)] == [1, 2, 4, 8, 16, 32, 64]
