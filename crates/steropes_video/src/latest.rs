//! The newest frame of a source that does not wait.

use crate::{Frame, FrameSource, Stopper, VideoError};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Which frames a [`Latest`] gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// The newest: a frame that nobody took before the next came is dropped and counted.
    Newest,
    /// Every frame: the source waits for the reader.
    Every,
}

/// A frame and when it came.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// The frame.
    pub frame: Frame,
    /// When it was here, by the clock of this machine that never goes back: `at.elapsed()` is its age without what the camera needed.
    pub at: Instant,
    /// Frames that were dropped so far because newer ones came.
    pub dropped: u64,
}

/// A mailbox for one frame. A thread reads the source; the reader gets what is newest, and never the same frame twice.
///
/// Dropping it ends the source if it can be ended; if not, its thread ends with the next frame.
pub struct Latest {
    shared: Arc<Shared>,
    stopper: Option<Stopper>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    frame: Option<(Frame, Instant)>,
    dropped: u64,
    /// How the source ended; `None` inside once that was told.
    end: Option<Option<VideoError>>,
    /// Whether the reader is gone.
    closed: bool,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Latest {
    /// A mailbox around `source`: the newest frames of a live one, every frame of another.
    pub fn new(source: Box<dyn FrameSource>) -> Self {
        let delivery = if source.is_live() { Delivery::Newest } else { Delivery::Every };
        Self::with_delivery(source, delivery)
    }

    /// A mailbox around `source`.
    pub fn with_delivery(source: Box<dyn FrameSource>, delivery: Delivery) -> Self {
        let shared = Arc::new(Shared::default());
        let stopper = source.stopper();
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::spawn(move || capture(source, &of_thread, delivery));
        Self { shared, stopper, thread: Some(thread) }
    }

    /// The newest frame that was not taken yet; waits for one. `None` at the end of the video.
    ///
    /// # Errors
    /// What ended the source, once and after its last frame; or [`VideoError::Stalled`] if nothing came within `timeout`, after which waiting again is fine.
    pub fn wait(&self, timeout: Duration) -> Result<Option<Arrived>, VideoError> {
        let start = Instant::now();
        let mut state = self.shared.lock();
        loop {
            if let Some((frame, at)) = state.frame.take() {
                self.shared.changed.notify_all();
                return Ok(Some(Arrived { frame, at, dropped: state.dropped }));
            }
            if let Some(end) = &mut state.end {
                return end.take().map_or(Ok(None), Err);
            }
            let Some(left) = timeout.checked_sub(start.elapsed()).filter(|left| !left.is_zero()) else {
                return Err(VideoError::Stalled { after: timeout });
            };
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Frames that were dropped so far because newer ones came.
    pub fn dropped(&self) -> u64 {
        self.shared.lock().dropped
    }
}

/// Puts the frames of `source` into the mailbox until it ends or nobody reads.
fn capture(mut source: Box<dyn FrameSource>, shared: &Shared, delivery: Delivery) {
    loop {
        let next = source.next_frame();
        let at = Instant::now();
        let mut state = shared.lock();
        while delivery == Delivery::Every && state.frame.is_some() && !state.closed {
            state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return;
        }
        match next {
            Ok(Some(frame)) => state.dropped += u64::from(state.frame.replace((frame, at)).is_some()),
            Ok(None) => state.end = Some(None),
            Err(error) => state.end = Some(Some(error)),
        }
        shared.changed.notify_all();
        if state.end.is_some() {
            return;
        }
    }
}

impl Drop for Latest {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
        let Some(stopper) = &self.stopper else { return };
        stopper.stop();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            log::debug!("the thread of a video source panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::RgbImage;
    use std::sync::mpsc::{Receiver, Sender, channel};

    const LONG: Duration = Duration::from_secs(20);

    /// Gives what it is sent: a frame's number, or an error.
    struct Sent(Receiver<Result<u64, VideoError>>, bool);

    impl FrameSource for Sent {
        fn next_frame(&mut self) -> Result<Option<Frame>, VideoError> {
            match self.0.recv() {
                Ok(Ok(index)) => Ok(Some(frame(index))),
                Ok(Err(error)) => Err(error),
                Err(_) => Ok(None),
            }
        }

        fn is_live(&self) -> bool {
            self.1
        }
    }

    fn frame(index: u64) -> Frame {
        Frame { index, time: Duration::from_millis(index), image: RgbImage::new(1, 1) }
    }

    fn mailbox(live: bool) -> (Sender<Result<u64, VideoError>>, Latest) {
        let (sender, receiver) = channel();
        (sender, Latest::new(Box::new(Sent(receiver, live))))
    }

    /// Waits until so many frames were dropped.
    fn until_dropped(latest: &Latest, dropped: u64) {
        let start = Instant::now();
        while latest.dropped() < dropped && start.elapsed() < LONG {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn the_newest_frame_wins_and_the_others_are_counted() {
        let (sender, latest) = mailbox(true);
        (0..5).for_each(|index| sender.send(Ok(index)).unwrap());
        until_dropped(&latest, 4);
        let arrived = latest.wait(LONG).unwrap().unwrap();
        assert_eq!((arrived.frame.index, arrived.dropped), (4, 4));
        let short = Duration::from_millis(30);
        let stalled = latest.wait(short).unwrap_err();
        assert!(matches!(stalled, VideoError::Stalled { after } if after == short), "no frame twice: {stalled}");
        sender.send(Ok(5)).unwrap();
        assert_eq!(latest.wait(LONG).unwrap().unwrap().frame.index, 5, "after a stall it goes on");
    }

    #[test]
    fn frames_of_a_file_are_not_dropped() {
        let (sender, latest) = mailbox(false);
        (0..5).for_each(|index| sender.send(Ok(index)).unwrap());
        drop(sender);
        std::thread::sleep(Duration::from_millis(30));
        let seen: Vec<u64> = std::iter::from_fn(|| latest.wait(LONG).unwrap()).map(|a| a.frame.index).collect();
        assert_eq!((seen, latest.dropped()), (vec![0, 1, 2, 3, 4], 0));
        let (sender, receiver) = channel();
        let asked = Latest::with_delivery(Box::new(Sent(receiver, false)), Delivery::Newest);
        (0..3).for_each(|index| sender.send(Ok(index)).unwrap());
        until_dropped(&asked, 2);
        assert_eq!(asked.wait(LONG).unwrap().unwrap().frame.index, 2, "dropped if that is asked for");
    }

    #[test]
    fn the_end_comes_after_the_last_frame_and_stays() {
        let (sender, latest) = mailbox(true);
        sender.send(Ok(7)).unwrap();
        drop(sender);
        assert_eq!(latest.wait(LONG).unwrap().unwrap().frame.index, 7);
        assert!(latest.wait(LONG).unwrap().is_none() && latest.wait(LONG).unwrap().is_none());
    }

    #[test]
    fn an_error_is_told_once_and_after_the_last_frame() {
        let (sender, latest) = mailbox(true);
        sender.send(Ok(0)).unwrap();
        sender.send(Err(VideoError::Unplugged { name: "cam".into(), said: "gone".into() })).unwrap();
        while latest.shared.lock().end.is_none() {
            std::thread::sleep(Duration::from_millis(1));
        }
        assert!(latest.wait(LONG).unwrap().is_some());
        assert!(matches!(latest.wait(LONG), Err(VideoError::Unplugged { .. })));
        assert!(latest.wait(LONG).unwrap().is_none());
    }

    #[test]
    fn whoever_leaves_does_not_wait_for_a_silent_source() {
        let (_sender, latest) = mailbox(true);
        let start = Instant::now();
        drop(latest);
        assert!(start.elapsed() < Duration::from_secs(1));
        let (sender, latest) = mailbox(false);
        (0..3).for_each(|index| sender.send(Ok(index)).unwrap());
        std::thread::sleep(Duration::from_millis(20));
        drop(latest);
    }
}
