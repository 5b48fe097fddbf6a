//! Global rotations and places of cameras from relative poses of pairs.

mod graph;
mod laplacian;
mod positions;
mod rotations;

pub use graph::connected_components;
pub use positions::{DirectionEdge, PositionAverage, position_averaging, world_direction};
pub use rotations::{AveragingOptions, RotationAverage, RotationEdge, TripletCheck, rotation_averaging};
