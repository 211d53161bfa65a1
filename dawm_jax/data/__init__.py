"""From a Minari data set to batches on the device."""
