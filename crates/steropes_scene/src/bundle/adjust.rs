//! Robust Levenberg-Marquardt over cameras and points, with the points eliminated (Schur complement).

use super::rotation_link::RelativeRotation;
use super::{BundleError, FocalPrior, LensCamera, Loss, require, require_index, require_length};
use nalgebra::{DMatrix, DVector, Matrix2x3, Matrix3, SMatrix, SVector, Vector2, Vector3, Vector6};
use rayon::prelude::*;

/// Which numbers of a lens are adjusted, one set per group of photos.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeIntrinsics {
    /// Focal length, as one common factor per group.
    pub focal: bool,
    /// Principal point, as one common shift per group.
    pub center: bool,
    /// Radial distortion, one coefficient per group.
    pub radial: bool,
}

/// Cameras, points and what was seen, in the form that [`adjust`] works on.
#[derive(Clone, Debug)]
pub struct Problem {
    /// The cameras; those of a group must have the same radial coefficient.
    pub cameras: Vec<LensCamera>,
    /// One per camera: keep its pose. At least one camera should be kept, or the frame drifts.
    pub fixed_pose: Vec<bool>,
    /// One per camera: number of its group of shared intrinsics.
    pub group: Vec<usize>,
    /// One per camera: what is believed about its focal length.
    pub focal_prior: Vec<Option<FocalPrior>>,
    /// One per camera: where its principal point is believed to be, in pixels (used when it is free).
    pub center_prior_px: Vec<Vector2<f64>>,
    /// Point positions in the world.
    pub points: Vec<Vector3<f64>>,
    /// Observations of point i are `starts[i]..starts[i + 1]`; one entry more than points.
    pub starts: Vec<usize>,
    /// Observations, point by point.
    pub observations: Vec<ProblemObservation>,
    /// Soft constraints on pairs of rotations.
    pub rotations: Vec<RelativeRotation>,
}

/// A pixel of a point.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProblemObservation {
    /// The camera.
    pub camera: usize,
    /// Pixel (x, y).
    pub pixel: Vector2<f64>,
    /// Inverse variance relative to [`AdjustOptions::noise_px`] squared.
    pub weight: f64,
    /// Depth that another source believes.
    pub depth: Option<f64>,
}

/// How [`adjust`] weighs and when it stops.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdjustOptions {
    /// Standard deviation of a pixel coordinate.
    pub noise_px: f64,
    /// Loss of the reprojection errors.
    pub loss: Loss,
    /// What of the lenses is free.
    pub free: FreeIntrinsics,
    /// Standard deviation of `ln(depth / believed depth)`; `None` ignores believed depths.
    pub depth_sigma: Option<f64>,
    /// Largest number of steps tried.
    pub max_iterations: usize,
    /// Stops when a step lowers the cost by less than this share.
    pub tolerance: f64,
}

/// What [`adjust`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdjustSummary {
    /// Sum of losses at the start.
    pub cost_before: f64,
    /// Sum of losses at the end.
    pub cost_after: f64,
    /// Steps tried.
    pub iterations: usize,
    /// Whether the last step changed the cost by less than the tolerance.
    pub converged: bool,
}

/// Squared whitened error of an observation that no projection explains.
const UNSEEN: f64 = 1e6;
/// Standard deviation of a free principal point, as a share of the focal length.
const CENTER_SIGMA: f64 = 0.05;
/// Standard deviation of a free radial coefficient.
const RADIAL_SIGMA: f64 = 0.2;
/// Loss of depth and rotation priors, in their standard deviations.
const PRIOR_LOSS: Loss = Loss::Cauchy { scale: 2.0 };
/// Column of a variable that is not free.
pub(super) const KEPT: usize = usize::MAX;

/// Moves cameras, lenses and points to a minimum of
///
/// `sum loss(weight |projection - pixel|^2 / noise^2) + priors`,
///
/// where the priors are those on focal length (log-normal), principal point and radial coefficient if free,
/// believed depths and relative rotations, each over its own standard deviation. A point that a step would make
/// worse stays where it is.
///
/// # Numerics
/// f64. Sums run over fixed chunks of points in order: the result does not depend on the number of threads.
///
/// # Errors
/// [`BundleError`] if list lengths or indices do not fit together or an option is out of range.
///
/// # Source
/// Triggs et al., "Bundle adjustment, a modern synthesis", 2000; damping after Nielsen, 1999.
pub fn adjust(problem: &mut Problem, options: &AdjustOptions) -> Result<AdjustSummary, BundleError> {
    problem.check(options)?;
    let columns = Columns::new(problem, options.free, &problem.fixed_pose);
    let mut cost = problem.cost(options);
    let mut summary = AdjustSummary { cost_before: cost, cost_after: cost, iterations: 0, converged: false };
    let (mut damping, mut growth) = (1e-4, 2.0);
    while summary.iterations < options.max_iterations && !summary.converged {
        summary.iterations += 1;
        let system = columns.reduced_system(problem, options, damping);
        let step = system.step(damping);
        let trial = step.and_then(|step| {
            let predicted = system.predicted_decrease(&step);
            let (trial, new_cost) = columns.stepped(problem, options, damping, &step);
            (new_cost < cost).then_some((trial, new_cost, predicted))
        });
        match trial {
            Some((trial, new_cost, predicted)) => {
                summary.converged = cost - new_cost <= options.tolerance * cost;
                // The prediction leaves out what the points gain by themselves, so the ratio may exceed 1.
                let gain = ((cost - new_cost) / predicted.max(f64::MIN_POSITIVE)).min(1.0);
                damping = (damping * (1.0 - (2.0 * gain - 1.0).powi(3)).max(1.0 / 3.0)).max(1e-9);
                (problem.cameras, problem.points) = trial;
                (cost, growth) = (new_cost, 2.0);
            }
            None => {
                if damping > 1e8 {
                    summary.converged = true;
                }
                damping *= growth;
                growth *= 2.0;
            }
        }
    }
    summary.cost_after = cost;
    Ok(summary)
}

impl Problem {
    fn check(&self, options: &AdjustOptions) -> Result<(), BundleError> {
        const OP: &str = "adjust";
        let cameras = self.cameras.len();
        require_length(OP, "fixed_pose", cameras, self.fixed_pose.len())?;
        require_length(OP, "group", cameras, self.group.len())?;
        require_length(OP, "focal_prior", cameras, self.focal_prior.len())?;
        require_length(OP, "center_prior_px", cameras, self.center_prior_px.len())?;
        require_length(OP, "starts", self.points.len() + 1, self.starts.len())?;
        let ordered = self.starts.is_sorted() && self.starts[0] == 0;
        let end = if ordered { self.starts[self.points.len()] } else { usize::MAX };
        require_length(OP, "observations", end, self.observations.len())?;
        for &group in &self.group {
            require_index(OP, "group", cameras, group)?;
        }
        for o in &self.observations {
            require_index(OP, "observations.camera", cameras, o.camera)?;
        }
        for link in &self.rotations {
            require_index(OP, "rotations.images", cameras, link.images[0].max(link.images[1]))?;
            require(OP, "rotations.sigma_rad", "above 0", link.sigma_rad, link.sigma_rad > 0.0)?;
        }
        for prior in self.focal_prior.iter().flatten() {
            prior.check(OP)?;
        }
        require(OP, "options.noise_px", "above 0", options.noise_px, options.noise_px > 0.0)?;
        if let Some(scale) = options.loss.scale() {
            require(OP, "options.loss.scale", "above 0", scale, scale > 0.0)?;
        }
        if let Some(sigma) = options.depth_sigma {
            require(OP, "options.depth_sigma", "above 0", sigma, sigma > 0.0)?;
        }
        require(OP, "options.tolerance", "at least 0", options.tolerance, options.tolerance >= 0.0)
    }

    /// The observations of point `i`.
    pub fn observations_of(&self, i: usize) -> &[ProblemObservation] {
        &self.observations[self.starts[i]..self.starts[i + 1]]
    }

    /// Distance in pixels of every observation from the projection of its point; infinite behind the camera.
    pub fn errors_px(&self) -> Vec<f64> {
        (0..self.points.len())
            .flat_map(|i| self.observations_of(i).iter().map(move |o| (i, o)))
            .map(|(i, o)| {
                self.cameras[o.camera]
                    .project(&self.points[i])
                    .map_or(f64::INFINITY, |pixel| (pixel - o.pixel).norm())
            })
            .collect()
    }

    /// The sum that [`adjust`] minimises.
    pub fn cost(&self, options: &AdjustOptions) -> f64 {
        let chunk = |c: usize| -> f64 {
            chunk_of(c, COST_CHUNKS, self.points.len())
                .map(|i| point_cost(&self.cameras, &self.points[i], self.observations_of(i), options))
                .sum()
        };
        let chunks: Vec<f64> = (0..COST_CHUNKS).into_par_iter().map(chunk).collect();
        chunks.iter().sum::<f64>() + self.prior_cost(options)
    }

    fn prior_cost(&self, options: &AdjustOptions) -> f64 {
        let mut cost = 0.0;
        for (i, camera) in self.cameras.iter().enumerate() {
            if let Some(prior) = self.focal_prior[i].filter(|_| options.free.focal) {
                cost += ((camera.focal_px / prior.focal_px).ln() / prior.sigma).powi(2);
            }
            if options.free.center {
                let sigma = CENTER_SIGMA * camera.focal_px;
                cost += (camera.center_px - self.center_prior_px[i]).norm_squared() / (sigma * sigma);
            }
            if options.free.radial {
                cost += (camera.radial / RADIAL_SIGMA).powi(2);
            }
        }
        for link in &self.rotations {
            let [a, b] = link.images;
            let off = link.residual(&self.cameras[a].rotation, &self.cameras[b].rotation).value;
            cost += PRIOR_LOSS.value_and_weight(off.norm_squared() / link.sigma_rad.powi(2)).0;
        }
        cost
    }
}

const COST_CHUNKS: usize = 64;

/// The `c`-th of `chunks` nearly equal ranges of `0..count`.
fn chunk_of(c: usize, chunks: usize, count: usize) -> std::ops::Range<usize> {
    c * count / chunks..(c + 1) * count / chunks
}

fn point_cost(
    cameras: &[LensCamera],
    point: &Vector3<f64>,
    observations: &[ProblemObservation],
    options: &AdjustOptions,
) -> f64 {
    let whiten = 1.0 / (options.noise_px * options.noise_px);
    observations
        .iter()
        .map(|o| {
            let camera = &cameras[o.camera];
            let squared = camera
                .project(point)
                .map_or(UNSEEN, |pixel| ((pixel - o.pixel).norm_squared() * o.weight * whiten).min(UNSEEN));
            let mut cost = options.loss.value_and_weight(squared).0;
            if let (Some(sigma), Some(depth)) = (options.depth_sigma, o.depth) {
                let z = camera.to_camera_frame(point).z;
                let off = if z > 0.0 { (z / depth).ln() / sigma } else { UNSEEN.sqrt() };
                cost += PRIOR_LOSS.value_and_weight(off * off).0;
            }
            cost
        })
        .sum()
}

/// Where the free variables stand in the reduced system: six per free pose, then the free lens numbers of
/// each group.
pub(super) struct Columns {
    pose: Vec<usize>,
    lens: Vec<usize>,
    /// Which of (ln focal, centre x, centre y, radial) are free.
    lens_numbers: Vec<usize>,
    pub(super) count: usize,
    /// Direction in which everything grows around a kept camera; nothing measures it.
    scale: Option<DVector<f64>>,
}

impl Columns {
    /// Columns with the poses in `fixed` left out.
    pub(super) fn new(problem: &Problem, free: FreeIntrinsics, fixed: &[bool]) -> Self {
        let mut count = 0;
        let pose: Vec<usize> = fixed
            .iter()
            .map(|&fixed| {
                count += if fixed { 0 } else { 6 };
                if fixed { KEPT } else { count - 6 }
            })
            .collect();
        let mut lens_numbers = Vec::new();
        if free.focal {
            lens_numbers.push(0);
        }
        if free.center {
            lens_numbers.extend([1, 2]);
        }
        if free.radial {
            lens_numbers.push(3);
        }
        let groups = problem.group.iter().max().map_or(0, |most| most + 1);
        let lens = problem.group.iter().map(|g| count + g * lens_numbers.len()).collect();
        count += groups * lens_numbers.len();
        let mut columns = Self { pose, lens, lens_numbers, count, scale: None };
        let mut kept = fixed.iter().enumerate().filter(|(_, fixed)| **fixed);
        if let (Some((camera, _)), None) = (kept.next(), kept.next()) {
            columns.scale = Some(columns.growth_about(problem, &problem.cameras[camera].center()));
        }
        columns
    }

    /// Unit direction of the variables in which all camera centres move away from `center`.
    pub(super) fn growth_about(&self, problem: &Problem, center: &Vector3<f64>) -> DVector<f64> {
        let mut direction = DVector::zeros(self.count);
        for (camera, &column) in problem.cameras.iter().zip(&self.pose) {
            if column != KEPT {
                let shift = -(camera.rotation * (camera.center() - center));
                direction.fixed_rows_mut::<3>(column + 3).copy_from(&shift);
            }
        }
        let norm = direction.norm();
        if norm > 0.0 { direction / norm } else { direction }
    }

    /// First of the six columns of a camera's pose: turn, then shift; [`KEPT`] if fixed.
    pub(super) fn of_pose(&self, camera: usize) -> usize {
        self.pose[camera]
    }

    /// Column of a camera's ln focal, if free.
    pub(super) fn of_focal(&self, camera: usize) -> Option<usize> {
        (self.lens_numbers.first() == Some(&0)).then(|| self.lens[camera])
    }

    /// The normal equations of cameras and lenses with the points eliminated.
    pub(super) fn reduced_system(&self, problem: &Problem, options: &AdjustOptions, damping: f64) -> Reduced {
        match self.lens_numbers.len() {
            0 => self.reduced::<6>(problem, options, damping),
            1 => self.reduced::<7>(problem, options, damping),
            2 => self.reduced::<8>(problem, options, damping),
            3 => self.reduced::<9>(problem, options, damping),
            _ => self.reduced::<10>(problem, options, damping),
        }
    }

    fn reduced<const D: usize>(&self, problem: &Problem, options: &AdjustOptions, damping: f64) -> Reduced {
        // Memory decides the number of chunks, never the number of threads: sums stay the same everywhere.
        let chunks = (48_000_000 / (8 * self.count * self.count).max(1)).clamp(2, 32);
        let parts: Vec<Reduced> = (0..chunks)
            .into_par_iter()
            .map(|c| {
                let mut part = Reduced::zeros(self.count);
                let mut entries = Vec::new();
                for i in chunk_of(c, chunks, problem.points.len()) {
                    self.entries_of::<D>(problem, options, i, &mut entries);
                    part.add_point(&entries, damping);
                }
                part
            })
            .collect();
        let mut sum = Reduced::zeros(self.count);
        for part in &parts {
            sum.matrix += &part.matrix;
            sum.slope += &part.slope;
            sum.diagonal += &part.diagonal;
        }
        self.add_priors(problem, options, &mut sum);
        sum
    }

    /// Rows of the Jacobian for the observations of a point, whitened and reweighted.
    fn entries_of<const D: usize>(
        &self,
        problem: &Problem,
        options: &AdjustOptions,
        point: usize,
        entries: &mut Vec<Entry<D>>,
    ) {
        entries.clear();
        for o in problem.observations_of(point) {
            let camera = &problem.cameras[o.camera];
            let Some(at) = camera.linearize(&problem.points[point]) else { continue };
            let error = at.pixel - o.pixel;
            let whiten = o.weight / (options.noise_px * options.noise_px);
            let squared = error.norm_squared() * whiten;
            if squared >= UNSEEN {
                continue;
            }
            let factor = (options.loss.value_and_weight(squared).1 * whiten).sqrt();
            let mut columns = [KEPT; D];
            let mut by_camera = SMatrix::<f64, 2, D>::zeros();
            if self.pose[o.camera] != KEPT {
                (0..6).for_each(|k| columns[k] = self.pose[o.camera] + k);
                by_camera.fixed_columns_mut::<6>(0).copy_from(&(at.by_twist() * factor));
            }
            for (k, &number) in self.lens_numbers.iter().enumerate() {
                columns[6 + k] = self.lens[o.camera] + k;
                by_camera.set_column(6 + k, &(at.by_lens.column(number) * factor));
            }
            let by_point = at.by_camera_point * camera.rotation.matrix() * factor;
            entries.push(Entry { columns, by_camera, by_point, error: error * factor });
            if let (Some(sigma), Some(depth)) = (options.depth_sigma, o.depth) {
                let p = at.point_in_camera;
                entries.push(depth_entry(&columns, camera, &p, depth, sigma));
            }
        }
    }

    fn add_priors(&self, problem: &Problem, options: &AdjustOptions, sum: &mut Reduced) {
        for (i, camera) in problem.cameras.iter().enumerate() {
            for (k, &number) in self.lens_numbers.iter().enumerate() {
                let sigma = CENTER_SIGMA * camera.focal_px;
                let off = camera.center_px - problem.center_prior_px[i];
                let (value, slope) = match number {
                    0 => match problem.focal_prior[i] {
                        Some(p) => ((camera.focal_px / p.focal_px).ln() / p.sigma, 1.0 / p.sigma),
                        None => continue,
                    },
                    1 => (off.x / sigma, 1.0 / sigma),
                    2 => (off.y / sigma, 1.0 / sigma),
                    _ => (camera.radial / RADIAL_SIGMA, 1.0 / RADIAL_SIGMA),
                };
                let column = self.lens[i] + k;
                sum.matrix[(column, column)] += slope * slope;
                sum.diagonal[column] += slope * slope;
                sum.slope[column] += slope * value;
            }
        }
        for link in &problem.rotations {
            self.add_rotation(link, problem, sum);
        }
        if let (Some(direction), None) = (&self.scale, options.depth_sigma) {
            let stiffness = sum.diagonal.sum() / self.count.max(1) as f64;
            sum.matrix.ger(stiffness, direction, direction, 1.0);
        }
    }

    fn add_rotation(&self, link: &RelativeRotation, problem: &Problem, sum: &mut Reduced) {
        let [a, b] = link.images;
        let at = link.residual(&problem.cameras[a].rotation, &problem.cameras[b].rotation);
        let whiten = 1.0 / (link.sigma_rad * link.sigma_rad);
        let weight = PRIOR_LOSS.value_and_weight(at.value.norm_squared() * whiten).1 * whiten;
        let parts = [(self.pose[a], at.by_a), (self.pose[b], at.by_b)];
        for (column, by) in parts.iter().filter(|(column, _)| *column != KEPT) {
            let slope = by.transpose() * at.value * weight;
            let diagonal = (by.transpose() * by * weight).diagonal();
            for k in 0..3 {
                sum.slope[column + k] += slope[k];
                sum.diagonal[column + k] += diagonal[k];
            }
            for (other, other_by) in parts.iter().filter(|(other, _)| *other != KEPT) {
                let block = by.transpose() * other_by * weight;
                for r in 0..3 {
                    for c in 0..3 {
                        if column + r >= other + c {
                            sum.matrix[(column + r, other + c)] += block[(r, c)];
                        }
                    }
                }
            }
        }
    }

    /// Cameras and points after a step of the cameras, and their cost.
    fn stepped(
        &self,
        problem: &Problem,
        options: &AdjustOptions,
        damping: f64,
        step: &DVector<f64>,
    ) -> ((Vec<LensCamera>, Vec<Vector3<f64>>), f64) {
        let cameras: Vec<LensCamera> = (0..problem.cameras.len())
            .map(|i| {
                let mut camera = problem.cameras[i];
                if self.pose[i] != KEPT {
                    camera = camera.moved(&Vector6::from(step.fixed_rows::<6>(self.pose[i])));
                }
                for (k, &number) in self.lens_numbers.iter().enumerate() {
                    let change = step[self.lens[i] + k];
                    match number {
                        0 => camera.focal_px *= change.exp(),
                        1 => camera.center_px.x += change,
                        2 => camera.center_px.y += change,
                        _ => camera.radial += change,
                    }
                }
                camera
            })
            .collect();
        let moved = match self.lens_numbers.len() {
            0 => self.moved_points::<6>(problem, options, damping, step, &cameras),
            1 => self.moved_points::<7>(problem, options, damping, step, &cameras),
            2 => self.moved_points::<8>(problem, options, damping, step, &cameras),
            3 => self.moved_points::<9>(problem, options, damping, step, &cameras),
            _ => self.moved_points::<10>(problem, options, damping, step, &cameras),
        };
        let costs = moved.iter().map(|(_, cost)| cost).sum::<f64>();
        let points = moved.into_iter().flat_map(|(points, _)| points).collect();
        let priors = Problem { cameras: cameras.clone(), ..problem.without_points() }.prior_cost(options);
        ((cameras, points), costs + priors)
    }

    fn moved_points<const D: usize>(
        &self,
        problem: &Problem,
        options: &AdjustOptions,
        damping: f64,
        step: &DVector<f64>,
        cameras: &[LensCamera],
    ) -> Vec<(Vec<Vector3<f64>>, f64)> {
        (0..COST_CHUNKS)
            .into_par_iter()
            .map(|c| {
                let range = chunk_of(c, COST_CHUNKS, problem.points.len());
                let mut points = Vec::with_capacity(range.len());
                let (mut cost, mut entries) = (0.0, Vec::new());
                for i in range {
                    self.entries_of::<D>(problem, options, i, &mut entries);
                    let old = problem.points[i];
                    let new = old + point_step(&entries, damping, step);
                    let seen = problem.observations_of(i);
                    let new_cost = point_cost(cameras, &new, seen, options);
                    let old_cost = point_cost(cameras, &old, seen, options);
                    points.push(if new_cost <= old_cost { new } else { old });
                    cost += new_cost.min(old_cost);
                }
                (points, cost)
            })
            .collect()
    }
}

impl Problem {
    /// The same cameras and priors with nothing seen.
    fn without_points(&self) -> Self {
        Self {
            cameras: Vec::new(),
            fixed_pose: self.fixed_pose.clone(),
            group: self.group.clone(),
            focal_prior: self.focal_prior.clone(),
            center_prior_px: self.center_prior_px.clone(),
            points: Vec::new(),
            starts: vec![0],
            observations: Vec::new(),
            rotations: self.rotations.clone(),
        }
    }
}

/// Two rows of the Jacobian: one observation.
struct Entry<const D: usize> {
    columns: [usize; D],
    by_camera: SMatrix<f64, 2, D>,
    by_point: Matrix2x3<f64>,
    error: Vector2<f64>,
}

/// The row of a believed depth (its second row is empty).
fn depth_entry<const D: usize>(
    columns: &[usize; D],
    camera: &LensCamera,
    p: &Vector3<f64>,
    depth: f64,
    sigma: f64,
) -> Entry<D> {
    let off = (p.z / depth).ln() / sigma;
    let factor = PRIOR_LOSS.value_and_weight(off * off).1.sqrt();
    let slope = factor / (sigma * p.z);
    let mut by_camera = SMatrix::<f64, 2, D>::zeros();
    // dz = (turn x p).z + shift.z
    by_camera[(0, 0)] = p.y * slope;
    by_camera[(0, 1)] = -p.x * slope;
    by_camera[(0, 5)] = slope;
    let mut by_point = Matrix2x3::zeros();
    by_point.set_row(0, &(camera.rotation.matrix().row(2) * slope));
    let mut columns = *columns;
    for lens in &mut columns[6..] {
        *lens = KEPT;
    }
    Entry { columns, by_camera, by_point, error: Vector2::new(off * factor, 0.0) }
}

/// Damped inverse of a point's own block and its slope; `None` if no inverse exists.
fn point_block<const D: usize>(entries: &[Entry<D>], damping: f64) -> Option<(Matrix3<f64>, Vector3<f64>)> {
    let mut square = Matrix3::zeros();
    let mut slope = Vector3::zeros();
    for e in entries {
        square += e.by_point.transpose() * e.by_point;
        slope += e.by_point.transpose() * e.error;
    }
    let floor = 1e-12 * square.trace();
    let damped = square + Matrix3::from_diagonal(&(square.diagonal() * damping).add_scalar(floor));
    damped.cholesky().map(|c| (c.inverse(), slope))
}

/// The step of a point that belongs to a step of the cameras.
fn point_step<const D: usize>(entries: &[Entry<D>], damping: f64, step: &DVector<f64>) -> Vector3<f64> {
    let Some((inverse, slope)) = point_block(entries, damping) else { return Vector3::zeros() };
    let mut right = -slope;
    for e in entries {
        let mut local = SVector::<f64, D>::zeros();
        for (k, &column) in e.columns.iter().enumerate() {
            if column != KEPT {
                local[k] = step[column];
            }
        }
        right -= e.by_point.transpose() * (e.by_camera * local);
    }
    inverse * right
}

/// Normal equations of the cameras: `matrix step = -slope`; only the lower triangle is filled.
pub(super) struct Reduced {
    pub(super) matrix: DMatrix<f64>,
    slope: DVector<f64>,
    /// Diagonal before the points were eliminated, which the damping scales.
    diagonal: DVector<f64>,
}

impl Reduced {
    fn zeros(n: usize) -> Self {
        Self { matrix: DMatrix::zeros(n, n), slope: DVector::zeros(n), diagonal: DVector::zeros(n) }
    }

    fn add_point<const D: usize>(&mut self, entries: &[Entry<D>], damping: f64) {
        let Some((inverse, point_slope)) = point_block(entries, damping) else { return };
        let coupling: Vec<SMatrix<f64, D, 3>> =
            entries.iter().map(|e| e.by_camera.transpose() * e.by_point).collect();
        for (i, e) in entries.iter().enumerate() {
            let square = e.by_camera.transpose() * e.by_camera;
            let against = coupling[i] * inverse;
            let slope = e.by_camera.transpose() * e.error - against * point_slope;
            for (k, &column) in e.columns.iter().enumerate() {
                if column != KEPT {
                    self.slope[column] += slope[k];
                    self.diagonal[column] += square[(k, k)];
                }
            }
            self.add_block(&e.columns, &e.columns, &(square - against * coupling[i].transpose()), true);
            for j in 0..i {
                self.add_block(&e.columns, &entries[j].columns, &(-against * coupling[j].transpose()), false);
            }
        }
    }

    /// Adds a block and, unless it is `own` (rows and columns the same), its mirror image.
    fn add_block<const D: usize>(
        &mut self,
        rows: &[usize; D],
        columns: &[usize; D],
        block: &SMatrix<f64, D, D>,
        own: bool,
    ) {
        for (c, &column) in columns.iter().enumerate() {
            if column == KEPT {
                continue;
            }
            for (r, &row) in rows.iter().enumerate() {
                if row == KEPT || (own && row < column) {
                    continue;
                }
                // A lens number shared by both cameras gets the block and its mirror in one place.
                let times = if !own && row == column { 2.0 } else { 1.0 };
                self.matrix[(row.max(column), row.min(column))] += block[(r, c)] * times;
            }
        }
    }

    /// The damped step; `None` if the system is not positive definite.
    fn step(&self, damping: f64) -> Option<DVector<f64>> {
        let mut matrix = self.matrix.clone();
        for (k, &d) in self.diagonal.iter().enumerate() {
            // A camera that sees nothing has an empty row; it stays where it is.
            matrix[(k, k)] += if d > 0.0 { damping * d } else { 1.0 };
        }
        let step = -matrix.cholesky()?.solve(&self.slope);
        step.iter().all(|v| v.is_finite()).then_some(step)
    }

    /// How much lower the quadratic model is after the step.
    fn predicted_decrease(&self, step: &DVector<f64>) -> f64 {
        -self.slope.dot(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bundle::synthetic::{Random, Scene};
    use nalgebra::UnitQuaternion;

    const OPTIONS: AdjustOptions = AdjustOptions {
        noise_px: 0.7,
        loss: Loss::Cauchy { scale: 1.5 },
        free: FreeIntrinsics { focal: true, center: true, radial: true },
        depth_sigma: Some(0.1),
        max_iterations: 60,
        tolerance: 1e-10,
    };

    /// Four photos in two groups, every kind of prior, points seen by two to four of them, `noise_px` of noise.
    fn problem(noise_px: f64) -> Problem {
        let scene = Scene::orbit(8);
        let mut random = Random(21);
        let cameras: Vec<LensCamera> = (1..5).map(|i| LensCamera::new(&scene.cameras[i])).collect();
        let mut problem = Problem {
            fixed_pose: vec![true, false, false, false],
            group: vec![0, 1, 0, 1],
            focal_prior: vec![Some(FocalPrior { focal_px: 325.0, sigma: 0.02 }), None, None, None],
            center_prior_px: cameras.iter().map(|c| c.center_px + Vector2::new(0.5, -0.3)).collect(),
            points: Vec::new(),
            starts: vec![0],
            observations: Vec::new(),
            rotations: vec![RelativeRotation {
                images: [1, 3],
                b_from_a: UnitQuaternion::from_rotation_matrix(
                    &(cameras[3].rotation * cameras[1].rotation.inverse()),
                ) * UnitQuaternion::from_scaled_axis(Vector3::new(0.01, -0.02, 0.005)),
                sigma_rad: 0.01,
            }],
            cameras,
        };
        while problem.points.len() < 40 {
            let pixel = [random.uniform() * 383.0, random.uniform() * 287.0];
            let Some(point) = scene.surface(2, pixel) else { continue };
            let count = 2 + problem.points.len() % 3;
            for camera in 0..count {
                let at = problem.cameras[camera].project(&point).unwrap();
                let off = Vector2::new(random.normal(), random.normal()) * noise_px;
                let depth = problem.cameras[camera].to_camera_frame(&point).z;
                problem.observations.push(ProblemObservation {
                    camera,
                    pixel: at + off,
                    weight: 0.5 + random.uniform(),
                    depth: (camera == 1).then_some(depth * (1.0 + 0.1 * noise_px * random.normal())),
                });
            }
            problem.points.push(point);
            problem.starts.push(problem.observations.len());
        }
        problem
    }

    /// The problem after a change of all its variables: cameras and lenses as in [`Columns`], then points.
    fn changed(problem: &Problem, columns: &Columns, change: &DVector<f64>) -> Problem {
        let mut out = problem.clone();
        for (i, camera) in out.cameras.iter_mut().enumerate() {
            if columns.pose[i] != KEPT {
                *camera = camera.moved(&Vector6::from(change.fixed_rows::<6>(columns.pose[i])));
            }
            let lens = change.fixed_rows::<4>(columns.lens[i]);
            camera.focal_px *= lens[0].exp();
            camera.center_px += Vector2::new(lens[1], lens[2]);
            camera.radial += lens[3];
        }
        for (i, point) in out.points.iter_mut().enumerate() {
            *point += change.fixed_rows::<3>(columns.count + 3 * i);
        }
        out
    }

    /// All residuals over their standard deviations, with the loss that each group of them has.
    fn residuals(problem: &Problem, options: &AdjustOptions) -> Vec<(Vec<f64>, Loss)> {
        let mut out = Vec::new();
        for i in 0..problem.points.len() {
            for o in problem.observations_of(i) {
                let camera = &problem.cameras[o.camera];
                let off = (camera.project(&problem.points[i]).unwrap() - o.pixel) * o.weight.sqrt()
                    / options.noise_px;
                out.push((vec![off.x, off.y], options.loss));
                if let (Some(depth), Some(sigma)) = (o.depth, options.depth_sigma) {
                    let z = camera.to_camera_frame(&problem.points[i]).z;
                    out.push((vec![(z / depth).ln() / sigma], PRIOR_LOSS));
                }
            }
        }
        for (i, camera) in problem.cameras.iter().enumerate() {
            if let Some(prior) = problem.focal_prior[i] {
                out.push((vec![(camera.focal_px / prior.focal_px).ln() / prior.sigma], Loss::Squared));
            }
            // The spread of the principal point follows the focal length, but its step does not.
            let off = (camera.center_px - problem.center_prior_px[i]) / (CENTER_SIGMA * 330.0);
            out.push((vec![off.x, off.y], Loss::Squared));
            out.push((vec![camera.radial / RADIAL_SIGMA], Loss::Squared));
        }
        for link in &problem.rotations {
            let [a, b] = link.images;
            let off = link.residual(&problem.cameras[a].rotation, &problem.cameras[b].rotation).value;
            out.push(((off / link.sigma_rad).iter().copied().collect(), PRIOR_LOSS));
        }
        out
    }

    #[test]
    fn the_step_is_that_of_the_dense_normal_equations() {
        let problem = problem(1.5);
        let columns = Columns::new(&problem, OPTIONS.free, &problem.fixed_pose);
        let (damping, count) = (0.01, columns.count + 3 * problem.points.len());
        let now = residuals(&problem, &OPTIONS);
        let cost: f64 =
            now.iter().map(|(r, loss)| loss.value_and_weight(r.iter().map(|v| v * v).sum()).0).sum();
        assert!((cost - problem.cost(&OPTIONS)).abs() < 1e-9 * cost, "{cost}");
        let slopes: Vec<Vec<(Vec<f64>, Loss)>> = (0..2 * count)
            .map(|k| {
                let mut change = DVector::zeros(count);
                change[k / 2] = if k % 2 == 0 { 1e-6 } else { -1e-6 };
                residuals(&changed(&problem, &columns, &change), &OPTIONS)
            })
            .collect();
        let mut square = DMatrix::zeros(count, count);
        let mut slope = DVector::zeros(count);
        for (i, (values, loss)) in now.iter().enumerate() {
            let weight = loss.value_and_weight(values.iter().map(|v| v * v).sum()).1;
            for (j, value) in values.iter().enumerate() {
                let by = DVector::from_fn(count, |k, _| {
                    (slopes[2 * k][i].0[j] - slopes[2 * k + 1][i].0[j]) / 2e-6
                });
                square.ger(weight, &by, &by, 1.0);
                slope.axpy(weight * value, &by, 1.0);
            }
        }
        for k in 0..count {
            square[(k, k)] *= 1.0 + damping;
        }
        let want = -square.cholesky().unwrap().solve(&slope);
        let step = columns.reduced_system(&problem, &OPTIONS, damping).step(damping).unwrap();
        let largest = want.amax();
        for k in 0..columns.count {
            assert!((step[k] - want[k]).abs() < 1e-5 * largest, "{k}: {} {}", step[k], want[k]);
        }
        let mut entries = Vec::new();
        for i in 0..problem.points.len() {
            columns.entries_of::<10>(&problem, &OPTIONS, i, &mut entries);
            let got = point_step(&entries, damping, &step);
            let want = want.fixed_rows::<3>(columns.count + 3 * i);
            assert!((got - want).norm() < 1e-5 * largest, "point {i}: {got} {want}");
        }
    }

    #[test]
    fn exact_data_bring_everything_back() {
        let truth = problem(0.0);
        let mut random = Random(5);
        let mut off = truth.clone();
        off.rotations.clear();
        off.focal_prior = vec![None; 4];
        off.center_prior_px = truth.cameras.iter().map(|c| c.center_px).collect();
        for camera in &mut off.cameras[1..] {
            let twist = Vector6::from_fn(|_, _| 0.05 * random.normal());
            *camera = camera.moved(&twist);
        }
        for camera in &mut off.cameras {
            camera.focal_px *= 1.08;
        }
        for point in &mut off.points {
            *point += random.direction() * 0.2;
        }
        let kept = off.cameras[0];
        let free = FreeIntrinsics { focal: true, center: false, radial: false };
        let options = AdjustOptions { free, loss: Loss::Huber { scale: 50.0 }, ..OPTIONS };
        let summary = adjust(&mut off, &options).unwrap();
        assert!(summary.converged && summary.cost_after < 1e-9 * summary.cost_before, "{summary:?}");
        for (got, want) in off.cameras.iter().zip(&truth.cameras) {
            let turn = (got.rotation.matrix() - want.rotation.matrix()).norm().to_degrees();
            assert!(turn < 1e-3 && (got.center() - want.center()).norm() < 1e-3, "{turn}");
            assert!((got.focal_px - want.focal_px).abs() < 0.01);
        }
        assert_eq!((kept.rotation, kept.translation), (off.cameras[0].rotation, off.cameras[0].translation));
    }

    #[test]
    fn without_depths_the_size_of_the_scene_stays() {
        let mut problem = problem(1.0);
        let about = problem.cameras[0].center();
        let spread = |p: &Problem| -> f64 {
            p.cameras.iter().map(|c| (c.center() - about).norm_squared()).sum::<f64>().sqrt()
        };
        let before = spread(&problem);
        let cost = adjust(&mut problem, &AdjustOptions { depth_sigma: None, ..OPTIONS }).unwrap();
        assert!(cost.cost_after < cost.cost_before);
        assert!((spread(&problem) / before - 1.0).abs() < 0.02, "{} {before}", spread(&problem));
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let run = |threads: usize| {
            let mut problem = problem(1.5);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| adjust(&mut problem, &OPTIONS)).unwrap();
            (problem.cameras, problem.points)
        };
        assert_eq!(run(1), run(3));
    }

    #[test]
    fn bad_arguments_are_refused() {
        let refused = |change: &dyn Fn(&mut Problem, &mut AdjustOptions), part: &str| {
            let (mut problem, mut options) = (problem(1.0), OPTIONS);
            change(&mut problem, &mut options);
            let error = adjust(&mut problem, &options).unwrap_err().to_string();
            assert!(error.starts_with("adjust: `") && error.contains(part), "{error}");
        };
        refused(&|p, _| p.fixed_pose.truncate(3), "fixed_pose` must have 4 entries, got 3");
        refused(&|p, _| p.group.truncate(3), "group");
        refused(&|p, _| p.group[1] = 4, "group` must be below 4, got 4");
        refused(&|p, _| p.focal_prior.truncate(3), "focal_prior");
        refused(&|p, _| p.center_prior_px.truncate(3), "center_prior_px");
        refused(&|p, _| p.starts.truncate(3), "starts");
        refused(&|p, _| p.starts[0] = 1, "observations");
        refused(&|p, _| p.observations.truncate(3), "observations");
        refused(&|p, _| p.observations[5].camera = 9, "observations.camera` must be below 4, got 9");
        refused(&|p, _| p.rotations[0].images[1] = 9, "rotations.images");
        refused(&|p, _| p.rotations[0].sigma_rad = 0.0, "rotations.sigma_rad");
        refused(&|p, _| p.focal_prior[0] = Some(FocalPrior { focal_px: 0.0, sigma: 1.0 }), "focal_px");
        refused(&|p, _| p.focal_prior[0] = Some(FocalPrior { focal_px: 1.0, sigma: 0.0 }), "sigma");
        refused(&|_, o| o.noise_px = f64::NAN, "noise_px");
        refused(&|_, o| o.loss = Loss::SoftL1 { scale: 0.0 }, "loss.scale");
        refused(&|_, o| o.depth_sigma = Some(-1.0), "depth_sigma");
        refused(&|_, o| o.tolerance = -1.0, "tolerance");
    }
}
