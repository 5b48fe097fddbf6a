//! Which frames the published evaluations of V-JEPA take, by counting.

/// How far the frames of a clip lie apart. Exactly one of the three.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum ClipSampling {
    /// So many frames of the video for each of the clip.
    FrameStep(u64),
    /// So many frames a second, by the average rate of the video: the step is `ceil(average) / fps`, rounded down.
    Fps(f64),
    /// Seconds that a clip spans: the step is `seconds * ceil(average) / frames`, rounded down.
    Duration(f64),
}

/// A sampling that gives no step.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SamplingError {
    /// The video does not say its rate, which the sampling needs.
    #[error("the video does not say how many frames it has a second: give --frame-step")]
    NoRate,
    /// The step would be below one frame, or is no number.
    #[error("{what} gives a step below one frame of a video of {rate:.3} frames a second: use a frame step of 1")]
    NoStep {
        /// What was asked for.
        what: String,
        /// Average rate of the video.
        rate: f64,
    },
}

impl ClipSampling {
    /// Frames of the video for each of a clip of `frames`, in a video of `rate` frames a second on average.
    ///
    /// # Errors
    /// [`SamplingError`].
    pub fn step(&self, frames: u64, rate: Option<f64>) -> Result<u64, SamplingError> {
        let whole = || rate.map(f64::ceil).ok_or(SamplingError::NoRate);
        let (step, what) = match *self {
            Self::FrameStep(step) => (step as f64, "a frame step of 0".to_owned()),
            Self::Fps(fps) => ((whole()? / fps).floor(), format!("{fps} frames a second")),
            Self::Duration(seconds) => {
                ((seconds * whole()? / frames as f64).floor(), format!("a clip of {seconds} s"))
            }
        };
        if step.is_finite() && step >= 1.0 {
            return Ok(step as u64);
        }
        Err(SamplingError::NoStep { what, rate: rate.unwrap_or_default() })
    }
}

/// The numbers of the frames of a clip: `frames` of them from `start` on, `step` apart on average, of a video of which `available` frames are there
/// from `start` on (`None`: enough).
///
/// `floor(linspace(start, start + frames step, frames))`, at most the last frame of that stretch. So the distance is **not** constant: it is `step`
/// times `frames / (frames - 1)`. Of a video that is too short `available / step` frames are taken in that way, and then its last one again.
///
/// # Panics
/// `available` is 0.
///
/// # Source
/// Written from the specification of the evaluations' loader, with its golden indices.
pub fn clip_indices(start: u64, frames: u64, step: u64, available: Option<u64>) -> Vec<u64> {
    let span = frames * step;
    let (span, taken) = match available {
        Some(available) if available < span => {
            assert!(available > 0, "a clip needs a frame");
            (available, (available / step).min(frames))
        }
        _ => (span, frames),
    };
    // In f64 and in this order, as the loader does: the last bit decides where a product should be whole.
    let apart = if taken > 1 { span as f64 / (taken - 1) as f64 } else { 0.0 };
    let place = |i: u64| ((i as f64 * apart + start as f64).floor() as u64).min(start + span - 1);
    let mut indices: Vec<u64> = (0..taken).map(place).collect();
    indices.resize(frames as usize, start + span - 1);
    indices
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_golden_indices() {
        let golden = [0, 4, 8, 12, 17, 21, 25, 29, 34, 38, 42, 46, 51, 55, 59, 63];
        assert_eq!(clip_indices(0, 16, 4, None), golden);
        assert_eq!(clip_indices(64, 16, 4, Some(64)), golden.map(|i| i + 64));
        assert_eq!(clip_indices(0, 4, 1, None), [0, 1, 2, 3]);
        assert_eq!(clip_indices(9, 1, 5, None), [9]);
    }

    #[test]
    fn a_short_video_ends_with_its_last_frame_again() {
        assert_eq!(clip_indices(0, 6, 2, Some(7)), [0, 3, 6, 6, 6, 6]);
        assert_eq!(clip_indices(10, 4, 4, Some(3)), [12; 4], "shorter than one step");
        assert_eq!(clip_indices(10, 4, 4, Some(4)), [10, 13, 13, 13]);
    }

    #[test]
    fn steps_by_rate_and_by_length() {
        assert_eq!(ClipSampling::Fps(4.0).step(16, Some(29.97)), Ok(7));
        assert_eq!(ClipSampling::Duration(4.0).step(16, Some(29.97)), Ok(7));
        assert_eq!(ClipSampling::FrameStep(3).step(16, None), Ok(3));
        assert_eq!(ClipSampling::Fps(4.0).step(16, None), Err(SamplingError::NoRate));
        for none in [ClipSampling::Fps(60.0), ClipSampling::Fps(0.0), ClipSampling::Duration(0.1), ClipSampling::FrameStep(0)] {
            assert!(matches!(none.step(16, Some(30.0)), Err(SamplingError::NoStep { .. })), "{none:?}");
        }
    }
}
