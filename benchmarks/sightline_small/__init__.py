"""How `sightline-small` is made and measured: concepts, captions, training, evaluation."""
