import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from services.embedder.byte_room import ByteRoom


@settings(max_examples=60, deadline=None)
@given(sizes=st.lists(st.integers(0, 300), min_size=1, max_size=60))
def test_all_get_in_and_no_more_than_the_room_unless_one_alone_is_larger(sizes: list[int]) -> None:
    async def scenario() -> None:
        room, held, most_held = ByteRoom(800), [0], [0]

        async def one(size: int) -> None:
            async with room.place() as place:
                await asyncio.sleep(0)
                held[0] += size
                await room.measured(place, size)
                await asyncio.sleep(0)
                most_held[0] = max(most_held[0], held[0])
                held[0] -= size

        await asyncio.wait_for(asyncio.gather(*(one(size) for size in sizes)), 10)
        # Eight of the first may come before anything is known; none is larger than 300.
        assert most_held[0] <= 8 * 300

    asyncio.run(scenario())


async def test_large_objects_come_one_at_a_time_once_it_is_known_that_they_are_large() -> None:
    room, busy, most = ByteRoom(1000), 0, 0

    async def one(number: int) -> None:
        nonlocal busy, most
        async with room.place() as place:
            busy += 1
            if number >= 8:
                most = max(most, busy)
            await room.measured(place, 900)
            await asyncio.sleep(0.001)
            busy -= 1

    await asyncio.gather(*(one(number) for number in range(30)))
    assert most == 1


async def test_small_objects_are_let_in_together() -> None:
    room, busy, most = ByteRoom(1000), 0, 0

    async def one() -> None:
        nonlocal busy, most
        async with room.place() as place:
            busy += 1
            most = max(most, busy)
            await room.measured(place, 1)
            await asyncio.sleep(0)
            busy -= 1

    await asyncio.gather(*(one() for _ in range(300)))
    assert most > 50
