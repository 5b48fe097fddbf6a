//! V-JEPA 2: video to features.

pub mod preprocess;
