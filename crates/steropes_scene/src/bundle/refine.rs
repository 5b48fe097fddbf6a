//! The whole of bundle adjustment: triangulate, adjust, drop what does not fit, again.

use super::adjust::{AdjustOptions, FreeIntrinsics, Problem, ProblemObservation, adjust};
use super::resect::{ResectOptions, resect};
use super::rotation_link::RelativeRotation;
use super::triangulate::{TriangulateOptions, Triangulated, swept_point, triangulate_track};
use super::uncertainty::{CameraUncertainty, uncertainties};
use super::{BundleError, LensCamera, Loss, Observation, Tracks, require, require_index, require_length};
use crate::Camera;
use nalgebra::{Point3, Vector2, Vector3};
use rayon::prelude::*;

/// What is believed about a focal length before: `ln focal` is normal around `ln focal_px`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FocalPrior {
    /// Believed focal length in pixels.
    pub focal_px: f64,
    /// Standard deviation of the natural logarithm (0.1: about 10 %).
    pub sigma: f64,
}

impl FocalPrior {
    pub(super) fn check(&self, op: &'static str) -> Result<(), BundleError> {
        require(op, "focal_prior.focal_px", "above 0", self.focal_px, self.focal_px > 0.0)?;
        require(op, "focal_prior.sigma", "above 0", self.sigma, self.sigma > 0.0)
    }
}

/// What [`refine`] starts from.
#[derive(Clone, Copy, Debug)]
pub struct BundleInput<'a> {
    /// Rough cameras, one per photo, in the pixel frame of the tracks.
    pub cameras: &'a [Camera],
    /// One per photo: which group of shared intrinsics it belongs to. Photos of a group keep the ratio of their
    /// focal lengths only if these differ by a known scale; see `shared_focal` of [`RefineOptions`].
    pub intrinsics_group: &'a [usize],
    /// One per photo: what is believed about its focal length.
    pub focal_priors: &'a [Option<FocalPrior>],
    /// Tracks over the photos.
    pub tracks: &'a Tracks,
    /// Rotations of two-view geometry; may be empty.
    pub relative_rotations: &'a [RelativeRotation],
}

/// How [`refine`] works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RefineOptions {
    /// The photo whose pose stays; if it cannot be registered, the lowest registered one.
    pub reference: usize,
    /// What of the lenses is adjusted.
    pub free: FreeIntrinsics,
    /// Start photos of a group from one common focal length, the geometric mean.
    pub shared_focal: bool,
    /// Scale of the final Cauchy loss, in standard deviations of the pixel noise.
    pub loss_scale: f64,
    /// Observations farther off than this many standard deviations are dropped.
    pub drop_sigmas: f64,
    /// Photos with fewer observations that fit are not registered.
    pub min_observations: usize,
    /// Points with all rays within this angle are dropped.
    pub min_angle_rad: f64,
    /// Standard deviation of `ln(depth / believed depth)`; `None` ignores believed depths.
    pub depth_sigma: Option<f64>,
    /// Rounds of triangulation and adjustment, at most.
    pub max_rounds: usize,
    /// Tracks are taken, longest first, until every photo has so many observations; bounds the time.
    pub observations_per_photo: usize,
}

impl Default for RefineOptions {
    fn default() -> Self {
        Self {
            reference: 0,
            free: FreeIntrinsics { focal: true, center: false, radial: false },
            shared_focal: true,
            loss_scale: 3.0,
            drop_sigmas: 4.0,
            min_observations: 15,
            min_angle_rad: 0.2f64.to_radians(),
            depth_sigma: None,
            max_rounds: 6,
            observations_per_photo: 3000,
        }
    }
}

/// Whether a photo is part of the result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Registration {
    /// Its camera was refined.
    Registered {
        /// Observations that fit.
        observations: usize,
        /// Share of the photo's observations that fit.
        share: f64,
    },
    /// Its camera is the one given (moved with the frame) and means nothing.
    NotRegistered {
        /// Observations that fit, too few or not connected to the others.
        observations: usize,
    },
}

/// One observation of a refined point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PointObservation {
    /// The photo.
    pub image: usize,
    /// Pixel (x, y).
    pub pixel: [f64; 2],
    /// Distance from the projection of the point.
    pub error_px: f64,
}

/// A refined point.
#[derive(Clone, Debug, PartialEq)]
pub struct BundlePoint {
    /// Position in the world.
    pub position: Point3<f64>,
    /// Index of its track.
    pub track: usize,
    /// Where it was seen, by photo.
    pub observations: Vec<PointObservation>,
    /// Largest angle between two of its rays, in radians.
    pub angle_rad: f64,
}

/// What [`refine`] found.
#[derive(Clone, Debug, PartialEq)]
pub struct Bundle {
    /// Refined cameras, one per photo; the reference camera has the pose that was given, and the root mean square
    /// distance of the registered centres from it is as given.
    pub cameras: Vec<Camera>,
    /// Radial coefficient, one per photo; 0 unless free.
    pub radial: Vec<f64>,
    /// One per photo.
    pub registration: Vec<Registration>,
    /// One per photo; `None` if not registered.
    pub uncertainty: Vec<Option<CameraUncertainty>>,
    /// Points of all tracks that fit, in the order of the tracks.
    pub points: Vec<BundlePoint>,
    /// Standard deviation of a pixel coordinate, from the median error.
    pub noise_px: f64,
    /// Rounds of triangulation and adjustment after the coarse start.
    pub rounds: usize,
    /// Steps of Levenberg-Marquardt altogether.
    pub iterations: usize,
}

/// Observations per photo that the coarse start uses.
const COARSE_OBSERVATIONS: usize = 300;
/// Standard deviation of ln focal while the start is coarse, where nothing is said.
const START_FOCAL_SIGMA: f64 = 0.02;
/// No data are better than this; keeps exact input from dividing by zero.
const LEAST_NOISE_PX: f64 = 0.02;
/// Least distance in pixels at which an observation is dropped.
const LEAST_DROP_PX: f64 = 0.1;

/// Refined cameras and points.
///
/// First a coarse start on a part of the tracks: points are placed by a sweep of depths, which wrong
/// rotations cannot turn around, cameras and points adjusted, and so on while the errors fall. Then rounds of
/// robust triangulation of all tracks, with a limit that follows the median error, and adjustment with a tight
/// loss. A camera that few points fit is placed anew against the points of the others; if that does not help
/// it is reported as not registered, as are cameras that no track connects with the rest.
///
/// # Errors
/// [`BundleError`] if lists or indices do not fit together, a number is out of range or all centres coincide, and
/// [`BundleError::NothingHolds`] if no two cameras remain.
pub fn refine(input: &BundleInput, options: &RefineOptions) -> Result<Bundle, BundleError> {
    check(input, options)?;
    let mut work = Work::new(input, options)?;
    work.coarse()?;
    work.fine()?;
    work.finish()
}

fn check(input: &BundleInput, options: &RefineOptions) -> Result<(), BundleError> {
    const OP: &str = "refine";
    let count = input.cameras.len();
    require(OP, "cameras", "at least 2 cameras", count as f64, count >= 2)?;
    require_length(OP, "intrinsics_group", count, input.intrinsics_group.len())?;
    require_length(OP, "focal_priors", count, input.focal_priors.len())?;
    for camera in input.cameras {
        let focal = camera.intrinsics.focal_px;
        require(OP, "cameras.intrinsics.focal_px", "above 0", focal, focal > 0.0)?;
        let pose = &camera.world_from_camera;
        let numbers = pose.translation.vector.iter().chain(pose.rotation.coords.iter());
        for &value in numbers.chain(&camera.intrinsics.center_px) {
            require(OP, "cameras", "finite", value, true)?;
        }
    }
    for &group in input.intrinsics_group {
        require_index(OP, "intrinsics_group", count, group)?;
    }
    for prior in input.focal_priors.iter().flatten() {
        prior.check(OP)?;
    }
    for o in input.tracks.iter().flatten() {
        require_index(OP, "tracks.image", count, o.image)?;
        require(OP, "tracks.pixel", "finite", o.pixel[0] + o.pixel[1], true)?;
        require(OP, "tracks.weight", "above 0", o.weight, o.weight > 0.0)?;
    }
    for link in input.relative_rotations {
        let [a, b] = link.images;
        require_index(OP, "relative_rotations.images", count, a.max(b))?;
        if a == b {
            return Err(BundleError::SamePhoto { op: OP, argument: "relative_rotations.images", got: a });
        }
        let sigma = link.sigma_rad;
        require(OP, "relative_rotations.sigma_rad", "above 0", sigma, sigma > 0.0)?;
    }
    require_index(OP, "options.reference", count, options.reference)?;
    for (name, value) in [
        ("options.loss_scale", options.loss_scale),
        ("options.drop_sigmas", options.drop_sigmas),
        ("options.depth_sigma", options.depth_sigma.unwrap_or(1.0)),
        ("options.max_rounds", options.max_rounds as f64),
        ("options.observations_per_photo", options.observations_per_photo as f64),
    ] {
        require(OP, name, "above 0", value, value > 0.0)?;
    }
    let angle = options.min_angle_rad;
    require(OP, "options.min_angle_rad", "at least 0", angle, angle >= 0.0)
}

/// State of [`refine`], in a world scaled so that the largest distance between two centres is 1.
struct Work<'a> {
    input: &'a BundleInput<'a>,
    options: &'a RefineOptions,
    cameras: Vec<LensCamera>,
    active: Vec<bool>,
    scale: f64,
    noise_px: f64,
    rounds: usize,
    iterations: usize,
}

impl<'a> Work<'a> {
    fn new(input: &'a BundleInput<'a>, options: &'a RefineOptions) -> Result<Self, BundleError> {
        let mut cameras: Vec<LensCamera> = input.cameras.iter().map(LensCamera::new).collect();
        let extent = extent(&cameras, &vec![true; cameras.len()]);
        require("refine", "cameras", "at different places (distance above 0)", extent, extent > 0.0)?;
        for camera in &mut cameras {
            camera.translation /= extent;
        }
        if options.shared_focal {
            share_focal(&mut cameras, input.intrinsics_group);
        }
        let active = vec![true; cameras.len()];
        Ok(Self { input, options, cameras, active, scale: extent, noise_px: 1.0, rounds: 0, iterations: 0 })
    }

    /// Tracks, longest first, until every photo has enough observations.
    fn chosen_tracks(&self, per_photo: usize) -> Vec<usize> {
        let tracks = self.input.tracks;
        let length = |i: usize| tracks.track(i).iter().filter(|o| self.active[o.image]).count();
        let mut order: Vec<(usize, u64, usize)> =
            (0..tracks.len()).map(|i| (length(i), scattered(i as u64), i)).collect();
        order.sort_by(|a, b| b.0.cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut have = vec![0usize; self.cameras.len()];
        let mut chosen = Vec::new();
        for (length, _, i) in order {
            let wanted = |o: &Observation| self.active[o.image] && have[o.image] < per_photo;
            if length >= 2 && tracks.track(i).iter().any(wanted) {
                tracks.track(i).iter().for_each(|o| have[o.image] += 1);
                chosen.push(i);
            }
        }
        chosen.sort_unstable();
        chosen
    }

    /// A problem with the active cameras and no points yet.
    fn empty_problem(&self) -> Problem {
        let reference = self.reference();
        Problem {
            cameras: self.cameras.clone(),
            fixed_pose: (0..self.cameras.len()).map(|i| i == reference || !self.active[i]).collect(),
            group: self.input.intrinsics_group.to_vec(),
            focal_prior: self.input.focal_priors.to_vec(),
            center_prior_px: self
                .input
                .cameras
                .iter()
                .map(|c| Vector2::from(c.intrinsics.center_px))
                .collect(),
            points: Vec::new(),
            starts: vec![0],
            observations: Vec::new(),
            rotations: self
                .input
                .relative_rotations
                .iter()
                .filter(|link| link.images.iter().all(|&i| self.active[i]))
                .copied()
                .collect(),
        }
    }

    fn reference(&self) -> usize {
        let lowest = self.active.iter().position(|&active| active).unwrap_or_default();
        if self.active[self.options.reference] { self.options.reference } else { lowest }
    }

    fn active_track(&self, track: usize) -> Vec<Observation> {
        self.input.tracks.track(track).iter().filter(|o| self.active[o.image]).copied().collect()
    }

    fn adjusted(&mut self, problem: &mut Problem, options: &AdjustOptions) -> Result<(), BundleError> {
        let summary = adjust(problem, options)?;
        self.iterations += summary.iterations;
        self.cameras.clone_from(&problem.cameras);
        let extent = extent(&self.cameras, &self.active);
        if extent > 0.0 && extent.is_finite() {
            self.grow_about_reference(1.0 / extent);
            self.scale *= extent;
        }
        Ok(())
    }

    /// Scales the world about the centre of the reference camera.
    fn grow_about_reference(&mut self, factor: f64) {
        let center = self.cameras[self.reference()].center();
        for camera in &mut self.cameras {
            let grown = center + (camera.center() - center) * factor;
            camera.translation = -(camera.rotation * grown);
        }
    }

    /// Rounds of depth sweep and adjustment on part of the tracks.
    fn coarse(&mut self) -> Result<(), BundleError> {
        let chosen = self.chosen_tracks(COARSE_OBSERVATIONS);
        let focal = self.cameras.iter().map(|c| c.focal_px).fold(0.0, f64::max);
        let mut scale_px = 0.05 * focal;
        let mut last = f64::INFINITY;
        for round in 0..12 {
            let mut problem = self.swept_problem(&chosen, scale_px);
            self.believe_start_focals(&mut problem);
            if problem.points.is_empty() {
                return Ok(());
            }
            let noise_px = noise(&problem).max(0.5);
            let free = FreeIntrinsics { focal: self.options.free.focal && round >= 2, ..NOTHING_FREE };
            let options = AdjustOptions {
                noise_px,
                loss: Loss::Cauchy { scale: 2.0 },
                free,
                depth_sigma: self.depth_sigma(),
                max_iterations: 10,
                tolerance: 1e-3,
            };
            self.adjusted(&mut problem, &options)?;
            self.noise_px = noise(&problem).clamp(0.5, 0.05 * focal);
            log::debug!("refine: coarse round {round}: {noise_px:.2} -> {:.2} px", self.noise_px);
            if round >= 3 && self.noise_px > 0.9 * last {
                break;
            }
            last = self.noise_px;
            scale_px = (3.0 * self.noise_px).min(0.05 * focal);
        }
        Ok(())
    }

    /// Photos without a focal prior get a weak one at their start: while rotations are wrong, a long focal length with
    /// far points explains small motions nearly as well as the truth.
    fn believe_start_focals(&self, problem: &mut Problem) {
        for (prior, camera) in problem.focal_prior.iter_mut().zip(self.input.cameras) {
            let start = FocalPrior { focal_px: camera.intrinsics.focal_px, sigma: START_FOCAL_SIGMA };
            prior.get_or_insert(start);
        }
    }

    fn depth_sigma(&self) -> Option<f64> {
        self.options.depth_sigma
    }

    fn swept_problem(&self, chosen: &[usize], scale_px: f64) -> Problem {
        let swept: Vec<(Vec<Observation>, Option<Vector3<f64>>)> = chosen
            .par_iter()
            .map(|&i| {
                let track = self.active_track(i);
                let point = swept_point(&self.cameras, &track, scale_px);
                (track, point)
            })
            .collect();
        let mut problem = self.empty_problem();
        for (track, point) in swept {
            if let Some(point) = point {
                self.push(&mut problem, &track, &vec![true; track.len()], point);
            }
        }
        problem
    }

    fn push(&self, problem: &mut Problem, track: &[Observation], chosen: &[bool], point: Vector3<f64>) {
        for o in track.iter().zip(chosen).filter(|(_, chosen)| **chosen).map(|(o, _)| o) {
            problem.observations.push(ProblemObservation {
                camera: o.image,
                pixel: Vector2::from(o.pixel),
                weight: o.weight,
                depth: o.depth.map(|d| d / self.scale),
            });
        }
        problem.points.push(point);
        problem.starts.push(problem.observations.len());
    }

    /// Every point that the tracks hold with the present cameras; a track that shows two points gives both.
    fn triangulated(&self, chosen: &[usize], limit_px: f64) -> Vec<Found> {
        let options =
            TriangulateOptions { max_error_px: limit_px, min_angle_rad: self.options.min_angle_rad };
        let found: Vec<Vec<Found>> = chosen
            .par_iter()
            .map(|&i| {
                let mut track = self.active_track(i);
                let mut found = Vec::new();
                while let Some(got) = triangulate_track(&self.cameras, &track, &options) {
                    let rest = track.iter().zip(&got.agrees).filter(|(_, a)| !**a).map(|(o, _)| *o);
                    let rest: Vec<Observation> = rest.collect();
                    found.push(Found { track: i, observations: track, got });
                    track = rest;
                    if track.len() < 2 {
                        break;
                    }
                }
                found
            })
            .collect();
        found.into_iter().flatten().collect()
    }

    /// Observations that fit, per photo.
    fn support(&self, found: &[Found]) -> Vec<usize> {
        let mut support = vec![0; self.cameras.len()];
        for point in found {
            point.fitting().for_each(|o| support[o.image] += 1);
        }
        support
    }

    /// Rounds of triangulation and tight adjustment until nothing changes.
    fn fine(&mut self) -> Result<(), BundleError> {
        let mut before = (f64::INFINITY, 0usize);
        while self.rounds < self.options.max_rounds {
            let chosen = self.chosen_tracks(self.options.observations_per_photo);
            let limit = self.limit_px();
            let mut found = self.triangulated(&chosen, limit);
            if self.replaced_cameras(&found, &chosen) || self.dropped_cameras(&found)? {
                let chosen = self.chosen_tracks(self.options.observations_per_photo);
                found = self.triangulated(&chosen, limit);
            }
            let mut problem = self.empty_problem();
            for point in &found {
                self.push(&mut problem, &point.observations, &point.got.agrees, point.got.point);
            }
            let options = self.fine_options();
            self.adjusted(&mut problem, &options)?;
            self.noise_px = noise(&problem).max(LEAST_NOISE_PX);
            self.rounds += 1;
            let now = (self.noise_px, problem.observations.len());
            log::debug!("refine: round {}: {:.3} px, {} observations", self.rounds, now.0, now.1);
            let settled = (now.0 - before.0).abs() < 0.01 * now.0 && now.1.abs_diff(before.1) * 500 < now.1;
            if settled {
                break;
            }
            before = now;
        }
        Ok(())
    }

    fn limit_px(&self) -> f64 {
        (self.options.drop_sigmas * self.noise_px).max(LEAST_DROP_PX)
    }

    fn fine_options(&self) -> AdjustOptions {
        AdjustOptions {
            noise_px: self.noise_px,
            loss: Loss::Cauchy { scale: self.options.loss_scale },
            free: self.options.free,
            depth_sigma: self.depth_sigma(),
            max_iterations: 40,
            tolerance: 1e-6,
        }
    }

    /// Places cameras that few points fit against the points of the others. Whether any was moved.
    fn replaced_cameras(&mut self, found: &[Found], chosen: &[usize]) -> bool {
        let support = self.support(found);
        let mut seen = vec![0usize; self.cameras.len()];
        let all = chosen.iter().flat_map(|&i| self.input.tracks.track(i));
        all.for_each(|o| seen[o.image] += 1);
        let share = |i: usize| support[i] as f64 / seen[i].max(1) as f64;
        let mut shares: Vec<f64> = (0..self.cameras.len()).filter(|&i| self.active[i]).map(share).collect();
        shares.sort_by(f64::total_cmp);
        let usual = shares.get(shares.len() / 2).copied().unwrap_or_default();
        let mut moved = false;
        for (i, &supported) in support.iter().enumerate() {
            if self.active[i] && i != self.reference() && share(i) < 0.5 * usual {
                moved |= self.replaced_camera(i, chosen, supported);
            }
        }
        moved
    }

    fn replaced_camera(&mut self, camera: usize, chosen: &[usize], support: usize) -> bool {
        self.active[camera] = false;
        let found = self.triangulated(chosen, self.limit_px());
        self.active[camera] = true;
        let (mut points, mut pixels) = (Vec::new(), Vec::new());
        let mut shared = vec![0usize; self.cameras.len()];
        for point in &found {
            let track = self.input.tracks.track(point.track);
            if let Some(o) = track.iter().find(|o| o.image == camera) {
                points.push(point.got.point);
                pixels.push(Vector2::from(o.pixel));
                point.fitting().for_each(|o| shared[o.image] += 1);
            }
        }
        if points.len() < self.options.min_observations.max(4) {
            return false;
        }
        let mut neighbours: Vec<usize> = (0..self.cameras.len()).filter(|&i| shared[i] > 0).collect();
        neighbours.sort_by_key(|&i| (std::cmp::Reverse(shared[i]), i));
        let mut starts = vec![self.cameras[camera]];
        for &near in neighbours.iter().take(3) {
            let pose = &self.cameras[near];
            starts.push(LensCamera {
                rotation: pose.rotation,
                translation: pose.translation,
                ..self.cameras[camera]
            });
        }
        let options =
            ResectOptions { noise_px: self.noise_px, agreement: self.options.drop_sigmas, free_focal: false };
        let mut best = (support.max(self.options.min_observations), None);
        for start in &starts {
            if let Ok(placed) = resect(start, &points, &pixels, &options) {
                let agreeing = placed.agrees.iter().filter(|&&a| a).count();
                if agreeing > best.0 {
                    best = (agreeing, Some(placed.camera));
                }
            }
        }
        if let Some(placed) = best.1 {
            log::debug!("refine: photo {camera} placed anew, {} of {} points fit", best.0, points.len());
            self.cameras[camera] = placed;
        }
        best.1.is_some()
    }

    /// Switches off cameras with too few observations that fit, or outside the largest connected group. Whether any
    /// was switched off.
    fn dropped_cameras(&mut self, found: &[Found]) -> Result<bool, BundleError> {
        let mut dropped = false;
        let mut support = self.support(found);
        loop {
            let group = largest_group(found, &self.active, self.options.min_observations);
            let mut changed = false;
            let few = support.iter().map(|&n| n < self.options.min_observations);
            for ((active, few), in_group) in self.active.iter_mut().zip(few).zip(group) {
                if *active && (few || !in_group) {
                    *active = false;
                    changed = true;
                }
            }
            if !changed {
                break;
            }
            dropped = true;
            support = vec![0; self.cameras.len()];
            for point in found {
                let left: Vec<usize> = point.fitting().map(|o| o.image).filter(|&i| self.active[i]).collect();
                if left.len() >= 2 {
                    left.iter().for_each(|&i| support[i] += 1);
                }
            }
        }
        if self.active.iter().filter(|&&a| a).count() < 2 {
            return Err(BundleError::NothingHolds { needed: self.options.min_observations });
        }
        Ok(dropped)
    }

    /// Triangulates everything with the final cameras, back in the caller's world.
    fn finish(mut self) -> Result<Bundle, BundleError> {
        let all: Vec<usize> = (0..self.input.tracks.len()).collect();
        let mut found = self.triangulated(&all, self.limit_px());
        if self.dropped_cameras(&found)? {
            found = self.triangulated(&all, self.limit_px());
        }
        let mut problem = self.empty_problem();
        for point in &found {
            self.push(&mut problem, &point.observations, &point.got.agrees, point.got.point);
        }
        let uncertainty = uncertainties(&problem, &self.fine_options(), 1.0);
        let frame = self.frame();
        let points = found.iter().map(|point| point.finished(&self.cameras, &frame)).collect();
        let support = self.support(&found);
        let mut seen = vec![0usize; self.cameras.len()];
        for o in self.input.tracks.iter().flatten() {
            seen[o.image] += 1;
        }
        let registration = (0..self.cameras.len())
            .map(|i| {
                let observations = support[i];
                let share = observations as f64 / seen[i].max(1) as f64;
                if self.active[i] {
                    Registration::Registered { observations, share }
                } else {
                    Registration::NotRegistered { observations }
                }
            })
            .collect();
        Ok(Bundle {
            cameras: self.cameras.iter().map(|c| frame.camera(c)).collect(),
            radial: self.cameras.iter().map(|c| c.radial).collect(),
            registration,
            uncertainty: uncertainty
                .into_iter()
                .zip(&self.active)
                .map(|(u, active)| u.filter(|_| *active))
                .collect(),
            points,
            noise_px: self.noise_px,
            rounds: self.rounds,
            iterations: self.iterations,
        })
    }

    /// From the scaled world back to the caller's: the reference camera as it was given, and the spread of the centres
    /// about it too (or the believed depths, if they were used).
    fn frame(&self) -> Frame {
        let reference = self.reference();
        let given = LensCamera::new(&self.input.cameras[reference]);
        let spread = |cameras: &[LensCamera]| -> f64 {
            let center = cameras[reference].center();
            let registered = cameras.iter().zip(&self.active).filter(|(_, active)| **active);
            registered.map(|(c, _)| (c.center() - center).norm_squared()).sum::<f64>().sqrt()
        };
        let given_all: Vec<LensCamera> = self.input.cameras.iter().map(LensCamera::new).collect();
        let scale = match self.options.depth_sigma {
            Some(_) => self.scale,
            None => spread(&given_all) / spread(&self.cameras),
        };
        Frame { now: self.cameras[reference].center(), given: given.center(), scale }
    }
}

/// The change of scale and origin at the end; the reference camera never turns.
struct Frame {
    now: Vector3<f64>,
    given: Vector3<f64>,
    scale: f64,
}

impl Frame {
    fn point(&self, p: &Vector3<f64>) -> Vector3<f64> {
        self.given + (p - self.now) * self.scale
    }

    fn camera(&self, camera: &LensCamera) -> Camera {
        let center = self.point(&camera.center());
        LensCamera { translation: -(camera.rotation * center), ..*camera }.to_camera()
    }
}

/// A point of a track.
struct Found {
    track: usize,
    observations: Vec<Observation>,
    got: Triangulated,
}

impl Found {
    fn fitting(&self) -> impl Iterator<Item = &Observation> {
        self.observations.iter().zip(&self.got.agrees).filter(|(_, agrees)| **agrees).map(|(o, _)| o)
    }

    fn finished(&self, cameras: &[LensCamera], frame: &Frame) -> BundlePoint {
        let error = |o: &Observation| {
            cameras[o.image]
                .project(&self.got.point)
                .map_or(f64::INFINITY, |pixel| (pixel - Vector2::from(o.pixel)).norm())
        };
        BundlePoint {
            position: Point3::from(frame.point(&self.got.point)),
            track: self.track,
            observations: self
                .fitting()
                .map(|o| PointObservation { image: o.image, pixel: o.pixel, error_px: error(o) })
                .collect(),
            angle_rad: self.got.angle_rad,
        }
    }
}

const NOTHING_FREE: FreeIntrinsics = FreeIntrinsics { focal: false, center: false, radial: false };

/// Largest distance between two of the chosen centres.
fn extent(cameras: &[LensCamera], chosen: &[bool]) -> f64 {
    let centers: Vec<Vector3<f64>> =
        cameras.iter().zip(chosen).filter(|(_, chosen)| **chosen).map(|(c, _)| c.center()).collect();
    let mut extent: f64 = 0.0;
    for (i, a) in centers.iter().enumerate() {
        for b in &centers[..i] {
            extent = extent.max((a - b).norm());
        }
    }
    extent
}

/// Gives the cameras of a group the geometric mean of their focal lengths.
fn share_focal(cameras: &mut [LensCamera], group: &[usize]) {
    for g in 0..cameras.len() {
        let members: Vec<usize> = (0..cameras.len()).filter(|&i| group[i] == g).collect();
        let sum: f64 = members.iter().map(|&i| cameras[i].focal_px.ln()).sum();
        for &i in &members {
            cameras[i].focal_px = (sum / members.len() as f64).exp();
        }
    }
}

/// Standard deviation of a pixel coordinate: weighted median over the points of what each says.
///
/// A point with `m` observations leaves `k = 2 m - 3` of its `2 m` errors free (two rays nearly always meet, whatever
/// the noise); the median of their sum of squares is `k (1 - 2 / (9 k))^3` variances (Wilson and Hilferty 1931). Points
/// count by `k`.
fn noise(problem: &Problem) -> f64 {
    let errors = problem.errors_px();
    let mut variances: Vec<(f64, f64)> = Vec::with_capacity(problem.points.len());
    for i in 0..problem.points.len() {
        let range = problem.starts[i]..problem.starts[i + 1];
        let free = 2.0 * range.len() as f64 - 3.0;
        let square: f64 = range.map(|o| errors[o].powi(2) * problem.observations[o].weight).sum();
        if free > 0.0 {
            variances.push((square / (free * (1.0 - 2.0 / (9.0 * free)).powi(3)), free));
        }
    }
    variances.sort_by(|a, b| a.0.total_cmp(&b.0));
    let half = 0.5 * variances.iter().map(|v| v.1).sum::<f64>();
    let mut passed = 0.0;
    for (variance, free) in variances {
        passed += free;
        if passed >= half {
            return variance.sqrt();
        }
    }
    1.0
}

/// The largest set of active cameras connected through pairs that share enough points.
fn largest_group(found: &[Found], active: &[bool], enough: usize) -> Vec<bool> {
    let count = active.len();
    let mut shared = vec![0usize; count * count];
    for point in found {
        let images: Vec<usize> = point.fitting().map(|o| o.image).filter(|&i| active[i]).collect();
        for &a in &images {
            for &b in &images {
                shared[a * count + b] += 1;
            }
        }
    }
    let mut best = vec![false; count];
    let mut visited = vec![false; count];
    for start in 0..count {
        if visited[start] || !active[start] {
            continue;
        }
        let mut group = vec![false; count];
        let mut open = vec![start];
        while let Some(i) = open.pop() {
            if std::mem::replace(&mut visited[i], true) {
                continue;
            }
            group[i] = true;
            open.extend((0..count).filter(|&j| !visited[j] && shared[i * count + j] >= enough));
        }
        if group.iter().filter(|&&g| g).count() > best.iter().filter(|&&g| g).count() {
            best = group;
        }
    }
    best
}

/// An order that looks random and is always the same (finaliser of splitmix64).
fn scattered(i: u64) -> u64 {
    let mut z = i.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
