//! The fast reciprocal search: seeds walk from nearest neighbour to nearest neighbour until they stand still.

use super::{DescriptorMap, merge_correspondences};
use steropes_ops::OpError;

const OP: &str = "matching::fast_reciprocal_nns";
/// Rounds after which a grid seed that still moves is dropped.
const MAX_ROUNDS: usize = 10;

/// Where the search starts in photo 1.
#[derive(Clone, Debug, PartialEq)]
pub enum Seeds {
    /// Every `n`-th pixel both ways, from `n / 2` on. Up to 10 rounds.
    Grid(usize),
    /// These pixels `(x, y)`, in any order; repeated ones count once. One round.
    Pixels(Vec<[u32; 2]>),
}

/// How [`fast_reciprocal_nns`] searches.
#[derive(Clone, Debug, PartialEq)]
pub struct ReciprocalOptions {
    /// Where the search starts.
    pub seeds: Seeds,
    /// 0: a match is a pair of pixels that are nearest to each other. Above 0, only with [`Seeds::Pixels`]: a match is
    /// a seed and its nearest neighbour, if the neighbour's own nearest is less than so many pixels from the seed.
    pub pixel_tol: f32,
    /// Whether to note where each visited pixel led (see [`ReciprocalMatches::basin`]).
    pub basin: bool,
}

impl ReciprocalOptions {
    /// Seeds on a grid, exact mutual neighbours, no basin.
    pub fn grid(step: usize) -> Self {
        Self { seeds: Seeds::Grid(step), pixel_tol: 0.0, basin: false }
    }
}

/// What [`fast_reciprocal_nns`] found.
#[derive(Clone, Debug)]
pub struct ReciprocalMatches {
    /// Pixel numbers in photo 1, sorted.
    pub pixels_1: Vec<u32>,
    /// Pixel numbers in photo 2; equal pixels of photo 1 are sorted by these.
    pub pixels_2: Vec<u32>,
    /// The state of all seeds after the last round.
    pub tracks: Tracks,
    /// Per track, whether it gave a match (several tracks may give the same).
    pub converged: Vec<bool>,
    /// Per pixel of photo 1 the pixel that its nearest neighbour led back to; `None` where no track came by.
    /// Empty unless asked for.
    pub basin: Vec<Option<u32>>,
}

/// Nearest neighbours between two photos in both directions, each searched for at most once.
pub struct PairLookup<'a> {
    forth: Lookup<'a>,
    back: Lookup<'a>,
}

struct Lookup<'a> {
    from: &'a DescriptorMap,
    to: &'a DescriptorMap,
    /// Per pixel of `from` its nearest in `to`, [`UNKNOWN`] until it was asked for.
    known: Vec<u32>,
}

/// No pixel has this number: a database has fewer rows.
const UNKNOWN: u32 = u32::MAX;

impl<'a> PairLookup<'a> {
    /// Nothing known yet.
    ///
    /// # Errors
    /// [`OpError::Shape`] if the maps differ in depth.
    pub fn new(map_1: &'a DescriptorMap, map_2: &'a DescriptorMap) -> Result<Self, OpError> {
        if map_1.depth() != map_2.depth() {
            let expected = format!("of depth {}, as map 1", map_1.depth());
            return Err(OpError::shape(OP, "map_2", expected, &[map_2.height, map_2.width, map_2.depth()]));
        }
        let lookup = |from: &'a DescriptorMap, to| Lookup { from, to, known: vec![UNKNOWN; from.pixels()] };
        Ok(Self { forth: lookup(map_1, map_2), back: lookup(map_2, map_1) })
    }

    /// The same with the photos in exchanged roles.
    pub fn swapped(self) -> Self {
        Self { forth: self.back, back: self.forth }
    }
}

impl Lookup<'_> {
    /// The nearest pixel for each of `pixels`.
    fn nearest(&mut self, pixels: &[u32]) -> Result<Vec<u32>, OpError> {
        let mut asked: Vec<u32> =
            pixels.iter().copied().filter(|p| self.known[*p as usize] == UNKNOWN).collect();
        asked.sort_unstable();
        asked.dedup();
        for (pixel, nearest) in asked.iter().zip(self.to.nearest_to(self.from, &asked)?) {
            self.known[*pixel as usize] = nearest;
        }
        Ok(pixels.iter().map(|p| self.known[*p as usize]).collect())
    }
}

/// Seeds of photo 1 on their way to mutual neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracks {
    /// The pixel of photo 1 where each track started; sorted, each once.
    pub seeds: Vec<u32>,
    /// The pixel of photo 1 where each track is.
    pub pixels_1: Vec<u32>,
    /// The pixel of photo 2 where each track is; `None` before the first round.
    pub pixels_2: Vec<Option<u32>>,
    /// Whether the track still moves. One that does not holds two pixels that are nearest to each other.
    pub active: Vec<bool>,
}

impl Tracks {
    /// Tracks at their seeds.
    pub fn new(mut seeds: Vec<u32>) -> Self {
        seeds.sort_unstable();
        seeds.dedup();
        let count = seeds.len();
        Self { pixels_1: seeds.clone(), seeds, pixels_2: vec![None; count], active: vec![true; count] }
    }

    /// Whether a track still moves.
    pub fn any_active(&self) -> bool {
        self.active.contains(&true)
    }

    /// One round: every active track goes to its nearest neighbour in photo 2 and back. A track that comes to the
    /// pixel where it was before, on either side, stops. With `basin` only photo 1 counts, and every step there is noted.
    ///
    /// # Errors
    /// As [`fast_reciprocal_nns`].
    pub fn advance(
        &mut self,
        lookup: &mut PairLookup<'_>,
        mut basin: Option<&mut [Option<u32>]>,
    ) -> Result<(), OpError> {
        let going = self.active_tracks();
        let there: Vec<_> = going.iter().map(|t| self.pixels_1[*t]).collect();
        for (track, pixel) in going.into_iter().zip(lookup.forth.nearest(&there)?) {
            let stays = self.pixels_2[track].replace(pixel) == Some(pixel);
            self.active[track] = basin.is_some() || !stays;
        }

        let returning = self.active_tracks();
        let there: Vec<_> = returning.iter().filter_map(|t| self.pixels_2[*t]).collect();
        for (track, pixel) in returning.into_iter().zip(lookup.back.nearest(&there)?) {
            let before = std::mem::replace(&mut self.pixels_1[track], pixel);
            if let Some(basin) = basin.as_deref_mut() {
                basin[before as usize] = Some(pixel);
            }
            self.active[track] = before != pixel;
        }
        Ok(())
    }

    fn active_tracks(&self) -> Vec<usize> {
        (0..self.active.len()).filter(|t| self.active[*t]).collect()
    }
}

/// Pairs of pixels that are nearest to each other, found from seeds: the nearest neighbour of a seed in photo 2, its nearest
/// in photo 1, and so on until the pair repeats itself. Each step only comes nearer, so most seeds end at a mutual pair
/// after a few rounds.
///
/// # Units
/// Pixels.
///
/// # Errors
/// [`OpError::Shape`] if the maps differ in depth, [`OpError::Value`] for a grid of step 0, a seed outside of photo 1, a
/// negative or infinite tolerance, and a tolerance with [`Seeds::Grid`].
///
/// # Source
/// Fast reciprocal matching of MASt3R, arXiv:2406.09756, section 3.3; written from its description.
pub fn fast_reciprocal_nns(
    map_1: &DescriptorMap,
    map_2: &DescriptorMap,
    options: &ReciprocalOptions,
) -> Result<ReciprocalMatches, OpError> {
    search(&mut PairLookup::new(map_1, map_2)?, options)
}

/// [`fast_reciprocal_nns`] on what is known already.
pub(super) fn search(
    lookup: &mut PairLookup<'_>,
    options: &ReciprocalOptions,
) -> Result<ReciprocalMatches, OpError> {
    let map = lookup.forth.from;
    let tolerance = options.pixel_tol;
    if !(tolerance >= 0.0 && tolerance.is_finite()) {
        return Err(OpError::value(OP, "pixel_tol", "at least 0 and finite", tolerance));
    }
    let (seeds, rounds) = match &options.seeds {
        Seeds::Grid(_) if tolerance > 0.0 => {
            return Err(OpError::value(OP, "pixel_tol", "0 with seeds on a grid", tolerance));
        }
        Seeds::Grid(step) => (grid(map, *step)?, MAX_ROUNDS),
        Seeds::Pixels(pixels) => (pixel_numbers(map, pixels)?, 1),
    };

    let mut tracks = Tracks::new(seeds);
    let mut basin = vec![None; if options.basin { map.pixels() } else { 0 }];
    for _ in 0..rounds {
        if !tracks.any_active() {
            break;
        }
        tracks.advance(lookup, options.basin.then_some(&mut basin[..]))?;
    }

    let converged: Vec<bool> = (0..tracks.seeds.len())
        .map(|t| {
            let (seed, end) = (map.xy(tracks.seeds[t]), map.xy(tracks.pixels_1[t]));
            let [dx, dy] = [0, 1].map(|c| f64::from(seed[c].abs_diff(end[c])));
            if tolerance > 0.0 { dx.hypot(dy) < f64::from(tolerance) } else { !tracks.active[t] }
        })
        .collect();
    // With a tolerance the seed stands for the pixel near it that was found.
    let ends = if tolerance > 0.0 { &tracks.seeds } else { &tracks.pixels_1 };
    let kept = |t: &usize| converged[*t];
    let pixels_1: Vec<u32> = (0..ends.len()).filter(kept).map(|t| ends[t]).collect();
    let pixels_2: Vec<u32> = (0..ends.len()).filter(kept).filter_map(|t| tracks.pixels_2[t]).collect();
    let merged = merge_correspondences(&pixels_1, &pixels_2);
    Ok(ReciprocalMatches { pixels_1: merged.pixels_1, pixels_2: merged.pixels_2, tracks, converged, basin })
}

/// The pixels `(step / 2 + i step, step / 2 + j step)`.
pub(super) fn grid_pixels(map: &DescriptorMap, step: usize) -> Result<Vec<[u32; 2]>, OpError> {
    if step == 0 {
        return Err(OpError::value(OP, "seeds", "a grid of step 1 or more", step));
    }
    let along = |side| (step / 2..side).step_by(step).map(|v| v as u32);
    Ok(along(map.height).flat_map(|y| along(map.width).map(move |x| [x, y])).collect())
}

fn grid(map: &DescriptorMap, step: usize) -> Result<Vec<u32>, OpError> {
    pixel_numbers(map, &grid_pixels(map, step)?)
}

fn pixel_numbers(map: &DescriptorMap, pixels: &[[u32; 2]]) -> Result<Vec<u32>, OpError> {
    let inside = |[x, y]: [u32; 2]| (x as usize) < map.width && (y as usize) < map.height;
    if let Some([x, y]) = pixels.iter().copied().find(|p| !inside(*p)) {
        let expected = format!("inside of {} x {} pixels", map.width, map.height);
        return Err(OpError::value(OP, "seeds", expected, format!("({x}, {y})")));
    }
    Ok(pixels.iter().map(|p| map.pixel(*p)).collect())
}
