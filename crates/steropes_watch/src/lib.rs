//! From a video stream to states of an obstacle watch.
//!
//! This is no safety-rated device: whoever relies on it needs an independent stop.

mod analysis;
mod calibration;
mod corridor;
mod decision;
mod error;
mod eye;
mod foresight;
mod health;
mod look;
mod motion;
mod movers;
mod near;
mod network;
mod overlay;
mod page;
mod record;
mod ruler;
mod surprise;
#[cfg(test)]
mod synthetic;
#[cfg(test)]
mod tests;
mod watch;

pub use analysis::{Analysis, Analyst, Scale, Zone};
pub use calibration::{Calibration, CameraCalibration, Noise, Robot};
pub use corridor::{Kind, Lane, Nearest, RANGE, Surfaces};
pub use decision::{Ahead, Decider, Entry, Evidence, Reason, SURPRISING, State, sentence, stopping_distance};
pub use error::WatchError;
pub use eye::Eye;
pub use foresight::Foresight;
pub use health::{Fault, Health, Judged, Judgements, Judging, Vitals};
pub use look::{Look, Match};
pub use motion::{Motion, expansion};
pub use movers::{Mover, Movers};
pub use near::bring_near;
pub use network::{IMAGE_SIZE, Key, Network, watch_settings};
pub use overlay::overlay;
pub use page::Page;
pub use record::{Event, Recorder, Recording, metres, seconds};
pub use ruler::Ruler;
pub use surprise::Surprise;
pub use watch::{Decision, Seen, Watch};
