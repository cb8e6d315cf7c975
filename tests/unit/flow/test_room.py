"""What is read takes room until it is stored, by whichever worker."""

from flows.room import Room


def test_room_is_full_until_it_is_given_back() -> None:
    room = Room([0, 1], size=100)
    first, second = room.take(0, 60), room.take(1, 60)
    assert room.is_full
    room.give_back(first)
    assert not room.is_full
    room.give_back(second)
    assert room.take(0, 99) == 99
    assert not room.is_full


def test_what_another_process_stores_takes_no_room_here() -> None:
    room = Room([], size=100)
    assert room.take(3, 1000) == 0
    assert not room.is_full
    room.stores(3)
    assert room.take(3, 1000) == 1000
    assert room.is_full
