//! From photos to a scene: the whole pipeline.
//!
//! 1. [`pairs`](self): the network looks at pairs of photos; their matches pass the two-view test or the pair is dropped.
//! 2. The photos that verified pairs hold together are a group; rotations are averaged over it, and the sparse alignment
//!    places its pointmaps.
//! 3. Bundle adjustment refines the cameras on tracks of matches.
//! 4. Dense depths follow the refined cameras, agree with one another if that is asked for, and points that another photo sees through
//!    are removed.
//!
//! Every step is deterministic for a seed and independent of the number of threads.

mod assemble;
mod cameras;
mod pairs;
mod report;
mod scene_files;
mod single;
mod surface;

pub use pairs::match_pair;
pub use report::{PairReport, PhotoReport};

use crate::alignment::{AlignmentError, TsdfOptions};
use crate::averaging::RotationAverage;
use crate::pair_graph::{PairGraph, PairGraphError};
use crate::photo::Photo;
use crate::retrieval::RetrievalReport;
use crate::write::Track;
use crate::{Camera, bundle::BundleError, geometry::GeometryError};
use std::sync::Arc;
use steropes_models::retrieval::Retrieval;
use steropes_models::{Model, ModelError};
use steropes_ops::OpError;
use steropes_tensor::DeviceError;

/// Hears of the progress.
pub trait Monitor: Sync {
    /// A stage of so many steps begins.
    fn begin(&self, stage: &str, steps: usize);
    /// A step of the stage is done.
    fn step(&self);
    /// The stage is over.
    fn end(&self);
}

/// How to reconstruct.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which pairs are looked at.
    pub graph: PairGraph,
    /// How similar photos are found, for graphs that need it; `None` learns it from the photos.
    pub retrieval: Option<Arc<Retrieval>>,
    /// One focal length for all photos of one size; otherwise photos share one where their estimates agree.
    pub shared_intrinsics: bool,
    /// Whether bundle adjustment refines the cameras.
    pub refine: bool,
    /// Whether groups of photos that nothing connects become scenes of their own; otherwise the largest is kept.
    pub all_groups: bool,
    /// How the depths of photos with cameras are made to agree before they are cleaned; `None` leaves them as they are. A single
    /// photo has nothing to agree with.
    pub tsdf: Option<TsdfOptions>,
    /// Seed of everything random; [`Options::tsdf`] has its own.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            graph: PairGraph::Auto,
            retrieval: None,
            shared_intrinsics: false,
            refine: true,
            all_groups: false,
            tsdf: None,
            seed: 0,
        }
    }
}

/// The dense surface that one photo sees: a value per pixel of the network's image.
#[derive(Clone, Debug, PartialEq)]
pub struct Surface {
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// Depth along the optical axis.
    pub depth: Vec<f32>,
    /// Points in the world.
    pub points: Vec<[f32; 3]>,
    /// Confidence, above 0; 0 where another photo sees through the point.
    pub confidence: Vec<f32>,
    /// Colours.
    pub colors: Vec<[u8; 3]>,
}

/// One group of photos in one world frame: that of its first photo's camera.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// Index of each photo among all photos.
    pub photos: Vec<usize>,
    /// The camera of each, in network pixels.
    pub cameras: Vec<Camera>,
    /// The camera of each in pixels of the upright photo: focal length and principal point as COLMAP counts.
    pub upright: Vec<crate::photo::Pinhole>,
    /// First radial distortion coefficient of each; 0 without bundle adjustment.
    pub radial: Vec<f64>,
    /// Points that were triangulated; their observations count the photos of this scene.
    pub tracks: Vec<Track>,
    /// The dense surface of each photo.
    pub surfaces: Vec<Surface>,
}

/// The result of [`reconstruct`].
#[derive(Clone, Debug)]
pub struct Reconstruction {
    /// The scenes, largest first; exactly one unless all groups are kept.
    pub scenes: Vec<Scene>,
    /// One per photo.
    pub photos: Vec<PhotoReport>,
    /// One per pair that was looked at.
    pub pairs: Vec<PairReport>,
    /// How the similarity of photos was found, if the pairs depend on it.
    pub retrieval: Option<RetrievalReport>,
}

/// Why there is no scene.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReconstructError {
    /// The graph does not fit the photos.
    #[error(transparent)]
    Graph(#[from] PairGraphError),
    /// The network refused an image.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// An op refused an argument.
    #[error(transparent)]
    Op(#[from] OpError),
    /// A device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A geometric fit refused an argument.
    #[error(transparent)]
    Geometry(#[from] GeometryError),
    /// A pointmap has no focal length.
    #[error("the network's points of a photo fit no focal length: {0}")]
    Focal(#[from] crate::geometry::focal::FocalError),
    /// The alignment failed.
    #[error(transparent)]
    Alignment(#[from] AlignmentError),
    /// The bundle adjustment failed.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// No pair passed the two-view test.
    #[error(
        "no two of the {photos} photos show the same scene: take photos that overlap by more than half, or compare more \
         pairs with `--graph complete`"
    )]
    NothingMatches {
        /// Number of photos.
        photos: usize,
    },
}

/// Cameras and surfaces of all photos.
///
/// One photo gives a surface of its own. Photos that no verified pair reaches are reported as not registered and the
/// rest is reconstructed.
///
/// # Errors
/// [`ReconstructError::NothingMatches`] if no two photos show one scene; the others if the options or the model do not
/// fit the photos.
pub fn reconstruct(
    photos: &[Photo],
    model: &Model,
    options: &Options,
    monitor: &dyn Monitor,
) -> Result<Reconstruction, ReconstructError> {
    if !options.graph.needs_similarity(photos.len()) {
        options.graph.pairs(photos.len())?;
    }
    if let [photo] = photos {
        return single::reconstruct_one(photo, model, monitor);
    }
    let encoded = pairs::encode(photos, model, monitor)?;
    let (pairs, retrieval) = pairs::choose(&encoded, options, monitor)?;
    let mut comparison = pairs::compare(photos, model, &encoded, &pairs, options, monitor)?;
    if comparison.pairs.is_empty() {
        return Err(ReconstructError::NothingMatches { photos: photos.len() });
    }
    let average = cameras::average_rotations(photos.len(), &comparison.pairs)?;
    report::note_rotations(&mut comparison, &average);
    let groups = groups(&average, options.all_groups);
    let mut reconstruction = Reconstruction {
        scenes: Vec::new(),
        photos: photos.iter().map(|photo| PhotoReport::new(photo, &comparison)).collect(),
        pairs: Vec::new(),
        retrieval,
    };
    for members in groups {
        let group =
            cameras::place(photos, &members, &comparison, &average, (options, model.device()), monitor)?;
        let surfaces = surface::dense(&group, photos, (options, model.device()), monitor)?;
        let scene = assemble::scene(&group, photos, surfaces);
        report::note_group(
            &mut reconstruction.photos,
            &mut comparison,
            &group,
            &scene,
            reconstruction.scenes.len(),
        );
        reconstruction.scenes.push(scene);
    }
    report::note_unplaced(&mut reconstruction.photos, &average.component);
    reconstruction.pairs = comparison.reports;
    Ok(reconstruction)
}

/// The photos of each group that has at least two, largest first.
fn groups(average: &RotationAverage, all: bool) -> Vec<Vec<usize>> {
    let count = average.component.iter().max().map_or(0, |c| c + 1);
    let mut groups: Vec<Vec<usize>> = vec![Vec::new(); count];
    for (photo, &component) in average.component.iter().enumerate() {
        groups[component].push(photo);
    }
    groups.retain(|g| g.len() >= 2);
    if !all {
        groups.truncate(1);
    }
    groups
}
