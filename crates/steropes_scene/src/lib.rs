//! Photos, pair graphs, matching, alignment, bundle adjustment and scene files.
