//! Pixel matches between two photos from their descriptor maps.
//!
//! A pixel of photo 1 and a pixel of photo 2 match if each has the other's descriptor for its nearest neighbour. Either all
//! pixels are compared ([`mutual_nns`]) or a grid of seeds is followed to such pairs ([`fast_reciprocal_nns`]).

mod correspondences;
mod subpixel;
#[cfg(test)]
mod test_scene;
#[cfg(test)]
mod tests;
mod tracks;

pub use correspondences::{
    FinePixels, FrameMaps, Matches, MergedPixels, extract_correspondences, extract_correspondences_nonsym,
    extract_fine_correspondences, extract_point_correspondences, merge_correspondences,
};
pub use steropes_ops::matching::nearest_neighbors::Metric;
pub use subpixel::{SubpixelMatches, refine_subpixel};
pub use tracks::{PairLookup, ReciprocalMatches, ReciprocalOptions, Seeds, Tracks, fast_reciprocal_nns};

use steropes_ops::OpError;
use steropes_ops::matching::gather_rows::gather_rows;
use steropes_ops::matching::nearest_neighbors::{Database, nearest_neighbors};
use steropes_tensor::{Device, Tensor, TensorError};

/// The descriptors of all pixels of a photo, prepared once for many searches.
///
/// Pixels are numbered row by row: pixel `(x, y)` is `x + width * y`.
#[derive(Clone, Debug)]
pub struct DescriptorMap {
    rows: Tensor,
    width: usize,
    height: usize,
    database: Database,
}

impl DescriptorMap {
    /// Prepares `descriptors` `[height, width, depth]` or `[1, height, width, depth]`, f32.
    ///
    /// # Errors
    /// [`OpError::Shape`] or [`OpError::DType`] if `descriptors` is not as above, or has no pixels.
    pub fn new(descriptors: &Tensor, metric: Metric) -> Result<Self, OpError> {
        const OP: &str = "matching::descriptor_map";
        let (&[height, width, depth] | &[1, height, width, depth]) = descriptors.shape() else {
            let expected = "[height, width, depth] or [1, height, width, depth]";
            return Err(OpError::shape(OP, "descriptors", expected, descriptors.shape()));
        };
        let rows = descriptors.clone().reshape(&[height * width, depth]).expect("as many elements");
        let database = Database::new(&rows, metric)?;
        Ok(Self { rows, width, height, database })
    }

    /// Pixels in a row.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Rows of pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Values of a descriptor.
    pub fn depth(&self) -> usize {
        self.database.depth()
    }

    /// The number of pixels.
    pub fn pixels(&self) -> usize {
        self.database.len()
    }

    /// The metric that it was prepared for.
    pub fn metric(&self) -> Metric {
        self.database.metric()
    }

    /// Column and row of a pixel.
    pub fn xy(&self, pixel: u32) -> [u32; 2] {
        let width = self.width as u32;
        [pixel % width, pixel / width]
    }

    /// The number of the pixel in column `x` and row `y`.
    pub fn pixel(&self, [x, y]: [u32; 2]) -> u32 {
        x + self.width as u32 * y
    }

    /// The device that holds the descriptors.
    pub fn device(&self) -> Device {
        self.rows.device()
    }

    /// The descriptors of some pixels, one after the other, on the host. Nothing else leaves the device.
    pub(crate) fn descriptors(&self, pixels: Vec<u32>) -> Result<Vec<f32>, OpError> {
        rows_on_host(&self.rows, pixels)
    }

    /// The pixel of this map that is nearest to each of the given pixels of `other`.
    fn nearest_to(&self, other: &Self, pixels: &[u32]) -> Result<Vec<u32>, OpError> {
        let queries = gather_rows(&other.rows, &list_on(&other.device(), pixels.to_vec())?)?;
        Ok(nearest_neighbors(&queries, &self.database)?.into_vec()?)
    }
}

/// Some rows of a tensor `[rows, width]`, one after the other.
fn rows_on_host(rows: &Tensor, indices: Vec<u32>) -> Result<Vec<f32>, OpError> {
    Ok(gather_rows(rows, &list_on(&rows.device(), indices)?)?.into_vec()?)
}

/// A list as a tensor.
fn list_on(device: &Device, list: Vec<u32>) -> Result<Tensor, OpError> {
    match Tensor::new(device, &[list.len()], list) {
        Ok(tensor) => Ok(tensor),
        Err(TensorError::Device(error)) => Err(error.into()),
        Err(_) => unreachable!("a list has its own length"),
    }
}

/// The nearest rows in both directions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NearestBothWays {
    /// For each row of the first set the index of the nearest row of the second.
    pub nearest_in_2: Vec<u32>,
    /// For each row of the second set the index of the nearest row of the first.
    pub nearest_in_1: Vec<u32>,
}

impl NearestBothWays {
    /// The pairs that are nearest to each other, sorted by the first index.
    pub fn mutual(&self) -> Vec<[u32; 2]> {
        let pairs = self.nearest_in_2.iter().enumerate().map(|(i, j)| [i as u32, *j]);
        pairs.filter(|[i, j]| self.nearest_in_1[*j as usize] == *i).collect()
    }
}

/// The nearest row of the other set for every row of `rows_1` and of `rows_2`, ties to the lowest index.
///
/// # Shapes
/// - `rows_1`: `[rows, depth]`, f32
/// - `rows_2`: `[other rows, depth]`, f32
///
/// # Errors
/// [`OpError::Shape`] or [`OpError::DType`] if the arguments are not as above.
///
/// # Source
/// Written from the definition.
pub fn bruteforce_reciprocal_nns(
    rows_1: &Tensor,
    rows_2: &Tensor,
    metric: Metric,
) -> Result<NearestBothWays, OpError> {
    let (database_1, database_2) = (Database::new(rows_1, metric)?, Database::new(rows_2, metric)?);
    let nearest = |queries, database| -> Result<Vec<u32>, OpError> {
        Ok(nearest_neighbors(queries, database)?.into_vec()?)
    };
    Ok(NearestBothWays {
        nearest_in_2: nearest(rows_1, &database_2)?,
        nearest_in_1: nearest(rows_2, &database_1)?,
    })
}

/// All pairs of pixels that are nearest to each other, as pixel numbers, sorted by the pixel of map 1.
///
/// # Errors
/// [`OpError::Shape`] if the maps differ in depth.
///
/// # Source
/// Written from the definition.
pub fn mutual_nns(map_1: &DescriptorMap, map_2: &DescriptorMap) -> Result<Vec<[u32; 2]>, OpError> {
    let nearest_in_2 = nearest_neighbors(&map_1.rows, &map_2.database)?;
    let nearest_in_2: Vec<u32> = nearest_in_2.into_vec()?;
    // Only pixels that are somebody's nearest can be half of a mutual pair: usually far fewer than all.
    let mut asked = nearest_in_2.clone();
    asked.sort_unstable();
    asked.dedup();
    let mut nearest_in_1 = vec![u32::MAX; map_2.pixels()];
    for (pixel, nearest) in asked.iter().zip(map_1.nearest_to(map_2, &asked)?) {
        nearest_in_1[*pixel as usize] = nearest;
    }
    Ok(NearestBothWays { nearest_in_2, nearest_in_1 }.mutual())
}
