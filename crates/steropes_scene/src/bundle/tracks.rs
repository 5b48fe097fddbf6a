//! Tracks: the pixels of several photos that show one surface point.
//!
//! Matches of different pairs hardly ever meet in exactly the same pixel, because each pair settles on its own
//! mutual nearest neighbours. So pixels of a photo within a radius are taken for one keypoint, which links the
//! pairs into long tracks, and the shift that this causes is undone: every match brings along how its
//! surroundings move (a local affine map), and the pixels of a track are the least-squares answer to all
//! its matches.

use super::{BundleError, require, require_index};
use nalgebra::{DMatrix, DVector, Matrix2, Vector2};
use rayon::prelude::*;

/// Largest pixel coordinate accepted; beyond it the search grid loses precision.
const LARGEST_PIXEL: f32 = 1e6;

/// Two pixels that show the same surface point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelMatch {
    /// (x, y) in the first and in the second photo of the pair.
    pub pixels: [[f32; 2]; 2],
    /// How sure the match is; only the order matters, unless [`TrackOptions::confidence_power`] is set.
    pub confidence: f32,
}

/// The verified matches of one pair of photos.
#[derive(Clone, Debug, PartialEq)]
pub struct PairMatches {
    /// The two photos.
    pub images: [usize; 2],
    /// Their matches.
    pub matches: Vec<PixelMatch>,
}

/// One photo's view of a track.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observation {
    /// The photo.
    pub image: usize,
    /// Pixel (x, y).
    pub pixel: [f64; 2],
    /// Inverse variance relative to other observations; 1 where nothing is known.
    pub weight: f64,
    /// Depth along the optical axis that another source believes, in units of the scene; see
    /// [`Tracks::set_depths`].
    pub depth: Option<f64>,
}

/// Tracks, each with one observation per photo, in increasing order of photos.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tracks {
    starts: Vec<usize>,
    observations: Vec<Observation>,
    statistics: TrackStatistics,
}

/// What [`build_tracks`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrackStatistics {
    /// `histogram[n]` tracks have `n` observations.
    pub histogram: Vec<usize>,
    /// Matches given.
    pub matches: usize,
    /// Matches left out because too few matches around them move alike.
    pub lonely: usize,
    /// Matches left out because their track would have had two pixels in one photo.
    pub conflicts: usize,
    /// Matches that a track's other matches contradict by more than [`TrackOptions::agreement_px`].
    pub contradictions: usize,
}

/// How [`build_tracks`] joins matches.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TrackOptions {
    /// Pixels of one photo at most this far apart are one keypoint. 0: only equal pixels.
    pub merge_radius_px: f32,
    /// Tracks seen by fewer photos are left out; at least 2.
    pub min_length: usize,
    /// Distance in pixels at which a match starts to lose its say in the pixels of its track.
    pub agreement_px: f64,
    /// A match counts only if so many of the matches around it move alike (each counts up to 1); 0: all count. Wrong
    /// matches that happen to fulfil the epipolar constraint stand alone, and their points, often very near, pull
    /// hard at focal length and poses.
    pub min_support: f64,
    /// An observation weighs the mean confidence of its matches to this power, over the mean of all such weights; 0: all
    /// weigh the same.
    pub confidence_power: f64,
}

impl Default for TrackOptions {
    fn default() -> Self {
        Self {
            merge_radius_px: 2.0,
            min_length: 2,
            agreement_px: 1.0,
            min_support: 2.0,
            confidence_power: 0.0,
        }
    }
}

impl Tracks {
    /// Tracks from lists of observations; lists with fewer than two are left out.
    pub fn from_lists(lists: &[Vec<Observation>]) -> Self {
        let mut tracks = Self { starts: vec![0], ..Self::default() };
        for list in lists.iter().filter(|list| list.len() >= 2) {
            let mut list = list.clone();
            list.sort_by_key(|o| o.image);
            tracks.push(&list);
        }
        tracks
    }

    /// Number of tracks.
    pub fn len(&self) -> usize {
        self.starts.len().saturating_sub(1)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The observations of track `index`, by photo.
    pub fn track(&self, index: usize) -> &[Observation] {
        &self.observations[self.starts[index]..self.starts[index + 1]]
    }

    /// All tracks in order.
    pub fn iter(&self) -> impl Iterator<Item = &[Observation]> {
        (0..self.len()).map(|i| self.track(i))
    }

    /// Counts of what was joined.
    pub fn statistics(&self) -> &TrackStatistics {
        &self.statistics
    }

    /// Gives every observation the depth that `depth(photo, pixel)` believes, in units of the scene.
    pub fn set_depths(&mut self, depth: impl Fn(usize, [f64; 2]) -> Option<f64>) {
        for o in &mut self.observations {
            o.depth = depth(o.image, o.pixel).filter(|d| d.is_finite() && *d > 0.0);
        }
    }

    fn push(&mut self, track: &[Observation]) {
        self.observations.extend_from_slice(track);
        self.starts.push(self.observations.len());
        if self.statistics.histogram.len() <= track.len() {
            self.statistics.histogram.resize(track.len() + 1, 0);
        }
        self.statistics.histogram[track.len()] += 1;
    }
}

/// Tracks of the matches of all pairs: union-find over keypoints, surest matches first, in which a track never
/// gets two keypoints of one photo.
///
/// # Errors
/// [`BundleError`] if a photo of a pair is not below `photo_count`, a pair has twice the same photo, a pixel or
/// confidence is not finite (or beyond a million), or an option is out of range.
///
/// # Source
/// Union-find tracks: Moulon and Monasse, "Unordered feature tracking made fast and easy", CVMP 2012. The
/// least-squares pixels are written from the formula above `track_pixels`.
pub fn build_tracks(
    photo_count: usize,
    pairs: &[PairMatches],
    options: &TrackOptions,
) -> Result<Tracks, BundleError> {
    check(photo_count, pairs, options)?;
    let keypoints = Keypoints::new(photo_count, pairs, options.merge_radius_px);
    let maps: Vec<Vec<LocalMap>> = pairs.par_iter().map(|pair| local_maps(&pair.matches)).collect();
    let mut order: Vec<(u32, u32)> = pairs
        .iter()
        .enumerate()
        .flat_map(|(pair, p)| (0..p.matches.len()).map(move |m| (pair as u32, m as u32)))
        .filter(|&(pair, m)| maps[pair as usize][m as usize].support >= options.min_support)
        .collect();
    let confidence = |&(pair, m): &(u32, u32)| pairs[pair as usize].matches[m as usize].confidence;
    order.sort_by(|a, b| confidence(b).total_cmp(&confidence(a)).then(a.cmp(b)));
    let mut forest = Forest::new(&keypoints.photo);
    let mut conflicts = 0;
    for &(pair, m) in &order {
        let [a, b] = keypoints.of(pair, m);
        conflicts += usize::from(!forest.join(a, b));
    }
    let matches = pairs.iter().map(|pair| pair.matches.len()).sum();
    order.sort_unstable();
    let links = links_by_track(&keypoints, pairs, &maps, &order, &mut forest);
    let solved: Vec<(Vec<Observation>, usize)> =
        links.par_iter().map(|links| track_pixels(links, &keypoints.photo, options)).collect();
    let mut tracks = Tracks { starts: vec![0], ..Tracks::default() };
    tracks.statistics =
        TrackStatistics { matches, lonely: matches - order.len(), conflicts, ..TrackStatistics::default() };
    for (track, contradictions) in &solved {
        tracks.statistics.contradictions += contradictions;
        if track.len() >= options.min_length {
            tracks.push(track);
        }
    }
    // Weights are relative: with a mean of 1, the noise keeps its meaning.
    let mean = tracks.observations.iter().map(|o| o.weight).sum::<f64>() / tracks.observations.len() as f64;
    tracks.observations.iter_mut().for_each(|o| o.weight /= mean);
    Ok(tracks)
}

fn check(photo_count: usize, pairs: &[PairMatches], options: &TrackOptions) -> Result<(), BundleError> {
    const OP: &str = "build_tracks";
    for pair in pairs {
        let [a, b] = pair.images;
        require_index(OP, "pairs.images", photo_count, a)?;
        require_index(OP, "pairs.images", photo_count, b)?;
        if a == b {
            return Err(BundleError::SamePhoto { op: OP, argument: "pairs.images", got: a });
        }
        for m in &pair.matches {
            for value in m.pixels.as_flattened() {
                let accepted = value.abs() <= LARGEST_PIXEL;
                require(OP, "pairs.matches.pixels", "within a million pixels", f64::from(*value), accepted)?;
            }
            let confidence = f64::from(m.confidence);
            require(OP, "pairs.matches.confidence", "at least 0", confidence, confidence >= 0.0)?;
        }
    }
    let radius = f64::from(options.merge_radius_px);
    require(OP, "options.merge_radius_px", "at least 0", radius, radius >= 0.0)?;
    require(OP, "options.min_length", "at least 2", options.min_length as f64, options.min_length >= 2)?;
    require(OP, "options.agreement_px", "above 0", options.agreement_px, options.agreement_px > 0.0)?;
    require(OP, "options.min_support", "at least 0", options.min_support, options.min_support >= 0.0)?;
    let power = options.confidence_power;
    require(OP, "options.confidence_power", "at least 0", power, power >= 0.0)
}

/// The keypoints of all photos, numbered photo by photo, and which one each end of each match belongs to.
struct Keypoints {
    photo: Vec<u32>,
    ends: Vec<Vec<[u32; 2]>>,
}

impl Keypoints {
    fn new(photo_count: usize, pairs: &[PairMatches], radius: f32) -> Self {
        let mut ends_of_photo: Vec<Vec<(u32, u32, u8)>> = vec![Vec::new(); photo_count];
        for (p, pair) in pairs.iter().enumerate() {
            for m in 0..pair.matches.len() {
                for side in 0..2 {
                    ends_of_photo[pair.images[side]].push((p as u32, m as u32, side as u8));
                }
            }
        }
        let clusters: Vec<(Vec<u32>, u32)> = ends_of_photo
            .par_iter()
            .map(|ends| {
                let pixels: Vec<[f32; 2]> = ends
                    .iter()
                    .map(|&(p, m, side)| pairs[p as usize].matches[m as usize].pixels[side as usize])
                    .collect();
                clusters(&pixels, radius)
            })
            .collect();
        let mut all = Self {
            photo: Vec::new(),
            ends: pairs.iter().map(|pair| vec![[0; 2]; pair.matches.len()]).collect(),
        };
        for (photo, (assigned, count)) in clusters.iter().enumerate() {
            let first = all.photo.len() as u32;
            for (&(p, m, side), cluster) in ends_of_photo[photo].iter().zip(assigned) {
                all.ends[p as usize][m as usize][side as usize] = first + cluster;
            }
            all.photo.resize(all.photo.len() + *count as usize, photo as u32);
        }
        all
    }

    fn of(&self, pair: u32, m: u32) -> [u32; 2] {
        self.ends[pair as usize][m as usize]
    }
}

/// Buckets of pixels on a square grid, for finding those near a place.
struct Grid<'a> {
    pixels: &'a [[f32; 2]],
    cell_px: f32,
    /// (row, column, index), sorted.
    sorted: Vec<(i32, i32, u32)>,
}

impl<'a> Grid<'a> {
    fn new(pixels: &'a [[f32; 2]], cell_px: f32) -> Self {
        let mut grid = Self { pixels, cell_px, sorted: Vec::new() };
        grid.sorted = pixels
            .iter()
            .enumerate()
            .map(|(i, &pixel)| {
                let (row, column) = grid.cell(pixel);
                (row, column, i as u32)
            })
            .collect();
        grid.sorted.sort_unstable();
        grid
    }

    fn cell(&self, pixel: [f32; 2]) -> (i32, i32) {
        ((pixel[1] / self.cell_px).floor() as i32, (pixel[0] / self.cell_px).floor() as i32)
    }

    /// Calls `found` with every pixel at most `radius` (no more than a cell) from `at`, in grid order.
    fn near(&self, at: [f32; 2], radius: f32, mut found: impl FnMut(u32)) {
        let (row, column) = self.cell(at);
        for r in row - 1..=row + 1 {
            let first = self.sorted.partition_point(|&(y, x, _)| (y, x) < (r, column - 1));
            for &(y, x, i) in &self.sorted[first..] {
                if (y, x) > (r, column + 1) {
                    break;
                }
                let [px, py] = self.pixels[i as usize];
                let (dx, dy) = (px - at[0], py - at[1]);
                if dx * dx + dy * dy <= radius * radius {
                    found(i);
                }
            }
        }
    }
}

/// Groups pixels: the one with most others within the radius takes them, then the next, until all are taken.
/// The group of each pixel, and the number of groups.
fn clusters(pixels: &[[f32; 2]], radius: f32) -> (Vec<u32>, u32) {
    let grid = Grid::new(pixels, radius.max(1.0));
    let crowd: Vec<u32> = pixels
        .iter()
        .map(|&pixel| {
            let mut count = 0;
            grid.near(pixel, radius, |_| count += 1);
            count
        })
        .collect();
    let mut order: Vec<u32> = (0..pixels.len() as u32).collect();
    let place = |i: u32| (pixels[i as usize][1], pixels[i as usize][0]);
    order.sort_by(|&a, &b| {
        let by_place = place(a).0.total_cmp(&place(b).0).then(place(a).1.total_cmp(&place(b).1));
        crowd[b as usize].cmp(&crowd[a as usize]).then(by_place).then(a.cmp(&b))
    });
    let mut cluster = vec![u32::MAX; pixels.len()];
    let mut count = 0;
    for i in order {
        if cluster[i as usize] == u32::MAX {
            grid.near(pixels[i as usize], radius, |j| {
                if cluster[j as usize] == u32::MAX {
                    cluster[j as usize] = count;
                }
            });
            count += 1;
        }
    }
    (cluster, count)
}

/// How the surroundings of a match move.
struct LocalMap {
    /// Step in the second photo per step in the first.
    map: Matrix2<f64>,
    /// How many of the matches around move so.
    support: f64,
}

/// For every match, how a small step in the first photo moves the pixel in the second: a least-squares
/// affine map over the matches around, with a pull towards the identity that decides where there are few.
fn local_maps(matches: &[PixelMatch]) -> Vec<LocalMap> {
    if matches.is_empty() {
        return Vec::new();
    }
    let pixels: Vec<[f32; 2]> = matches.iter().map(|m| m.pixels[0]).collect();
    let extent = |axis: usize| {
        let (low, high) =
            pixels.iter().fold((f32::MAX, f32::MIN), |(low, high), p| (low.min(p[axis]), high.max(p[axis])));
        high - low + 1.0
    };
    // About 20 matches fall into this radius if they cover the photo evenly.
    let spacing = (extent(0) * extent(1) / matches.len() as f32).sqrt();
    let radius = 2.5 * spacing;
    let grid = Grid::new(&pixels, radius);
    let offset =
        |from: [f32; 2], to: [f32; 2]| Vector2::new(f64::from(to[0] - from[0]), f64::from(to[1] - from[1]));
    let mut around = Vec::new();
    matches
        .iter()
        .map(|m| {
            around.clear();
            grid.near(m.pixels[0], radius, |i| {
                let other = &matches[i as usize].pixels;
                // The match itself, and the same one found again, say nothing about their surroundings.
                if other[0] != m.pixels[0] {
                    around.push((offset(m.pixels[0], other[0]), offset(m.pixels[1], other[1])));
                }
            });
            affine_map(&around, f64::from(spacing))
        })
        .collect()
}

fn affine_map(around: &[(Vector2<f64>, Vector2<f64>)], spacing: f64) -> LocalMap {
    let mut map = Matrix2::identity();
    let mut support = 0.0;
    for tolerance in [spacing, 0.5 * spacing, 0.25 * spacing] {
        let mut square = Matrix2::identity() * (spacing * spacing);
        let mut cross = square;
        support = 0.0;
        for (step, moved) in around {
            let off = (moved - map * step).norm_squared() / (tolerance * tolerance);
            let share = (1.0 + off).powi(-2);
            square += step * step.transpose() * share;
            cross += moved * step.transpose() * share;
            support += share;
        }
        match square.try_inverse() {
            Some(inverse) => map = cross * inverse,
            None => break,
        }
    }
    LocalMap { map, support }
}

/// Union-find that knows the photos of each set and refuses unions with a photo on both sides.
struct Forest {
    parent: Vec<u32>,
    photos: Vec<Vec<u32>>,
}

impl Forest {
    fn new(photo: &[u32]) -> Self {
        Self { parent: (0..photo.len() as u32).collect(), photos: photo.iter().map(|&p| vec![p]).collect() }
    }

    fn root(&mut self, mut i: u32) -> u32 {
        while self.parent[i as usize] != i {
            let above = self.parent[self.parent[i as usize] as usize];
            self.parent[i as usize] = above;
            i = above;
        }
        i
    }

    /// Whether both now are in one set.
    fn join(&mut self, a: u32, b: u32) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        if a == b {
            return true;
        }
        let (keep, gone) = (a.min(b) as usize, a.max(b) as usize);
        let (left, right) = (&self.photos[keep], &self.photos[gone]);
        if left.iter().any(|photo| right.binary_search(photo).is_ok()) {
            return false;
        }
        let moved = std::mem::take(&mut self.photos[gone]);
        self.photos[keep].extend(moved);
        self.photos[keep].sort_unstable();
        self.parent[gone] = keep as u32;
        true
    }
}

/// A match inside a track.
struct Link {
    keypoints: [u32; 2],
    pixels: [Vector2<f64>; 2],
    map: Matrix2<f64>,
    confidence: f64,
}

/// The matches of each track, tracks in the order of their first keypoint.
fn links_by_track(
    keypoints: &Keypoints,
    pairs: &[PairMatches],
    maps: &[Vec<LocalMap>],
    joined: &[(u32, u32)],
    forest: &mut Forest,
) -> Vec<Vec<Link>> {
    let mut track_of_root = vec![u32::MAX; forest.parent.len()];
    let mut tracks: Vec<Vec<Link>> = Vec::new();
    for keypoint in 0..forest.parent.len() as u32 {
        let root = forest.root(keypoint) as usize;
        if forest.photos[root].len() >= 2 && track_of_root[root] == u32::MAX {
            track_of_root[root] = tracks.len() as u32;
            tracks.push(Vec::new());
        }
    }
    for &(p, m) in joined {
        let ends = keypoints.of(p, m);
        let root = forest.root(ends[0]);
        if root == forest.root(ends[1]) {
            let found = &pairs[p as usize].matches[m as usize];
            tracks[track_of_root[root as usize] as usize].push(Link {
                keypoints: ends,
                pixels: found.pixels.map(|[x, y]| Vector2::new(f64::from(x), f64::from(y))),
                map: maps[p as usize][m as usize].map,
                confidence: f64::from(found.confidence),
            });
        }
    }
    tracks
}

/// The pixels of a track: minimises the robust sum over its matches `(p, q)` with local map `J` of
/// `|y - q - J (x - p)|^2`, where `x` and `y` are the track's pixels in the two photos, plus a faint pull of
/// every pixel to the mean of its matches, which decides the common shift that the sum leaves open.
fn track_pixels(links: &[Link], photo: &[u32], options: &TrackOptions) -> (Vec<Observation>, usize) {
    let mut members: Vec<u32> = links.iter().flat_map(|link| link.keypoints).collect();
    members.sort_unstable();
    members.dedup();
    let place = |keypoint: u32| members.binary_search(&keypoint).unwrap_or_default();
    let n = members.len();
    let mut mean = vec![Vector2::zeros(); n];
    let mut sure = vec![0.0; n];
    let mut degree = vec![0.0f64; n];
    for link in links {
        for side in 0..2 {
            let i = place(link.keypoints[side]);
            mean[i] += link.pixels[side];
            sure[i] += link.confidence;
            degree[i] += 1.0;
        }
    }
    for i in 0..n {
        mean[i] /= degree[i];
        sure[i] /= degree[i];
    }
    let mut pixels = mean.clone();
    let mut contradictions = 0;
    if links.len() > 1 {
        for _ in 0..3 {
            match agreed_pixels(links, &mean, &pixels, &place, options.agreement_px) {
                Some(better) => pixels = better,
                None => break,
            }
        }
        contradictions = links
            .iter()
            .filter(|link| disagreement(link, &pixels, &place).norm() > options.agreement_px)
            .count();
    }
    let observations = (0..n)
        .map(|i| Observation {
            image: photo[members[i] as usize] as usize,
            pixel: [pixels[i].x, pixels[i].y],
            weight: if options.confidence_power == 0.0 {
                1.0
            } else {
                sure[i].max(1e-6).powf(options.confidence_power)
            },
            depth: None,
        })
        .collect();
    (observations, contradictions)
}

/// How far a match is from the pixels of its track.
fn disagreement(link: &Link, pixels: &[Vector2<f64>], place: &impl Fn(u32) -> usize) -> Vector2<f64> {
    let [i, j] = link.keypoints.map(place);
    pixels[j] - link.pixels[1] - link.map * (pixels[i] - link.pixels[0])
}

/// One reweighted least-squares step of [`track_pixels`].
fn agreed_pixels(
    links: &[Link],
    mean: &[Vector2<f64>],
    now: &[Vector2<f64>],
    place: &impl Fn(u32) -> usize,
    agreement_px: f64,
) -> Option<Vec<Vector2<f64>>> {
    const PULL: f64 = 1e-3;
    let n = mean.len();
    let mut matrix = DMatrix::identity(2 * n, 2 * n) * PULL;
    let mut right = DVector::from_iterator(2 * n, mean.iter().flat_map(|m| [m.x * PULL, m.y * PULL]));
    for link in links {
        let [i, j] = link.keypoints.map(place);
        let off = disagreement(link, now, place).norm_squared() / (agreement_px * agreement_px);
        let share = 1.0 / (1.0 + off);
        // y - J x = q - J p
        let want = link.pixels[1] - link.map * link.pixels[0];
        let turned = link.map.transpose();
        let mut block = |r: usize, c: usize, value: Matrix2<f64>| {
            let mut view = matrix.fixed_view_mut::<2, 2>(2 * r, 2 * c);
            view += value * share;
        };
        block(j, j, Matrix2::identity());
        block(i, i, turned * link.map);
        block(j, i, -link.map);
        block(i, j, -turned);
        let mut at_j = right.fixed_rows_mut::<2>(2 * j);
        at_j += want * share;
        let mut at_i = right.fixed_rows_mut::<2>(2 * i);
        at_i -= turned * want * share;
    }
    let solution = matrix.cholesky()?.solve(&right);
    Some((0..n).map(|i| Vector2::new(solution[2 * i], solution[2 * i + 1])).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::synthetic::Random;

    fn matched(a: [f32; 2], b: [f32; 2], confidence: f32) -> PixelMatch {
        PixelMatch { pixels: [a, b], confidence }
    }

    fn all_count() -> TrackOptions {
        TrackOptions { min_support: 0.0, ..TrackOptions::default() }
    }

    /// Photo coordinates of a plane point: an affine map per photo.
    fn seen(photo: usize, point: Vector2<f64>) -> Vector2<f64> {
        let maps = [
            (Matrix2::identity(), Vector2::new(10.0, 20.0)),
            (Matrix2::new(1.3, 0.2, -0.1, 0.8), Vector2::new(15.0, 5.0)),
            (Matrix2::new(0.7, -0.3, 0.25, 1.2), Vector2::new(60.0, -10.0)),
        ];
        maps[photo].0 * point + maps[photo].1
    }

    /// All three pairs match the same plane, each from its own anchors, 3 pixels around the same nodes.
    fn plane_matches() -> Vec<PairMatches> {
        let mut random = Random(3);
        [[0, 1], [1, 2], [0, 2]]
            .iter()
            .map(|&images| {
                let mut matches = Vec::new();
                for node in 0..400 {
                    let near = Vector2::new(f64::from(node % 20), f64::from(node / 20)) * 12.0;
                    let point = near + Vector2::new(random.uniform(), random.uniform()) * 1.5;
                    let pixel = |photo: usize| <[f64; 2]>::from(seen(photo, point)).map(|v| v as f32);
                    matches.push(matched(pixel(images[0]), pixel(images[1]), 1.0));
                }
                PairMatches { images, matches }
            })
            .collect()
    }

    #[test]
    fn merging_pixels_costs_no_accuracy_on_a_slanted_plane() {
        let options = TrackOptions { merge_radius_px: 3.0, min_length: 3, ..all_count() };
        let tracks = build_tracks(3, &plane_matches(), &options).unwrap();
        assert!(tracks.len() > 380, "{:?}", tracks.statistics());
        let back = |pixel: [f64; 2]| Vector2::from(pixel) - Vector2::new(10.0, 20.0);
        for track in tracks.iter() {
            let point = back(track[0].pixel);
            for o in track {
                let off = (seen(o.image, point) - Vector2::from(o.pixel)).norm();
                assert!(off < 0.15, "{off} in {track:?}");
            }
        }
        let exact = TrackOptions { merge_radius_px: 0.0, ..options };
        assert_eq!(build_tracks(3, &plane_matches(), &exact).unwrap().len(), 0);
    }

    #[test]
    fn a_track_has_one_pixel_per_photo_and_keeps_its_surest_matches() {
        let pairs = [
            PairMatches { images: [0, 1], matches: vec![matched([5.0, 5.0], [50.0, 5.0], 3.0)] },
            PairMatches { images: [1, 2], matches: vec![matched([50.0, 5.0], [90.0, 9.0], 2.0)] },
            PairMatches { images: [0, 2], matches: vec![matched([30.0, 5.0], [90.0, 9.0], 1.0)] },
        ];
        let tracks = build_tracks(3, &pairs, &all_count()).unwrap();
        assert_eq!(tracks.len(), 1);
        let pixels: Vec<[f64; 2]> =
            tracks.track(0).iter().map(|o| o.pixel.map(|v| (v * 1e6).round() / 1e6)).collect();
        assert_eq!(pixels, [[5.0, 5.0], [50.0, 5.0], [90.0, 9.0]]);
        assert_eq!((tracks.statistics().conflicts, tracks.statistics().matches), (1, 3));
        assert_eq!(tracks.statistics().histogram, [0, 0, 0, 1]);
    }

    #[test]
    fn matches_that_stand_alone_are_left_out() {
        let mut pairs = plane_matches();
        let mut random = Random(4);
        for m in pairs[0].matches.iter_mut().step_by(5) {
            m.pixels[1] = [random.uniform() as f32 * 250.0, random.uniform() as f32 * 250.0];
        }
        let tracks = build_tracks(3, &pairs, &TrackOptions::default()).unwrap();
        let lonely = tracks.statistics().lonely;
        assert!((80..100).contains(&lonely), "{lonely} of 80 wrong ones");
        let all = build_tracks(3, &pairs, &all_count()).unwrap();
        assert_eq!(all.statistics().lonely, 0);
    }

    #[test]
    fn order_of_pairs_does_not_matter() {
        let pairs = plane_matches();
        let turned: Vec<PairMatches> = pairs.iter().rev().cloned().collect();
        let (a, b) = (
            build_tracks(3, &pairs, &TrackOptions::default()).unwrap(),
            build_tracks(3, &turned, &TrackOptions::default()).unwrap(),
        );
        assert_eq!(a.statistics().histogram, b.statistics().histogram);
    }

    #[test]
    fn confidence_weighs_where_asked() {
        let matches = vec![matched([5.0, 5.0], [50.0, 5.0], 1.0), matched([95.0, 5.0], [10.0, 5.0], 9.0)];
        let pairs = [PairMatches { images: [0, 1], matches }];
        let weights = |confidence_power| {
            let options = TrackOptions { confidence_power, ..all_count() };
            let tracks = build_tracks(2, &pairs, &options).unwrap();
            [tracks.track(0)[0].weight, tracks.track(1)[1].weight]
        };
        assert_eq!(weights(0.5), [0.5, 1.5]);
        assert_eq!(weights(0.0), [1.0, 1.0]);
    }

    #[test]
    fn bad_arguments_are_refused() {
        let pair = |a: usize, b: usize, m: PixelMatch| [PairMatches { images: [a, b], matches: vec![m] }];
        let good = matched([5.0, 5.0], [50.0, 5.0], 1.0);
        let refused = |pairs: &[PairMatches], options: TrackOptions, part: &str| {
            let error = build_tracks(2, pairs, &options).unwrap_err().to_string();
            assert!(error.starts_with("build_tracks: `") && error.contains(part), "{error}");
        };
        let standard = TrackOptions::default();
        refused(&pair(0, 2, good), standard, "pairs.images` must be below 2, got 2");
        refused(&pair(1, 1, good), standard, "two different photos, got 1 twice");
        refused(&pair(0, 1, matched([f32::NAN, 0.0], [0.0; 2], 1.0)), standard, "pixels");
        refused(&pair(0, 1, matched([0.0; 2], [2e6, 0.0], 1.0)), standard, "pixels");
        refused(&pair(0, 1, matched([0.0; 2], [0.0; 2], -1.0)), standard, "confidence");
        refused(&pair(0, 1, matched([0.0; 2], [0.0; 2], f32::INFINITY)), standard, "confidence");
        let good = pair(0, 1, good);
        refused(&good, TrackOptions { merge_radius_px: -1.0, ..standard }, "merge_radius_px");
        refused(&good, TrackOptions { min_length: 1, ..standard }, "min_length");
        refused(&good, TrackOptions { agreement_px: 0.0, ..standard }, "agreement_px");
        refused(&good, TrackOptions { min_support: f64::NAN, ..standard }, "min_support");
        refused(&good, TrackOptions { confidence_power: -0.5, ..standard }, "confidence_power");
        assert!(build_tracks(2, &[], &standard).unwrap().is_empty());
    }
}
