//! Answers found so far, one for each pixel, and tracks that follow them.
//!
//! Seeds of a photo walk to their nearest neighbours and back many times, and many meet on the way. The table sees to it that
//! each pixel is asked for once. A round of a walk is [`LookupTable::ask`], a search for what was asked,
//! [`LookupTable::answer`], and [`LookupTable::follow`]; nothing of it is read by the host.

pub(crate) mod bench;
mod cpu;
mod gpu;
pub(crate) mod tests;

use crate::error::{Holds, OpError, on_cpu, place, values};
use steropes_tensor::{DType, Device, Tensor};

const OP: &str = "matching::lookup_table";

/// The answer of a pixel that has none yet, and the place of a track that was nowhere yet.
pub const UNKNOWN: u32 = u32::MAX;
/// Answers and numbers of tracks are below this. A pixel that is being asked for holds this and the first track that asks.
const CLAIM: u32 = 1 << 31;

/// For each pixel of a photo its nearest in another photo, as far as it was asked for.
#[derive(Debug)]
pub struct LookupTable {
    known: Known,
}

#[derive(Debug)]
enum Known {
    Cpu(Vec<u32>),
    Gpu(Tensor),
}

/// Pixels whose answers a table does not have.
#[derive(Clone, Debug)]
pub struct Asked {
    /// `[tracks]`, u32: the pixels, in [`Asked::count`] leading places; the rest is unspecified.
    pub pixels: Tensor,
    /// `[1]`, u32.
    pub count: Tensor,
}

/// Where tracks are after a step.
#[derive(Clone, Debug)]
pub struct Step {
    /// `[tracks]`, u32: the pixel of the other photo.
    pub to: Tensor,
    /// `[tracks]`, u32: 1 for a track that goes on, else 0.
    pub active: Tensor,
}

impl LookupTable {
    /// No answer yet for any of `pixels` pixels, on `device`.
    ///
    /// # Errors
    /// [`OpError::Value`] for 2^31 pixels or more, [`OpError::Failed`] if a GPU has no memory.
    pub fn new(device: &Device, pixels: usize) -> Result<Self, OpError> {
        if pixels >= CLAIM as usize {
            return Err(OpError::value(OP, "pixels", "below 2^31", pixels));
        }
        Ok(Self {
            known: match device {
                Device::Cpu => Known::Cpu(vec![UNKNOWN; pixels]),
                Device::Gpu(gpu) => Known::Gpu(gpu::empty(gpu, pixels)?),
            },
        })
    }

    /// The number of pixels.
    pub fn pixels(&self) -> usize {
        match &self.known {
            Known::Cpu(known) => known.len(),
            Known::Gpu(known) => known.len(),
        }
    }

    /// The device that holds the answers.
    pub fn device(&self) -> Device {
        match &self.known {
            Known::Cpu(_) => Device::Cpu,
            Known::Gpu(known) => known.device(),
        }
    }

    /// The pixels of active tracks that have no answer, each once, in an order that depends on the device only. They must be
    /// answered before the next question.
    ///
    /// # Shapes
    /// - `pixels`: `[tracks]`, u32, fewer than 2^31; one that the table does not have is not asked for
    /// - `active`: `[tracks]`, u32: 0 for a track that stands still
    ///
    /// # Numerics
    /// Exact.
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above.
    ///
    /// # Source
    /// Written from the definition.
    pub fn ask(&mut self, pixels: &Tensor, active: &Tensor) -> Result<Asked, OpError> {
        let tracks = list("pixels", pixels)?;
        same_length("active", active, tracks)?;
        self.check(&[("pixels", pixels), ("active", active)])?;
        match &mut self.known {
            Known::Cpu(known) => {
                let mut asked = cpu::ask(known, values(pixels), values(active));
                let count = asked.len() as u32;
                asked.resize(tracks, 0);
                Ok(Asked { pixels: on_cpu(&[tracks], asked), count: on_cpu(&[1], vec![count]) })
            }
            Known::Gpu(known) => gpu::ask(known, pixels, active),
        }
    }

    /// Notes the answers to what was asked.
    ///
    /// # Shapes
    /// - `asked`: as [`LookupTable::ask`] gave it
    /// - `answers`: `[tracks]`, u32, each below 2^31; those behind the count are ignored
    ///
    /// # Numerics
    /// Exact.
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above.
    ///
    /// # Source
    /// Written from the definition.
    pub fn answer(&mut self, asked: &Asked, answers: &Tensor) -> Result<(), OpError> {
        let tracks = list("asked", &asked.pixels)?;
        same_length("asked.count", &asked.count, 1)?;
        same_length("answers", answers, tracks)?;
        self.check(&[("asked", &asked.pixels), ("asked.count", &asked.count), ("answers", answers)])?;
        match &mut self.known {
            Known::Cpu(known) => {
                let count = values::<u32>(&asked.count)[0] as usize;
                cpu::answer(known, &values(&asked.pixels)[..count.min(tracks)], values(answers));
                Ok(())
            }
            Known::Gpu(known) => gpu::answer(known, asked, answers),
        }
    }

    /// Active tracks go from the pixels `from` to the answers of these. One that comes to where it was before, `to`, stops,
    /// unless `keep_going`. Others stay where they are. A track whose pixel has no answer stops.
    ///
    /// # Shapes
    /// - `from`: `[tracks]`, u32
    /// - `to`: `[tracks]`, u32; [`UNKNOWN`] for a track that was nowhere yet
    /// - `active`: `[tracks]`, u32
    ///
    /// # Numerics
    /// Exact.
    ///
    /// # Errors
    /// [`OpError::Shape`], [`OpError::DType`] or [`OpError::Device`] if an argument is not as above.
    ///
    /// # Source
    /// Written from the definition.
    pub fn follow(
        &self,
        from: &Tensor,
        to: &Tensor,
        active: &Tensor,
        keep_going: bool,
    ) -> Result<Step, OpError> {
        let tracks = list("from", from)?;
        same_length("to", to, tracks)?;
        same_length("active", active, tracks)?;
        self.check(&[("from", from), ("to", to), ("active", active)])?;
        match &self.known {
            Known::Cpu(known) => {
                let (to, active) = cpu::follow(known, values(from), values(to), values(active), keep_going);
                Ok(Step { to: on_cpu(&[tracks], to), active: on_cpu(&[tracks], active) })
            }
            Known::Gpu(known) => gpu::follow(known, [from, to, active], keep_going),
        }
    }

    /// Whether all arguments hold u32 on the device of the table.
    fn check(&self, arguments: &[(&'static str, &Tensor)]) -> Result<(), OpError> {
        let listed: Vec<_> = arguments.iter().map(|(name, tensor)| (*name, *tensor, Holds::U32)).collect();
        place(OP, &listed)?;
        let (argument, first) = arguments[0];
        if first.device() != self.device() {
            let (expected, found) = (self.device().name().to_owned(), first.device().name().to_owned());
            return Err(OpError::Device { op: OP, argument, expected, found });
        }
        Ok(())
    }
}

fn list(argument: &'static str, tensor: &Tensor) -> Result<usize, OpError> {
    match tensor.shape() {
        &[tracks] if tracks < CLAIM as usize => Ok(tracks),
        shape => Err(OpError::shape(OP, argument, "[tracks], fewer than 2^31", shape)),
    }
}

fn same_length(argument: &'static str, tensor: &Tensor, tracks: usize) -> Result<(), OpError> {
    if tensor.shape() == [tracks] {
        return Ok(());
    }
    Err(OpError::shape(OP, argument, format!("[{tracks}]"), tensor.shape()))
}
