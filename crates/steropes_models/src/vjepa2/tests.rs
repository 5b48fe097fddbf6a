//! Tests of whole networks with generated weights.
