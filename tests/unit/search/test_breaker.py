"""The circuit breaker: when it opens, who may try, and that nobody waits for ever."""

import asyncio

import pytest

from tr_grpo.search.breaker import CircuitBreaker


def opened() -> CircuitBreaker:
    breaker = CircuitBreaker(failures_to_open=3)
    for _ in range(3):
        breaker.failed()
    return breaker


def test_it_opens_after_failures_in_a_row_only() -> None:
    breaker = CircuitBreaker(failures_to_open=3)
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        assert not breaker.is_open
        breaker.succeeded()
    assert opened().is_open


def test_while_open_one_caller_at_a_time_tries() -> None:
    breaker = opened()
    trying = most = 0

    async def caller() -> None:
        nonlocal trying, most
        async with breaker.permit(60):
            trying += 1
            most = max(most, trying)
            await asyncio.sleep(0)
            trying -= 1
            breaker.failed()

    async def all_callers() -> None:
        await asyncio.gather(*(caller() for _ in range(50)))

    asyncio.run(all_callers())
    assert most == 1


def test_one_success_lets_everybody_go_on() -> None:
    breaker = opened()
    together: list[int] = []
    inside = 0

    async def caller(number: int) -> None:
        nonlocal inside
        async with breaker.permit(60):
            if number == 0:
                breaker.succeeded()
                return
            inside += 1
            await asyncio.sleep(0.01)
            together.append(inside)
            inside -= 1

    async def all_callers() -> None:
        await asyncio.gather(*(caller(number) for number in range(20)))

    asyncio.run(all_callers())
    assert max(together) == 19


def test_waiting_ends_at_the_deadline() -> None:
    async def go() -> None:
        breaker = opened()
        async with breaker.permit(60):
            with pytest.raises(TimeoutError):
                async with breaker.permit(0.05):
                    pytest.fail("two callers tried at once")

    asyncio.run(go())


def test_a_caller_that_is_cancelled_while_trying_leaves_the_place_to_another() -> None:
    async def go() -> None:
        breaker = opened()

        async def hang() -> None:
            async with breaker.permit(60):
                await asyncio.sleep(3600)

        task = asyncio.create_task(hang())
        await asyncio.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        async with asyncio.timeout(5), breaker.permit(5):
            breaker.succeeded()
        assert not breaker.is_open

    asyncio.run(go())
