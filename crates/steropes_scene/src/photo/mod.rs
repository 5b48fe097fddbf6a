//! Photos: which files they are, their upright pixels, what the network sees of them, and the way back.

mod collect;
mod decode;
mod error;
mod exif;
mod input_format;
mod pixel_map;
mod resample;

pub use collect::{EXTENSIONS, LeftOut, LeftOutReason, PhotoFiles, collect_photos};
pub use decode::{MAX_PIXELS, MIN_SIDE_PX, UprightPhoto, read_stored_size, read_upright};
pub use error::{PhotoError, PhotoErrors};
pub use exif::{FocalPrior, FocalSource};
pub use image::metadata::Orientation;
pub use input_format::{InputFormat, normalised_chw};
pub use pixel_map::{Pinhole, PixelMap};
pub use resample::{Filter, resize};

use image::RgbImage;
use rayon::prelude::*;
use std::path::{Path, PathBuf};
use steropes_models::engine::Image;

/// Decoded pixels held at once while a set is loaded; bounds the memory of many threads and large photos.
const PIXELS_AT_ONCE: u64 = MAX_PIXELS;

/// A photo as the pipeline needs it: the network's image and the way back to the file. The full-size pixels are not
/// kept (see [`read_upright`]).
#[derive(Clone, Debug)]
pub struct Photo {
    /// The file.
    pub path: PathBuf,
    /// Unique within its set: the file name, or the path where two photos share one.
    pub name: String,
    /// Sizes, EXIF orientation, and the maps between network, upright and stored pixels.
    pub map: PixelMap,
    /// Focal length by the EXIF entries.
    pub focal_prior: Option<FocalPrior>,
    /// The network's image.
    pub network_rgb: RgbImage,
    /// The whole upright photo at the network's scale, before the crop; for thumbnails.
    pub resized_rgb: RgbImage,
}

impl Photo {
    /// Decodes one photo and brings it to the network's format.
    ///
    /// # Errors
    /// As [`read_upright`], and [`PhotoError::TooNarrow`].
    pub fn read(path: &Path, name: &str, format: &InputFormat) -> Result<Self, PhotoError> {
        let upright = read_upright(path)?;
        let map = PixelMap::new(path, upright.stored_size, upright.orientation, format)?;
        let resized_rgb = format.resized(&upright.rgb);
        let ([x, y], [width, height]) = (map.crop_origin, map.network_size);
        Ok(Self {
            path: path.to_owned(),
            name: name.to_owned(),
            map,
            focal_prior: upright.focal_prior,
            network_rgb: image::imageops::crop_imm(&resized_rgb, x, y, width, height).to_image(),
            resized_rgb,
        })
    }

    /// The network's image as an engine takes it.
    pub fn image(&self) -> Image {
        let [width, height] = self.map.network_size.map(|side| side as usize);
        Image::new([height, width], self.network_rgb.as_raw().clone())
            .expect("an image has three bytes per pixel")
    }

    /// The network's input `[3, height, width]` in [-1, 1].
    pub fn network_input(&self) -> Vec<f32> {
        normalised_chw(&self.network_rgb)
    }
}

/// Reads all photos, in their order, several at a time; `on_photo` is called after each (for progress).
///
/// # Errors
/// Every photo that cannot be used, not only the first. All headers are checked before any photo is decoded.
pub fn load_photos(
    paths: &[PathBuf],
    format: &InputFormat,
    on_photo: &(dyn Fn() + Sync),
) -> Result<Vec<Photo>, PhotoErrors> {
    let sizes = all_or_errors(paths.par_iter().map(|path| read_stored_size(path)).collect())?;
    let names = collect::photo_names(paths);
    let mut read = Vec::with_capacity(paths.len());
    let mut start = 0;
    while start < paths.len() {
        let end = start + batch_len(&sizes[start..]);
        let batch = (start..end).into_par_iter().map(|i| {
            let photo = Photo::read(&paths[i], &names[i], format);
            on_photo();
            photo
        });
        read.extend(batch.collect::<Vec<_>>());
        start = end;
    }
    all_or_errors(read)
}

/// How many photos of these sizes are decoded at once; at least one.
fn batch_len(sizes: &[[u32; 2]]) -> usize {
    let mut pixels = 0;
    let fits = sizes.iter().take_while(|[w, h]| {
        pixels += u64::from(*w) * u64::from(*h);
        pixels <= PIXELS_AT_ONCE
    });
    fits.count().max(1)
}

fn all_or_errors<T>(results: Vec<Result<T, PhotoError>>) -> Result<Vec<T>, PhotoErrors> {
    let mut good = Vec::with_capacity(results.len());
    let mut errors = Vec::new();
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(good) } else { Err(PhotoErrors(errors)) }
}

#[cfg(test)]
mod tests;
