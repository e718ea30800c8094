"""Signals, at once and deferred."""

import os
import signal

import pytest

from pyro_vae.runs.interrupts import SIGNALS, Interrupted, Interrupts


def send(number):
    """Send a signal to this process."""
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_an_exception_at_once(number):
    name = signal.Signals(number).name
    with (
        pytest.raises(Interrupted, match=f"stopped by {name}, and why"),
        Interrupts() as interrupts,
    ):
        interrupts.note = ", and why"
        send(number)
        raise AssertionError("not reached")


def test_a_deferred_signal_waits_for_the_end():
    pending = None
    with pytest.raises(Interrupted) as caught, Interrupts() as interrupts, interrupts.deferred():
        send(signal.SIGTERM)
        pending = interrupts.pending
    assert pending == caught.value.signal == signal.SIGTERM


def test_a_second_signal_does_not_wait():
    with pytest.raises(Interrupted) as caught, Interrupts() as interrupts, interrupts.deferred():
        send(signal.SIGINT)
        assert interrupts.pending == signal.SIGINT
        send(signal.SIGTERM)
        raise AssertionError("not reached")
    assert caught.value.signal == signal.SIGTERM


def test_handlers_are_put_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with Interrupts():
        assert [signal.getsignal(number) for number in SIGNALS] != before
    assert [signal.getsignal(number) for number in SIGNALS] == before
