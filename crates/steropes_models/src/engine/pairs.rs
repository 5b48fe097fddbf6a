//! Many pairs, one after the other.

use super::{EncodedImage, Engine, Image, Orders, PairResult};
use crate::ModelError;
use std::collections::VecDeque;
use std::iter::FusedIterator;
use steropes_ops::OpError;

/// The results of images in a row; see [`Engine::sequence`].
#[derive(Debug)]
pub struct Sequence<'a, I> {
    engine: &'a Engine,
    images: std::iter::Fuse<I>,
    /// The last image so far.
    last: Option<EncodedImage>,
    ready: VecDeque<PairResult>,
    failed: bool,
}

impl<'a, I: Iterator<Item = Image>> Sequence<'a, I> {
    pub(super) fn new(engine: &'a Engine, images: I) -> Self {
        Self { engine, images: images.fuse(), last: None, ready: VecDeque::new(), failed: false }
    }

    /// Decodes the next pairs, if there are any.
    fn refill(&mut self) -> Result<(), ModelError> {
        let before = self.last.take();
        let is_first = before.is_none();
        let count = self.engine.batch_size() + usize::from(is_first);
        let new: Vec<Image> = self.images.by_ref().take(count).collect();
        // One image by itself is in no pair, so nobody needs it encoded.
        if new.len() < if is_first { 2 } else { 1 } {
            return Ok(());
        }
        let encoded = self.engine.encode_all(&new.iter().collect::<Vec<_>>())?;
        drop(new);
        let mut row: Vec<EncodedImage> = before.into_iter().chain(encoded).collect();
        let pairs: Vec<_> = row.windows(2).map(|pair| [&pair[0], &pair[1]]).collect();
        let mut results = self.engine.decode(&pairs, Orders::Given)?;
        // What was encoded before was counted before.
        if is_first {
            results[0].timings.add(&row[0]);
        }
        results.iter_mut().zip(&row[1..]).for_each(|(result, image)| result.timings.add(image));
        self.ready.extend(results);
        self.last = row.pop();
        Ok(())
    }
}

impl<I: Iterator<Item = Image>> Iterator for Sequence<'_, I> {
    type Item = Result<PairResult, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty()
            && !self.failed
            && let Err(error) = self.refill()
        {
            self.failed = true;
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}

impl<I: Iterator<Item = Image>> FusedIterator for Sequence<'_, I> {}

/// The results of a list of pairs; see [`Engine::pairs`].
#[derive(Debug)]
pub struct Pairs<'a> {
    engine: &'a Engine,
    images: &'a [Image],
    list: &'a [[usize; 2]],
    orders: Orders,
    /// The first pair that was not decoded.
    at: usize,
    /// For each image the last of its pairs.
    last_use: Vec<usize>,
    encoded: Vec<Option<EncodedImage>>,
    ready: VecDeque<PairResult>,
}

impl<'a> Pairs<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        images: &'a [Image],
        list: &'a [[usize; 2]],
        orders: Orders,
    ) -> Result<Self, ModelError> {
        let mut last_use = vec![0; images.len()];
        for (k, pair) in list.iter().enumerate() {
            for &i in pair {
                let Some(last) = last_use.get_mut(i) else {
                    let expected = format!("images below {}", images.len());
                    return Err(OpError::value("pairs", "list", expected, format!("{pair:?}")).into());
                };
                *last = k;
            }
        }
        let encoded = vec![None; images.len()];
        Ok(Self { engine, images, list, orders, at: 0, last_use, encoded, ready: VecDeque::new() })
    }

    /// Images that are held encoded now.
    pub fn held(&self) -> usize {
        self.encoded.iter().flatten().count()
    }

    /// Decodes the next pairs, if there are any.
    fn refill(&mut self) -> Result<(), ModelError> {
        let end = self.list.len().min(self.at + self.engine.batch_size());
        let pairs = &self.list[self.at..end];
        let per_pair = if self.orders == Orders::Both { 2 } else { 1 };
        let mut missing: Vec<(usize, usize)> = Vec::new(); // image, and the pair that needs it first
        for (k, pair) in pairs.iter().enumerate() {
            for &i in pair {
                if self.encoded[i].is_none() && missing.iter().all(|&(j, _)| j != i) {
                    missing.push((i, k));
                }
            }
        }
        let new: Vec<&Image> = missing.iter().map(|&(i, _)| &self.images[i]).collect();
        for (&(i, _), image) in missing.iter().zip(self.engine.encode_all(&new)?) {
            self.encoded[i] = Some(image);
        }
        let image = |i: usize| self.encoded[i].as_ref().expect("encoded above or before");
        let views: Vec<_> = pairs.iter().map(|pair| pair.map(image)).collect();
        let mut results = self.engine.decode(&views, self.orders)?;
        for &(i, k) in &missing {
            results[k * per_pair].timings.add(image(i));
        }
        self.ready.extend(results);
        self.at = end;
        for (encoded, &last) in self.encoded.iter_mut().zip(&self.last_use) {
            if last < end {
                *encoded = None;
            }
        }
        Ok(())
    }
}

impl Iterator for Pairs<'_> {
    type Item = Result<PairResult, ModelError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ready.is_empty()
            && self.at < self.list.len()
            && let Err(error) = self.refill()
        {
            self.at = self.list.len();
            return Some(Err(error));
        }
        self.ready.pop_front().map(Ok)
    }
}

impl FusedIterator for Pairs<'_> {}
