"""The event loop learns of futures of other threads, and is woken once for many."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future

import pytest

pytest.importorskip("fastapi", reason="needs pip install 'elasticdenser[serve]'")

from elasticdenser.serving.done_notifier import DoneNotifier


def run(scenario):
    """Run `scenario(notifier, futures)` with three futures, and return its result and the number of wake-ups."""

    async def counted():
        loop = asyncio.get_running_loop()
        wake_ups = []

        class CountingLoop:
            create_future, call_later = staticmethod(loop.create_future), staticmethod(loop.call_later)

            @staticmethod
            def call_soon_threadsafe(callback):
                wake_ups.append(callback)
                loop.call_soon_threadsafe(callback)

        return await scenario(DoneNotifier(CountingLoop()), [Future(), Future(), Future()]), len(wake_ups)

    return asyncio.run(counted())


def answer_later(futures):
    """Answer futures one after the other, before the loop gets to anything else."""
    asyncio.get_running_loop().call_soon(lambda: [future.set_result(number) for number, future in enumerate(futures)])


def test_futures_that_are_done_together_wake_the_loop_once():
    async def scenario(notifier, futures):
        answer_later(futures)
        first = notifier.wait(futures[:1], 10)
        return await asyncio.gather(first, notifier.wait(futures[1:], 10))

    assert run(scenario) == ([True, True], 1)


def test_a_wait_ends_after_its_time():
    async def scenario(notifier, futures):
        futures[0].set_result(None)
        return await notifier.wait(futures, 0.001)

    assert run(scenario)[0] is False


def test_one_failure_ends_the_wait_for_all():
    async def scenario(notifier, futures):
        futures[2].set_exception(ZeroDivisionError("x"))
        with pytest.raises(ZeroDivisionError):
            await notifier.wait(futures, 10)
        futures[0].set_result(None)  # nobody waits any more
        await asyncio.sleep(0)
        return True

    assert run(scenario)[0]


def test_a_cancelled_future_counts_as_done():
    async def scenario(notifier, futures):
        futures[0].cancel()
        answer_later(futures[1:])
        return await notifier.wait(futures, 10)

    assert run(scenario)[0] is True


def test_futures_may_be_done_after_the_loop_is_closed():
    futures = [Future()]

    async def start():
        notifier = DoneNotifier(asyncio.get_running_loop())
        task = asyncio.ensure_future(notifier.wait(futures, 10))
        await asyncio.sleep(0)
        task.cancel()

    asyncio.run(start())
    futures[0].set_result(None)  # a callback that raised would be logged
    assert futures[0].result() is None
