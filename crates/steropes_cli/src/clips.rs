//! From a source of frames to the clips that a network sees, one after the other, however long the video is.

use anyhow::{Context as _, bail};
use std::time::{Duration, Instant};
use steropes_models::vjepa2::preprocess::{Placement, Preprocess};
use steropes_video::{ClipSampling, Frame, FrameSource, Opened, Resampled, clip_indices};

/// How the frames of a clip lie in the video.
pub(crate) enum Spacing {
    /// So many a second, by time stamps.
    Timed(f64),
    /// As the published evaluations count.
    Counted(ClipSampling),
}

/// How a video is cut into clips.
pub(crate) struct ClipPlan {
    /// Frames of a clip.
    pub(crate) frames: u64,
    pub(crate) spacing: Spacing,
    /// Frames from this time on are left out.
    pub(crate) until: Option<Duration>,
    pub(crate) preprocess: Preprocess,
}

/// Frames of a clip as the network sees them. Clips follow each other and share no frame.
pub(crate) struct SeenClip {
    /// For each view, `[frames, height, width, 3]` bytes.
    pub(crate) views: Vec<Vec<u8>>,
    /// Height and width.
    pub(crate) size: [usize; 2],
    /// Seconds of each frame since the start of the video.
    pub(crate) times: Vec<f64>,
    /// Number of each frame in the video.
    pub(crate) indices: Vec<u64>,
    /// How many frames there were; behind them the last one stands again.
    pub(crate) taken: usize,
}

/// A frame as the network sees it: a picture for each view.
struct Seen {
    index: u64,
    time: Duration,
    pictures: Vec<Vec<u8>>,
}

/// The clips of a video.
pub(crate) struct Clips {
    source: Box<dyn FrameSource>,
    plan: ClipPlan,
    /// Frames of the video for each clip, where they are counted: step and span.
    counted: Option<u64>,
    length: Option<Duration>,
    frame_rate: Option<f64>,
    placements: Vec<Placement>,
    spent: Spent,
    ended: bool,
}

/// Where the time of making clips went.
#[derive(Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Waiting for frames.
    pub(crate) reading: Duration,
    /// Resizing.
    pub(crate) preprocessing: Duration,
}

impl Clips {
    /// The clips of an opened source.
    ///
    /// # Errors
    /// The rate makes no sense, or the video does not say what is needed to count.
    pub(crate) fn new(opened: Opened, plan: ClipPlan) -> anyhow::Result<Self> {
        let Opened { source, frame_rate, duration } = opened;
        let length = match (duration, plan.until) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        let (source, counted): (Box<dyn FrameSource>, _) = match &plan.spacing {
            Spacing::Timed(rate) => (Box::new(Resampled::new(source, *rate)?), None),
            Spacing::Counted(sampling) => (source, Some(sampling.step(plan.frames, frame_rate)?)),
        };
        let (placements, spent) = (Vec::new(), Spent::default());
        Ok(Self { source, plan, counted, length, frame_rate, placements, spent, ended: false })
    }

    /// About how many clips there will be; 0 if nobody knows.
    pub(crate) fn expected(&self) -> usize {
        let rate = match (&self.plan.spacing, self.counted) {
            (Spacing::Timed(rate), _) => Some(*rate),
            (_, Some(step)) => self.frame_rate.map(|rate| rate / step as f64),
            (_, None) => None,
        };
        let seconds = self.length.map(|length| length.as_secs_f64());
        seconds.zip(rate).map_or(0, |(s, rate)| (s * rate / self.plan.frames as f64).ceil() as usize)
    }

    /// Where the pictures of the network lie in a frame; empty before the first clip.
    pub(crate) fn placements(&self) -> &[Placement] {
        &self.placements
    }

    pub(crate) fn spent(&self) -> Spent {
        self.spent
    }

    /// The next clip; `None` at the end of the video. What is left behind the last whole clip is one, too.
    ///
    /// # Errors
    /// The source breaks, or its frames change their size so that the network's pictures would.
    pub(crate) fn next_clip(&mut self) -> anyhow::Result<Option<SeenClip>> {
        let span = self.plan.frames * self.counted.unwrap_or(1);
        let mut seen: Vec<Seen> = Vec::new();
        while (seen.len() as u64) < span {
            match self.next_seen()? {
                Some(frame) => seen.push(frame),
                None => break,
            }
        }
        if seen.is_empty() {
            return Ok(None);
        }
        let available = seen.len() as u64;
        let picks = match self.counted {
            Some(step) => clip_indices(0, self.plan.frames, step, Some(available)),
            None => (0..self.plan.frames).map(|i| i.min(available - 1)).collect(),
        };
        let taken = 1 + picks.windows(2).filter(|pair| pair[0] != pair[1]).count();
        let picked: Vec<&Seen> = picks.iter().map(|&i| &seen[i as usize]).collect();
        let view = |v: usize| picked.iter().flat_map(|frame| &frame.pictures[v]).copied().collect();
        Ok(Some(SeenClip {
            views: (0..self.placements.len()).map(view).collect(),
            size: self.placements[0].size,
            times: picked.iter().map(|frame| frame.time.as_secs_f64()).collect(),
            indices: picked.iter().map(|frame| frame.index).collect(),
            taken,
        }))
    }

    /// The next frame as the network sees it.
    fn next_seen(&mut self) -> anyhow::Result<Option<Seen>> {
        if self.ended {
            return Ok(None);
        }
        let start = Instant::now();
        let frame = self.source.next_frame()?.filter(|f| self.plan.until.is_none_or(|until| f.time < until));
        self.spent.reading += start.elapsed();
        let Some(Frame { index, time, image }) = frame else {
            self.ended = true;
            return Ok(None);
        };
        let start = Instant::now();
        let size = [image.height() as usize, image.width() as usize];
        if self.placements.first().is_none_or(|placement| placement.frame != size) {
            self.place(size, index)?;
        }
        let preprocess = &self.plan.preprocess;
        let pictures = self.placements.iter().map(|p| preprocess.frame(image.as_raw(), size, p)).collect();
        self.spent.preprocessing += start.elapsed();
        Ok(Some(Seen { index, time, pictures }))
    }

    /// Finds where the network's pictures lie in frames of a new size.
    fn place(&mut self, size: [usize; 2], index: u64) -> anyhow::Result<()> {
        let placements = self.plan.preprocess.placements(size)?;
        let new = placements.first().context("there is a view")?.size;
        if let Some(old) = self.placements.first()
            && old.size != new
        {
            bail!(
                "frame {index} has {} x {} pixels and those before it {} x {}: with --crop centre the network would see both alike",
                size[1],
                size[0],
                old.frame[1],
                old.frame[0]
            );
        }
        self.placements = placements;
        Ok(())
    }
}
