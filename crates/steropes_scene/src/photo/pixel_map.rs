//! Where a pixel of the network's image lies in the photo.

use super::{InputFormat, Orientation, PhotoError};
use crate::Intrinsics;
use std::path::Path;

/// A pinhole camera in the pixels of a photo, as COLMAP counts them: the centre of the top-left pixel is
/// (0.5, 0.5), so that a `W x H` photo has its centre at `(W/2, H/2)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pinhole {
    /// Focal lengths (x, y).
    pub focal_px: [f64; 2],
    /// Principal point (x, y).
    pub center_px: [f64; 2],
}

impl From<Intrinsics> for Pinhole {
    /// The same camera with the half pixel between the two ways of counting.
    fn from(intrinsics: Intrinsics) -> Self {
        Self { focal_px: [intrinsics.focal_px; 2], center_px: intrinsics.center_px.map(|c| c + 0.5) }
    }
}

/// The affine maps between the pixels of the network's image, the upright photo and the file.
///
/// Sizes are (width, height). Points of the network's image are pixel samples: the centre of the top-left pixel is
/// (0, 0). Points of the upright photo and of the file count as in COLMAP: it is (0.5, 0.5).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PixelMap {
    /// Size of the pixels in the file.
    pub stored_size: [u32; 2],
    /// How the file's pixels are turned upright.
    pub orientation: Orientation,
    /// Size of the upright photo.
    pub upright_size: [u32; 2],
    /// Size of the whole photo after resizing.
    pub resized_size: [u32; 2],
    /// Top-left pixel of the network's image in the resized photo.
    pub crop_origin: [u32; 2],
    /// Size of the network's image.
    pub network_size: [u32; 2],
}

impl PixelMap {
    /// The map of a photo of `stored_size` that `orientation` turns upright and `format` brings to the network.
    ///
    /// # Errors
    /// [`PhotoError::TooNarrow`] if nothing is left of the photo; `path` is for that message.
    pub fn new(
        path: &Path,
        stored_size: [u32; 2],
        orientation: Orientation,
        format: &InputFormat,
    ) -> Result<Self, PhotoError> {
        let [w, h] = stored_size;
        let upright_size = if swaps_axes(orientation) { [h, w] } else { [w, h] };
        let too_narrow = || PhotoError::TooNarrow {
            path: path.to_owned(),
            size: upright_size,
            preset: format.preset,
            patch: format.patch,
        };
        let resized_size = format.resized_size(upright_size);
        let (crop_origin, network_size) = format.crop(resized_size).ok_or_else(too_narrow)?;
        Ok(Self { stored_size, orientation, upright_size, resized_size, crop_origin, network_size })
    }

    /// Upright pixels per network pixel, (x, y).
    pub fn scale(&self) -> [f64; 2] {
        [0, 1].map(|i| f64::from(self.upright_size[i]) / f64::from(self.resized_size[i]))
    }

    /// The point of the upright photo at a pixel of the network's image.
    pub fn upright_from_network(&self, pixel: [f64; 2]) -> [f64; 2] {
        let scale = self.scale();
        [0, 1].map(|i| (pixel[i] + 0.5 + f64::from(self.crop_origin[i])) * scale[i])
    }

    /// The pixel of the network's image at a point of the upright photo; outside the image where it was cropped.
    pub fn network_from_upright(&self, point: [f64; 2]) -> [f64; 2] {
        let scale = self.scale();
        [0, 1].map(|i| point[i] / scale[i] - f64::from(self.crop_origin[i]) - 0.5)
    }

    /// The point of the file's pixels at a point of the upright photo.
    pub fn stored_from_upright(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [w, h] = self.stored_size.map(f64::from);
        match self.orientation {
            Orientation::NoTransforms => [x, y],
            Orientation::FlipHorizontal => [w - x, y],
            Orientation::Rotate180 => [w - x, h - y],
            Orientation::FlipVertical => [x, h - y],
            Orientation::Rotate90FlipH => [y, x],
            Orientation::Rotate90 => [y, h - x],
            Orientation::Rotate270FlipH => [w - y, h - x],
            Orientation::Rotate270 => [w - y, x],
        }
    }

    /// The point of the upright photo at a point of the file's pixels.
    pub fn upright_from_stored(&self, [x, y]: [f64; 2]) -> [f64; 2] {
        let [w, h] = self.stored_size.map(f64::from);
        match self.orientation {
            Orientation::NoTransforms => [x, y],
            Orientation::FlipHorizontal => [w - x, y],
            Orientation::Rotate180 => [w - x, h - y],
            Orientation::FlipVertical => [x, h - y],
            Orientation::Rotate90FlipH => [y, x],
            Orientation::Rotate90 => [h - y, x],
            Orientation::Rotate270FlipH => [h - y, w - x],
            Orientation::Rotate270 => [y, w - x],
        }
    }

    /// The camera of the upright photo, from the camera of the network's image.
    pub fn upright_pinhole(&self, network: &Intrinsics) -> Pinhole {
        let focal_px = self.scale().map(|s| s * network.focal_px);
        Pinhole { focal_px, center_px: self.upright_from_network(network.center_px) }
    }

    /// A focal length in network pixels, from one in pixels of the photo. Where rounding made the two axes'
    /// scales differ it is their mean.
    pub fn network_focal(&self, photo_focal_px: f64) -> f64 {
        let [x, y] = self.scale();
        photo_focal_px * 0.5 * (1.0 / x + 1.0 / y)
    }
}

/// Whether the upright photo has the file's height as its width.
fn swaps_axes(orientation: Orientation) -> bool {
    orientation.to_exif() >= 5
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{DynamicImage, Rgb, RgbImage};

    fn map(stored_size: [u32; 2], exif: u8, preset: u32) -> PixelMap {
        let format = InputFormat { preset, patch: 16, square_ok: false };
        let orientation = Orientation::from_exif(exif).unwrap();
        PixelMap::new(Path::new("photo.jpg"), stored_size, orientation, &format).unwrap()
    }

    /// The formulas against what turning the pixels really does: every pixel has a colour of its own.
    #[test]
    fn points_turn_as_pixels_do() {
        for exif in 1..=8 {
            let map = map([17, 33], exif, 512);
            let stored = RgbImage::from_fn(17, 33, |x, y| Rgb([x as u8, y as u8, 0]));
            let mut upright = DynamicImage::ImageRgb8(stored);
            upright.apply_orientation(map.orientation);
            let upright = upright.into_rgb8();
            assert_eq!([upright.width(), upright.height()], map.upright_size);
            for (x, y, color) in upright.enumerate_pixels() {
                let point = [f64::from(x) + 0.5, f64::from(y) + 0.5];
                let stored = map.stored_from_upright(point);
                assert_eq!(stored, [f64::from(color.0[0]) + 0.5, f64::from(color.0[1]) + 0.5], "exif {exif}");
                assert_eq!(map.upright_from_stored(stored), point, "exif {exif}");
            }
        }
    }

    /// 4000 x 3001 becomes 512 x 384 (384.128), nothing is cropped: the corners of the network's image are those of
    /// the photo, and the two scales differ.
    #[test]
    fn corners_map_to_corners_with_a_scale_per_axis() {
        let map = map([4000, 3001], 1, 512);
        assert_eq!((map.network_size, map.crop_origin), ([512, 384], [0, 0]));
        assert_eq!(map.upright_from_network([-0.5, -0.5]), [0.0, 0.0]);
        let far = map.upright_from_network([511.5, 383.5]);
        assert!((far[0] - 4000.0).abs() < 1e-9 && (far[1] - 3001.0).abs() < 1e-9, "{far:?}");
        let camera = map.upright_pinhole(&Intrinsics { focal_px: 400.0, center_px: [255.5, 191.5] });
        assert!((camera.center_px[0] - 2000.0).abs() < 1e-9 && (camera.center_px[1] - 1500.5).abs() < 1e-9);
        assert!((camera.focal_px[0] - 3125.0).abs() < 1e-9);
        assert!((camera.focal_px[1] - 400.0 * 3001.0 / 384.0).abs() < 1e-9);
    }

    #[test]
    fn the_crop_shifts_and_the_maps_are_inverse() {
        // 600 x 437 -> 512 x 373 -> rows 2 to 369.
        let map = map([600, 437], 1, 512);
        assert_eq!((map.resized_size, map.crop_origin, map.network_size), ([512, 373], [0, 2], [512, 368]));
        let point = map.upright_from_network([3.0, 0.0]);
        assert!((point[1] - 2.5 * 437.0 / 373.0).abs() < 1e-9, "{point:?}");
        for pixel in [[0.0, 0.0], [17.25, 300.5], [511.0, 367.0]] {
            let back = map.network_from_upright(map.upright_from_network(pixel));
            assert!((back[0] - pixel[0]).abs() + (back[1] - pixel[1]).abs() < 1e-9, "{pixel:?} {back:?}");
        }
    }

    #[test]
    fn whole_number_samples_become_pixel_centres() {
        let pinhole = Pinhole::from(Intrinsics { focal_px: 500.0, center_px: [319.5, 239.5] });
        assert_eq!(pinhole, Pinhole { focal_px: [500.0; 2], center_px: [320.0, 240.0] });
    }

    #[test]
    fn a_strip_of_which_nothing_is_left_is_refused() {
        let format = InputFormat { preset: 512, patch: 16, square_ok: false };
        let error = PixelMap::new(Path::new("strip.png"), [4000, 20], Orientation::NoTransforms, &format);
        let line = error.unwrap_err().to_string();
        assert!(
            line.contains("`strip.png` is too narrow: 4000 x 20") && line.contains("16-pixel patch"),
            "{line}"
        );
    }
}
