//! What happened to every photo and every pair.

use super::Scene;
use super::cameras::PlacedGroup;
use super::pairs::Comparison;
use crate::averaging::RotationAverage;
use crate::photo::Photo;
use serde::Serialize;

/// What became of a photo.
#[derive(Clone, Debug, Serialize)]
pub struct PhotoReport {
    /// Name of the photo.
    pub name: String,
    /// Width and height of the upright photo in pixels.
    pub size: [u32; 2],
    /// Whether it has a camera in a scene.
    pub registered: bool,
    /// Why not, if it has none.
    pub why: Option<String>,
    /// Index of its scene.
    pub scene: Option<usize>,
    /// Focal length in pixels of the upright photo.
    pub focal_px: Option<f64>,
    /// Verified matches with other photos.
    pub matches: usize,
    /// Observations of triangulated points.
    pub observations: usize,
    /// Between 0 (worthless) and 1 (certain): how far the camera can be trusted.
    pub confidence: f64,
    /// Expected error of the rotation in degrees, as the residuals tell.
    pub rotation_sigma_deg: Option<f64>,
    /// Expected error of the centre, as a share of the largest distance between two cameras.
    pub center_sigma_share: Option<f64>,
}

/// What became of a pair.
#[derive(Clone, Debug, Serialize)]
pub struct PairReport {
    /// Name of the first photo.
    pub a: String,
    /// Name of the second photo.
    pub b: String,
    /// Matches of the descriptors.
    pub matches: usize,
    /// Matches that fit one rigid scene.
    pub inliers: usize,
    /// Whether the pair was used.
    pub kept: bool,
    /// What the matches show, or why the pair was dropped.
    pub why: String,
    /// Decimal logarithm of the expected number of pairs as good as this one by chance.
    pub log10_false_alarms: f64,
    /// Root mean square distance of the inliers from their epipolar lines, in network pixels.
    pub rms_px: f64,
    /// Median angle between the viewing rays of the inliers, in degrees.
    pub angle_deg: f64,
    /// Difference between the pair's rotation and that of the final cameras, in degrees.
    pub rotation_residual_deg: Option<f64>,
}

impl PhotoReport {
    /// A photo before anything is known of its camera.
    pub(super) fn new(photo: &Photo, comparison: &Comparison) -> Self {
        let matches = comparison.reports.iter().filter(|pair| pair.kept);
        let matches = matches
            .filter(|pair| pair.a == photo.name || pair.b == photo.name)
            .map(|pair| pair.inliers)
            .sum();
        Self {
            name: photo.name.clone(),
            size: photo.map.upright_size,
            registered: false,
            why: None,
            scene: None,
            focal_px: None,
            matches,
            observations: 0,
            confidence: 0.0,
            rotation_sigma_deg: None,
            center_sigma_share: None,
        }
    }

    /// The only photo.
    pub(super) fn alone(photo: &Photo, focal_px: f64) -> Self {
        Self {
            name: photo.name.clone(),
            size: photo.map.upright_size,
            registered: true,
            why: Some("one photo: depth as the network sees it, no second view confirms it".to_owned()),
            scene: Some(0),
            focal_px: Some(focal_px),
            matches: 0,
            observations: 0,
            confidence: 0.0,
            rotation_sigma_deg: None,
            center_sigma_share: None,
        }
    }
}

/// Says of every verified pair how its rotation fits the average, and drops those that do not.
pub(super) fn note_rotations(comparison: &mut Comparison, average: &RotationAverage) {
    for (p, pair) in comparison.pairs.iter().enumerate() {
        let report = &mut comparison.reports[pair.report];
        report.rotation_residual_deg = Some(average.residual_rad[p].to_degrees());
        if !average.consistent[p] {
            report.kept = false;
            report.why = "its rotation contradicts the other pairs".to_owned();
        }
    }
}

/// Says of every photo and pair of a group what became of it.
pub(super) fn note_group(
    photos: &mut [PhotoReport],
    comparison: &mut Comparison,
    group: &PlacedGroup,
    scene: &Scene,
    index: usize,
) {
    for (i, &photo) in group.photos.iter().enumerate() {
        let report = &mut photos[photo];
        report.why.clone_from(&group.lost[i]);
        let Some(placed) = scene.photos.iter().position(|&p| p == photo) else { continue };
        report.registered = true;
        report.scene = Some(index);
        report.focal_px = Some(scene.upright[placed].focal_px[0]);
        report.observations =
            scene.tracks.iter().filter(|t| t.observations.iter().any(|seen| seen.photo == placed)).count();
        if let Some(uncertainty) = group.bundle.as_ref().and_then(|b| b.uncertainty[i]) {
            report.rotation_sigma_deg = Some(uncertainty.rotation_deg);
            report.center_sigma_share = Some(uncertainty.center_share);
            report.confidence = confidence(uncertainty.rotation_deg, uncertainty.center_share);
        }
    }
    for &p in &group.pairs {
        let pair = &comparison.pairs[p];
        let camera = |photo: usize| group.photos.iter().position(|&m| m == photo).map(|i| group.cameras[i]);
        if let ([Some(a), Some(b)], Some(pose)) = (pair.photos.map(camera), pair.view.pose) {
            let relative = b.world_from_camera.rotation.inverse() * a.world_from_camera.rotation;
            let residual = relative.angle_to(&pose.camera2_from_camera1).to_degrees();
            comparison.reports[pair.report].rotation_residual_deg = Some(residual);
        }
    }
}

/// Expected errors at which a camera counts as half trusted.
const HALF_TRUSTED_ROTATION_DEG: f64 = 0.3;
const HALF_TRUSTED_CENTER: f64 = 0.01;

/// 1 for a camera without error, 1/2 where either expected error reaches its half-trusted value.
fn confidence(rotation_deg: f64, center_share: f64) -> f64 {
    1.0 / (1.0 + (rotation_deg / HALF_TRUSTED_ROTATION_DEG).max(center_share / HALF_TRUSTED_CENTER))
}

/// Says why the photos without a scene have none.
pub(super) fn note_unplaced(photos: &mut [PhotoReport], component: &[usize]) {
    for (i, report) in photos.iter_mut().enumerate() {
        if report.registered || report.why.is_some() {
            continue;
        }
        let others = component.iter().filter(|&&c| c == component[i]).count() - 1;
        report.why = Some(match others {
            0 => "no pair with another photo passed the two-view test".to_owned(),
            n => format!("in a smaller group with {n} other photos that nothing connects to the largest"),
        });
    }
}
