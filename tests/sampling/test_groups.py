"""Which slots read one prompt together."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from dast_jax.sampling.groups import group_slots


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_every_live_slot_has_one_place_in_a_group_of_its_prompt(data):
    slots, size = data.draw(st.integers(1, 20)), data.draw(st.integers(1, 8))
    live = np.array(data.draw(st.lists(st.booleans(), min_size=slots, max_size=slots)))
    row_of = np.array(data.draw(st.lists(st.integers(0, 6), min_size=slots, max_size=slots)), np.int32)
    groups = group_slots(live, row_of, size)
    assert groups.slots.shape == (slots, size)
    for slot in np.flatnonzero(live):
        group, place = divmod(int(groups.places[slot]), size)
        assert groups.slots[group, place] == slot
        assert groups.rows[group] == row_of[slot]
        assert group < groups.used
    assert len(set(groups.places[live])) == live.sum()
    # As few groups as there can be: one for each `size` slots of a prompt.
    _, counts = np.unique(row_of[live], return_counts=True)
    assert groups.used == sum(-(-count // size) for count in counts)
