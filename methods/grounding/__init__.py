"""Where body parts are in training images: labels, calibration, patch masks. No model."""
