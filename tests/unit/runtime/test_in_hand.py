from hypothesis import given
from hypothesis import strategies as st

from runtime.in_hand import FURTHEST_LAST, InHand, Phase, Spent, booked, in_hand, taken_in_hand

stretches = st.lists(
    st.builds(
        lambda phase, began, length: Spent(phase, began, began + length),
        st.sampled_from(FURTHEST_LAST),
        st.integers(0, 50),
        st.integers(0, 20),
    ),
    max_size=20,
)


def test_a_moment_is_booked_to_the_image_that_is_furthest() -> None:
    seconds = booked(
        [
            Spent(Phase.FETCH, 0, 4),
            Spent(Phase.FETCH, 0, 10),
            Spent(Phase.DECODE, 4, 6),
            Spent(Phase.FORWARD, 6, 9),
            Spent(Phase.DECODE, 10, 13),
            Spent(Phase.FORWARD, 14, 15),
        ]
    )
    assert seconds == {Phase.FETCH: 5, Phase.DECODE: 5, Phase.FORWARD: 4}


@given(stretches)
def test_what_is_booked_is_the_time_in_which_anything_was_under_way(spent: list[Spent]) -> None:
    moments = {second for one in spent for second in range(int(one.began), int(one.ended))}
    seconds = booked(spent)
    assert sum(seconds.values()) == len(moments)
    in_the_model = {s for one in spent if one.phase is Phase.UPSERT for s in range(int(one.began), int(one.ended))}
    assert seconds.get(Phase.UPSERT, 0) == len(in_the_model), "the last phase hides behind no other"


def test_a_batch_that_waits_behind_others_moves_with_them_and_never_back() -> None:
    passes = 0

    def count() -> int:
        return passes

    hand = InHand()
    seen = [hand.moves]
    with hand.behind(count), hand.behind(count):
        passes = 3
        seen.append(hand.moves)
        passes = 4
        seen.append(hand.moves)
    seen.append(hand.moves)
    assert seen == sorted(set(seen)), "it only grows"
    passes = 9
    assert hand.moves == seen[-1], "and no longer, once it waits no more"


def test_a_stage_finds_the_batch_it_works_on_and_elsewhere_one_that_nobody_sees() -> None:
    with taken_in_hand(InHand()) as hand:
        assert in_hand() is hand
    assert in_hand() is not hand
