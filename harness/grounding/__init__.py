"""Asking experts where body parts are: the walk over images, answers, labels, records."""
