//! Frames at the rate of a model.

use crate::error::checked_rate;
use crate::{Frame, FrameSource, Stopper, VideoError};
use std::time::Duration;

/// Which frame stands for a tick of the new rate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pick {
    /// The one that is seen then: the last that came until then, again if nothing newer did. Frames are as many as there are ticks, also of a source
    /// that is slower, or whose rate varies. Needs the frame after it.
    Shown,
    /// The first that comes then or later, once. Needs nothing that is not there yet; ticks without a frame of their own are left out.
    Next,
}

/// Time stamps of containers are rounded by up to half a millisecond (Matroska); so a frame this much after a tick is in time.
const LATE: Duration = Duration::from_micros(1000);

/// A source at a fixed rate, by time stamps and not by counting: ticks are at 0, `1 / rate`, `2 / rate` seconds, and so on.
///
/// Frames keep their own number and time, so that it shows how far they are from the tick.
pub struct Resampled<S> {
    source: S,
    rate: f64,
    pick: Pick,
    /// Number of the next tick.
    tick: u64,
    shown: Option<Frame>,
    /// The frame after `shown`.
    ahead: Option<Frame>,
    ended: bool,
}

impl<S: FrameSource> Resampled<S> {
    /// `source` at `rate` frames a second; [`Pick::Next`] of a live source, [`Pick::Shown`] of another.
    ///
    /// # Errors
    /// [`VideoError::Setting`] if the rate is out of its range.
    pub fn new(source: S, rate: f64) -> Result<Self, VideoError> {
        let pick = if source.is_live() { Pick::Next } else { Pick::Shown };
        Self::with_pick(source, rate, pick)
    }

    /// `source` at `rate` frames a second.
    ///
    /// # Errors
    /// [`VideoError::Setting`] if the rate is out of its range.
    pub fn with_pick(source: S, rate: f64, pick: Pick) -> Result<Self, VideoError> {
        let rate = checked_rate("the rate of the model", rate)?;
        Ok(Self { source, rate, pick, tick: 0, shown: None, ahead: None, ended: false })
    }

    /// How late a frame may be and still belong to a tick.
    fn slack(&self) -> Duration {
        LATE.min(Duration::from_secs_f64(0.25 / self.rate))
    }

    fn next_shown(&mut self) -> Result<Option<Frame>, VideoError> {
        let in_time = Duration::from_secs_f64(self.tick as f64 / self.rate) + self.slack();
        loop {
            if self.ahead.is_none() && !self.ended {
                self.ahead = self.source.next_frame()?;
                self.ended = self.ahead.is_none();
            }
            match self.ahead.take() {
                Some(frame) if frame.time <= in_time || self.shown.is_none() => self.shown = Some(frame),
                later => {
                    self.ahead = later;
                    break;
                }
            }
        }
        let Some(shown) = &self.shown else { return Ok(None) };
        // Nobody knows how long the last frame was seen: it stands for the ticks up to its own time.
        let time = Duration::from_secs_f64(self.tick as f64 / self.rate);
        if self.ahead.is_none() && self.tick > 0 && time > shown.time + self.slack() {
            return Ok(None);
        }
        self.tick += 1;
        Ok(Some(shown.clone()))
    }

    fn next_once(&mut self) -> Result<Option<Frame>, VideoError> {
        let slack = self.slack();
        while let Some(frame) = self.source.next_frame()? {
            let tick = Duration::from_secs_f64(self.tick as f64 / self.rate);
            if frame.time + slack >= tick {
                let passed = ((frame.time + slack).as_secs_f64() * self.rate).floor() as u64;
                self.tick = passed + 1;
                return Ok(Some(frame));
            }
        }
        Ok(None)
    }
}

impl<S: FrameSource> FrameSource for Resampled<S> {
    fn next_frame(&mut self) -> Result<Option<Frame>, VideoError> {
        match self.pick {
            Pick::Shown => self.next_shown(),
            Pick::Next => self.next_once(),
        }
    }

    fn is_live(&self) -> bool {
        self.source.is_live()
    }

    fn stopper(&self) -> Option<Stopper> {
        self.source.stopper()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;

    /// Frames at these milliseconds.
    struct Times(std::vec::IntoIter<(u64, f64)>);

    impl Times {
        fn new(milliseconds: impl IntoIterator<Item = f64>) -> Self {
            let all: Vec<_> = milliseconds.into_iter().enumerate().map(|(i, t)| (i as u64, t)).collect();
            Self(all.into_iter())
        }
    }

    impl FrameSource for Times {
        fn next_frame(&mut self) -> Result<Option<Frame>, VideoError> {
            let frame = |(index, ms): (u64, f64)| {
                let time = Duration::from_secs_f64(ms / 1e3);
                Frame { index, time, image: RgbImage::new(1, 1) }
            };
            Ok(self.0.next().map(frame))
        }

        fn is_live(&self) -> bool {
            false
        }
    }

    fn picked(milliseconds: impl IntoIterator<Item = f64>, rate: f64, pick: Pick) -> Vec<u64> {
        let mut source = Resampled::with_pick(Times::new(milliseconds), rate, pick).unwrap();
        std::iter::from_fn(|| source.next_frame().unwrap()).map(|frame| frame.index).collect()
    }

    #[test]
    fn a_constant_rate_is_divided() {
        for pick in [Pick::Shown, Pick::Next] {
            let thirty = || (0..31).map(|i| f64::from(i) * 1e3 / 30.0);
            assert_eq!(picked(thirty(), 10.0, pick), [0, 3, 6, 9, 12, 15, 18, 21, 24, 27, 30], "{pick:?}");
            assert_eq!(picked(thirty(), 30.0, pick), (0..31).collect::<Vec<_>>(), "{pick:?}");
            // As Matroska rounds them.
            let rounded = thirty().map(f64::round);
            assert_eq!(picked(rounded, 30.0, pick), (0..31).collect::<Vec<_>>(), "{pick:?}");
        }
        // 30 to 4: ticks at 0, 250, 500, 750, 1000 ms.
        assert_eq!(picked((0..31).map(|i| f64::from(i) * 1e3 / 30.0), 4.0, Pick::Shown), [0, 7, 15, 22, 30]);
        assert_eq!(picked((0..31).map(|i| f64::from(i) * 1e3 / 30.0), 4.0, Pick::Next), [0, 8, 15, 23, 30]);
    }

    #[test]
    fn what_is_seen_longer_is_given_more_often() {
        let vary = [0.0, 100.0, 1000.0, 1050.0, 1100.0, 2000.0];
        assert_eq!(picked(vary, 4.0, Pick::Shown), [0, 1, 1, 1, 2, 4, 4, 4, 5]);
        assert_eq!(picked(vary, 4.0, Pick::Next), [0, 2, 5], "once each, and no tick late");
        assert_eq!(picked([0.0, 1000.0], 4.0, Pick::Shown), [0, 0, 0, 0, 1]);
        assert_eq!(picked([0.0], 4.0, Pick::Shown), [0], "one frame is one frame");
        assert_eq!(picked([0.0, 40.0, 80.0], 4.0, Pick::Shown), [0]);
        assert!(picked([], 4.0, Pick::Shown).is_empty() && picked([], 4.0, Pick::Next).is_empty());
    }

    #[test]
    fn a_rate_that_makes_no_sense_is_refused() {
        for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(matches!(Resampled::new(Times::new([]), rate), Err(VideoError::Setting { .. })), "{rate}");
        }
    }
}
