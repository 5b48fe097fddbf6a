//! From a video stream to states of an obstacle watch.
