//! The fast reciprocal search: seeds walk from nearest neighbour to nearest neighbour until they stand still.

use super::{DescriptorMap, list_on, merge_correspondences};
use steropes_ops::OpError;
use steropes_ops::matching::lookup_table::{LookupTable, Step, UNKNOWN};
use steropes_ops::matching::nearest_neighbors::nearest_neighbors_of;
use steropes_tensor::{Device, Tensor};

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
    /// Per pixel of `from` its nearest in `to`.
    table: LookupTable,
}

impl<'a> PairLookup<'a> {
    /// Nothing known yet.
    ///
    /// # Errors
    /// [`OpError::Shape`] if the maps differ in depth, [`OpError::Value`] for 2^31 pixels or more, [`OpError::Failed`] if a GPU
    /// has no memory for the table.
    pub fn new(map_1: &'a DescriptorMap, map_2: &'a DescriptorMap) -> Result<Self, OpError> {
        if map_1.depth() != map_2.depth() {
            let expected = format!("of depth {}, as map 1", map_1.depth());
            return Err(OpError::shape(OP, "map_2", expected, &[map_2.height, map_2.width, map_2.depth()]));
        }
        let lookup = |from: &'a DescriptorMap, to| -> Result<_, OpError> {
            Ok(Lookup { from, to, table: LookupTable::new(&from.device(), from.pixels())? })
        };
        Ok(Self { forth: lookup(map_1, map_2)?, back: lookup(map_2, map_1)? })
    }

    /// The same with the photos in exchanged roles.
    pub fn swapped(self) -> Self {
        Self { forth: self.back, back: self.forth }
    }
}

impl Lookup<'_> {
    /// Tracks at the pixels `from` go to the nearest of these; see [`LookupTable::follow`].
    fn step(
        &mut self,
        from: &Tensor,
        to: &Tensor,
        active: &Tensor,
        keep_going: bool,
    ) -> Result<Step, OpError> {
        let asked = self.table.ask(from, active)?;
        let nearest = nearest_neighbors_of(&self.from.rows, &asked, &self.to.database)?;
        self.table.answer(&asked, &nearest)?;
        self.table.follow(from, to, active, keep_going)
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
        basin: Option<&mut [Option<u32>]>,
    ) -> Result<(), OpError> {
        let mut walk = Walk::start(self, &lookup.forth.from.device())?;
        walk.round(lookup, basin.is_some())?;
        let after = walk.end(self.seeds.clone())?;
        if let Some(basin) = basin {
            // With a basin every active track comes back.
            for track in (0..self.active.len()).filter(|t| self.active[*t]) {
                basin[self.pixels_1[track] as usize] = Some(after.pixels_1[track]);
            }
        }
        *self = after;
        Ok(())
    }
}

/// Tracks on the device of the maps.
struct Walk {
    /// `[tracks]`, u32, like the next two.
    pixels_1: Tensor,
    /// [`UNKNOWN`] before the first round.
    pixels_2: Tensor,
    /// 0 or 1.
    active: Tensor,
}

impl Walk {
    fn start(tracks: &Tracks, device: &Device) -> Result<Self, OpError> {
        let pixels_2 = tracks.pixels_2.iter().map(|p| p.unwrap_or(UNKNOWN)).collect();
        let active = tracks.active.iter().map(|a| u32::from(*a)).collect();
        Ok(Self {
            pixels_1: list_on(device, tracks.pixels_1.clone())?,
            pixels_2: list_on(device, pixels_2)?,
            active: list_on(device, active)?,
        })
    }

    /// As [`Tracks::advance`], without a basin. With `keep_going` only coming back to the same pixel of photo 1 ends a track.
    fn round(&mut self, lookup: &mut PairLookup<'_>, keep_going: bool) -> Result<(), OpError> {
        let there = lookup.forth.step(&self.pixels_1, &self.pixels_2, &self.active, keep_going)?;
        let back = lookup.back.step(&there.to, &self.pixels_1, &there.active, false)?;
        *self = Self { pixels_1: back.to, pixels_2: there.to, active: back.active };
        Ok(())
    }

    fn end(self, seeds: Vec<u32>) -> Result<Tracks, OpError> {
        let known = |pixel| (pixel != UNKNOWN).then_some(pixel);
        Ok(Tracks {
            seeds,
            pixels_1: self.pixels_1.into_vec()?,
            pixels_2: self.pixels_2.into_vec()?.into_iter().map(known).collect(),
            active: self.active.into_vec::<u32>()?.into_iter().map(|a| a != 0).collect(),
        })
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
    if options.basin {
        for _ in 0..rounds {
            tracks.advance(lookup, Some(&mut basin[..]))?;
        }
    } else {
        // Rounds without an active track cost next to nothing, so nobody looks for one in between.
        let mut walk = Walk::start(&tracks, &map.device())?;
        for _ in 0..rounds {
            walk.round(lookup, false)?;
        }
        tracks = walk.end(tracks.seeds)?;
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
