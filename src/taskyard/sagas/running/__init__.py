"""Whoever has a saga in hand: the turn of a coordinator or of a step, and the tasks whose jobs have them."""
