"""Pure measures over the scores of pairs: accuracy, calibration, intervals, temperature."""
