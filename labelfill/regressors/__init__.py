"""Stage one: a regressor for each keypoint, cross-fitted, calibrated and audited."""
